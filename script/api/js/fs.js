// fs: reading below the folder of plugins. Files that the configuration lists under
// plugins.scripts.append can be appended to; nothing else is written.
const path = require('path');

function coded(Class, code, text) {
  const e = new Class(text);
  e.code = code;
  return e;
}
function nameOf(p) {
  if (p instanceof URL) p = require('url').fileURLToPath(p);
  if (Buffer.isBuffer(p)) p = p.toString();
  if (typeof p !== 'string') throw coded(TypeError, 'ERR_INVALID_ARG_TYPE', `The "path" argument must be of type string or an instance of Buffer or URL. Received ${p === null ? 'null' : typeof p}`);
  if (p.includes('\0')) throw coded(TypeError, 'ERR_INVALID_ARG_VALUE', "The argument 'path' must be a string without null bytes.");
  return p;
}
const encodingOf = (options) => (typeof options === 'string' ? options : options && options.encoding) || null;
const coding = (b, options) => {
  const e = encodingOf(options);
  return e && e !== 'buffer' ? b.toString(e) : b;
};

class Kind {
  isFile() {
    return this.kind === 'file';
  }
  isDirectory() {
    return this.kind === 'directory';
  }
  isSymbolicLink() {
    return this.kind === 'link';
  }
  isFIFO() {
    return this.kind === 'fifo';
  }
  isSocket() {
    return this.kind === 'socket';
  }
  isBlockDevice() {
    return this.kind === 'device';
  }
  isCharacterDevice() {
    return false;
  }
}
class Stats extends Kind {
  constructor(facts) {
    super();
    Object.defineProperty(this, 'kind', { value: facts.kind });
    Object.assign(this, { mode: facts.mode, size: facts.size, mtimeMs: facts.mtimeMs, mtime: new Date(facts.mtimeMs) });
  }
}
class Dirent extends Kind {
  constructor(entry, dir) {
    super();
    Object.defineProperty(this, 'kind', { value: entry.kind });
    Object.assign(this, { name: entry.name, parentPath: dir, path: dir });
  }
}
exports.Stats = Stats;
exports.Dirent = Dirent;
exports.constants = { F_OK: 0, R_OK: 4, W_OK: 2, X_OK: 1, O_RDONLY: 0, O_APPEND: 1024, O_CREAT: 64, O_WRONLY: 1 };
Object.assign(exports, { F_OK: 0, R_OK: 4, W_OK: 2, X_OK: 1 });

// Files that are open: what is left to read, or the name to append to.
const open = new Map();
const most = 64;
let last = 2;
function opened(fd) {
  const f = open.get(fd);
  if (!f) throw Object.assign(coded(Error, 'EBADF', 'EBADF: bad file descriptor'), { syscall: 'read' });
  return f;
}

function list(dir, options, below, out) {
  for (const entry of native.list(path.join(dir, below))) {
    const name = path.join(below, entry.name);
    out.push(options && options.withFileTypes ? new Dirent(entry, path.join(dir, below)) : name);
    if (options && options.recursive && entry.kind === 'directory') list(dir, options, name, out);
  }
  return out;
}

