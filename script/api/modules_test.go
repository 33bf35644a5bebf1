package api

import (
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"testing"
)

// load loads a plugin of one file, and tells the error.
func load(t *testing.T, files map[string]string) (*testWorld, error) {
	t.Helper()
	w := newWorld(t, files)
	var err error
	w.inside(func() {
		p, e := w.Plugin("p", "p.js")
		if err = e; e == nil {
			w.vm.Set("p", p)
		}
	})
	return w, err
}

func TestPlugin(t *testing.T) {
	w, err := load(t, map[string]string{
		"p.js": `const dep = require('./lib/dep'); const data = require('./data.json');
exports.register = function () { return 'mine' }
exports.codes = () => [CONT, STOP, DENY, DENYSOFT, DENYDISCONNECT, DISCONNECT, OK, NEXT_HOOK, DELAY, DENYSOFTDISCONNECT].join();
exports.scope = function () { return [typeof server.notes, typeof module, typeof Buffer, __filename.split('/').pop(), __dirname.split('/').length > 1, this.name].join() }
exports.dep = () => dep.name + data.x + require('./lib').index;
exports.strict = function () { return (function () { return this })() === undefined }
exports.keys = function () { return Object.keys(this).join() }
exports.core = function () { return [this.haraka_require('constants').DENY, require('./config').get('c'), require('./utils').pad(1, 2)].join() }
`,
		"lib/dep.js":   `exports.name = 'dep of ' + require('./other').me;`,
		"lib/other.js": `module.exports = { me: 'other' };`,
		"lib/index.js": `exports.index = 'i';`,
		"data.json":    `{"x": 7}`,
		"config/c":     "set\n",
	})
	if err != nil {
		t.Fatal(err)
	}
	w.table([][2]string{
		{`p.register()`, "mine"},
		{`p.codes()`, "900,901,902,903,904,905,906,907,908,909"},
		{`p.scope()`, "object,object,function,p.js,true,p"},
		{`p.dep()`, "dep of other7i"},
		{`p.strict()`, "true"},
		{`p.keys()`, "register,codes,scope,dep,strict,keys,core"},
		{`p.core()`, "902,set,01"},
	})
	if _, err := load(t, map[string]string{"p.js": `module.exports = { hook_mail() { return 1 } }`}); err != nil {
		t.Error(err)
	}
}

