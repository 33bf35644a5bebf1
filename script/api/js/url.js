// url: URL and URLSearchParams, and what goes with them.
Object.assign(exports, native);

function coded(Class, code, text) {
  const e = new Class(text);
  e.code = code;
  return e;
}

// Of [::1]:25 the library's hostname is only the bracket.
const library = native.URL;
class URL extends library {
  get hostname() {
    const literal = /^\[[^\]]*\]/.exec(this.host);
    return literal ? literal[0] : super.hostname;
  }
  set hostname(name) {
    super.hostname = name;
  }
  [Symbol.for('nodejs.util.inspect.custom')](depth, options, inspect) {
    const shown = {};
    for (const k of ['href', 'origin', 'protocol', 'username', 'password', 'host', 'hostname', 'port', 'pathname', 'search', 'hash']) {
      shown[k] = this[k];
    }
    return `URL ${inspect(shown, options)}`;
  }
}
exports.URL = URL;

if (!exports.URL.canParse) {
  exports.URL.canParse = (input, base) => {
    try {
      return !!new exports.URL(input, base);
    } catch {
      return false;
    }
  };
}
exports.fileURLToPath = (u) => {
  const url = typeof u === 'string' ? new exports.URL(u) : u;
  if (url.protocol !== 'file:') throw coded(TypeError, 'ERR_INVALID_URL_SCHEME', 'The URL must be of scheme file');
  if (url.hostname !== '' && url.hostname !== 'localhost') throw coded(TypeError, 'ERR_INVALID_FILE_URL_HOST', 'File URL host must be "localhost" or empty');
  if (/%2f/i.test(url.pathname)) throw coded(TypeError, 'ERR_INVALID_FILE_URL_PATH', 'File URL path must not include encoded / characters');
  return decodeURIComponent(url.pathname);
};
exports.pathToFileURL = (p) => {
  let whole = require('path').resolve(p);
  if (p.endsWith('/') && !whole.endsWith('/')) whole += '/';
  return new exports.URL('file://' + encodeURI(whole).replace(/[?#]/g, encodeURIComponent));
};
exports.urlToHttpOptions = (u) => {
  const o = {
    protocol: u.protocol,
    hostname: u.hostname.replace(/^\[|\]$/g, ''),
    hash: u.hash,
    search: u.search,
    pathname: u.pathname,
    path: `${u.pathname || ''}${u.search || ''}`,
    href: u.href,
  };
  if (u.port !== '') o.port = Number(u.port);
  if (u.username || u.password) o.auth = `${decodeURIComponent(u.username)}:${decodeURIComponent(u.password)}`;
  return o;
};

// The functions of before URL; new URL() is in their place.
absent(exports, ['Url', 'parse', 'resolve', 'resolveObject', 'format', 'URLPattern']);
