// assert: Node's checks, which throw an AssertionError.
const { inspect, same } = require('util');

class AssertionError extends Error {
  constructor(options) {
    const { message, actual, expected, operator } = options;
    super(message !== undefined ? String(message) : `${inspect(actual)} ${operator} ${inspect(expected)}`);
    this.name = 'AssertionError';
    this.code = 'ERR_ASSERTION';
    this.generatedMessage = message === undefined;
    Object.assign(this, { actual, expected, operator });
  }
}

function fail(actual, expected, message, operator, text) {
  if (message instanceof Error) throw message;
  const e = new AssertionError({ actual, expected, operator, message: message === undefined ? text : message });
  e.generatedMessage = message === undefined;
  throw e;
}

function ok(value, message) {
  if (value) return;
  if (arguments.length === 0) message = 'No value argument passed to `assert.ok()`';
  fail(value, true, message, '==', `The expression evaluated to a falsy value: ${inspect(value)}`);
}
const assert = (module.exports = function assert(...args) {
  ok(...args);
});
assert.ok = ok;
assert.AssertionError = AssertionError;

const shown = (a, what, b) => `Expected values to be ${what}:\n${inspect(a)}\n\nshould ${what.startsWith('not') ? 'not ' : ''}equal\n\n${inspect(b)}`;
function check(name, operator, what, test) {
  assert[name] = function (actual, expected, message) {
    if (arguments.length < 2) throw new TypeError('The "actual" and "expected" arguments must be specified');
    if (!test(actual, expected)) fail(actual, expected, message, operator, shown(actual, what, expected));
  };
}
const loose = (a, b) => a == b || (Number.isNaN(a) && Number.isNaN(b));
check('equal', '==', 'loosely equal', loose);
check('notEqual', '!=', 'not loosely equal', (a, b) => !loose(a, b));
check('strictEqual', 'strictEqual', 'strictly equal', Object.is);
check('notStrictEqual', 'notStrictEqual', 'not strictly equal', (a, b) => !Object.is(a, b));
check('deepEqual', 'deepEqual', 'loosely deep-equal', (a, b) => same(a, b, false));
check('notDeepEqual', 'notDeepEqual', 'not loosely deep-equal', (a, b) => !same(a, b, false));
check('deepStrictEqual', 'deepStrictEqual', 'strictly deep-equal', (a, b) => same(a, b, true));
check('notDeepStrictEqual', 'notDeepStrictEqual', 'not strictly deep-equal', (a, b) => !same(a, b, true));

assert.fail = (message = 'Failed') => fail(undefined, undefined, message, 'fail');
assert.ifError = (value) => {
  if (value === null || value === undefined) return;
  fail(value, null, undefined, 'ifError', `ifError got unwanted exception: ${value instanceof Error ? value.message : inspect(value)}`);
};
assert.match = (text, pattern, message) => {
  if (typeof text !== 'string' || !pattern.test(text)) {
    fail(text, pattern, message, 'match', `The input did not match the regular expression ${pattern}. Input:\n\n${inspect(text)}\n`);
  }
};
assert.doesNotMatch = (text, pattern, message) => {
  if (typeof text === 'string' && pattern.test(text)) {
    fail(text, pattern, message, 'doesNotMatch', `The input was expected to not match the regular expression ${pattern}. Input:\n\n${inspect(text)}\n`);
  }
};

// matches tells whether what was thrown is what was expected.
function matches(thrown, expected, message, operator) {
  if (expected === undefined) return;
  if (expected instanceof RegExp) {
    if (expected.test(String(thrown))) return;
    fail(thrown, expected, message, operator, `The input did not match the regular expression ${expected}. Input:\n\n${inspect(String(thrown))}\n`);
  }
  if (typeof expected === 'function') {
    if (expected.prototype !== undefined && thrown instanceof expected) return;
    if (Error.isPrototypeOf(expected) || expected === Error) throw thrown;
    if (expected.call({}, thrown) === true) return;
    fail(thrown, expected, message, operator, `The ${expected.name || 'validation'} function is expected to return "true". Caught error:\n\n${inspect(thrown)}`);
  }
  for (const key of [...Object.keys(expected), ...(expected instanceof Error ? ['name', 'message'] : [])]) {
    const good = typeof thrown[key] === 'string' && expected[key] instanceof RegExp ? expected[key].test(thrown[key]) : same(thrown[key], expected[key], true);
    if (!good) fail(thrown, expected, message, operator, `The error's ${key} is ${inspect(thrown[key])}, expected was ${inspect(expected[key])}`);
  }
}
const arrange = (expected, message) => (typeof expected === 'string' ? [undefined, expected] : [expected, message]);

assert.throws = (f, ...rest) => {
  const [expected, message] = arrange(...rest);
  let thrown;
  try {
    f();
  } catch (e) {
    thrown = [e];
  }
  if (!thrown) fail(undefined, expected, message, 'throws', 'Missing expected exception.');
  matches(thrown[0], expected, message, 'throws');
};
assert.doesNotThrow = (f, ...rest) => {
  const [, message] = arrange(...rest);
  try {
    f();
  } catch (e) {
    fail(e, undefined, message, 'doesNotThrow', `Got unwanted exception.\nActual message: "${e && e.message}"`);
  }
};
const promised = (p) => (typeof p === 'function' ? p() : p);
assert.rejects = async (p, ...rest) => {
  const [expected, message] = arrange(...rest);
  let thrown;
  try {
    await promised(p);
  } catch (e) {
    thrown = [e];
  }
  if (!thrown) fail(undefined, expected, message, 'rejects', 'Missing expected rejection.');
  matches(thrown[0], expected, message, 'rejects');
};
assert.doesNotReject = async (p, ...rest) => {
  const [, message] = arrange(...rest);
  try {
    await promised(p);
  } catch (e) {
    fail(e, undefined, message, 'doesNotReject', `Got unwanted rejection.\nActual message: "${e && e.message}"`);
  }
};

assert.strict = function strict(...args) {
  ok(...args);
};
Object.assign(assert.strict, assert, {
  equal: assert.strictEqual,
  notEqual: assert.notStrictEqual,
  deepEqual: assert.deepStrictEqual,
  notDeepEqual: assert.notDeepStrictEqual,
});
assert.strict.strict = assert.strict;
absent(assert, ['CallTracker', 'partialDeepStrictEqual', 'Assert']);
