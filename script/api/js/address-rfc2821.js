// address-rfc2821: an address of the envelope.
class Address {
  constructor(user, host) {
    if (typeof user === 'object' && user !== null && user.original) {
      Object.assign(this, user); // one that came through JSON
      return this;
    }
    if (host) {
      this.original = `${user}@${host}`;
      this.user = user;
      this.original_host = host;
      if (/[^\0-\x7f]/.test(host)) this.is_utf8 = true;
      this.host = native.canonical(host);
      return this;
    }
    this.parse(user);
  }

  parse(text) {
    const parts = native.parse(text === undefined || text === null ? '' : String(text));
    this.original = text;
    delete this.original_host;
    delete this.is_utf8;
    Object.assign(this, parts);
  }

  isNull() {
    return !this.user;
  }

  // Haraka of today has it as a string, and that of before as a method; what a plugin
  // writes as a call comes to mailbox.
  get address() {
    return this.mailbox();
  }

  mailbox(set, use_punycode) {
    if (set) this.parse(set);
    const { original, original_host } = this;
    let host = this.host;
    // As it was written, unless somebody has set it to something else.
    if (!use_punycode && host !== original_host) host = native.domain(original ? String(original) : '', host || '', original_host || '');
    return (this.user || '') + (host ? `@${host}` : '');
  }

  format(use_punycode) {
    return this.isNull() ? '<>' : `<${this.mailbox(null, use_punycode)}>`;
  }

  toString() {
    return this.format();
  }
}

// x.address(…) of a plugin comes here, whatever x is (see source.go).
Object.defineProperty(Object.prototype, 'addre$$', {
  value: function (...args) {
    if (typeof this.address === 'function') return this.address.apply(this, args);
    if (this instanceof Address) return this.mailbox(...args);
    throw new TypeError("Object has no member 'address'");
  },
  writable: true,
  configurable: true,
  enumerable: false,
});

exports.Address = Address;
