package api

import (
	"strings"
	"testing"
)

// The expected values are what Node 20 says.
func TestBuffer(t *testing.T) {
	newWorld(t, nil).table([][2]string{
		{`Buffer.from('héllo €').toString('hex')`, "68c3a96c6c6f20e282ac"},
		{`Buffer.from('héllo', 'latin1').toString('hex')`, "68e96c6c6f"},
		{`Buffer.from('héllo', 'binary').toString('latin1')`, "héllo"},
		{`Buffer.from('hé', 'utf16le').toString('hex')`, "6800e900"},
		{`Buffer.from('7468697g', 'hex').toString()`, "thi"},
		{`Buffer.from('YWJj\nZGVm IQ==', 'base64').toString()`, "abcdef!"},
		{`Buffer.from('_-8', 'base64').toString('base64')`, "/+8="},
		{`Buffer.from('_-8', 'base64url').toString('base64url')`, "_-8"},
		{`Buffer.from([1, 2, 300, -1]).toString('hex')`, "01022cff"},
		{`Buffer.from([0xff, 0xfe, 0x41, 0xe2, 0x82]).toString()`, "\ufffd\ufffdA\ufffd"},
		{`Buffer.from('\ud800x').toString('hex')`, "efbfbd78"},
		{`Buffer.concat([Buffer.from('ab'), Buffer.from('cd')], 3).toString()`, "abc"},
		{`const b = Buffer.from('hello'); b.slice(1, 3).fill('x'); b.toString()`, "hxxlo"},
		{`Buffer.from('hello world').lastIndexOf('o', 6) + Buffer.from('hello world').indexOf('o', 5)`, "11"},
		{`Buffer.from('hello').includes('ell') + ' ' + Buffer.from('hello').indexOf('')`, "true 0"},
		{`const c = Buffer.alloc(4); c.write('€€') + c.toString('hex')`, "3e282ac00"},
		{`const d = Buffer.alloc(8); d.writeUInt32BE(0xdeadbeef, 0); d.writeInt16LE(-2, 4); d.toString('hex')`, "deadbeeffeff0000"},
		{`d.readInt16LE(4) + ' ' + d.readUIntBE(0, 3) + ' ' + d.readBigUInt64BE(0)`, "-2 14593470 16045690985375531008"},
		{`Buffer.alloc(2).readUInt32BE(0)`, "error: RangeError: Attempt to access memory outside buffer bounds"},
		{`Buffer.alloc(5).writeUInt8(256)`, `error: RangeError: The value of "value" is out of range. It must be >= 0 and <= 255. Received 256`},
		{`Buffer.from('abc', 'nope')`, "error: TypeError: Unknown encoding: nope"},
		{`JSON.stringify(Buffer.from('a'))`, `{"type":"Buffer","data":[97]}`},
		{`Buffer.isBuffer(Buffer.alloc(1).subarray(0)) + ' ' + Buffer.isBuffer(new Uint8Array(1))`, "true false"},
		{`Buffer.from('abc').equals(Buffer.from('abc')) + ' ' + Buffer.compare(Buffer.from('a'), Buffer.from('b'))`, "true -1"},
		{`btoa('aé') + atob('YQ==')`, "Yek=a"},
		{`new TextDecoder().decode(new Uint8Array([0xef, 0xbb, 0xbf, 0x41])) + new TextEncoder().encode('é').length`, "A2"},
	})
}

// A script does not end the worker by asking for more than there is.
func TestBufferIsBounded(t *testing.T) {
	newWorld(t, nil).table([][2]string{
		{`Buffer.alloc(1e12)`, "error: RangeError: The size of a Buffer is from 0 to 67108864. Received 1000000000000"},
		{`Buffer.from({ length: 1e12 })`, "error: RangeError: The size of a Buffer is from 0 to 67108864. Received 1000000000000"},
		{`new Buffer(67108865)`, "error: RangeError: The size of a Buffer is from 0 to 67108864. Received 67108865"},
	})
}

