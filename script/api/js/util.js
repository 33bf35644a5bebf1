// util: the functions of Node's that plugins use, inspect and format among them.
const custom = Symbol.for('nodejs.util.inspect.custom');
const promisified = Symbol.for('nodejs.util.promisify.custom');

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

exports.inspect = inspect;
exports.format = (...args) => formatWithOptions(undefined, ...args);
exports.formatWithOptions = formatWithOptions;

function needFunction(f) {
  if (typeof f === 'function') return;
  const e = new TypeError(`The "original" argument must be of type function. Received ${f === null ? 'null' : typeof f}`);
  e.code = 'ERR_INVALID_ARG_TYPE';
  throw e;
}

exports.promisify = (f) => {
  needFunction(f);
  if (f[promisified]) return f[promisified];
  if (f === setTimeout) return require('timers/promises').setTimeout;
  if (f === setImmediate) return require('timers/promises').setImmediate;
  const wrapped = function (...args) {
    return new Promise((resolve, reject) => {
      f.call(this, ...args, (err, value) => (err ? reject(err) : resolve(value)));
    });
  };
  Object.setPrototypeOf(wrapped, Object.getPrototypeOf(f));
  Object.defineProperty(wrapped, promisified, { value: wrapped, configurable: true });
  return Object.defineProperties(wrapped, Object.getOwnPropertyDescriptors(f));
};
exports.promisify.custom = promisified;

exports.callbackify = (f) => {
  needFunction(f);
  return function (...args) {
    const done = args.pop();
    f.apply(this, args).then(
      (value) => setImmediate(done, null, value),
      (err) => {
        let fault = err;
        if (!fault) {
          fault = new Error('Promise was rejected with falsy value');
          fault.reason = err;
          fault.code = 'ERR_FALSY_VALUE_REJECTION';
        }
        setImmediate(done, fault);
      },
    );
  };
};

exports.inherits = (ctor, superCtor) => {
  Object.defineProperty(ctor, 'super_', { value: superCtor, writable: true, configurable: true });
  Object.setPrototypeOf(ctor.prototype, superCtor.prototype);
};

exports.deprecate = (f, text) => {
  let told = false;
  return function (...args) {
    if (!told) console.warn(`DeprecationWarning: ${text}`);
    told = true;
    return new.target ? Reflect.construct(f, args, new.target) : f.apply(this, args);
  };
};

exports.debuglog = exports.debug = (section) => {
  const log = (...args) => console.debug(`${section.toUpperCase()}: ${exports.format(...args)}`);
  log.enabled = true;
  return log;
};

