// punycode: RFC 3492, as the module of that name has it.
const parts = (text, f) => {
  const [, box = '', domain] = /^(.*@)?([^@]*)$/s.exec(String(text)) || [, '', String(text)];
  return box + domain.replace(/[\u3002\uff0e\uff61]/g, '.').split('.').map(f).join('.');
};

exports.version = '2.3.1';
exports.encode = (text) => native.encode(String(text));
exports.decode = (text) => native.decode(String(text));
exports.toASCII = (text) => parts(text, (l) => (/[^\0-\x7f]/.test(l) ? 'xn--' + native.encode(l) : l));
exports.toUnicode = (text) => parts(text, (l) => (/^xn--/.test(l) ? native.decode(l.slice(4).toLowerCase()) : l));
exports.ucs2 = {
  decode: (text) => Array.from(text, (c) => c.codePointAt(0)),
  encode: (points) => String.fromCodePoint(...points),
};