// Modules that scripts do not have are refused when the file is loaded, with the line,
// wherever they are asked for, unless the script is prepared.
func TestRefusedModules(t *testing.T) {
	for _, x := range []struct{ src, want string }{
		{"\nconst cp = require('child_process');", `p.js:2: require("child_process"): scripts do not have this module: scripts start no programs; they have address-rfc2821, assert, buffer,`},
		{"exports.hook_mail = function (next) {\n  if (false) require('node:http');\n  next() }", `p.js:2: require("node:http"): scripts do not have this module`},
		{"exports.f = async () => { const x = [`${require('redis')}`] }", `require("redis")`},
		{"class A { m() { return { a: () => require('lodash') } } }", `require("lodash")`},
		{"const o = require('./outbound')", `p.js:1: require("./outbound"): scripts cannot make mail (docs/scripts.md)`},
		{"require('./nothing')", `p.js:1: require("./nothing"): there is no such file below the folder of plugins`},
		{"require('../../etc/passwd')", `there is no such file below the folder of plugins`},
		{"require('/etc/passwd')", `there is no such file below the folder of plugins`},
		{"require('node:haraka-utils')", `require("node:haraka-utils")`},
		{"require('child' + '_process')", `require("child_process")`},
		{"try { x() } catch { require('tls') }", `require("tls")`},
	} {
		if _, err := load(t, map[string]string{"p.js": x.src}); err == nil || !strings.Contains(err.Error(), x.want) {
			t.Errorf("%s:\n\t%v", x.src, err)
		}
	}
	// What modules lack is refused as early.
	for _, x := range []struct{ src, want string }{
		{"const fs = require('node:fs');\nexports.f = () => {\n  fs.writeFileSync('x', 'y') }", "p.js:3: fs.writeFileSync: scripts do not have it (docs/scripts.md)"},
		{"exports.f = () => require('net').createServer()", "p.js:1: net.createServer: scripts do not have it"},
		{"const url = require('url')\nexports.f = (s) => url?.parse(s)", "url.parse"},
		{"exports.f = () => process.exit(1)", "p.js:1: process.exit: scripts do not have it"},
		{"const { createReadStream } = require('fs')", "fs.createReadStream"},
		{"const EventEmitter = require('events'); exports.f = () => EventEmitter.on(1)", "events.on"},
	} {
		if _, err := load(t, map[string]string{"p.js": x.src}); err == nil || !strings.Contains(err.Error(), x.want) {
			t.Errorf("%s:\n\t%v", x.src, err)
		}
	}
	for _, src := range []string{
		"const fs = require('fs'); exports.f = (fs) => fs.writeFile()",
		"const fs = require('fs'); exports.f = () => { try { fs.writeFileSync('x') } catch {} }",
		"exports.f = (process) => process.exit()",
		"const u = require('url'); exports.f = (o) => o.u.parse + u.URL",
	} {
		if _, err := load(t, map[string]string{"p.js": src}); err != nil {
			t.Errorf("%s:\n\t%v", src, err)
		}
	}
	if w, err := load(t, map[string]string{"p.js": "try { exports.x = require('toobusy-js') } catch (e) { exports.code = e.code }"}); err != nil {
		t.Error(err)
	} else {
		w.table([][2]string{{`p.code`, "MODULE_NOT_FOUND"}})
	}
}

// Errors in a script name file and line.
func TestFaultsNameTheLine(t *testing.T) {
	for src, want := range map[string]string{
		"\n\nconst = 1": "p.js: Line 3:7",
		"\nnothing()":   "p.js:2",
		"exports.a = 1;\nthrow new Error('mine')": "Error: mine at p.js:2",
	} {
		if _, err := load(t, map[string]string{"p.js": src}); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: %v", src, err)
		}
	}
	if _, err := load(t, nil); err == nil {
		t.Error("a plugin without a file was loaded")
	}
}

