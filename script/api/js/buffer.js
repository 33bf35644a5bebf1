// buffer: Node's Buffer, a Uint8Array with methods of its own.
const encodings = {
  utf8: 'utf8', 'utf-8': 'utf8',
  ucs2: 'utf16le', 'ucs-2': 'utf16le', utf16le: 'utf16le', 'utf-16le': 'utf16le',
  latin1: 'latin1', binary: 'latin1', ascii: 'ascii',
  base64: 'base64', base64url: 'base64url', hex: 'hex',
};

function coded(Class, code, text) {
  const e = new Class(text);
  e.code = code;
  return e;
}
const badType = (what, v) => coded(TypeError, 'ERR_INVALID_ARG_TYPE', `${what}. Received ${v === null ? 'null' : typeof v}`);
const badRange = (text) => coded(RangeError, 'ERR_OUT_OF_RANGE', text);

function encodingOf(name) {
  if (name === undefined || name === null || name === '') return 'utf8';
  const e = Object.hasOwn(encodings, name) ? encodings[name] : encodings[String(name).toLowerCase()];
  if (!e) throw coded(TypeError, 'ERR_UNKNOWN_ENCODING', `Unknown encoding: ${name}`);
  return e;
}

function sizeOf(n) {
  if (typeof n !== 'number') throw badType('The "size" argument must be of type number', n);
  if (!(n >= 0 && n <= native.max)) throw badRange(`The size of a Buffer is from 0 to ${native.max}. Received ${n}`);
  return Math.trunc(n);
}

// octets makes a Uint8Array of what Buffer.from takes besides strings.
function octets(value) {
  if (value instanceof Uint8Array) return value;
  if (ArrayBuffer.isView(value)) {
    return Uint8Array.from(value instanceof DataView ? [] : value, (x) => Number(x) & 255);
  }
  if (value !== null && typeof value === 'object') {
    if (value instanceof String) return new Uint8Array(native.decode(String(value), 'utf8'));
    if (value.type === 'Buffer' && Array.isArray(value.data)) return octets(value.data);
    if (typeof value.length === 'number') {
      const n = sizeOf(value.length > 0 ? value.length : 0);
      const a = new Uint8Array(n);
      for (let i = 0; i < n; i++) a[i] = value[i];
      return a;
    }
  }
  return null;
}

const whatFrom =
  'The first argument must be of type string or an instance of Buffer, ArrayBuffer, or Array or an Array-like Object';

class Buffer extends Uint8Array {
  // Node has retired the constructor; species and old plugins use it.
  constructor(value, encodingOrOffset, length) {
    if (typeof value === 'number') super(sizeOf(value));
    else if (value instanceof ArrayBuffer) super(value, encodingOrOffset, length);
    else if (typeof value === 'string') super(native.decode(value, encodingOf(encodingOrOffset)));
    else {
      const a = octets(value);
      if (!a) throw badType(whatFrom, value);
      super(a);
    }
  }

  static from(value, encodingOrOffset, length) {
    if (typeof value === 'number') throw badType(whatFrom, value);
    if (typeof value === 'object' && value !== null && !(value instanceof ArrayBuffer) && !octets(value)) {
      const plain = value.valueOf && value.valueOf();
      if (plain !== undefined && plain !== null && plain !== value) return Buffer.from(plain, encodingOrOffset, length);
      if (typeof value[Symbol.toPrimitive] === 'function') {
        return Buffer.from(value[Symbol.toPrimitive]('string'), encodingOrOffset);
      }
    }
    return new Buffer(value, encodingOrOffset, length);
  }