const sync = {
  readFile(p, options) {
    const b = typeof p === 'number' ? opened(p).whole : native.read(nameOf(p));
    return coding(b, options);
  },
  stat(p, options) {
    try {
      return new Stats(native.stat(nameOf(p), false));
    } catch (e) {
      if (e.code === 'ENOENT' && options && options.throwIfNoEntry === false) return undefined;
      throw e;
    }
  },
  lstat(p, options) {
    try {
      return new Stats(native.stat(nameOf(p), true));
    } catch (e) {
      if (e.code === 'ENOENT' && options && options.throwIfNoEntry === false) return undefined;
      throw e;
    }
  },
  readdir(p, options) {
    return list(nameOf(p), options, '', []);
  },
  access(p, mode = 0) {
    p = nameOf(p);
    native.stat(p, false);
    if (mode & 2 && !native.may(p)) throw Object.assign(coded(Error, 'EROFS', `EROFS: read-only file system, access '${p}'`), { syscall: 'access', path: p });
  },
  open(p, flags = 'r') {
    p = nameOf(p);
    if (open.size >= most) throw coded(Error, 'EMFILE', `EMFILE: more than ${most} files open, open '${p}'`);
    let f;
    if (flags === 'r' || flags === 'rs' || flags === 0) f = { whole: native.read(p), at: 0 };
    else if (flags === 'a') {
      native.append(p, '');
      f = { append: p };
    } else throw Object.assign(coded(Error, 'EROFS', `EROFS: scripts open files with 'r', and those under plugins.scripts.append with 'a', open '${p}'`), { syscall: 'open', path: p });
    open.set(++last, f);
    return last;
  },
  close(fd) {
    opened(fd);
    open.delete(fd);
  },
  read(fd, buffer, offset = 0, length = buffer.byteLength - offset, position = null) {
    const f = opened(fd);
    if (!f.whole) throw coded(Error, 'EBADF', 'EBADF: the file is open for appending');
    if (offset && typeof offset === 'object') ({ offset = 0, length = buffer.byteLength - offset, position = null } = offset);
    const at = position === null || position === undefined || position < 0 ? f.at : Number(position);
    const n = f.whole.copy(buffer, offset, at, Math.min(at + length, f.whole.length));
    if (position === null || position === undefined || position < 0) f.at += n;
    return n;
  },
  write(fd, data, ...rest) {
    const f = opened(fd);
    if (!f.append) throw coded(Error, 'EBADF', 'EBADF: the file is open for reading');
    if (typeof data === 'string') return native.append(f.append, Buffer.from(data, rest[1]));
    const [offset = 0, length = data.byteLength - offset] = rest;
    return native.append(f.append, Buffer.from(data.buffer, data.byteOffset + offset, length));
  },
  fstat(fd) {
    const f = opened(fd);
    if (f.append) return new Stats(native.stat(f.append, false));
    return new Stats({ kind: 'file', mode: 0o100644, size: f.whole.length, mtimeMs: Date.now() });
  },
  appendFile(p, data, options) {
    const b = typeof data === 'string' ? Buffer.from(data, encodingOf(options) || 'utf8') : data;
    if (typeof p === 'number') return sync.write(p, b), undefined;
    native.append(nameOf(p), b);
  },
};

exports.existsSync = (p) => {
  try {
    native.stat(nameOf(p), false);
    return true;
  } catch {
    return false;
  }
};
exports.exists = (p, done) => setImmediate(() => done(exports.existsSync(p)));

exports.promises = { constants: exports.constants };
for (const [name, f] of Object.entries(sync)) {
  exports[name + 'Sync'] = f;
  exports[name] = (...args) => {
    // close alone may go without, as in Node.
    const bare = name === 'close' && typeof args[args.length - 1] !== 'function';
    const done = bare ? (e) => { if (e) throw e; } : args.pop();
    if (typeof done !== 'function') throw coded(TypeError, 'ERR_INVALID_ARG_TYPE', 'The "cb" argument must be of type function');
    while (args.length && args[args.length - 1] === undefined) args.pop();
    setImmediate(() => {
      let value;
      try {
        value = f(...args);
      } catch (e) {
        return done(e);
      }
      if (name === 'read' || name === 'write') done(null, value, args[1]);
      else if (value === undefined) done(null);
      else done(null, value);
    });
  };
  if (!['open', 'close', 'read', 'write', 'fstat'].includes(name)) exports.promises[name] = async (...args) => f(...args);
}

const written = [
  'chmod', 'chown', 'copyFile', 'cp', 'lchmod', 'lchown', 'link', 'lutimes', 'mkdir', 'mkdtemp', 'rename', 'rm', 'rmdir', 'symlink',
  'truncate', 'unlink', 'utimes', 'writeFile',
];
const unknown = ['opendir', 'readlink', 'realpath', 'statfs', 'glob'];
absent(exports, [
  ...[...written, ...unknown].flatMap((n) => [n, n + 'Sync']),
  ...['fchmod', 'fchown', 'fdatasync', 'fsync', 'ftruncate', 'futimes', 'writev', 'readv'].flatMap((n) => [n, n + 'Sync']),
  'createReadStream', 'createWriteStream', 'watch', 'watchFile', 'unwatchFile', 'openAsBlob', 'Dir', 'ReadStream', 'WriteStream',
  'FileReadStream', 'FileWriteStream',
]);
absent(exports.promises, [...written, ...unknown, 'open', 'watch']);
