package api

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"strings"
	"testing"
	"time"
)

// peer listens on loopback and serves one connection.
func peer(t *testing.T, serve func(net.Conn)) (port int) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		c, err := l.Accept()
		if err != nil {
			return
		}
		defer c.Close()
		serve(c)
	}()
	t.Cleanup(func() { l.Close(); <-done })
	return l.Addr().(*net.TCPAddr).Port
}

// echo answers every line, and ends when the client has ended.
func echo(c net.Conn) {
	s := bufio.NewScanner(c)
	for s.Scan() {
		fmt.Fprintf(c, "%s!\r\n", s.Text())
	}
}

func (w *testWorld) port(n int) *testWorld {
	w.inside(func() { w.vm.Set("port", n) })
	return w
}

func TestSocket(t *testing.T) {
	w := newWorld(t, nil).withRequire()
	w.eval(`const net = require('net')`)
	w.port(peer(t, echo)).table([][2]string{{script(`return new Promise((done) => {
		const out = [], s = net.connect(port, '127.0.0.1');
		out.push(s.connecting, s.readyState, s.writable);
		s.setEncoding('utf8');
		s.on('connect', () => out.push('connect', s.remoteAddress, s.remotePort === port, s.remoteFamily, s.address().address, s.readyState));
		s.on('data', (text) => { out.push(text.trim()); s.end() });
		s.on('end', () => out.push('end'));
		s.on('close', (bad) => { out.push('close', bad, s.bytesWritten, s.bytesRead, s.destroyed); done(out.join()) });
		s.write('hello\r\n');
	})`), "true,opening,true,connect,127.0.0.1,true,IPv4,127.0.0.1,open,hello!,end,close,false,7,8,true"}})

	// The peer ends first: without allowHalfOpen, so do we.
	w.port(peer(t, func(c net.Conn) { io.WriteString(c, "220 hi\r\n") })).table([][2]string{{script(`return new Promise((done) => {
		const out = [], s = new net.Socket();
		s.connect({ port, host: 'localhost' }, () => out.push('listener'));
		s.on('lookup', (err, ip, family) => out.push(ip, family));
		s.on('data', (b) => out.push(Buffer.isBuffer(b), String(b).trim()));
		s.on('end', () => out.push('end'));
		s.on('close', () => done(out.join()));
	})`), "127.0.0.1,4,listener,true,220 hi,end"}})

	w.table([][2]string{{`Buffer.from(new Uint8Array([1, 2]).buffer).toString('hex') + require('crypto').createHash('md5').update(new Uint8Array(0)).update(new DataView(new ArrayBuffer(1))).digest('hex')`, "010293b885adfe0da089cdf634904fd59f71"}})

	// Whoever listens late misses nothing; paused, nothing comes.
	for _, listen := range []string{"s.once('data', got)", "s.prependListener('data', got)", "s.addListener('data', got)", "require('events').once(s, 'data').then(([b]) => got(b))"} {
		w.port(peer(t, func(c net.Conn) { io.WriteString(c, "one"); io.ReadAll(c) })).table([][2]string{{script(`return new Promise((done) => {
			const s = net.connect(port, '127.0.0.1'), got = (b) => { s.destroy(); done(String(b)) };
			setTimeout(got, 2000, 'nothing came'); ` + listen + ` })`), "one"}})
	}
	w.port(peer(t, func(c net.Conn) { io.WriteString(c, "one"); io.ReadAll(c) })).table([][2]string{{script(`return new Promise((done) => {
		const out = [], s = net.connect(port, '127.0.0.1', () => setTimeout(() => {
			s.pause();
			s.on('data', (b) => { out.push(String(b)); s.destroy() });
			setTimeout(() => { out.push(s.isPaused()); s.resume() }, 5);
		}, 5));
		s.on('close', () => done(out.join()));
	})`), "true,one"}})

	// Characters are whole, however the pieces fall.
	w.port(peer(t, func(c net.Conn) {
		for _, b := range []byte("€ü") {
			c.Write([]byte{b})
		}
	})).table([][2]string{{script(`return new Promise((done) => { let text = '';
		net.connect(port, '127.0.0.1').setEncoding('utf8').on('data', (s) => { text += s }).on('close', () => done(text)) })`), "€ü"}})
}

