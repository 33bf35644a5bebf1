// os: what does not tell of the machine's users or load.
Object.assign(exports, native.facts);
for (const [name, value] of Object.entries(native.calls)) exports[name] = value;
exports.EOL = '\n';
exports.devNull = '/dev/null';
absent(exports, [
  'availableParallelism', 'constants', 'cpus', 'freemem', 'getPriority', 'homedir', 'loadavg', 'machine', 'release', 'setPriority',
  'totalmem', 'userInfo', 'version',
]);
