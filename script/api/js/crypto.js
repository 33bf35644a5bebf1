// crypto: hashes, HMAC, random octets, and a comparison that takes the same time.
function coded(Class, code, text) {
  const e = new Class(text);
  e.code = code;
  return e;
}

function octets(data, encoding) {
  return typeof data === 'string' ? Buffer.from(data, encoding === 'buffer' ? undefined : encoding) : data;
}

class Digest {
  #native;
  #done = false;
  #kind;
  constructor(made, kind) {
    this.#native = made;
    this.#kind = kind;
  }
  update(data, encoding) {
    if (this.#done) throw coded(Error, 'ERR_CRYPTO_HASH_FINALIZED', 'Digest already called');
    this.#native.update(octets(data, encoding));
    return this;
  }
  digest(encoding) {
    if (this.#done) {
      if (this.#kind === 'hmac') return encoding && encoding !== 'buffer' ? '' : Buffer.alloc(0);
      throw coded(Error, 'ERR_CRYPTO_HASH_FINALIZED', 'Digest already called');
    }
    this.#done = true;
    const b = this.#native.digest();
    return encoding && encoding !== 'buffer' ? b.toString(encoding) : b;
  }
  copy() {
    if (this.#done) throw coded(Error, 'ERR_CRYPTO_HASH_FINALIZED', 'Digest already called');
    const made = this.#native.copy();
    if (!made) throw new Error('the state of this digest cannot be copied');
    return new Hash(made, this.#kind);
  }
}
class Hash extends Digest {}
class Hmac extends Digest {}
Object.defineProperty(Hmac.prototype, 'copy', { value: undefined });
exports.Hash = Hash;
exports.Hmac = Hmac;

exports.createHash = (name, options) => {
  if (typeof name !== 'string') throw coded(TypeError, 'ERR_INVALID_ARG_TYPE', 'The "algorithm" argument must be of type string');
  if (options && options.outputLength !== undefined) throw new Error('createHash: scripts do not have the option outputLength (docs/scripts.md)');
  return new Hash(native.hash(name), 'hash');
};
exports.createHmac = (name, key) => {
  if (typeof key !== 'string' && !ArrayBuffer.isView(key) && !(key instanceof ArrayBuffer)) {
    throw coded(TypeError, 'ERR_INVALID_ARG_TYPE', 'The "key" argument must be of type string or an instance of ArrayBuffer, Buffer, TypedArray or DataView');
  }
  return new Hmac(native.hmac(name, key), 'hmac');
};
exports.hash = (name, data, encoding = 'hex') => exports.createHash(name).update(data).digest(encoding);
exports.getHashes = () => [...native.names];

exports.randomBytes = (size, done) => {
  if (typeof size !== 'number') throw coded(TypeError, 'ERR_INVALID_ARG_TYPE', 'The "size" argument must be of type number');
  const b = native.random(size);
  if (!done) return b;
  setImmediate(done, null, b);
};
exports.pseudoRandomBytes = exports.randomBytes;
exports.randomFillSync = (b, offset = 0, size = b.byteLength - offset) => {
  new Uint8Array(b.buffer || b, b.byteOffset || 0, b.byteLength).set(native.random(size), offset);
  return b;
};
exports.getRandomValues = (b) => exports.randomFillSync(b);
exports.randomInt = (min, max, done) => {
  if (max === undefined || typeof max === 'function') [min, max, done] = [0, min, max];
  if (!Number.isSafeInteger(min) || !Number.isSafeInteger(max)) throw coded(TypeError, 'ERR_INVALID_ARG_TYPE', 'min and max must be safe integers');
  if (max <= min || max - min > 2 ** 48 - 1) {
    throw coded(RangeError, 'ERR_OUT_OF_RANGE', `The value of "max" is out of range. It must be greater than the value of "min" (${min}). Received ${max}`);
  }
  const n = min + native.below(max - min);
  if (!done) return n;
  setImmediate(done, null, n);
};
exports.randomUUID = () => {
  const b = native.random(16);
  b[6] = (b[6] & 0x0f) | 0x40;
  b[8] = (b[8] & 0x3f) | 0x80;
  const h = b.toString('hex');
  return `${h.slice(0, 8)}-${h.slice(8, 12)}-${h.slice(12, 16)}-${h.slice(16, 20)}-${h.slice(20)}`;
};
exports.timingSafeEqual = (a, b) => {
  if (a.byteLength !== b.byteLength) {
    throw coded(RangeError, 'ERR_CRYPTO_TIMING_SAFE_EQUAL_LENGTH', 'Input buffers must have the same byte length');
  }
  return native.equal(a, b);
};

absent(exports, [
  'Certificate', 'Cipher', 'Cipheriv', 'Decipher', 'Decipheriv', 'DiffieHellman', 'DiffieHellmanGroup', 'ECDH', 'KeyObject', 'Sign',
  'Verify', 'X509Certificate', 'checkPrime', 'checkPrimeSync', 'constants', 'createCipher', 'createCipheriv', 'createDecipher',
  'createDecipheriv', 'createDiffieHellman', 'createDiffieHellmanGroup', 'createECDH', 'createPrivateKey', 'createPublicKey',
  'createSecretKey', 'createSign', 'createVerify', 'diffieHellman', 'generateKey', 'generateKeyPair', 'generateKeyPairSync',
  'generateKeySync', 'generatePrime', 'generatePrimeSync', 'getCipherInfo', 'getCiphers', 'getCurves', 'getDiffieHellman', 'hkdf',
  'hkdfSync', 'pbkdf2', 'pbkdf2Sync', 'privateDecrypt', 'privateEncrypt', 'publicDecrypt', 'publicEncrypt', 'randomFill', 'scrypt',
  'scryptSync', 'secureHeapUsed', 'setEngine', 'sign', 'subtle', 'verify', 'webcrypto',
]);