exports.stripVTControlCharacters = (s) => String(s).replace(/[\u001b\u009b][[\]()#;?]*(?:\d{1,4}(?:[;:]\d{0,4})*)?[\dA-PR-TZcf-nq-uy=><~]/g, '');
exports.toUSVString = (s) => native.wellFormed(String(s));
exports.isArray = Array.isArray;

const tag = (v) => Object.prototype.toString.call(v).slice(8, -1);
exports.types = {
  isAnyArrayBuffer: (v) => v instanceof ArrayBuffer,
  isArrayBuffer: (v) => v instanceof ArrayBuffer,
  isArrayBufferView: (v) => ArrayBuffer.isView(v),
  isAsyncFunction: (v) => typeof v === 'function' && v.constructor && v.constructor.name === 'AsyncFunction',
  isBoxedPrimitive: (v) => typeof v === 'object' && ['Number', 'String', 'Boolean', 'Symbol', 'BigInt'].includes(tag(v)) && v !== null,
  isDataView: (v) => v instanceof DataView,
  isDate: (v) => v instanceof Date,
  isGeneratorFunction: (v) => typeof v === 'function' && v.constructor && v.constructor.name === 'GeneratorFunction',
  isMap: (v) => v instanceof Map,
  isNativeError: (v) => v instanceof Error,
  isNumberObject: (v) => v instanceof Number,
  isPromise: (v) => v instanceof Promise,
  isRegExp: (v) => v instanceof RegExp,
  isSet: (v) => v instanceof Set,
  isStringObject: (v) => v instanceof String,
  isBooleanObject: (v) => v instanceof Boolean,
  isSymbolObject: (v) => v instanceof Symbol,
  isTypedArray: (v) => ArrayBuffer.isView(v) && !(v instanceof DataView),
  isUint8Array: (v) => v instanceof Uint8Array,
  isWeakMap: (v) => v instanceof WeakMap,
  isWeakSet: (v) => v instanceof WeakSet,
};

// same compares as assert does; strict: types and prototypes count.
function same(a, b, strict, pairs = []) {
  if (strict ? Object.is(a, b) : a == b || (Number.isNaN(a) && Number.isNaN(b))) return true;
  if (typeof a !== 'object' || typeof b !== 'object' || a === null || b === null) return false;
  if (strict && Object.getPrototypeOf(a) !== Object.getPrototypeOf(b)) return false;
  if (tag(a) !== tag(b) || Array.isArray(a) !== Array.isArray(b)) return false;
  for (const [x, y] of pairs) if (x === a && y === b) return true;
  const below = [...pairs, [a, b]];
  if (a instanceof Date && a.getTime() !== b.getTime()) return false;
  if (a instanceof RegExp && (String(a) !== String(b) || a.lastIndex !== b.lastIndex)) return false;
  if (a instanceof Error && (a.message !== b.message || a.name !== b.name)) return false;
  if (['Number', 'String', 'Boolean', 'Symbol'].includes(tag(a)) && !Object.is(a.valueOf(), b.valueOf())) return false;
  if (ArrayBuffer.isView(a)) {
    if (a.byteLength !== b.byteLength) return false;
    const x = new Uint8Array(a.buffer, a.byteOffset, a.byteLength);
    const y = new Uint8Array(b.buffer, b.byteOffset, b.byteLength);
    return x.every((octet, i) => octet === y[i]);
  }
  if (a instanceof Map || a instanceof Set) {
    if (a.size !== b.size) return false;
    const others = [...b];
    for (const item of a) {
      const i = others.findIndex((o) => same(item, o, strict, below));
      if (i < 0) return false;
      others.splice(i, 1);
    }
  }
  const own = (o) => [...Object.keys(o), ...(strict ? Object.getOwnPropertySymbols(o).filter((s) => Object.prototype.propertyIsEnumerable.call(o, s)) : [])];
  const keys = own(a);
  if (keys.length !== own(b).length || (Array.isArray(a) && a.length !== b.length)) return false;
  return keys.every((k) => Object.hasOwn(b, k) && same(a[k], b[k], strict, below));
}
exports.isDeepStrictEqual = (a, b) => same(a, b, true);
Object.defineProperty(exports, 'same', { value: same }); // for assert

// TextEncoder and TextDecoder, of UTF-8.
exports.TextEncoder = class TextEncoder {
  get encoding() {
    return 'utf-8';
  }
  encode(text = '') {
    return new Uint8Array(native.encode(String(text)));
  }
  encodeInto(text, into) {
    let read = 0;
    let written = 0;
    for (const c of String(text)) {
      const b = this.encode(c);
      if (written + b.length > into.length) break;
      into.set(b, written);
      written += b.length;
      read += c.length;
    }
    return { read, written };
  }
};
exports.TextDecoder = class TextDecoder {
  constructor(label = 'utf-8', { fatal = false, ignoreBOM = false } = {}) {
    if (!/^(utf-?8|unicode-1-1-utf-8)$/i.test(label.trim())) {
      const e = new RangeError(`The "${label}" encoding is not supported; scripts have utf-8`);
      e.code = 'ERR_ENCODING_NOT_SUPPORTED';
      throw e;
    }
    Object.assign(this, { encoding: 'utf-8', fatal, ignoreBOM });
  }
  decode(input = new Uint8Array(0), options = {}) {
    if (options.stream) throw new Error('TextDecoder.decode: scripts do not have the option stream (docs/scripts.md)');
    const view = input instanceof ArrayBuffer ? new Uint8Array(input) : new Uint8Array(input.buffer, input.byteOffset, input.byteLength);
    const text = native.decode(view, this.fatal);
    if (text === null) {
      const e = new TypeError('The encoded data was not valid for encoding utf-8');
      e.code = 'ERR_ENCODING_INVALID_ENCODED_DATA';
      throw e;
    }
    return !this.ignoreBOM && text.startsWith('\ufeff') ? text.slice(1) : text;
  }
};

absent(exports, [
  'MIMEParams', 'MIMEType', 'aborted', 'getCallSite', 'getCallSites', 'getSystemErrorMap', 'getSystemErrorName', 'log',
  'parseArgs', 'parseEnv', 'styleText', 'transferableAbortController', 'transferableAbortSignal', '_extend',
  'isBoolean', 'isBuffer', 'isDate', 'isError', 'isFunction', 'isNull', 'isNullOrUndefined', 'isNumber', 'isObject',
  'isPrimitive', 'isRegExp', 'isString', 'isSymbol', 'isUndefined',
]);
