// haraka-utils: its functions, but those that write files or ask git.
const crypto = require('crypto');

exports.uuid = () => crypto.randomUUID().toUpperCase();
exports.in_array = (item, array) => Array.isArray(array) && array.includes(item);
exports.to_object = (array) => {
  if (typeof array === 'string') array = array.split(/[\s,;]+/);
  if (!Array.isArray(array)) throw 'arguments to to_object must be a string or array';
  const out = {};
  for (const item of array) if (item !== undefined) out[item] = true;
  return out;
};
exports.sort_keys = (obj) => Object.keys(obj).sort();
exports.uniq = (array) => [...new Set(array)];
exports.extend = (target, ...sources) => {
  for (const source of sources) {
    for (const [key, value] of Object.entries(source || {})) {
      if (!['__proto__', 'constructor', 'prototype'].includes(key)) target[key] = value;
    }
  }
  return target;
};

exports.pad = (num, n, p) => num.toString().padStart(n, p || '0');
exports.ISODate = (d) => d.toISOString().replace(/\.\d+Z$/, 'Z');
exports.date_to_str = (d) => {
  const days = ['Sun', 'Mon', 'Tue', 'Wed', 'Thu', 'Fri', 'Sat'];
  const months = ['Jan', 'Feb', 'Mar', 'Apr', 'May', 'Jun', 'Jul', 'Aug', 'Sep', 'Oct', 'Nov', 'Dec'];
  const two = (n) => exports.pad(n, 2);
  const east = -d.getTimezoneOffset();
  const zone = `${east < 0 ? '-' : '+'}${two(Math.floor(Math.abs(east) / 60))}${two(Math.abs(east) % 60)}`;
  const clock = `${two(d.getHours())}:${two(d.getMinutes())}:${two(d.getSeconds())}`;
  return `${days[d.getDay()]}, ${two(d.getDate())} ${months[d.getMonth()]} ${d.getFullYear()} ${clock} ${zone}`;
};

exports.node_min = (min, cur) => {
  const wants = min.split('.').map(Number);
  const has = (cur || process.version.slice(1)).split('.').map(Number);
  for (let i = 0; i < 4; i++) {
    if (has[i] > wants[i]) return true;
    if (has[i] < wants[i]) return false;
  }
  return true;
};
exports.existsSync = require('fs').existsSync;
exports.indexOfLF = (buf, max) => {
  const at = buf.indexOf(10);
  return max && at >= max ? -1 : at;
};
exports.prettySize = (size) => {
  if (!size) return 0;
  const i = Math.floor(Math.log(size) / Math.log(1024));
  return `${Number((size / 1024 ** i).toFixed(2))}${['B', 'KiB', 'MiB', 'GiB', 'TiB'][i]}`;
};
exports.valid_regexes = (list, file) =>
  list.filter((source) => {
    try {
      return !!new RegExp(source);
    } catch {
      console.error(`invalid regex in ${file}, ${source}`);
      return false;
    }
  });
exports.regexp_escape = (text) => text.replace(/[-[\]{}()*+?.,\\^$|#\s]/g, '\\$&');
exports.wildcard_to_regexp = (text) =>
  text.replace(/[-[\]/{}()*+?.,\\^$|#\s]/g, (c) => (c === '*' ? '.*' : c === '?' ? '.' : '\\' + c)) + '$';
exports.sanitize = (text, { replacement = '', keepTab = false } = {}) =>
  String(text ?? '').replace(keepTab ? /[\x00-\x08\x0a-\x1f\x7f]/g : /[\x00-\x1f\x7f]/g, replacement);
exports.line_regexp = /^([^\n]*\n)/;

exports.base64 = (text) => Buffer.from(text, 'utf8').toString('base64');
exports.unbase64 = (text) => Buffer.from(text, 'base64').toString('utf8');
exports.cram_md5_response = (username, password, challenge) => {
  const digest = crypto.createHmac('md5', password).update(exports.unbase64(challenge)).digest('hex');
  return exports.base64(`${username} ${digest}`);
};

exports.shuffle = (array) => {
  for (let i = array.length - 1; i > 0; i--) {
    const j = Math.floor(Math.random() * (i + 1));
    [array[i], array[j]] = [array[j], array[i]];
  }
  return array;
};
exports.elapsed = (start, places) => {
  const seconds = (Date.now() - start) / 1000;
  let n = places === undefined ? (seconds > 5 ? 0 : seconds > 2 ? 1 : 2) : parseInt(places);
  if (Number.isNaN(n)) n = 2;
  return seconds.toFixed(n);
};

exports.getVersion = (dir) => JSON.parse(require('fs').readFileSync(require('path').join(dir, 'package.json'), 'utf8')).version;
absent(exports, ['asQuotedPrintable', 'decode_qp', 'encode_qp', 'rfc1869', 'FsyncWriteStream', 'TimerQueue', 'copyDir', 'copyFile', 'createFile', 'mkDir', 'getGitCommitId']);
