// net: connections as a client. Each ends by itself when nothing has come or gone for
// five minutes, and must be there within thirty seconds.
const EventEmitter = require('events');

exports.isIP = (s) => native.isIP(String(s));
exports.isIPv4 = (s) => exports.isIP(s) === 4;
exports.isIPv6 = (s) => exports.isIP(s) === 6;

const highWater = 65536;

// decoder keeps what is not a whole character yet for the next piece.
function decoder(encoding) {
  let left = Buffer.alloc(0);
  const whole = (b) => {
    const e = encoding.toLowerCase().replace('-', '');
    if (e === 'utf16le' || e === 'ucs2') return b.length - (b.length % 2);
    if (e === 'base64' || e === 'base64url') return b.length - (b.length % 3);
    if (e !== 'utf8') return b.length;
    for (let i = 1; i <= Math.min(3, b.length); i++) {
      const c = b[b.length - i];
      if (c < 0x80) break;
      if (c >= 0xc0) return (c >= 0xf0 ? 4 : c >= 0xe0 ? 3 : 2) > i ? b.length - i : b.length;
    }
    return b.length;
  };
  return {
    write(piece) {
      const b = left.length ? Buffer.concat([left, piece]) : piece;
      const n = whole(b);
      left = b.subarray(n);
      return b.toString(encoding, 0, n);
    },
    end() {
      return left.toString(encoding);
    },
  };
}

class Socket extends EventEmitter {
  #native = null;
  #timer = null;
  #timeout = 0;
  #decoder = null;
  #flowing = null; // as in Node: null until somebody listens for data
  #held = []; // what came in while nothing flowed
  #ended = false; // by us
  #over = false; // by them
  #failed = false;
  #drain = false;
  #half = false;
  #options = [];

  constructor(options = {}) {
    super();
    this.#half = !!options.allowHalfOpen;
    for (const name of ['fd', 'onread', 'signal']) {
      if (options[name] !== undefined) throw new Error(`net.Socket: scripts do not have the option ${name} (docs/scripts.md)`);
    }
    Object.assign(this, { connecting: false, destroyed: false, bytesRead: 0, bytesWritten: 0, writableLength: 0 });
    this.remoteAddress = this.remotePort = this.remoteFamily = undefined;
    this.localAddress = this.localPort = this.localFamily = undefined;
  }