// Files stay below the folder, links or not; pipes do not block.
func TestFolderIsTheWorld(t *testing.T) {
	outside := filepath.Join(t.TempDir(), "secret.js")
	if err := os.WriteFile(outside, []byte("module.exports = 'secret'"), 0o600); err != nil {
		t.Fatal(err)
	}
	w := newWorld(t, map[string]string{"a.txt": "text", "sub/b.txt": "b"}, func(o *Options) { o.Append = []string{"config/list"} }).withRequire()
	if err := os.Symlink(outside, filepath.Join(w.o.Folder, "link.js")); err != nil {
		t.Fatal(err)
	}
	if err := os.MkdirAll(filepath.Join(w.o.Folder, "config"), 0o755); err != nil {
		t.Fatal(err)
	}
	w.eval(`const fs = require('fs')`)
	w.table([][2]string{
		{`require('./link.js')`, `error: Error: require("./link.js"): there is no such file below the folder of plugins`},
		{`fs.existsSync('link.js') + ' ' + fs.existsSync('/etc/passwd') + ' ' + fs.existsSync('a.txt')`, "false false true"},
		{`fs.readFileSync('a.txt', 'utf8')`, "text"},
		{`fs.readFileSync(process.cwd() + '/a.txt').toString('hex')`, "74657874"},
		{script(`try { fs.readFileSync('nope') } catch (e) { return [e.code, e.syscall, e.path, e.message].join() }`), "ENOENT,open,nope,ENOENT: no such file or directory, open 'nope'"},
		{script(`try { fs.readFileSync('/etc/passwd') } catch (e) { return e.code }`), "EACCES"},
		{script(`try { fs.readFileSync('sub') } catch (e) { return e.code }`), "EISDIR"},
		{script(`const s = fs.statSync('a.txt'); return [s.isFile(), s.isDirectory(), s.size, s.mtime instanceof Date].join()`), "true,false,4,true"},
		{`fs.readdirSync('.').join()`, "a.txt,config,link.js,sub"},
		{`fs.readdirSync('.', { recursive: true }).includes('sub/b.txt')`, "true"},
		{`fs.readdirSync('.', { withFileTypes: true }).map((d) => d.name + d.isDirectory()).join()`, "a.txtfalse,configtrue,link.jsfalse,subtrue"},
		{script(`return new Promise((r) => fs.readFile('a.txt', 'utf8', (err, text) => r(err + text)))`), "nulltext"},
		{script(`return new Promise((r) => fs.readFile('nope', (err) => r(err.code)))`), "ENOENT"},
		{script(`return fs.promises.readFile('a.txt', { encoding: 'utf8' })`), "text"},
		{script(`return require('fs/promises').stat('nope').catch((e) => e.code)`), "ENOENT"},
		{script(`const fd = fs.openSync('a.txt'); const b = Buffer.alloc(3); const n = fs.readSync(fd, b, 0, 3, null) + fs.readSync(fd, b, 0, 3, null); fs.closeSync(fd); return n + b.toString()`), "4tex"},
		// Writing.
		{script(`return new Promise((r) => fs.open('config/list', 'a', (err, fd) => fs.write(fd, 'x@y.example\n', null, 'UTF-8', () => fs.close(fd, () => r(fs.readFileSync('config/list', 'utf8'))))))`), "x@y.example\n"},
		{script(`fs.appendFileSync('config/list', 'more\n'); return fs.readFileSync('config/list', 'utf8')`), "x@y.example\nmore\n"},
		{script(`try { fs.appendFileSync('a.txt', 'x') } catch (e) { return e.message }`), "EROFS: scripts write to no file that plugins.scripts.append does not list, open 'a.txt'"},
		{script(`return new Promise((r) => fs.open('config/list', 'w', (err) => r(err.code)))`), "EROFS"},
		{`fs.writeFileSync('a.txt', 'x')`, "error: Error: fs.writeFileSync: scripts do not have it (docs/scripts.md)"},
		{`fs.readFileSync('a.txt', 'utf8')`, "text"},
		{`require('haraka-utils').existsSync('a.txt')`, "true"},
	})
}

// Every built-in module loads, and each is in the documentation.
func TestEveryModule(t *testing.T) {
	w := newWorld(t, nil)
	doc, err := os.ReadFile("../../docs/scripts.md")
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range Names() {
		w.inside(func() {
			if _, err := w.Require(name); err != nil {
				t.Errorf("%s: %v", name, err)
			}
		})
		if !strings.Contains(string(doc), "`"+name+"`") {
			t.Errorf("docs/scripts.md does not tell of %s", name)
		}
	}
	if !slices.IsSorted(Names()) {
		t.Error("Names are not in order")
	}
}