func TestPath(t *testing.T) {
	w := newWorld(t, nil).withRequire()
	w.eval(`const path = require('node:path')`)
	w.table([][2]string{
		{`path.join('/a', '..', 'b', './c/')`, "/b/c/"},
		{`path.join('a', '..', '..', 'b')`, "../b"},
		{`path.normalize('/foo/bar//baz/asdf/quux/..')`, "/foo/bar/baz/asdf"},
		{`path.normalize('')`, "."},
		{`path.resolve('/foo/bar', './baz')`, "/foo/bar/baz"},
		{`path.resolve('x') === process.cwd() + '/x'`, "true"},
		{`path.relative('/data/orandea/test/aaa', '/data/orandea/impl/bbb')`, "../../impl/bbb"},
		{`path.dirname('/foo/bar/baz/asdf/quux')`, "/foo/bar/baz/asdf"},
		{`path.basename('/foo/bar/quux.html', '.html')`, "quux"},
		{`path.extname('index.coffee.md') + path.extname('.index') + path.extname('index.')`, ".md."},
		{`JSON.stringify(path.parse('/home/user/dir/file.txt'))`, `{"root":"/","dir":"/home/user/dir","base":"file.txt","ext":".txt","name":"file"}`},
		{`path.format({ dir: '/home/user/dir', base: 'file.txt' })`, "/home/user/dir/file.txt"},
		{`path.posix === path && path.sep + path.delimiter`, "/:"},
		{`path.win32`, "error: Error: path.win32: scripts do not have it (docs/scripts.md)"},
	})
}

func TestUtil(t *testing.T) {
	w := newWorld(t, nil).withRequire()
	w.eval(`const util = require('util')`)
	w.table([][2]string{
		{`util.format('%s %d %i %f %j %o %O %%', 'a', 1.5, '42.9', '3.5', { a: 1 }, { b: 2 }, { c: 3 })`, `a 1.5 42 3.5 {"a":1} { b: 2 } { c: 3 } %`},
		{`util.format('%s %s', 'x')`, "x %s"},
		{`util.format('a', 'b', { c: 1 }, 3)`, "a b { c: 1 } 3"},
		{`util.inspect({ a: { b: { c: { d: 1 } } } })`, "{\n  a: { b: { c: [Object] } }\n}"},
		{`util.inspect((() => { const a = {}; a.self = a; return a })())`, "<ref *1> { self: [Circular *1] }"},
		{`util.inspect(new Map([['a', 1], ['b', { c: 2 }]]))`, "Map(2) { 'a' => 1, 'b' => { c: 2 } }"},
		{`util.inspect(Buffer.from('hi'))`, "<Buffer 68 69>"},
		{`util.inspect(Object.create(null))`, "[Object: null prototype] {}"},
		{`util.inspect([, 1, , 2])`, "[ <1 empty item>, 1, <1 empty item>, 2 ]"},
		{`util.isDeepStrictEqual({ a: [1, { b: 2 }] }, { a: [1, { b: 2 }] }) + ' ' + util.isDeepStrictEqual({ a: 1 }, { a: '1' })`, "true false"},
		{`util.promisify((a, done) => done(null, a + 1))(1)`, "2"},
		{`util.promisify((done) => done(new Error('no')))()`, "error: Error: no"},
		{`util.promisify(setTimeout)(1, 'later')`, "later"},
		{`new Promise((r) => util.callbackify(async (x) => x + 1)(1, (e, v) => r([e, v].join())))`, ",2"},
		{`util.types.isRegExp(/a/) + ' ' + util.types.isPromise(Promise.resolve())`, "true true"},
		{`util.parseArgs`, "error: Error: util.parseArgs: scripts do not have it (docs/scripts.md)"},
	})
}

