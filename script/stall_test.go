package script

import (
	"context"
	"syscall"
	"testing"
	"time"

	"github.com/tarishi/tarishi/plugin"
)

// stalls does what the sender's local part says.
const stalls = `
exports.hook_mail = function (next, connection, params) {
  switch (params[0].user) {
    case 'immediates': { const f = () => setImmediate(f); f(); return }
    case 'silent': return
    case 'pid': return next(DENY, '' + process.pid)
    case 'wait': setTimeout(next, 300, DENY, 'waited'); return
  }
  next()
}
`

// mailUntil asks hook mail until ctx ends.
func (v *visitor) mailUntil(ctx context.Context, from string) plugin.Verdict {
	v.tx = v.conn.Begin("01TX", addr(from))
	return v.chain.Run(ctx, &plugin.Event{Hook: plugin.Mail, Connection: v.conn, Transaction: v.tx, Address: v.tx.From()})
}

// A worker in which everybody waits is not stuck, however long it says nothing.
func TestAWorkerThatWaitsIsNotKilled(t *testing.T) {
	s := newStage(t, Options{Turn: 20 * time.Millisecond}, map[string]string{"stalls.js": stalls}, "stalls")
	silent, sister, before := s.visit(), s.visit(), s.visit()
	pid := before.pid()
	ctx, cancel := context.WithTimeout(context.Background(), 200*time.Millisecond)
	defer cancel()
	answered := make(chan plugin.Verdict)
	go func() {
		for s.pool.calls() == 0 {
			time.Sleep(time.Millisecond)
		}
		answered <- sister.mail("wait@a.test")
	}()
	silent.want("silence", silent.mailUntil(ctx, "silent@a.test"), plugin.Defer, "")
	sister.want("who waits beside it", <-answered, plugin.Refuse, "waited")
	if after := before.pid(); after != pid || s.pool.deaths.Load() != 0 {
		t.Errorf("the worker was killed")
	}
}

// A script that goes on for ever in small steps leaves the others their turns.
func TestEndlessSmallStepsKeepNobody(t *testing.T) {
	s := newStage(t, Options{}, map[string]string{"stalls.js": stalls}, "stalls")
	ctx, cancel := context.WithCancel(context.Background())
	gone := make(chan struct{})
	bad, good := s.visit(), s.visit()
	go func() { defer close(gone); bad.mailUntil(ctx, "immediates@a.test") }()
	for s.pool.calls() == 0 {
		time.Sleep(time.Millisecond)
	}
	good.want("beside it", good.mail("wait@a.test"), plugin.Refuse, "waited")
	cancel()
	<-gone
}

// One that does not even say that it lives is replaced long before anybody's time is
// over, and the calls that it had are made anew.
func TestAWorkerThatStandsStillIsReplaced(t *testing.T) {
	s := newStage(t, Options{Turn: 20 * time.Millisecond}, map[string]string{"stalls.js": stalls}, "stalls")
	v := s.visit()
	if err := syscall.Kill(v.pid(), syscall.SIGSTOP); err != nil {
		t.Fatal(err)
	}
	v.want("in another one", v.mail("good@a.test"), plugin.Cont, "")
}

// Workers that are killed again and again are there again at once.
func TestDeathsInARowKeepNobodyWaiting(t *testing.T) {
	s := newStage(t, Options{}, map[string]string{"stalls.js": stalls}, "stalls")
	ctx, cancel := context.WithTimeout(context.Background(), 3*time.Second) // of 8 in all without that
	defer cancel()
	v := s.visit()
	for n := range int64(6) {
		if err := syscall.Kill(v.pid(), syscall.SIGKILL); err != nil {
			t.Fatal(err)
		}
		for s.pool.deaths.Load() == n { // a call that it still begins would be to blame
			time.Sleep(time.Millisecond)
		}
		v.want("after a death", v.mailUntil(ctx, "good@a.test"), plugin.Cont, "")
	}
}

// Functions that stand side by side share a call. One that has answered is not given up
// for the one behind it, and each is counted its own time.
func TestEachFunctionIsCountedItsOwnTime(t *testing.T) {
	s := newStage(t, Options{Turn: 5 * time.Second}, map[string]string{
		"fast.js":  `exports.hook_mail = (next) => next()`,
		"heavy.js": `exports.hook_mail = (next) => { const end = Date.now() + 400; while (Date.now() < end); next() }`,
	})
	if err := s.chain.Close(context.Background()); err != nil {
		t.Fatal(err)
	}
	s.timeouts = map[string]time.Duration{"fast": 200 * time.Millisecond}
	if err := s.open(Options{Turn: 5 * time.Second}, "fast", "heavy"); err != nil {
		t.Fatal(err)
	}
	v := s.visit()
	v.want("fast before heavy", v.mail("a@a.test"), plugin.Cont, "")
	for _, f := range s.chain.List() {
		if heavy := f.Mean >= 399*time.Millisecond; heavy != (f.Plugin == "heavy") || f.Calls != 1 {
			t.Errorf("%s: %d calls, %v", f.Plugin, f.Calls, f.Mean)
		}
	}
}
