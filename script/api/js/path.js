// path: Node's, of POSIX.
function text(v, name = 'path') {
  if (typeof v === 'string') return v;
  const e = new TypeError(`The "${name}" argument must be of type string. Received ${v === null ? 'null' : typeof v}`);
  e.code = 'ERR_INVALID_ARG_TYPE';
  throw e;
}

// tidy resolves . and .. and empty parts; up: .. may lead out at the front.
function tidy(p, up) {
  const out = [];
  for (const part of p.split('/')) {
    if (part === '' || part === '.') continue;
    if (part !== '..') out.push(part);
    else if (out.length && out[out.length - 1] !== '..') out.pop();
    else if (up) out.push('..');
  }
  return out.join('/');
}

exports.sep = '/';
exports.delimiter = ':';

exports.isAbsolute = (p) => text(p).startsWith('/');

exports.normalize = (p) => {
  if (text(p) === '') return '.';
  const abs = p.startsWith('/');
  let out = tidy(p, !abs);
  if (out === '' && !abs) out = '.';
  if (out !== '' && p.endsWith('/')) out += '/';
  return abs ? '/' + out : out;
};

exports.join = (...parts) => {
  const joined = parts.filter((p) => text(p) !== '').join('/');
  return joined === '' ? '.' : exports.normalize(joined);
};

exports.resolve = (...parts) => {
  let whole = '';
  for (let i = parts.length - 1; i >= 0 && !whole.startsWith('/'); i--) {
    if (text(parts[i], `paths[${i}]`) !== '') whole = whole === '' ? parts[i] : parts[i] + '/' + whole;
  }
  if (!whole.startsWith('/')) whole = process.cwd() + '/' + whole;
  return '/' + tidy(whole, false);
};

exports.relative = (from, to) => {
  const a = exports.resolve(text(from, 'from')).split('/').filter(Boolean);
  const b = exports.resolve(text(to, 'to')).split('/').filter(Boolean);
  let same = 0;
  while (same < a.length && same < b.length && a[same] === b[same]) same++;
  return [...a.slice(same).map(() => '..'), ...b.slice(same)].join('/');
};

// bare is p without the slashes at its end.
const bare = (p) => {
  let n = p.length;
  while (n > 1 && p[n - 1] === '/') n--;
  return p.slice(0, n);
};

exports.dirname = (p) => {
  if (text(p) === '') return '.';
  const b = bare(p);
  const i = b.lastIndexOf('/');
  if (i < 0) return '.';
  if (i === 0) return '/';
  return i === 1 && b[0] === '/' ? '//' : b.slice(0, i);
};

exports.basename = (p, suffix) => {
  if (suffix !== undefined) text(suffix, 'suffix');
  const b = bare(text(p));
  const name = b.slice(b.lastIndexOf('/') + 1);
  return suffix && name.endsWith(suffix) ? name.slice(0, -suffix.length) : name;
};

exports.extname = (p) => {
  const name = exports.basename(p);
  const i = name.lastIndexOf('.');
  return i <= 0 || name === '..' ? '' : name.slice(i);
};

exports.parse = (p) => {
  text(p);
  const root = p.startsWith('/') ? '/' : '';
  const base = exports.basename(p);
  const ext = exports.extname(p);
  const b = bare(p);
  const i = b.lastIndexOf('/');
  return { root, dir: i < 0 ? '' : i === 0 ? '/' : b.slice(0, i), base, ext, name: ext ? base.slice(0, -ext.length) : base };
};

exports.format = (o) => {
  const dir = o.dir || o.root;
  const ext = o.ext ? (o.ext.startsWith('.') ? '' : '.') + o.ext : '';
  const base = o.base || `${o.name || ''}${ext}`;
  if (!dir) return base;
  return dir === o.root ? dir + base : `${dir}/${base}`;
};

exports.toNamespacedPath = (p) => p;
exports.posix = exports;
absent(exports, ['win32', 'matchesGlob']);
