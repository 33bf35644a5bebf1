package script

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/tarishi/tarishi/plugin"
)

// hostile does what the sender's local part says.
const hostile = `
const kept = []
exports.hook_mail = function (next, connection, params) {
  switch (params[0].user) {
    case 'loop': for (;;) {}
    case 'microtasks': { const f = () => Promise.resolve().then(f); f(); return }
    case 'catch': for (;;) { try { for (;;) {} } catch (e) {} finally { continue } }
    case 'regexp': /^(?=(a+)+$)(a+)+$/.test('a'.repeat(40) + 'b'); return next()
    case 'eat': { const all = []; for (;;) all.push(new Array(1000).fill('x')) }
    case 'keep': for (;;) kept.push('x'.repeat(1000) + kept.length)
    case 'huge': return next(DENY, 'x'.repeat(1 << 29).length + '')
    case 'buffer': return next(DENY, '' + Buffer.alloc(4 * 1024 * 1024 * 1024).length)
    case 'deep': { const f = () => f() + 1; return next(DENY, f()) }
    case 'throw': throw new Error('at once')
    case 'timer': setTimeout(() => { throw new Error('in a timer') }, 1); return
    case 'reject': (async () => { await 1; throw new Error('nobody catches') })(); return
    case 'late': next(); setTimeout(() => { throw new Error('after the answer') }, 1); return
    case 'twice': next(); next(DENY, 'again'); return
    case 'silent': return
    case 'code': return next(17)
    case 'pid': return next(DENY, '' + process.pid)
    case 'wait': setTimeout(next, 50, DENY, 'waited'); return
  }
  connection.notes.count = (connection.notes.count || 0) + 1
  next()
}
`

// Whatever a script does, its own transaction is put off, and the next one is served.
func TestARunawayScriptHarmsOneTransaction(t *testing.T) {
	s := newStage(t, Options{Turn: 50 * time.Millisecond, Memory: 48 << 20}, map[string]string{"hostile.js": hostile}, "hostile")
	other := s.visit()
	other.want("before", other.mail("good@a.test"), plugin.Cont, "")
	for _, what := range []string{"loop", "microtasks", "catch", "regexp", "eat", "keep", "buffer", "throw", "deep", "timer", "reject", "code"} {
		v := s.visit()
		v.want(what, v.mail(what+"@a.test"), plugin.Defer, "hostile failed")
		v.want("the same client after "+what, v.mail("good@a.test"), plugin.Cont, "")
		other.want("another after "+what, other.mail("good@a.test"), plugin.Cont, "")
	}
	// What is over before anybody could look is not stopped, and harms nobody.
	v := s.visit()
	v.mail("huge@a.test")
	v.want("after huge", v.mail("good@a.test"), plugin.Cont, "")
	for _, what := range []string{"late", "twice"} {
		v := s.visit()
		v.want(what, v.mail(what+"@a.test"), plugin.Cont, "")
		// A timer of the same worker that is due later.
		v.want("after "+what, v.mail("wait@a.test"), plugin.Refuse, "waited")
	}
	if n := other.conn.Notes.Get("count"); n != 13.0 {
		t.Errorf("notes have counted %v visits, want 13, whatever workers died meanwhile", n)
	}
	log := s.log.String()
	for _, want := range []string{"at a stretch", "at once", "in a timer", "nobody catches", "too deep", "after the answer", "next was called again"} {
		if !strings.Contains(log, want) {
			t.Errorf("the log does not say %q", want)
		}
	}
}

// calls is how many are under way.
func (p *Pool) calls() (n int64) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, pr := range p.live {
		n += pr.under.Load()
	}
	return n
}

// pid is the worker's that a connection has.
func (v *visitor) pid() (pid int) {
	v.t.Helper()
	got := v.mail("pid@a.test")
	if _, err := fmt.Sscan(got.Reply.Text, &pid); err != nil {
		v.t.Fatalf("pid: %v %q", err, got.Reply.Text)
	}
	return pid
}