  static alloc(size, fill, encoding) {
    const b = new Buffer(sizeOf(size));
    return fill === undefined || fill === 0 ? b : b.fill(fill, encoding);
  }
  static allocUnsafe(size) {
    return new Buffer(sizeOf(size));
  }
  static allocUnsafeSlow(size) {
    return new Buffer(sizeOf(size));
  }
  static of(...items) {
    return new Buffer(items);
  }
  static isBuffer(b) {
    return b instanceof Buffer;
  }
  static isEncoding(name) {
    return typeof name === 'string' && Object.hasOwn(encodings, name.toLowerCase());
  }
  static byteLength(value, encoding) {
    if (typeof value === 'string') return native.decode(value, encodingOf(encoding)).byteLength;
    if (value instanceof ArrayBuffer || ArrayBuffer.isView(value)) return value.byteLength;
    throw badType('The "string" argument must be of type string or an instance of Buffer or ArrayBuffer', value);
  }
  static compare(a, b) {
    if (!(a instanceof Uint8Array)) throw badType('The "buf1" argument must be an instance of Buffer or Uint8Array', a);
    if (!(b instanceof Uint8Array)) throw badType('The "buf2" argument must be an instance of Buffer or Uint8Array', b);
    const n = Math.min(a.length, b.length);
    for (let i = 0; i < n; i++) if (a[i] !== b[i]) return a[i] < b[i] ? -1 : 1;
    return a.length === b.length ? 0 : a.length < b.length ? -1 : 1;
  }
  static concat(list, total) {
    if (!Array.isArray(list)) throw badType('The "list" argument must be an instance of Array', list);
    if (total === undefined) total = list.reduce((n, b) => n + b.length, 0);
    const out = Buffer.alloc(total);
    let at = 0;
    for (const b of list) {
      if (!(b instanceof Uint8Array)) throw badType('The "list" argument must have instances of Buffer or Uint8Array', b);
      const part = at + b.length > total ? b.subarray(0, total - at) : b;
      out.set(part, at);
      at += part.length;
    }
    return out;
  }
  static copyBytesFrom(view, offset = 0, length = view.length - offset) {
    const part = view.subarray(offset, offset + length);
    return new Buffer(part.buffer.slice(part.byteOffset, part.byteOffset + part.byteLength));
  }

  get parent() {
    return this.buffer;
  }
  get offset() {
    return this.byteOffset;
  }

  toString(encoding, start, end) {
    const e = encodingOf(encoding);
    const whole = start === undefined && end === undefined;
    return native.encode(whole ? this : this.subarray(...span(this, start, end)), e);
  }
  toLocaleString(encoding, start, end) {
    return this.toString(encoding, start, end);
  }
  toJSON() {
    return { type: 'Buffer', data: Array.from(this) };
  }
  equals(other) {
    return Buffer.compare(this, other) === 0;
  }
  compare(target, tStart = 0, tEnd = target.length, start = 0, end = this.length) {
    return Buffer.compare(this.subarray(start, end), target.subarray(tStart, tEnd));
  }
  copy(target, tStart = 0, start = 0, end = this.length) {
    if (start < 0 || start > this.length) throw badRange(`The value of "sourceStart" is out of range. Received ${start}`);
    if (tStart >= target.length || start >= end) return 0;
    const part = this.subarray(start, Math.min(end, this.length, start + target.length - tStart));
    target.set(part, tStart);
    return part.length;
  }
  slice(start, end) {
    return this.subarray(start, end);
  }
  write(text, offset, length, encoding) {
    if (typeof text !== 'string') throw badType('The "string" argument must be of type string', text);
    if (typeof offset === 'string') [encoding, offset, length] = [offset, 0, this.length];
    else if (typeof length === 'string') [encoding, length] = [length, undefined];
    offset = offset === undefined ? 0 : Math.trunc(offset);
    if (!(offset >= 0 && offset <= this.length)) throw badRange(`The value of "offset" is out of range. Received ${offset}`);
    const room = Math.min(length === undefined ? Infinity : length, this.length - offset);
    const e = encodingOf(encoding);
    let b = new Uint8Array(native.decode(text, e));
    if (b.length > room) {
      let n = room;
      // No half of a character is written.
      if (e === 'utf8') while (n > 0 && (b[n] & 0xc0) === 0x80) n--;
      if (e === 'utf16le') n -= n % 2;
      b = b.subarray(0, n);
    }
    this.set(b, offset);
    return b.length;
  }
  fill(value, offset, end, encoding) {
    if (typeof offset === 'string') [encoding, offset, end] = [offset, undefined, undefined];
    else if (typeof end === 'string') [encoding, end] = [end, undefined];
    const from = offset === undefined ? 0 : offset;
    const to = end === undefined ? this.length : end;
    if (from < 0 || to > this.length) throw badRange('The part to fill is out of range');
    let what = value;
    if (typeof value === 'string') what = new Uint8Array(native.decode(value, encodingOf(encoding)));
    if (what instanceof Uint8Array) {
      if (what.length === 0) {
        if (typeof value !== 'string') throw coded(TypeError, 'ERR_INVALID_ARG_VALUE', "The argument 'value' is invalid");
        what = 0;
      } else {
        for (let i = from; i < to; i++) this[i] = what[(i - from) % what.length];
        return this;
      }
    }
    super.fill(what, from, to);
    return this;
  }
  indexOf(value, offset, encoding) {
    return find(this, value, offset, encoding, false);
  }
  lastIndexOf(value, offset, encoding) {
    return find(this, value, offset, encoding, true);
  }
  includes(value, offset, encoding) {
    return find(this, value, offset, encoding, false) !== -1;
  }
  swap16() {
    return swap(this, 2);
  }
  swap32() {
    return swap(this, 4);
  }
  swap64() {
    return swap(this, 8);
  }
  [Symbol.for('nodejs.util.inspect.custom')]() {
    const shown = Array.from(this.subarray(0, 50), (x) => x.toString(16).padStart(2, '0'));
    if (this.length > 50) shown.push(`... ${this.length - 50} more byte${this.length > 51 ? 's' : ''}`);
    return `<Buffer${shown.length ? ' ' : ''}${shown.join(' ')}>`;
  }
}
Buffer.poolSize = 8192;

