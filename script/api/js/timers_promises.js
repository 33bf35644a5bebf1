exports.setTimeout = (ms, value) => new Promise((done) => setTimeout(done, ms, value));
exports.setImmediate = (value) => new Promise((done) => setImmediate(done, value));
exports.scheduler = { wait: (ms) => exports.setTimeout(ms), yield: () => exports.setImmediate() };
absent(exports, ['setInterval']);