  get pending() {
    return !this.#native || this.connecting;
  }
  get readyState() {
    if (this.connecting) return 'opening';
    if (!this.#native || this.destroyed) return 'closed';
    if (this.#ended) return this.#over ? 'closed' : 'readOnly';
    return this.#over ? 'writeOnly' : 'open';
  }
  get readable() {
    return !!this.#native && !this.destroyed && !this.#over;
  }
  get writable() {
    return !!this.#native && !this.destroyed && !this.#ended;
  }
  get bufferSize() {
    return this.writableLength;
  }
  get timeout() {
    return this.#timeout || undefined;
  }

  connect(...args) {
    const done = typeof args[args.length - 1] === 'function' ? args.pop() : null;
    let o = args[0];
    if (typeof o === 'object' && o !== null) o = { ...o };
    else if (typeof o === 'string' && !/^\d+$/.test(o)) o = { path: o };
    else o = { port: args[0], host: args[1] };
    for (const name of ['lookup', 'family', 'hints', 'localPort']) {
      if (o[name]) throw new Error(`net.connect: scripts do not have the option ${name} (docs/scripts.md)`);
    }
    if (this.#native && !this.destroyed) throw new Error('the socket is connected already');
    const port = Number(o.port);
    if (!o.path && !(Number.isInteger(port) && port > 0 && port < 65536)) {
      const e = new RangeError(`Port should be > 0 and < 65536. Received ${o.port}.`);
      e.code = 'ERR_SOCKET_BAD_PORT';
      throw e;
    }
    if (done) this.once('connect', done);
    if (o.timeout) this.setTimeout(o.timeout);
    this.connecting = true;
    this.destroyed = this.#ended = this.#over = this.#failed = false;
    this.#native = native.connect(String(o.host || 'localhost'), port || 0, o.path, (...event) => this.#on(...event), o.localAddress);
    if (o.noDelay) this.setNoDelay();
    if (o.keepAlive) this.setKeepAlive(true, o.keepAliveInitialDelay);
    return this;
  }

  #on(event, a, b, done) {
    if (event === 'closed') {
      this.#clock(false);
      this.destroyed = true;
      this.connecting = false;
      this.emit('close', this.#failed);
      return;
    }
    if (this.destroyed) return;
    switch (event) {
      case 'lookup':
        this.emit('lookup', null, a, exports.isIP(a), undefined);
        return;
      case 'connect':
        this.connecting = false;
        [this.remoteAddress, this.remotePort, this.remoteFamily] = [a.address, a.port, a.family];
        [this.localAddress, this.localPort, this.localFamily] = [b.address, b.port, b.family];
        for (const [name, value] of this.#options) this.#native[name](...value);
        this.#clock(true);
        this.emit('connect');
        this.emit('ready');
        return;
      case 'data':
        this.#clock(true);
        this.bytesRead += a.length;
        if (this.#flowing) this.#give(a);
        else this.#held.push(a);
        return;
      case 'end':
        if (this.#held.length) this.#held.push(null);
        else this.#give(null);
        return;
      case 'written':
        this.#clock(true);
        this.bytesWritten += a;
        this.writableLength = b;
        if (typeof done === 'function') done();
        if (b === 0 && this.#drain) {
          this.#drain = false;
          this.emit('drain');
        }
        return;
      case 'finish':
        this.emit('finish');
        if (this.#over) this.#native.kill();
        return;
      case 'error':
        this.#failed = true;
        this.destroyed = true;
        this.#native.kill();
        this.emit('error', a);
    }
  }

  #give(piece) {
    if (piece === null) {
      this.#over = true;
      const last = this.#decoder ? this.#decoder.end() : '';
      if (last) this.emit('data', last);
      this.emit('end');
      if (!this.#half) this.end();
      if (this.#ended && this.writableLength === 0) this.#native.kill();
      return;
    }
    const text = this.#decoder ? this.#decoder.write(piece) : piece;
    if (text.length) this.emit('data', text);
    if (this.#flowing) this.#native.more();
  }

  write(data, encoding, done) {
    if (typeof encoding === 'function') [encoding, done] = [undefined, encoding];
    if (typeof data !== 'string' && !(data instanceof Uint8Array)) {
      const e = new TypeError('The "chunk" argument must be of type string or an instance of Buffer or Uint8Array.');
      e.code = 'ERR_INVALID_ARG_TYPE';
      throw e;
    }
    if (!this.writable) {
      const e = new Error(this.#ended ? 'write after end' : 'This socket has been ended by the other party');
      e.code = this.#ended ? 'ERR_STREAM_WRITE_AFTER_END' : 'EPIPE';
      setImmediate(() => {
        if (done) done(e);
        if (!this.#failed) {
          this.#failed = true;
          this.emit('error', e);
        }
      });
      return false;
    }
    this.writableLength = this.#native.write(typeof data === 'string' ? Buffer.from(data, encoding) : data, done);
    const room = this.writableLength < highWater;
    if (!room) this.#drain = true;
    return room;
  }

  end(data, encoding, done) {
    if (typeof data === 'function') [data, done] = [undefined, data];
    else if (typeof encoding === 'function') [encoding, done] = [undefined, encoding];
    if (done) this.once('finish', done);
    if (data !== undefined && data !== null) this.write(data, encoding);
    if (this.#native && !this.#ended) {
      this.#ended = true;
      this.#native.end();
    }
    return this;
  }

  destroy(err) {
    if (this.destroyed) return this;
    this.destroyed = true;
    this.connecting = false;
    this.#clock(false);
    if (err) this.#failed = true;
    if (this.#native) this.#native.kill();
    else setImmediate(() => this.emit('close', !!err));
    if (err) setImmediate(() => this.emit('error', err));
    return this;
  }
  destroySoon() {
    if (this.writableLength === 0) return this.destroy();
    this.end();
    this.once('finish', () => this.destroy());
    return this;
  }
  resetAndDestroy() {
    return this.destroy();
  }

  // #clock winds the clock of setTimeout up again, or stops it.
  #clock(run) {
    if (this.#timer) clearTimeout(this.#timer);
    this.#timer = run && this.#timeout > 0 ? setTimeout(() => this.emit('timeout'), this.#timeout) : null;
  }
  setTimeout(ms, done) {
    this.#timeout = ms;
    if (done) {
      if (ms === 0) this.removeListener('timeout', done);
      else this.once('timeout', done);
    }
    this.#clock(true);
    return this;
  }
  setEncoding(encoding = 'utf8') {
    Buffer.from('', encoding);
    this.#decoder = decoder(encoding);
    return this;
  }
  pause() {
    this.#flowing = false;
    return this;
  }
  isPaused() {
    return this.#flowing === false;
  }
  resume() {
    if (this.#flowing) return this;
    this.#flowing = true;
    setImmediate(() => this.#flow());
    return this;
  }
  #flow() {
    while (this.#held.length && this.#flowing && !this.destroyed) this.#give(this.#held.shift());
    if (this.#native && this.#flowing) this.#native.more();
  }
  // What came in flows when somebody listens for it; once comes here too.
  #listened(event) {
    if (event === 'data' && this.#flowing === null) this.resume();
    return this;
  }
  on(event, f) {
    super.on(event, f);
    return this.#listened(event);
  }
  addListener(event, f) {
    return this.on(event, f);
  }
  prependListener(event, f) {
    super.prependListener(event, f);
    return this.#listened(event);
  }
  #set(name, ...value) {
    if (this.#native && !this.connecting) this.#native[name](...value);
    else this.#options.push([name, value]);
    return this;
  }
  setNoDelay(on = true) {
    return this.#set('noDelay', !!on);
  }
  setKeepAlive(on = false, ms = 0) {
    return this.#set('keepAlive', !!on, ms);
  }
  address() {
    return this.localAddress ? { address: this.localAddress, port: this.localPort, family: this.localFamily } : {};
  }
  ref() {
    return this;
  }
  unref() {
    return this;
  }
}
absent(Socket.prototype, ['pipe', 'unpipe', 'read', 'unshift', 'wrap', 'cork', 'uncork', 'setDefaultEncoding', 'compose', 'iterator']);

exports.Socket = exports.Stream = Socket;
exports.connect = exports.createConnection = (...args) => {
  const o = typeof args[0] === 'object' && args[0] !== null ? args[0] : {};
  return new Socket(o).connect(...args);
};
absent(exports, [
  'BlockList', 'Server', 'SocketAddress', 'createServer', 'getDefaultAutoSelectFamily', 'setDefaultAutoSelectFamily',
  'getDefaultAutoSelectFamilyAttemptTimeout', 'setDefaultAutoSelectFamilyAttemptTimeout',
]);