// span puts start and end between 0 and the length, as toString does.
function span(b, start, end) {
  const clip = (n, fallback) => (n === undefined ? fallback : Math.min(Math.max(Math.trunc(n) || 0, 0), b.length));
  const from = clip(start, 0);
  return [from, Math.max(from, clip(end, b.length))];
}

function find(b, value, offset, encoding, last) {
  if (typeof offset === 'string') [encoding, offset] = [offset, undefined];
  let from = offset === undefined || Number.isNaN(Number(offset)) ? (last ? b.length : 0) : Math.trunc(Number(offset));
  if (from < 0) from += b.length;
  if (last && from < 0) return -1;
  from = Math.min(Math.max(from, 0), b.length);
  let what;
  if (typeof value === 'number') what = new Uint8Array([value]);
  else if (typeof value === 'string') what = new Uint8Array(native.decode(value, encodingOf(encoding)));
  else if (value instanceof Uint8Array) what = value;
  else throw badType('The "value" argument must be one of type number or string or an instance of Buffer or Uint8Array', value);
  if (last) return native.index(b.subarray(0, Math.min(from + what.length, b.length)), what, true);
  const at = native.index(b.subarray(from), what, false);
  return at < 0 ? -1 : at + from;
}

function swap(b, size) {
  if (b.length % size) throw coded(RangeError, 'ERR_INVALID_BUFFER_SIZE', `Buffer size must be a multiple of ${size * 8}-bits`);
  for (let i = 0; i < b.length; i += size) b.subarray(i, i + size).reverse();
  return b;
}

// Numbers: readInt16LE and the others.
function at(b, offset, size) {
  if (typeof offset !== 'number') throw badType('The "offset" argument must be of type number', offset);
  if (!Number.isInteger(offset)) throw badRange(`The value of "offset" is out of range. It must be an integer. Received ${offset}`);
  if (offset < 0 || offset + size > b.length) {
    if (b.length < size) throw coded(RangeError, 'ERR_BUFFER_OUT_OF_BOUNDS', 'Attempt to access memory outside buffer bounds');
    throw badRange(`The value of "offset" is out of range. It must be >= 0 and <= ${b.length - size}. Received ${offset}`);
  }
  return new DataView(b.buffer, b.byteOffset + offset, size);
}
function within(value, low, high) {
  if (value < low || value > high) throw badRange(`The value of "value" is out of range. It must be >= ${low} and <= ${high}. Received ${value}`);
}
function method(names, f) {
  for (const name of [].concat(names)) {
    Object.defineProperty(Buffer.prototype, name, { value: f, writable: true, configurable: true, enumerable: false });
  }
}
const both = (name) => (name.includes('UInt') ? [name, name.replace('UInt', 'Uint')] : [name]);

