// events: Node's EventEmitter.
const errorMonitor = Symbol('events.errorMonitor');
const store = Symbol('listeners');
const limit = Symbol('limit');

function checked(f) {
  if (typeof f === 'function') return f;
  const e = new TypeError(`The "listener" argument must be of type function. Received ${f === null ? 'null' : typeof f}`);
  e.code = 'ERR_INVALID_ARG_TYPE';
  throw e;
}

// Old plugins call it as a function: EventEmitter.call(this), so it is no class.
function EventEmitter() {
  all(this);
}
const proto = EventEmitter.prototype;

function all(emitter) {
  if (!Object.hasOwn(emitter, store)) {
    Object.defineProperty(emitter, store, { value: new Map(), configurable: true, writable: true });
  }
  return emitter[store];
}

function add(emitter, name, f, first) {
  checked(f);
  const map = all(emitter);
  if (map.has('newListener')) emitter.emit('newListener', name, f.listener || f);
  const list = map.get(name) || [];
  map.set(name, first ? [f, ...list] : [...list, f]);
  const max = emitter.getMaxListeners();
  if (max > 0 && list.length === max) {
    console.warn(`MaxListenersExceededWarning: ${max + 1} ${String(name)} listeners added; is one added again and again?`);
  }
  return emitter;
}

function oneTime(emitter, name, f) {
  checked(f);
  const wrapped = function (...args) {
    emitter.removeListener(name, wrapped);
    return f.apply(emitter, args);
  };
  wrapped.listener = f;
  return wrapped;
}

const methods = {
  on(name, f) {
    return add(this, name, f, false);
  },
  prependListener(name, f) {
    return add(this, name, f, true);
  },
  // By on and prependListener, as in Node: a class may have its own.
  once(name, f) {
    return this.on(name, oneTime(this, name, f));
  },
  prependOnceListener(name, f) {
    return this.prependListener(name, oneTime(this, name, f));
  },
  removeListener(name, f) {
    checked(f);
    const map = all(this);
    const list = map.get(name);
    if (!list) return this;
    for (let i = list.length - 1; i >= 0; i--) {
      if (list[i] !== f && list[i].listener !== f) continue;
      const left = [...list.slice(0, i), ...list.slice(i + 1)];
      if (left.length) map.set(name, left);
      else map.delete(name);
      if (map.has('removeListener')) this.emit('removeListener', name, f.listener || f);
      break;
    }
    return this;
  },
  removeAllListeners(name) {
    const map = all(this);
    if (map.has('removeListener') && name !== 'removeListener') {
      for (const n of name === undefined ? [...map.keys()] : [name]) {
        if (n === 'removeListener') continue;
        for (const f of [...(map.get(n) || [])].reverse()) this.removeListener(n, f);
      }
    }
    if (name === undefined) map.clear();
    else map.delete(name);
    return this;
  },
  emit(name, ...args) {
    const map = all(this);
    if (name === 'error') {
      for (const f of map.get(errorMonitor) || []) f.apply(this, args);
      if (!map.has('error')) {
        if (args[0] instanceof Error) throw args[0];
        const e = new Error(`Unhandled error. (${typeof args[0] === 'string' ? `'${args[0]}'` : String(args[0])})`);
        e.code = 'ERR_UNHANDLED_ERROR';
        e.context = args[0];
        throw e;
      }
    }
    const list = map.get(name);
    if (!list) return false;
    for (const f of list) f.apply(this, args);
    return true;
  },
  listeners(name) {
    return (all(this).get(name) || []).map((f) => f.listener || f);
  },
  rawListeners(name) {
    return [...(all(this).get(name) || [])];
  },
  listenerCount(name, f) {
    const list = all(this).get(name) || [];
    return f ? list.filter((x) => x === f || x.listener === f).length : list.length;
  },
  eventNames() {
    return [...all(this).keys()];
  },
  setMaxListeners(n) {
    if (typeof n !== 'number' || !(n >= 0)) {
      const e = new RangeError(`The value of "n" is out of range. It must be a non-negative number. Received ${n}`);
      e.code = 'ERR_OUT_OF_RANGE';
      throw e;
    }
    Object.defineProperty(this, limit, { value: n, configurable: true, writable: true });
    return this;
  },
  getMaxListeners() {
    return this[limit] === undefined ? EventEmitter.defaultMaxListeners : this[limit];
  },
};
methods.addListener = methods.on;
methods.off = methods.removeListener;
for (const [name, f] of Object.entries(methods)) {
  Object.defineProperty(proto, name, { value: f, writable: true, configurable: true, enumerable: true });
}

EventEmitter.defaultMaxListeners = 10;
EventEmitter.errorMonitor = errorMonitor;
EventEmitter.EventEmitter = EventEmitter;
EventEmitter.usingDomains = false;
EventEmitter.listenerCount = (emitter, name) => emitter.listenerCount(name);
EventEmitter.getEventListeners = (emitter, name) => emitter.listeners(name);
EventEmitter.setMaxListeners = (n = EventEmitter.defaultMaxListeners, ...emitters) => {
  if (!emitters.length) EventEmitter.defaultMaxListeners = n;
  for (const e of emitters) e.setMaxListeners(n);
};
EventEmitter.getMaxListeners = (emitter) => emitter.getMaxListeners();
EventEmitter.once = (emitter, name) =>
  new Promise((resolve, reject) => {
    const failed = (err) => {
      emitter.removeListener(name, done);
      reject(err);
    };
    const done = (...args) => {
      emitter.removeListener('error', failed);
      resolve(args);
    };
    emitter.once(name, done);
    if (name !== 'error') emitter.once('error', failed);
  });

module.exports = EventEmitter;
absent(EventEmitter, ['on', 'captureRejections', 'captureRejectionSymbol', 'addAbortListener', 'EventEmitterAsyncResource']);
