// util: the functions of Node's that plugins use, inspect and format among them.
const { inspect, formatWithOptions } = require('inspect');

const promisified = Symbol.for('nodejs.util.promisify.custom');

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