for (const [name, view, size, low, high] of [
  ['Int8', 'Int8', 1, -128, 127],
  ['UInt8', 'Uint8', 1, 0, 255],
  ['Int16', 'Int16', 2, -32768, 32767],
  ['UInt16', 'Uint16', 2, 0, 65535],
  ['Int32', 'Int32', 4, -2147483648, 2147483647],
  ['UInt32', 'Uint32', 4, 0, 4294967295],
  ['Float', 'Float32', 4],
  ['Double', 'Float64', 8],
  ['BigInt64', 'BigInt64', 8, -(2n ** 63n), 2n ** 63n - 1n],
  ['BigUInt64', 'BigUint64', 8, 0n, 2n ** 64n - 1n],
]) {
  for (const order of size === 1 ? [''] : ['LE', 'BE']) {
    const little = order === 'LE';
    method(both(`read${name}${order}`), function (offset = 0) {
      return at(this, offset, size)['get' + view](0, little);
    });
    method(both(`write${name}${order}`), function (value, offset = 0) {
      if (low !== undefined) within(value, low, high);
      at(this, offset, size)['set' + view](0, value, little);
      return offset + size;
    });
  }
}
for (const signed of [false, true]) {
  for (const order of ['LE', 'BE']) {
    const name = `${signed ? 'Int' : 'UInt'}${order}`;
    const index = (i, n) => (order === 'LE' ? i : n - 1 - i);
    const length = (n) => {
      if (!(Number.isInteger(n) && n >= 1 && n <= 6)) throw badRange(`The value of "byteLength" is out of range. It must be >= 1 and <= 6. Received ${n}`);
      return n;
    };
    method(both('read' + name), function (offset, n) {
      const view = at(this, offset, length(n));
      let value = 0;
      for (let i = n - 1; i >= 0; i--) value = value * 256 + view.getUint8(index(i, n));
      return signed && value >= 2 ** (8 * n - 1) ? value - 2 ** (8 * n) : value;
    });
    method(both('write' + name), function (value, offset, n) {
      const view = at(this, offset, length(n));
      within(value, signed ? -(2 ** (8 * n - 1)) : 0, signed ? 2 ** (8 * n - 1) - 1 : 2 ** (8 * n) - 1);
      let left = value < 0 ? value + 2 ** (8 * n) : value;
      for (let i = 0; i < n; i++) {
        view.setUint8(index(i, n), left % 256);
        left = Math.floor(left / 256);
      }
      return offset + n;
    });
  }
}

exports.Buffer = Buffer;
exports.kMaxLength = native.max;
exports.constants = { MAX_LENGTH: native.max, MAX_STRING_LENGTH: native.max };
exports.isAscii = (b) => new Uint8Array(b.buffer || b, b.byteOffset || 0, b.byteLength).every((x) => x < 128);
exports.isUtf8 = (b) => Buffer.from(Buffer.from(b).toString()).equals(Buffer.from(b));

// atob and btoa as the web has them: strings of which each character is an octet.
exports.btoa = (text) => {
  text = String(text);
  for (let i = 0; i < text.length; i++) {
    if (text.charCodeAt(i) > 255) throw coded(Error, 'InvalidCharacterError', 'Invalid character');
  }
  return Buffer.from(text, 'latin1').toString('base64');
};
exports.atob = (text) => {
  const clean = String(text).replace(/[\t\n\f\r ]/g, '');
  const bare = clean.length % 4 === 0 ? clean.replace(/==?$/, '') : clean;
  if (bare.length % 4 === 1 || /[^A-Za-z0-9+/]/.test(bare)) {
    throw coded(Error, 'InvalidCharacterError', 'The string to be decoded is not correctly encoded.');
  }
  return Buffer.from(bare, 'base64').toString('latin1');
};

exports.INSPECT_MAX_BYTES = 50;
absent(exports, ['Blob', 'File', 'SlowBuffer', 'transcode', 'resolveObjectURL']);