// Haraka's own modules of constants and small functions.
func TestHarakaModules(t *testing.T) {
	w := newWorld(t, nil).withRequire()
	w.eval(`const utils = require('haraka-utils'), constants = require('haraka-constants')`)
	w.table([][2]string{
		{`constants.DENY + ' ' + constants.deny + ' ' + constants.translate(900) + ' ' + constants.translate(1)`, "902 902 CONT UNKNOWN"},
		{script(`const o = {}; constants.import(o); return o.OK`), "906"},
		{`utils.uuid().length + ' ' + /^[0-9A-F-]+$/.test(utils.uuid())`, "36 true"},
		{`utils.uniq([1, 2, 3, 2, 1]).join()`, "1,2,3"},
		{`utils.in_array('2', [1, '2', 5]) + ' ' + utils.in_array(2, [1, '2', 5]) + ' ' + utils.in_array('foo', 'foo,bar')`, "true false false"},
		{`Object.keys(utils.to_object('a, b;c\td')).join()`, "a,b,c,d"},
		{script(`try { utils.to_object(42) } catch (e) { return e }`), "arguments to to_object must be a string or array"},
		{`utils.sort_keys({ b: 1, a: 2 }).join()`, "a,b"},
		{`JSON.stringify(utils.extend({ a: 1 }, null, { b: 2 }, JSON.parse('{"__proto__":{"x":1}}'))) + ({}).x`, `{"a":1,"b":2}undefined`},
		{`utils.ISODate(new Date(Date.UTC(2026, 0, 2, 3, 4, 5)))`, "2026-01-02T03:04:05Z"},
		{`/^Fri, 02 Jan 2026 \d\d:\d\d:05 [+-]\d{4}$/.test(utils.date_to_str(new Date(Date.UTC(2026, 0, 2, 12, 4, 5))))`, "true"},
		{`utils.pad(7, 3) + utils.pad(7, 3, '.')`, "007..7"},
		{`[utils.node_min('0.8.0', '0.10.0'), utils.node_min('18.0.0', '18.0.0'), utils.node_min('20.0.1', '18.0.1'), utils.node_min('0.0.1'), utils.node_min('999.0.0')].join()`, "true,true,false,true,false"},
		{`utils.indexOfLF(Buffer.from('foo\nbar')) + ' ' + utils.indexOfLF(Buffer.from('foo\nbar'), 3) + ' ' + utils.indexOfLF(Buffer.from('x'))`, "3 -1 -1"},
		{`[utils.prettySize(10000), utils.prettySize(1e10), utils.prettySize(0)].join()`, "9.77KiB,9.31GiB,0"},
		{`utils.valid_regexes(['*.exam.ple', '.*\\.example\\.com'], 'f').join()`, `.*\.example\.com`},
		{`utils.regexp_escape('a.b[c]+d e')`, `a\.b\[c\]\+d\ e`},
		{`utils.wildcard_to_regexp('*.?.*')`, `.*\..\..*$`},
		{`utils.sanitize('a\r\nb\x00\tc') + utils.sanitize('a\tb\n', { replacement: '_', keepTab: true }) + utils.sanitize(null)`, "abca\tb_"},
		{`utils.base64('matt the tester') + utils.unbase64('bWF0dA==')`, "bWF0dCB0aGUgdGVzdGVymatt"},
		// RFC 2195 §2.
		{`utils.unbase64(utils.cram_md5_response('tim', 'tanstaaftanstaaf', utils.base64('<1896.697170952@postoffice.reston.mci.net>')))`, "tim b913a602c7eda7a495b4e6e7334d3890"},
		{`utils.shuffle(['only']).join() + utils.shuffle([1, 2, 3]).length`, "only3"},
		{`utils.elapsed(Date.now() - 3517, 0) + ' ' + utils.elapsed(Date.now() - 13517) + ' ' + utils.elapsed(Date.now() - 1500, 'banana').length`, "4 14 4"},
		{`utils.line_regexp.exec('ab\ncd')[1]`, "ab\n"},
		{`utils.copyFile('a', 'b')`, "error: Error: haraka-utils.copyFile: scripts do not have it (docs/scripts.md)"},
	})
}

func TestProcessAndOS(t *testing.T) {
	w := newWorld(t, nil).withRequire()
	w.table([][2]string{
		{`process.version + ' ' + process.platform`, "v20.0.0 " + runtime.GOOS},
		{`Object.keys(process.env).length + String(process.env.HOME)`, "0undefined"},
		{`typeof process.hrtime()[0] + typeof process.hrtime.bigint() + typeof process.pid`, "numberbigintnumber"},
		{`process.exit(1)`, "error: Error: process.exit: scripts do not have it (docs/scripts.md)"},
		{`process.on('uncaughtException', () => {})`, "error: Error: process.on: scripts do not have it (docs/scripts.md)"},
		{`require('os').hostname() + require('os').EOL`, "mx.example.com\n"},
		{`Object.values(require('os').networkInterfaces()).flat().some((a) => a.internal && a.address === '127.0.0.1' && a.family === 'IPv4')`, "true"},
		{`require('os').cpus()`, "error: Error: os.cpus: scripts do not have it (docs/scripts.md)"},
	})
}

