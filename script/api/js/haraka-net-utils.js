// haraka-net-utils: what its documentation lists, but for what needs STUN or is the
// node's own to decide (who may say PROXY).
const dns = require('dns').promises;
const { isIP, isIPv4, isIPv6 } = require('net');
const os = require('os');
const config = require('haraka-config');

exports.config = config;

exports.ip_to_long = (ip) => (isIPv4(ip) ? ip.split('.').reduce((n, d) => n * 256 + Number(d), 0) : false);
exports.long_to_ip = (n) => [24, 16, 8, 0].map((bits) => Math.floor(n / 2 ** bits) % 256).join('.');
exports.dec_to_hex = (d) => d.toString(16);
exports.hex_to_dec = (h) => parseInt(h, 16);
exports.normalize_ip = (ip) => (typeof ip === 'string' ? native.normal(ip) : null);

exports.is_local_ipv4 = (ip) => isIPv4(ip) && native.local(ip);
exports.is_private_ipv4 = (ip) => isIPv4(ip) && native.private(ip);
exports.is_local_ipv6 = (ip) => isIPv6(ip) && native.local(ip);
exports.is_private_ip = (ip) => exports.is_local_ipv4(ip) || exports.is_private_ipv4(ip) || exports.is_local_ipv6(ip);
exports.on_local_interface = (ip) => Object.values(os.networkInterfaces()).some((list) => list.some((a) => a.address === ip));
exports.is_local_ip = (ip) => exports.on_local_interface(ip) || exports.is_local_ipv4(ip) || exports.is_local_ipv6(ip);
exports.is_ip_literal = (host) => /^\[.*\]$/.test(host) && isIP(host.slice(1, -1).replace(/^IPv6:/, '')) !== 0;

exports.ip_in_list = (list, ip) => {
  if (!list) return false;
  if (Array.isArray(list) ? list.includes(ip) : Object.hasOwn(list, ip)) return true;
  return isIP(ip) !== 0 && (Array.isArray(list) ? list : Object.keys(list)).some((item) => native.contains(String(item), ip));
};

exports.getHostIPs = async (hostname) => {
  const addrs = [];
  const errors = [];
  for (const r of await Promise.allSettled([(async () => dns.resolve6(hostname))(), (async () => dns.resolve4(hostname))()])) {
    if (r.status === 'fulfilled') addrs.push(...r.value);
    else errors.push(r.reason);
  }
  return { addrs, errors };
};
exports.get_ips_by_host = async (hostname, done) => {
  const { addrs, errors } = await exports.getHostIPs(hostname);
  const ips = [...new Set(addrs)];
  if (done) done(errors, ips);
  return ips;
};
exports.get_primary_host_name = () => config.get('me');
exports.is_local_host = async (host) => {
  const own = exports.get_primary_host_name();
  if (host === own) return true;
  const ips = isIP(host) ? [host] : await exports.get_ips_by_host(host);
  const ours = await exports.get_ips_by_host(own);
  return ips.some((ip) => exports.is_local_ip(ip) || ours.includes(ip));
};

exports.parse_proxy_line = (line) => {
  const text = String(line ?? '').replace(/\r?\n$/, '');
  const m = /^(?:PROXY )?(TCP4|TCP6) (\S+) (\S+) (\d+) (\d+)$/.exec(text);
  if (!m) return null;
  const [, proto, src_ip, dst_ip, src_port, dst_port] = m;
  const good = proto === 'TCP4' ? isIPv4 : isIPv6;
  return good(src_ip) && good(dst_ip) ? { type: 'haproxy', proto, src_ip, src_port, dst_ip, dst_port } : null;
};