func TestEvents(t *testing.T) {
	w := newWorld(t, nil).withRequire()
	w.eval(`const EventEmitter = require('events')`)
	w.table([][2]string{
		{script(`const e = new EventEmitter(), out = []; e.on('x', (a) => out.push('on' + a)); e.once('x', (a) => out.push('once' + a));
			e.prependListener('x', () => out.push('first')); e.emit('x', 1); e.emit('x', 2); return out.join()`), "first,on1,once1,first,on2"},
		{script(`const e = new EventEmitter(); return e.emit('nothing') + ' ' + e.listenerCount('nothing')`), "false 0"},
		{script(`new EventEmitter().emit('error', new Error('boo'))`), "error: Error: boo"},
		{script(`new EventEmitter().emit('error', 'text')`), "error: Error: Unhandled error. ('text')"},
		{script(`const e = new EventEmitter(), f = () => {}; e.once('x', f); e.off('x', f); return e.listenerCount('x')`), "0"},
		{script(`const e = new EventEmitter(), out = []; const f = () => { e.off('x', g); out.push('f') }, g = () => out.push('g');
			e.on('x', f); e.on('x', g); e.emit('x'); e.emit('x'); return out.join()`), "f,g,f"},
		{script(`function Old() { EventEmitter.call(this) } require('util').inherits(Old, EventEmitter);
			const o = new Old(); let got; o.on('x', function () { got = this === o }); o.emit('x'); return got`), "true"},
		{script(`class C extends EventEmitter {} const c = new C(); let n = ''; c.on('newListener', (name) => { n += name }); c.on('a', () => {}); return n`), "a"},
		{script(`const e = new EventEmitter(); setTimeout(() => e.emit('x', 1, 2), 1); return EventEmitter.once(e, 'x').then(String)`), "1,2"},
		{`EventEmitter.EventEmitter === EventEmitter`, "true"},
		{`new EventEmitter().on('x', 'text')`, `error: TypeError: The "listener" argument must be of type function. Received string`},
	})
}

func TestAssert(t *testing.T) {
	w := newWorld(t, nil).withRequire()
	w.eval(`const assert = require('node:assert')`)
	w.table([][2]string{
		{script(`assert(1); assert.ok(true); assert.equal(1, '1'); assert.strictEqual(NaN, NaN); return 'good'`), "good"},
		{script(`assert.deepEqual({ a: 1 }, { a: '1' }); assert.notDeepStrictEqual({ a: 1 }, { a: '1' }); return 'good'`), "good"},
		{script(`try { assert.strictEqual(1, 2) } catch (e) { return [e.name, e.code, e.actual, e.expected, e.operator, e instanceof assert.AssertionError].join() }`),
			"AssertionError,ERR_ASSERTION,1,2,strictEqual,true"},
		{script(`assert.equal(1, 2, 'mine')`), "error: AssertionError: mine"},
		{script(`assert.throws(() => { throw new TypeError('bad thing') }, /bad/); assert.throws(() => { throw new TypeError('x') }, TypeError); return 'good'`), "good"},
		{script(`assert.throws(() => { throw new TypeError('x') }, { name: 'TypeError', message: 'x' }); return 'good'`), "good"},
		{script(`assert.throws(() => {})`), "error: AssertionError: Missing expected exception."},
		{script(`return assert.rejects(Promise.reject(new Error('no')), /no/).then(() => 'good')`), "good"},
		{script(`assert.strict.equal(1, '1')`), "error: AssertionError: Expected values to be strictly equal:\n1\n\nshould equal\n\n'1'"},
		{script(`assert.match('abc', /x/)`), "error: AssertionError: The input did not match the regular expression /x/. Input:\n\n'abc'\n"},
	})
}

func TestCrypto(t *testing.T) {
	w := newWorld(t, nil).withRequire()
	w.eval(`const crypto = require('crypto')`)
	w.table([][2]string{
		{`crypto.createHash('md5').update('abc').digest('hex')`, "900150983cd24fb0d6963f7d28e17f72"},
		{`crypto.createHash('sha256').update('a').update(Buffer.from('bc')).digest('base64')`, "ungWv48Bz+pBQUDeXa4iI7ADYaOWF3qctBD/YfIAFa0="},
		{`crypto.createHash('SHA1').update('616263', 'hex').digest('hex')`, "a9993e364706816aba3e25717850c26c9cd0d89d"},
		{`crypto.createHmac('md5', 'key').update('data').digest('hex')`, "9d5c73ef85594d34ec4438b7c97e51d8"},
		{script(`const h = crypto.createHash('sha1').update('a'), c = h.copy(); h.update('b'); return c.digest('hex')`), "86f7e437faa5a7fce15d1ddcb9eaeaea377667b8"},
		{script(`const h = crypto.createHash('sha1'); h.digest(); h.update('x')`), "error: Error: Digest already called"},
		{`crypto.randomBytes(8).length + ' ' + /^[0-9a-f-]{36}$/.test(crypto.randomUUID())`, "8 true"},
		{script(`return new Promise((r) => crypto.randomBytes(4, (err, b) => r(err + ' ' + b.length)))`), "null 4"},
		{`crypto.timingSafeEqual(Buffer.from('a'), Buffer.from('b'))`, "false"},
		{`crypto.createCipheriv('aes-128-cbc', '', '')`, "error: Error: crypto.createCipheriv: scripts do not have it (docs/scripts.md)"},
	})
	if got := w.eval(`crypto.createHash('nope')`); !strings.HasPrefix(got, "error: Error: Invalid digest: nope; there are md5, sha1") {
		t.Error(got)
	}
	if got := w.eval(`crypto.randomBytes(1e9)`); !strings.Contains(got, "out of range") {
		t.Error(got)
	}
}