func TestSocketFaults(t *testing.T) {
	w := newWorld(t, nil, withZone).withRequire()
	w.eval(`const net = require('net'); const fault = (s) => new Promise((done) => { let e; s.on('error', (err) => { e = err }).on('close', (bad) => done([e.code, e.syscall, e.message, bad].join())) })`)
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	closed := l.Addr().(*net.TCPAddr).Port
	l.Close()
	w.port(closed).table([][2]string{
		{`fault(net.connect(port, '127.0.0.1')).then((s) => s.replaceAll(port, 'PORT'))`, "ECONNREFUSED,connect,connect ECONNREFUSED 127.0.0.1:PORT,true"},
		{`fault(net.connect(25, 'none.example'))`, "ENOTFOUND,getaddrinfo,getaddrinfo ENOTFOUND none.example,true"},
		{`fault(net.connect({ path: '/nonexistent/socket' }))`, "ENOENT,connect,connect ENOENT /nonexistent/socket,true"},
		{`net.connect(0)`, "error: RangeError: Port should be > 0 and < 65536. Received 0."},
		{`net.createServer()`, "error: Error: net.createServer: scripts do not have it (docs/scripts.md)"},
		{`new net.Socket().pipe()`, "error: Error: net.pipe: scripts do not have it (docs/scripts.md)"},
		{`net.connect({ port: 25, lookup() {} })`, "error: Error: net.connect: scripts do not have the option lookup (docs/scripts.md)"},
		{`new Promise((done) => { const s = new net.Socket(); s.on('error', (e) => done(e.code)); s.write('x') })`, "EPIPE"},
		{`new net.Socket().write(7)`, `error: TypeError: The "chunk" argument must be of type string or an instance of Buffer or Uint8Array.`},
	})
	// Nobody listens for the error: it is the owner's.
	o := &owner{failed: make(chan error, 10)}
	w.Do(o, func() error { _, err := w.vm.RunString(`net.connect(port, '127.0.0.1')`); return err })
	if err := <-o.failed; !strings.Contains(err.Error(), "ECONNREFUSED") {
		t.Error(err)
	}
}

// setTimeout tells of silence, and a socket that is destroyed ends its goroutines.
func TestSocketTimeout(t *testing.T) {
	w := newWorld(t, nil).withRequire()
	w.port(peer(t, func(c net.Conn) { io.ReadAll(c) })).table([][2]string{{script(`return new Promise((done) => {
		const out = [], s = require('net').connect(port, '127.0.0.1');
		s.setTimeout(5, () => { out.push('timeout', s.readyState); s.destroy(new Error('too slow')) });
		s.on('error', (e) => out.push(e.message));
		s.on('close', (bad) => setTimeout(() => done([...out, bad].join()), 2));
	})`), "timeout,open,too slow,true"}})
	w.inside(func() {
		if n := len(w.sockets); n != 0 {
			t.Errorf("%d sockets are left", n)
		}
	})
}

// No socket stays for ever: neither one that is silent, nor one that nobody reads, nor
// one of which only our half is open.
func TestSilentSocketsEnd(t *testing.T) {
	for name, x := range map[string]struct {
		serve func(net.Conn)
		on    string
	}{
		"silent":    {func(c net.Conn) { io.ReadAll(c) }, ""},
		"paused":    {func(c net.Conn) { io.WriteString(c, "x"); io.ReadAll(c) }, "s.pause()"},
		"half open": {func(c net.Conn) { c.(*net.TCPConn).CloseWrite(); io.ReadAll(c) }, "s.resume()"},
	} {
		w := newWorld(t, nil).withRequire()
		w.inside(func() { w.idle = 20 * time.Millisecond })
		got := w.port(peer(t, x.serve)).eval(script(`return new Promise((done) => {
			const s = require('net').connect({ port, host: '127.0.0.1', allowHalfOpen: true }); let code; ` + x.on + `
			s.on('error', (e) => { code = e.code }).on('close', () => done(code)) })`))
		if got != "ETIMEDOUT" {
			t.Errorf("%s: %s", name, got)
		}
	}
}

// A peer that does not read keeps what is written waiting, and drain tells when to go on.
func TestSocketDrain(t *testing.T) {
	read := make(chan struct{})
	w := newWorld(t, nil).withRequire()
	w.inside(func() { w.vm.Set("read", func() { close(read) }) })
	w.port(peer(t, func(c net.Conn) { <-read; io.Copy(io.Discard, c) })).table([][2]string{{script(`return new Promise((done) => {
		const s = require('net').connect(port, '127.0.0.1', () => {
			const room = s.write(Buffer.alloc(16 << 20));
			const out = [room, s.writableLength > 65536];
			s.on('drain', () => { out.push('drain', s.writableLength, s.bytesWritten); s.end() });
			s.on('close', () => done(out.join()));
			read();
		});
	})`), "false,true,drain,0,16777216"}})
}

func TestSocketsAreBounded(t *testing.T) {
	w := newWorld(t, nil, withZone).withRequire()
	got := w.eval(script(`const net = require('net'); let n = 0;
		try { for (;;) { net.connect(25, 'silent.example').on('error', () => {}); n++ } } catch (e) { return n + e.code }`))
	if got != "256EMFILE" {
		t.Error(got)
	}
}