// A mail host, as hook get_mx may answer.
class HarakaMx {
  constructor(from = {}, domain) {
    if (from instanceof HarakaMx) return from;
    if (typeof from === 'string') {
      if (/mtp:\/\//.test(from)) this.#url(from);
      else this.#text(from);
    } else {
      for (const key of ['exchange', 'path', 'priority', 'port', 'bind', 'bind_helo', 'using_lmtp', 'auth_user', 'auth_pass', 'auth_type', 'from_dns']) {
        if (from[key] !== undefined) this[key] = from[key];
      }
    }
    if (this.priority === undefined) this.priority = 0;
    if (domain && this.from_dns === undefined) this.from_dns = domain.toLowerCase();
  }

  #port(text) {
    const n = Number(text);
    if (/^\d+$/.test(text) && n >= 1 && n <= 65535) this.port = n;
    return this.port !== undefined;
  }
  #text(s) {
    const literal = /^\[([^\]]+)\](?::(.*))?$/.exec(s);
    const plain = /^(.+):(\d+)$/.exec(s);
    if (literal) {
      this.exchange = literal[1].toLowerCase();
      if (literal[2] !== undefined) this.#port(literal[2].trim());
    } else if (!isIPv6(s) && plain && this.#port(plain[2])) this.exchange = plain[1].toLowerCase();
    else this.exchange = s.toLowerCase();
  }
  #url(s) {
    const u = new URL(s);
    if (u.protocol === 'lmtp:') this.using_lmtp = true;
    if (u.hostname) this.exchange = u.hostname.replace(/^\[|\]$/g, '').toLowerCase();
    if (u.port) this.port = Number(u.port);
    if (u.username) this.auth_user = decodeURIComponent(u.username);
    if (u.password) this.auth_pass = decodeURIComponent(u.password);
  }

  toUrl() {
    const host = isIPv6(this.exchange) ? `[${this.exchange}]` : this.exchange;
    if (this.path) return `file://${host || 'localhost'}${this.path}`;
    return `${this.using_lmtp ? 'lmtp' : 'smtp'}://${this.auth_user ? `${this.auth_user}:****@` : ''}${host}${this.port ? `:${this.port}` : ''}`;
  }
  toString() {
    return `MX ${this.priority} ${this.toUrl()}${this.from_dns ? ' (via DNS)' : ''}`;
  }
}
exports.HarakaMx = HarakaMx;

exports.get_implicit_mx = async (domain) => (await exports.getHostIPs(domain)).addrs.map((ip) => new HarakaMx(ip, domain));
exports.get_mx = async (raw, done) => {
  let domain = raw.slice(raw.lastIndexOf('@') + 1);
  if (/[^\0-\x7f]/.test(domain)) domain = require('url').domainToASCII(domain) || domain;
  let list = [];
  try {
    list = (await dns.resolveMx(domain)).map((mx) => new HarakaMx(mx, domain));
  } catch (err) {
    if (err.code !== 'ENODATA' && err.code !== 'ENOTFOUND') {
      if (!done) throw err;
      return done(err, []);
    }
  }
  if (!list.length) list = await exports.get_implicit_mx(domain);
  return done ? done(null, list) : list;
};

// endpoint reads host, host:port, a port alone, an address with or without port, or the
// path of a socket. What is none of these is an Error that is returned, not thrown.
class Endpoint {
  toString() {
    if (this.path) return this.path;
    return `${this.host.includes(':') ? `[${this.host}]` : this.host}:${this.port}`;
  }
}
exports.Endpoint = Endpoint;
exports.endpoint = (address, port = 0) => {
  const text = String(address);
  const label = '[a-zA-Z0-9](?:[a-zA-Z0-9-]*[a-zA-Z0-9])?';
  const host = new RegExp(`^(?:\\[([0-9a-fA-F:.]+)\\]|(${label}(?:\\.${label})*))(?::(\\d+))?$`).exec(text);
  if (/^\d+$/.test(text)) return Object.assign(new Endpoint(), { host: '::0', port: Number(text) });
  if (isIPv6(text)) return Object.assign(new Endpoint(), { host: text.toLowerCase(), port });
  if (host && (!host[1] || isIPv6(host[1]))) {
    return Object.assign(new Endpoint(), { host: (host[1] || host[2]).toLowerCase(), port: host[3] === undefined ? port : Number(host[3]) });
  }
  if (text.includes('/')) return Object.assign(new Endpoint(), { path: text });
  return new Error(`Invalid socket address ${text}`);
};

// add_line_processor has a socket tell of what comes in line by line.
exports.add_line_processor = (socket) => {
  let left = '';
  socket.on('data', (piece) => {
    left += piece.toString('latin1');
    for (let i = left.indexOf('\n'); i >= 0; i = left.indexOf('\n')) {
      const line = left.slice(0, i + 1);
      left = left.slice(i + 1);
      socket.emit('line', Buffer.from(line, 'latin1').toString());
    }
    if (left.length > 1 << 20) socket.destroy(new Error('a line of more than 1 MiB'));
  });
  socket.on('end', () => {
    if (left) socket.emit('line', Buffer.from(left, 'latin1').toString());
    left = '';
  });
};

absent(exports, [
  'HostPool', 'LineSocket', 'get_ipany_re', 'get_public_ip', 'ipv6_bogus', 'ipv6_reverse', 'is_haproxy_allowed',
  'is_ip_in_str', 'is_ipv4_literal', 'is_rfc1918', 'load_tls_ini', 'octets_in_string', 'parseSockaddr', 'resolve_mx_hosts',
  'same_ipv4_network', 'tls_ini_section_with_defaults',
]);