// The examples of haraka-net-utils' documentation.
func TestNetUtils(t *testing.T) {
	w := newWorld(t, nil, withZone).withRequire()
	w.eval(`const nu = require('haraka-net-utils'); const mx = (x, d) => JSON.stringify(new nu.HarakaMx(x, d))`)
	w.table([][2]string{
		{`nu.ip_to_long('11.22.33.44') + ' ' + nu.long_to_ip(185999660) + ' ' + nu.ip_to_long('x')`, "185999660 11.22.33.44 false"},
		{`nu.dec_to_hex(20111104) + ' ' + nu.hex_to_dec('132df00')`, "132df00 20111104"},
		{`[nu.normalize_ip('1.2.3.4'), nu.normalize_ip('0000:0000:0000:0000:0000:0000:0000:0001'), nu.normalize_ip('::ffff:127.0.0.1'), nu.normalize_ip('not-an-ip')].join()`, "1.2.3.4,::1,127.0.0.1,"},
		{`['127.0.0.200', '169.254.0.0', '226.0.0.1'].map(nu.is_local_ipv4).join()`, "true,true,false"},
		{`['10.0.0.0', '192.168.0.0', '172.16.0.0', '172.32.0.0'].map(nu.is_private_ipv4).join()`, "true,true,true,false"},
		{`['::1', 'fe80::', 'fc00::', 'fd00::', '2001:db8::'].map(nu.is_local_ipv6).join()`, "true,true,true,true,false"},
		{`['10.0.0.1', '127.0.0.1', 'fd00::1', '8.8.8.8', 'x'].map(nu.is_private_ip).join()`, "true,true,true,false,false"},
		{`nu.is_local_ip('127.0.0.1') + ' ' + nu.is_local_ip('8.8.8.8')`, "true false"},
		{`[nu.ip_in_list(['10.0.0.0/8'], '10.1.2.3'), nu.ip_in_list({ '2001:db8::/32': true }, '2001:db8::1'), nu.ip_in_list(['example.com'], 'example.com'), nu.ip_in_list(['10.0.0.0/8', 'nonsense/x'], '11.0.0.1'), nu.ip_in_list(undefined, '1.1.1.1')].join()`, "true,true,true,false,false"},
		{`nu.getHostIPs('example.com').then(JSON.stringify)`, `{"addrs":["2001:db8::1","192.0.2.1"],"errors":[]}`},
		{`nu.getHostIPs('none.example').then((r) => r.addrs.length + ' ' + r.errors.length)`, "0 2"},
		{`nu.get_ips_by_host('example.com').then(String)`, "2001:db8::1,192.0.2.1"},
		{`nu.get_mx('user@example.com').then(JSON.stringify)`, `[{"exchange":"mx.example.com","priority":10,"from_dns":"example.com"}]`},
		{`nu.get_mx('broken.example').then((l) => l.length)`, "0"},
		{`nu.is_local_host('mx.example.com')`, "true"},
		{`JSON.stringify(nu.parse_proxy_line('PROXY TCP4 127.0.0.1 127.0.0.2 42310 465'))`, `{"type":"haproxy","proto":"TCP4","src_ip":"127.0.0.1","src_port":"42310","dst_ip":"127.0.0.2","dst_port":"465"}`},
		{`nu.parse_proxy_line('TCP6 ::1 ::1 2525 25\r\n').proto + nu.parse_proxy_line('UNKNOWN 1.2.3.4 1.2.3.4 2525 25') + nu.parse_proxy_line('TCP4 ::1 ::1 1 2')`, "TCP6nullnull"},
		{`mx('Mail.example.com')`, `{"exchange":"mail.example.com","priority":0}`},
		{`mx('mail.example.com:2525', 'Example.com')`, `{"port":2525,"exchange":"mail.example.com","priority":0,"from_dns":"example.com"}`},
		{`mx('192.0.2.1:26') + mx('[2001:db8::1]:26') + mx('2001:db8::1')`, `{"port":26,"exchange":"192.0.2.1","priority":0}{"exchange":"2001:db8::1","port":26,"priority":0}{"exchange":"2001:db8::1","priority":0}`},
		{`mx('smtp://user:p%40ss@host.example.com:587')`, `{"exchange":"host.example.com","port":587,"auth_user":"user","auth_pass":"p@ss","priority":0}`},
		{`mx('lmtp://int-mail.example.com:24')`, `{"using_lmtp":true,"exchange":"int-mail.example.com","port":24,"priority":0}`},
		{`mx({ exchange: 'a', priority: 5, bind: '192.0.2.9', other: 1 })`, `{"exchange":"a","priority":5,"bind":"192.0.2.9"}`},
		{`String(new nu.HarakaMx({ exchange: 'a', auth_user: 'u', auth_pass: 'secret', from_dns: 'b' }))`, "MX 0 smtp://u:****@a (via DNS)"},
		{`['localhost', 'a.example:3310', '192.0.2.1:25', '[2001:DB8::1]:25', '2001:db8::1', '3310', '/run/clamd.sock', 'a b', '[x]'].map((a) => String(nu.endpoint(a, 783))).join()`,
			"localhost:783,a.example:3310,192.0.2.1:25,[2001:db8::1]:25,[2001:db8::1]:783,[::0]:3310,/run/clamd.sock,Error: Invalid socket address a b,Error: Invalid socket address [x]"},
		{`nu.get_public_ip()`, "error: Error: haraka-net-utils.get_public_ip: scripts do not have it (docs/scripts.md)"},
		{script(`const e = new (require('events'))(), out = []; nu.add_line_processor(e); e.on('line', (l) => out.push(JSON.stringify(l)));
			e.emit('data', Buffer.from('one\r\ntw')); e.emit('data', 'o\nthree'); e.emit('end'); return out.join('')`), `"one\r\n""two\n""three"`},
	})
}

