Object.assign(exports, { setTimeout, setInterval, setImmediate, clearTimeout, clearInterval, clearImmediate });
Object.defineProperty(exports, 'promises', { enumerable: true, get: () => require('timers/promises') });