func TestURL(t *testing.T) {
	w := newWorld(t, nil).withRequire()
	w.table([][2]string{
		{`new URL('http://user:pa%20ss@example.com:8080/p?q=1#h').host`, "example.com:8080"},
		{`new URL('smtp://[2001:db8::1]:25').hostname`, "[2001:db8::1]"},
		{`new URL('/foo', 'https://example.org/').href`, "https://example.org/foo"},
		{`new URLSearchParams({ a: '1 2', b: 'é' }).toString()`, "a=1+2&b=%C3%A9"},
		{`new URL('https://example.org/?a=b').searchParams.get('a')`, "b"},
		{`require('url').domainToASCII('español.com')`, "xn--espaol-zwa.com"},
		{`require('url').fileURLToPath('file:///a%20b')`, "/a b"},
		{`URL.canParse('x:y') + ' ' + URL.canParse('nope')`, "true false"},
		{`require('url').parse('http://x')`, "error: Error: url.parse: scripts do not have it (docs/scripts.md)"},
	})
}

// The sample strings of RFC 3492 §7.1, and what the module's own documentation shows.
func TestPunycode(t *testing.T) {
	w := newWorld(t, nil).withRequire()
	w.eval(`const punycode = require('punycode')`)
	w.table([][2]string{
		{`punycode.encode('他们为什么不说中文')`, "ihqwcrb4cv8a8dqg056pqjye"},
		{`punycode.encode('3年B組金八先生')`, "3B-ww4c5e180e575a65lsy2b"},
		{`punycode.encode('-> $1.00 <-')`, "-> $1.00 <--"},
		{`punycode.decode('2-u9tlzr9756bt3uc0v')`, "ひとつ屋根の下2"},
		{`punycode.encode('mañana')`, "maana-pta"},
		{`punycode.decode('--dqo34k')`, "☃-⌘"},
		{`punycode.toUnicode('xn--maana-pta.com')`, "mañana.com"},
		{`punycode.ucs2.decode('a😀').join()`, "97,128512"},
		{`punycode.decode('a-é')`, "error: RangeError: invalid input"},
	})
}

// What docs/scripts.md says of the language.
func TestLanguage(t *testing.T) {
	newWorld(t, nil).table([][2]string{
		{`class A { #x = 1; static y = 2; get x() { return this.#x } } new A().x + A.y`, "3"},
		{`const { a, ...rest } = { a: 1, b: 2 }; rest.b ?? 7`, "2"},
		{`let n = null; n ??= 4; n?.x?.y ?? n`, "4"},
		{`[...(function* () { yield 1; yield 2 })()].join()`, "1,2"},
		{`(async () => { try { await Promise.reject(1) } catch (e) { return e } finally { } })()`, "1"},
		{`Promise.any([Promise.reject(1), Promise.resolve(2)]).then(String)`, "2"},
		{`Promise.allSettled([Promise.reject(1)]).then((r) => r[0].status)`, "rejected"},
		{`/(?<=a)(?<x>b)(?!c)/.exec('abd').groups.x + 'a-b'.replaceAll('-', '+')`, "ba+b"},
		{`2n ** 64n`, "18446744073709551616"},
		{`[1, 2, 3].at(-1) + Object.entries({ a: 1 }).flat().join('') + Object.fromEntries([['k', 1]]).k`, "3a11"},
		{`[typeof Intl, typeof WeakRef, typeof fetch, typeof structuredClone].join()`, "undefined,undefined,undefined,undefined"},
		{`new Error('x', { cause: 1 }).cause + new AggregateError([1]).errors.length`, "2"},
	})
}