// The table of haraka-dsn's documentation.
func TestDSN(t *testing.T) {
	w := newWorld(t, nil).withRequire()
	w.eval(`const DSN = require('haraka-dsn')`)
	w.table([][2]string{
		{`DSN.no_such_user().code + ' ' + DSN.no_such_user().reply`, "550 5.1.1 No such user"},
		{`String(DSN.addr_bad_dest_mbox())`, "5.1.1 Bad destination mailbox address"},
		{`DSN.mbox_full('later', 452).code + ' ' + DSN.mbox_full('later', 552).reply`, "452 5.2.2 later"},
		{`String(DSN.sec_unauthorized(['one', 'two\r\nthree']))`, "5.7.1 one\ntwothree"},
		{`String(DSN.addr_bad_from_syntax())`, "5.1.7 Bad sender's mailbox address syntax"},
		{`String(DSN.auth_pass_transition_needed()) + DSN.auth_pass_transition_needed().code`, "4.7.12 A password transition is needed432"},
		{`String(DSN.create(550, 'mine', 7, 1)) + '|' + DSN.create('nonsense', null, 2, 2).code + DSN.create(451, null, 2, 2).reply`, "5.7.1 mine|4504.2.2 Mailbox full"},
		{`DSN.no_such_user().constructor.name + (DSN.no_such_user() instanceof DSN)`, "DSNtrue"},
		{`Object.keys(DSN).length`, "71"},
	})
}
