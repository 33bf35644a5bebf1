// inspect and format, of util.
const custom = Symbol.for('nodejs.util.inspect.custom');

const plainKey = /^[A-Za-z_$][\w$]*$/;
const quote = (s) => {
  const q = !s.includes("'") ? "'" : !s.includes('"') ? '"' : !s.includes('`') ? '`' : "'";
  const body = s.replace(/[\\\n\r\t\b\f\v\0]|[\x00-\x1f\x7f]/g, (c) => {
    const known = { '\\': '\\\\', '\n': '\\n', '\r': '\\r', '\t': '\\t', '\b': '\\b', '\f': '\\f', '\v': '\\v' };
    return known[c] || '\\x' + c.charCodeAt(0).toString(16).toUpperCase().padStart(2, '0');
  });
  return q + (q === "'" ? body.replace(/'/g, "\\'") : body) + q;
};

// The most that is shown of one value, whatever the options say.
const most = { octets: 65536, depth: 50 };

function inspect(value, options, ...old) {
  const o = { depth: 2, maxArrayLength: 100, maxStringLength: 10000, breakLength: 80, compact: 3, showHidden: false, sorted: false };
  if (typeof options === 'boolean') {
    o.showHidden = options;
    if (old.length && old[0] !== undefined) o.depth = old[0];
  } else if (options) Object.assign(o, options);
  if (o.depth === null || o.depth > most.depth) o.depth = most.depth;
  if (o.maxArrayLength === null) o.maxArrayLength = Infinity;
  if (o.maxStringLength === null) o.maxStringLength = Infinity;
  o.seen = [];
  o.left = most.octets;
  o.circular = new Map();
  return show(value, o, 0, false);
}
inspect.custom = custom;
inspect.defaultOptions = {};
inspect.colors = {};
inspect.styles = {};

function primitive(v, o, top) {
  switch (typeof v) {
    case 'string':
      if (v.length > o.maxStringLength) {
        const more = v.length - o.maxStringLength;
        return `${quote(v.slice(0, o.maxStringLength))}... ${more} more character${more > 1 ? 's' : ''}`;
      }
      return quote(v);
    case 'number':
      return Object.is(v, -0) ? '-0' : String(v);
    case 'bigint':
      return `${v}n`;
    case 'symbol':
      return v.toString();
  }
  return String(v);
}

function className(v) {
  for (let p = v; p; p = Object.getPrototypeOf(p)) {
    const d = Object.getOwnPropertyDescriptor(p, 'constructor');
    if (d && typeof d.value === 'function' && d.value.name !== '' && v instanceof d.value) return d.value.name;
  }
  return null;
}

// parentName is what a class extends, as inspect shows it.
function parentName(c) {
  const p = Object.getPrototypeOf(c);
  if (p === null) return ' extends [null prototype]';
  return p.name ? ` extends ${p.name}` : '';
}

function show(v, o, depth) {
  if (v === null || (typeof v !== 'object' && typeof v !== 'function')) return primitive(v, o);
  if (o.left <= 0) return '...';
  if (typeof v[custom] === 'function' && v[custom] !== inspect) {
    const got = v[custom](o.depth - depth, { ...o, depth: o.depth - depth }, inspect);
    if (got !== v) return typeof got === 'string' ? got : show(got, o, depth);
  }
  if (o.seen.includes(v)) {
    if (!o.circular.has(v)) o.circular.set(v, o.circular.size + 1);
    return `[Circular *${o.circular.get(v)}]`;
  }
  const name = className(v);
  const prefix = (fallback, size = '') => {
    if (name === null) return `[${fallback}${size}: null prototype] `;
    return name === fallback && size === '' ? '' : `${name}${size} `;
  };
  let keys = o.showHidden ? Object.getOwnPropertyNames(v) : Object.keys(v);
  keys = [...keys, ...Object.getOwnPropertySymbols(v).filter((s) => o.showHidden || Object.prototype.propertyIsEnumerable.call(v, s))];
  let head = '';
  let braces = ['{', '}'];
  let items = null;
  const array = Array.isArray(v) || (ArrayBuffer.isView(v) && !(v instanceof DataView));
  if (array) {
    const p = Array.isArray(v) ? (name === 'Array' ? '' : prefix('Array', `(${v.length})`)) : `${name}(${v.length}) `;
    braces = [`${p}[`, ']'];
    keys = keys.filter((k) => typeof k === 'symbol' || !/^(0|[1-9]\d*)$/.test(k));
    if (v.length === 0 && !keys.length) return braces[0] + ']';
  } else if (v instanceof Map) {
    braces = [`${name === null ? '[Map: null prototype]' : name}(${v.size}) {`, '}'];
    if (v.size === 0 && !keys.length) return braces[0] + '}';
  } else if (v instanceof Set) {
    braces = [`${name === null ? '[Set: null prototype]' : name}(${v.size}) {`, '}'];
    if (v.size === 0 && !keys.length) return braces[0] + '}';
  } else if (typeof v === 'function') {
    const kind = /^class\b/.test(Function.prototype.toString.call(v)) ? 'class' : 'Function';
    head = kind === 'class' ? `[class ${v.name || '(anonymous)'}${parentName(v)}]` : `[${name === null ? 'Function (null prototype)' : name}${v.name ? `: ${v.name}` : ' (anonymous)'}]`;
  } else if (v instanceof RegExp) head = RegExp.prototype.toString.call(v);
  else if (v instanceof Date) head = Number.isNaN(v.getTime()) ? 'Invalid Date' : v.toISOString();
  else if (v instanceof Error) {
    const stack = typeof v.stack === 'string' && v.stack ? v.stack.trimEnd() : '';
    head = stack || `[${Error.prototype.toString.call(v)}]`;
    if (!stack.includes('\n')) head = `[${stack || Error.prototype.toString.call(v)}]`;
    keys = keys.filter((k) => k !== 'stack' && k !== 'message');
    if (v.cause !== undefined && !keys.includes('cause')) keys.push('cause');
  } else if (v instanceof Promise) braces = ['Promise {', '}'];
  else if (v instanceof WeakMap || v instanceof WeakSet) head = `${name} { <items unknown> }`;
  else if (v instanceof Number || v instanceof Boolean || v instanceof String || v instanceof Symbol) {
    head = `[${name}: ${primitive(v.valueOf(), o)}]`;
    if (v instanceof String) keys = keys.filter((k) => !/^\d+$/.test(k));
  } else if (v instanceof ArrayBuffer) {
    const shown = Array.from(new Uint8Array(v).subarray(0, 50), (x) => x.toString(16).padStart(2, '0')).join(' ');
    return `ArrayBuffer { [Uint8Contents]: <${shown}${v.byteLength > 50 ? ` ... ${v.byteLength - 50} more bytes` : ''}>, byteLength: ${v.byteLength} }`;
  } else {
    const tag = v[Symbol.toStringTag];
    let p = prefix('Object');
    if (typeof tag === 'string' && tag !== '' && tag !== name) p = `${p || 'Object '}[${tag}] `;
    braces = [`${p}{`, '}'];
    if (!keys.length) return braces[0] + '}';
  }
  if (head && !keys.length) return head;
  if (depth > o.depth) return head || `[${array ? 'Array' : name === null ? 'Object: null prototype' : name}]`;

  o.seen.push(v);
  items = [];
  if (array) {
    const n = Math.min(v.length, o.maxArrayLength);
    for (let i = 0; i < n && o.left > 0; i++) {
      if (Array.isArray(v) && !Object.hasOwn(v, i)) {
        let holes = 0;
        while (i < v.length && !Object.hasOwn(v, i)) {
          holes++;
          i++;
        }
        i--;
        items.push(`<${holes} empty item${holes > 1 ? 's' : ''}>`);
      } else items.push(show(v[i], o, depth + 1));
    }
    if (v.length > n) items.push(`... ${v.length - n} more item${v.length - n > 1 ? 's' : ''}`);
  } else if (v instanceof Map) {
    for (const [k, x] of v) items.push(`${show(k, o, depth + 1)} => ${show(x, o, depth + 1)}`);
  } else if (v instanceof Set) {
    for (const x of v) items.push(show(x, o, depth + 1));
  }
  if (o.sorted) keys.sort(typeof o.sorted === 'function' ? o.sorted : undefined);
  for (const k of keys) {
    if (o.left <= 0) {
      items.push('...');
      break;
    }
    const d = Object.getOwnPropertyDescriptor(v, k) || { value: v[k], enumerable: false };
    let text = typeof k === 'symbol' ? `[${k.toString()}]` : plainKey.test(k) ? k : quote(k);
    if (!d.enumerable) text = `[${typeof k === 'symbol' ? k.toString() : k}]`;
    let shown;
    if (d.get) shown = d.set ? '[Getter/Setter]' : '[Getter]';
    else if (d.set) shown = '[Setter]';
    else shown = show(d.value, o, depth + 1);
    items.push(`${text}: ${shown}`);
  }
  o.seen.pop();
  if (head) items.unshift(head);
  if (o.circular.has(v)) braces[0] = `<ref *${o.circular.get(v)}> ${braces[0]}`;
  for (const i of items) o.left -= i.length;
  return layout(items, braces, o, depth, head);
}

// layout puts items on one line where they fit, else each on its own.
function layout(items, braces, o, depth, head) {
  const pad = '  '.repeat(depth);
  const open = head && braces[0] === '{' ? '{' : braces[0];
  if (head) {
    const [first, ...others] = items;
    return `${open} ${first}${others.length ? ' ' : ''}${others.join(', ')} }`.replace(/^\{ /, '{ ');
  }
  const one = items.join(', ');
  const compact = o.compact === true || o.breakLength === Infinity || (o.compact && deepest(items) <= o.compact);
  if (compact && !one.includes('\n') && one.length + open.length + depth * 2 <= Math.min(o.breakLength, 76) - 4) {
    return items.length ? `${open} ${one} ${braces[1]}` : `${open}${braces[1]}`;
  }
  return `${open}\n${pad}  ${items.join(`,\n${pad}  `)}\n${pad}${braces[1]}`;
}
function deepest(items) {
  let n = 0;
  for (const i of items) {
    let d = 0;
    for (const c of i) {
      if (c === '{' || c === '[') n = Math.max(n, ++d);
      else if (c === '}' || c === ']') d--;
    }
  }
  return n + 1;
}

function formatWithOptions(options, ...args) {
  let text = '';
  let next = 0;
  if (typeof args[0] === 'string') {
    next = 1;
    if (args.length === 1) return args[0];
    text = args[0].replace(/%([sdifjoOc%])/g, (all, f) => {
      if (f === '%') return '%';
      if (next >= args.length) return all;
      const v = args[next++];
      switch (f) {
        case 's':
          if (typeof v === 'string') return v;
          if (typeof v === 'object' && v !== null) {
            const own = typeof v.toString === 'function' && v.toString !== Object.prototype.toString && v.toString !== Error.prototype.toString && v.toString !== Array.prototype.toString;
            return own || v instanceof Error ? String(v) : inspect(v, { ...options, depth: 0, compact: 3 });
          }
          return primitive(v, {});
        case 'd':
          return typeof v === 'bigint' ? `${v}n` : typeof v === 'symbol' ? 'NaN' : primitive(typeof v === 'object' ? NaN : Number(v), {});
        case 'i':
          return typeof v === 'bigint' ? `${v}n` : typeof v === 'symbol' ? 'NaN' : String(parseInt(v));
        case 'f':
          return typeof v === 'symbol' ? 'NaN' : String(parseFloat(v));
        case 'j':
          try {
            return JSON.stringify(v);
          } catch (e) {
            if (/circular/i.test(e.message)) return '[Circular]';
            throw e;
          }
        case 'o':
          return inspect(v, { ...options, showHidden: true, depth: 4 });
        case 'O':
          return inspect(v, options);
      }
      return ''; // %c is style, which a log has none of
    });
  }
  for (; next < args.length; next++) {
    const v = args[next];
    if (next > 0) text += ' ';
    text += typeof v === 'string' ? v : inspect(v, options);
  }
  return text;
}

Object.assign(exports, { inspect, formatWithOptions });
