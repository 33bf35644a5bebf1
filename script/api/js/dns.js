// dns: questions to the resolver of the node, with Node's functions and errors.
const { isIP } = require('net');

const codes = [
  'NODATA', 'FORMERR', 'SERVFAIL', 'NOTFOUND', 'NOTIMP', 'REFUSED', 'BADQUERY', 'BADNAME', 'BADFAMILY', 'BADRESP', 'CONNREFUSED',
  'TIMEOUT', 'EOF', 'FILE', 'NOMEM', 'DESTRUCTION', 'BADSTR', 'BADFLAGS', 'NONAME', 'BADHINTS', 'NOTINITIALIZED', 'LOADIPHLPAPI',
  'ADDRGETNETWORKPARAMS', 'CANCELLED',
];

function fault(syscall, code, hostname, why) {
  const e = new Error(`${syscall} ${code}${hostname ? ` ${hostname}` : ''}`);
  return Object.assign(e, { errno: undefined, code, syscall, hostname }, why && code === 'ESERVFAIL' ? { cause: why } : {});
}
function needText(v, name) {
  if (typeof v === 'string') return;
  const e = new TypeError(`The "${name}" argument must be of type string. Received ${v === null ? 'null' : typeof v}`);
  e.code = 'ERR_INVALID_ARG_TYPE';
  throw e;
}

// Each type: its function's name, and what becomes of the records.
const addresses = (list, options) => (options && options.ttl ? list : list.map((r) => r.address));
const same = (list) => list;
const types = {
  A: ['resolve4', addresses],
  AAAA: ['resolve6', addresses],
  CNAME: ['resolveCname', same],
  MX: ['resolveMx', same],
  NS: ['resolveNs', same],
  PTR: ['resolvePtr', same],
  TXT: ['resolveTxt', same],
};

// functions are those of one resolver; o has timeout in milliseconds, and calls that wait.
function functions(o) {
  const f = {};
  const ask = (start, syscall, hostname, made) =>
    new Promise((resolve, reject) => {
      const cancel = () => reject(fault(syscall, 'ECANCELLED', hostname));
      o.waiting.add(cancel);
      start((code, why, value) => {
        o.waiting.delete(cancel);
        if (code) reject(fault(syscall, code, hostname, why));
        else resolve(made(value));
      });
    });
  for (const [type, [name, made]] of Object.entries(types)) {
    const syscall = 'query' + name.slice('resolve'.length).replace(/^4$/, 'A').replace(/^6$/, 'Aaaa');
    f[name] = (hostname, options) => {
      needText(hostname, 'name');
      return ask((done) => native.query(hostname, type, o.timeout, done), syscall, hostname, (list) => made(list, options));
    };
  }
  f.resolve = (hostname, type = 'A') => {
    needText(type, 'rrtype');
    if (types[type]) return f[types[type][0]](hostname);
    const e = new TypeError(`dns: scripts cannot ask for records of type ${type}; they have ${Object.keys(types).join(', ')} (docs/scripts.md)`);
    e.code = 'ERR_INVALID_ARG_VALUE';
    throw e;
  };
  f.reverse = (ip) => {
    needText(ip, 'ip');
    if (!isIP(ip)) throw fault('getHostByAddr', 'EINVAL', ip);
    return ask((done) => native.reverse(ip, o.timeout, done), 'getHostByAddr', ip, same);
  };
  return f;
}

// called makes the form with a callback of a function that gives a promise.
const called = (f, least) =>
  function (...args) {
    const done = args.pop();
    if (typeof done !== 'function' || args.length < least) {
      const e = new TypeError('The "callback" argument must be of type function');
      e.code = 'ERR_INVALID_ARG_TYPE';
      throw e;
    }
    f(...args).then(
      (value) => setImmediate(done, null, value),
      (err) => setImmediate(done, err),
    );
  };

const promised = functions({ timeout: undefined, waiting: new Set() });

// lookup gives all addresses with their family.
const all = (hostname) =>
  new Promise((resolve, reject) => {
    if (isIP(hostname)) return resolve([{ address: hostname, family: isIP(hostname) }]);
    native.addresses(hostname, undefined, (code, why, list) => {
      if (code) reject(fault('getaddrinfo', code === 'ENODATA' ? 'ENOTFOUND' : code === 'ESERVFAIL' || code === 'ETIMEOUT' ? 'EAI_AGAIN' : code, hostname, why));
      else resolve(list.map((address) => ({ address, family: isIP(address) })));
    });
  });
async function lookup(hostname, options) {
  if (!hostname) return options.all ? [] : { address: null, family: options.family === 6 ? 6 : 4 };
  let found = await all(hostname);
  if (options.family === 4 || options.family === 6) found = found.filter((a) => a.family === options.family);
  if (options.order === 'ipv6first') found.sort((a, b) => b.family - a.family);
  if (!found.length) throw fault('getaddrinfo', 'ENOTFOUND', hostname);
  return options.all ? found : found[0];
}
function lookupOptions(options) {
  if (options === undefined || options === null) return {};
  const o = typeof options === 'object' ? { ...options } : { family: options };
  if (o.family === 'IPv4') o.family = 4;
  if (o.family === 'IPv6') o.family = 6;
  if (![undefined, 0, 4, 6].includes(o.family)) {
    const e = new TypeError(`The property 'options.family' must be one of: 0, 4, 6. Received ${o.family}`);
    e.code = 'ERR_INVALID_ARG_VALUE';
    throw e;
  }
  return o;
}

exports.lookup = (hostname, options, done) => {
  if (typeof options === 'function') [options, done] = [undefined, options];
  if (typeof done !== 'function') {
    const e = new TypeError('The "callback" argument must be of type function');
    e.code = 'ERR_INVALID_ARG_TYPE';
    throw e;
  }
  const o = lookupOptions(options);
  lookup(hostname, o).then(
    (a) => (o.all ? setImmediate(done, null, a) : setImmediate(done, null, a.address, a.family)),
    (err) => setImmediate(done, err),
  );
};

class Resolver {
  constructor(options = {}) {
    const o = { timeout: options.timeout > 0 ? options.timeout : undefined, waiting: new Set() };
    Object.defineProperty(this, 'own', { value: o });
    for (const [name, f] of Object.entries(functions(o))) this[name] = called(f, 1);
    absent(this, ['getServers', 'setServers', 'setLocalAddress', ...unknown]);
  }
  cancel() {
    for (const c of this.own.waiting) c();
    this.own.waiting.clear();
  }
}
class PromisesResolver extends Resolver {
  constructor(options) {
    super(options);
    Object.assign(this, functions(this.own));
  }
}
const unknown = ['resolveAny', 'resolveCaa', 'resolveNaptr', 'resolveSoa', 'resolveSrv', 'resolveTlsa'];
const others = ['getServers', 'setServers', 'lookupService', 'getDefaultResultOrder', 'setDefaultResultOrder', ...unknown];

for (const [name, f] of Object.entries(promised)) exports[name] = called(f, 1);
exports.Resolver = Resolver;
exports.promises = { ...promised, lookup: async (hostname, options) => lookup(hostname, lookupOptions(options)), Resolver: PromisesResolver };
for (const c of codes) exports[c] = exports.promises[c] = 'E' + c;
exports.ADDRCONFIG = 32;
exports.V4MAPPED = 8;
exports.ALL = 16;
absent(exports, others);
absent(exports.promises, others);
