// console: its functions are lines in the node's log, at the level that fits.
const { format, inspect } = require('util');

const at = (level) => (...args) => native.log(level, groups + format(...args));
let groups = '';

exports.log = exports.info = at(6);
exports.debug = at(7);
exports.warn = at(4);
exports.error = at(3);
exports.trace = (...args) => {
  const stack = String(new Error(format(...args)).stack);
  native.log(7, 'Trace: ' + stack.replace(/^Error:? ?/, ''));
};
exports.dir = (value, options) => native.log(6, groups + inspect(value, options));
exports.assert = (ok, ...args) => {
  if (ok) return;
  native.log(3, groups + (args.length ? 'Assertion failed: ' + format(...args) : 'Assertion failed'));
};
exports.group = (...args) => {
  if (args.length) exports.log(...args);
  groups += '  ';
};
exports.groupEnd = () => {
  groups = groups.slice(2);
};
const counts = new Map();
exports.count = (label = 'default') => {
  counts.set(label, (counts.get(label) || 0) + 1);
  exports.log(`${label}: ${counts.get(label)}`);
};
exports.countReset = (label = 'default') => {
  counts.delete(label);
};
const clocks = new Map();
exports.time = (label = 'default') => {
  if (!clocks.has(label)) clocks.set(label, Date.now());
};
exports.timeEnd = (label = 'default') => {
  if (!clocks.has(label)) return;
  exports.log(`${label}: ${Date.now() - clocks.get(label)}ms`);
  clocks.delete(label);
};
exports.timeLog = (label = 'default', ...args) => {
  if (clocks.has(label)) exports.log(`${label}: ${Date.now() - clocks.get(label)}ms`, ...args);
};
