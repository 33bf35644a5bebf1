// process: what of it a script may know.
Object.assign(exports, native.facts);
exports.env = Object.create(null);
exports.argv = ['tarishi'];
exports.execArgv = [];
exports.exitCode = undefined;
exports.cwd = () => native.folder;
exports.uptime = () => native.uptime();
exports.nextTick = (f, ...args) => {
  if (typeof f !== 'function') throw new TypeError('The "callback" argument must be of type function');
  queueMicrotask(() => f(...args));
};
exports.hrtime = (before) => {
  const now = native.clock();
  let s = Math.floor(now / 1e9);
  let ns = now % 1e9;
  if (before) {
    s -= before[0];
    ns -= before[1];
    if (ns < 0) {
      s--;
      ns += 1e9;
    }
  }
  return [s, ns];
};
exports.hrtime.bigint = () => BigInt(native.clock());
exports.emitWarning = (warning) => console.warn(String(warning));

absent(exports, [
  'abort', 'chdir', 'connected', 'cpuUsage', 'disconnect', 'dlopen', 'emit', 'exit', 'getegid', 'geteuid', 'getgid',
  'getgroups', 'getuid', 'kill', 'mainModule', 'memoryUsage', 'off', 'on', 'once', 'openStdin', 'ppid', 'reallyExit',
  'removeListener', 'report', 'resourceUsage', 'send', 'setgid', 'setuid', 'setUncaughtExceptionCaptureCallback', 'stderr', 'stdin',
  'stdout', 'umask', 'binding',
]);