func TestAWorkerKilledInTheMiddleOfAHookIsReplaced(t *testing.T) {
	s := newStage(t, Options{}, map[string]string{"hostile.js": hostile}, "hostile")
	v := s.visit()
	before := v.pid()
	answered := make(chan plugin.Verdict)
	w := s.visit()
	go func() { answered <- w.mail("wait@a.test") }()
	for s.pool.calls() == 0 {
		time.Sleep(time.Millisecond)
	}
	if err := syscall.Kill(before, syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	w.want("the call that was under way", <-answered, plugin.Refuse, "waited")
	if after := v.pid(); after == before {
		t.Error("the dead worker answers")
	}
	v.want("the connection", v.mail("good@a.test"), plugin.Cont, "")
	if n := s.pool.deaths.Load(); n != 1 {
		t.Errorf("%d deaths are counted", n)
	}
}

// While one worker is busy with a runaway, those who were its connections are served by
// the other one.
func TestNobodyWaitsForARunaway(t *testing.T) {
	s := newStage(t, Options{Workers: 2, Turn: 5 * time.Second}, map[string]string{"hostile.js": hostile}, "hostile")
	bad := s.visit()
	bad.want("before", bad.mail("good@a.test"), plugin.Cont, "")
	sister := s.visit()
	for sister.pid() != bad.pid() {
		sister = s.visit()
	}
	ctx, cancel := context.WithCancel(context.Background())
	gone := make(chan struct{})
	go func() {
		defer close(gone)
		tx := bad.conn.Begin("01TX", addr("loop@a.test"))
		bad.chain.Run(ctx, &plugin.Event{Hook: plugin.Mail, Connection: bad.conn, Transaction: tx, Address: tx.From()})
	}()
	pr := s.pool.bond(bad.conn).pr
	for !pr.stuck() {
		time.Sleep(5 * time.Millisecond)
	}
	sister.want("its sister", sister.mail("good@a.test"), plugin.Cont, "")
	if s.pool.bond(sister.conn).pr == pr {
		t.Error("it is served by the worker that loops")
	}
	cancel()
	<-gone
}

func TestAScriptThatSaysNothingIsGivenUp(t *testing.T) {
	s := newStage(t, Options{}, map[string]string{"hostile.js": hostile}, "hostile")
	v := s.visit()
	ctx, cancel := context.WithTimeout(context.Background(), 50*time.Millisecond)
	defer cancel()
	v.tx = v.conn.Begin("01TX", v.conn.Begin("", addr("silent@a.test")).From())
	got := v.chain.Run(ctx, &plugin.Event{Hook: plugin.Mail, Connection: v.conn, Transaction: v.tx, Address: addr("silent@a.test")})
	v.want("silence", got, plugin.Defer, "")
	v.want("and then", v.mail("good@a.test"), plugin.Cont, "")
	if n := s.pool.deaths.Load(); n != 0 {
		t.Errorf("the worker died of it")
	}
}

// A connection that outlives a set of scripts goes on with the next one, with its
// notes.
func TestNotesSurviveAReload(t *testing.T) {
	s := newStage(t, Options{}, map[string]string{"hostile.js": hostile}, "hostile")
	v := s.visit()
	v.want("before", v.mail("good@a.test"), plugin.Cont, "")
	old := s.chain
	defer func() {
		if err := old.Close(context.Background()); err != nil {
			t.Error(err)
		}
	}()
	if err := os.WriteFile(filepath.Join(s.folder, "hostile.js"), []byte(strings.Replace(hostile, "|| 0) + 1", "|| 0) + 10", 1)), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := s.open(Options{}, "hostile"); err != nil {
		t.Fatal(err)
	}
	// A transaction that began before keeps its chain.
	e := &plugin.Event{Hook: plugin.Mail, Connection: v.conn, Transaction: v.tx, Address: v.tx.From()}
	v.want("the old scripts", old.Run(context.Background(), e), plugin.Cont, "")
	v.want("after", v.mail("good@a.test"), plugin.Cont, "")
	if n := v.conn.Notes.Get("count"); n != 12.0 {
		t.Errorf("count is %v, want 12", n)
	}
}

func TestAScriptThatCannotBeLoadedSaysWhy(t *testing.T) {
	for text, want := range map[string]string{
		"exports.hook_mail = function ( {":                                               "bad.js",
		"require('child_process')":                                                       "child_process",
		"exports.register = function () { this.register_hook('mial', 'x') }":             `there is no hook "mial"`,
		"exports.register = function () { this.register_hook('mail', 'x', 1000) }":       "priority",
		"exports.register = function () { this.inherits('nobody') }":                     "nobody.js",
		"exports.hook_init_http = function () {}":                                        "init_http",
		"exports.register = function () { for (;;) {} }":                                 "at a stretch",
		"exports.register = function () { throw new Error('not today') }":                "not today",
		"exports.register = function () { this.register_hook('mail'); undefined.x = 1 }": "undefined",
	} {
		s := &stage{t: t, folder: t.TempDir(), log: &journal{}}
		for name, text := range map[string]string{"good.js": "exports.hook_mail = (next) => next()", "bad.js": text} {
			if err := os.WriteFile(filepath.Join(s.folder, name), []byte(text), 0o600); err != nil {
				t.Fatal(err)
			}
		}
		err := s.open(Options{Turn: 50 * time.Millisecond}, "good", "bad")
		if err == nil || !strings.Contains(err.Error(), want) || !strings.Contains(err.Error(), "plugin bad") {
			t.Errorf("%s: the error is %v, want one with %q", text, err, want)
		}
	}
}
