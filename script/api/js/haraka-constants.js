// haraka-constants: the codes in both spellings, import and translate.
for (const name of Object.keys(native)) {
  exports[name.toLowerCase()] = native[name];
  exports[name] = native[name];
}

exports.import = function (object) {
  for (const name of Object.keys(native)) object[name] = native[name];
};

exports.translate = function (value) {
  for (const name of Object.keys(native)) if (native[name] === value) return name;
  return 'UNKNOWN';
};

exports.connection = {
  state: { CMD: 1, LOOP: 2, DATA: 3, PAUSE: 4, PAUSE_SMTP: 5, PAUSE_DATA: 6, DISCONNECTING: 99, DISCONNECTED: 100 },
};
for (const state of Object.keys(exports.connection.state)) {
  exports.connection.state['STATE_' + state] = exports.connection.state[state];
}
