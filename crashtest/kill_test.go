package crashtest

import (
	"context"
	"fmt"
	"math/rand/v2"
	"sync"
	"testing"
	"time"
)

// verdict is what the books say at the end of a run.
type verdict struct {
	lost, repeated, faults []string
	stuck                  []string // still queued though every receiver has been willing for long: kept, but mail must move
}

// judge fails the test for each list, and shows what the program logged about the first message of each.
func (r *run) judge(lists ...[]string) {
	r.t.Helper()
	for _, list := range lists {
		if len(list) == 0 {
			continue
		}
		report(r.t, list)
		if id := messageID.FindString(list[0]); id != "" {
			r.t.Logf("the program's log on %s:\n%s", id, r.node.logLines(id))
		}
	}
}

// run is one program under load, with its sink.
type run struct {
	t      *testing.T
	ledger *ledger
	sink   *sink
	node   *node
	source *source
	rng    *rand.Rand
	held   map[string]bool // destinations on hold

	first    int           // the mood to begin with
	patience time.Duration // for the queue to drain at the end
	stop     func()        // ends the load; may be called again
}

func newRun(t *testing.T, exe, data string, env ...string) *run {
	seed := newSeed(t)
	l := newLedger()
	r := &run{t: t, ledger: l, sink: newSink(t, l, seed), rng: rand.New(rand.NewPCG(seed, 1)), held: map[string]bool{}, patience: 90 * time.Second}
	r.node = newNode(t, exe, data, r.sink.addr, env...)
	r.source = &source{addr: r.node.smtp, ledger: l, clients: 6, pause: 10 * time.Millisecond, large: 12, domains: 6, seed: seed}
	return r
}

// load begins to send; the load goes on, through all deaths, until stop.
func (r *run) load() {
	ctx, cancel := context.WithCancel(context.Background())
	var wg sync.WaitGroup
	wg.Go(func() { r.source.run(ctx) })
	r.stop = func() { cancel(); wg.Wait() }
	r.t.Cleanup(r.stop)
}

// moods are what a receiver may be like while the program dies.
var moods = []struct {
	name string
	mood mood
}{
	{"mixed", mood{rcpt451: 20, dot451: 10, rcpt550: 3, lag: 20 * time.Millisecond}},
	{"slow", mood{lag: 80 * time.Millisecond}},
	{"refusing all", mood{rcpt451: 100}},
	{"refusing at the dot", mood{dot451: 100, lag: 10 * time.Millisecond}},
}

// round sets a mood and lets the load work for a moment of random length, in which a destination may be held or released.
func (r *run) round(i int) {
	r.t.Helper()
	m := moods[i%len(moods)]
	r.sink.set(m.mood)
	before := r.ledger.ackedCount()
	pauses := [2]time.Duration{}
	for k := range pauses {
		pauses[k] = 150*time.Millisecond + rand.N(600*time.Millisecond)
	}
	wait(context.Background(), pauses[0])
	d := fmt.Sprintf("d%d.crash.test", r.rng.IntN(r.source.domains))
	action := "hold"
	if r.held[d] {
		action = "release"
	}
	if _, err := r.node.run("queue", action, "--destination", d); err != nil {
		r.t.Errorf("queue %s --destination %s: %v", action, d, err)
	}
	r.held[d] = action == "hold"
	wait(context.Background(), pauses[1])
	// A kill with nothing under way would prove nothing.
	r.node.await(30*time.Second, "mail is acknowledged again", func() bool { return r.ledger.ackedCount() > before+20 })
	r.t.Logf("round %d: sink %s, %s %s, %s", i, m.name, action, d, r.ledger.totals())
}

// finish ends the load, heals everything, waits for the queue to drain and draws the balance.
func (r *run) finish() verdict {
	r.t.Helper()
	r.stop()
	r.sink.set(mood{})
	for d := range r.held {
		if _, err := r.node.run("queue", "release", "--destination", d); err != nil {
			r.t.Errorf("queue release --destination %s: %v", d, err)
		}
	}
	began := time.Now()
	queued := r.node.drain(r.patience)
	doubts := r.node.doubts()
	r.t.Logf("end: %s, %d doubts listed, %d refused for a while, drained in %v", r.ledger.totals(), len(doubts), r.source.refused.Load(), time.Since(began).Round(time.Millisecond))
	if r.ledger.ackedCount() == 0 {
		r.t.Error("not one message was acknowledged: this run proves nothing")
	}
	r.ledger.mu.Lock()
	faults := append([]string(nil), r.ledger.faults...)
	r.ledger.mu.Unlock()
	var stuck []string
	for _, d := range queued {
		stuck = append(stuck, fmt.Sprintf("STUCK %s: %s after %v with nothing in its way (%d attempts, due %v)", d.ID, d.State, r.patience, d.Attempts, d.Due))
	}
	return verdict{r.ledger.lost(openRecipients(queued)), r.ledger.repeated(doubts), faults, stuck}
}

// kills is kill -9 under load, so many times.
func (r *run) kills(times int) verdict {
	r.t.Helper()
	r.node.start()
	r.load()
	for i := range times {
		r.round(r.first + i)
		r.node.kill()
		r.node.start()
	}
	return r.finish()
}

// killRounds and cutRounds are raised by -tags soak.
var killRounds, cutRounds = 3, 3

// Kill -9 at random moments under load, during retries, with several destinations a message, large bodies, holds and
// releases: nothing that had its 250 is lost, every body is whole, and what arrives twice is listed by `queue doubts`.
func TestB11_kill9(t *testing.T) {
	r := newRun(t, buildProduct(t), t.TempDir()+"/data")
	v := r.kills(killRounds)
	r.judge(v.lost, v.repeated, v.faults, v.stuck)
	r.node.stop()
}

// SIGTERM under load, and on again: an orderly end loses nothing, repeats nothing and leaves no doubt.
func TestStop(t *testing.T) {
	r := newRun(t, buildProduct(t), t.TempDir()+"/data")
	r.node.start()
	r.load()
	for i := range 3 {
		r.round(i)
		r.node.stop()
		r.node.start()
	}
	v := r.finish()
	r.judge(v.lost, v.repeated, v.faults, v.stuck)
	if doubts := r.node.doubts(); len(doubts) > 0 {
		t.Errorf("%d doubts after orderly stops, the first: %+v", len(doubts), doubts[0])
	}
	r.node.stop()
}

// Hold and release while the same mail is being delivered, no kill at all: nothing is lost, and nothing arrives twice. What
// an operator's command has read may have been delivered before it comes to act on it.
func TestHoldUnderLoad(t *testing.T) {
	r := newRun(t, buildProduct(t), t.TempDir()+"/data")
	r.source.domains, r.source.large, r.source.pause = 2, 0, 2*time.Millisecond
	r.node.start()
	r.load()
	r.sink.set(mood{rcpt451: 30, lag: 5 * time.Millisecond})
	for range 12 {
		for _, action := range []string{"hold", "release"} {
			if _, err := r.node.run("queue", action, "--destination", "d0.crash.test"); err != nil {
				t.Errorf("queue %s: %v", action, err)
			}
			wait(t.Context(), 150*time.Millisecond)
		}
	}
	v := r.finish()
	r.judge(v.lost, v.repeated, v.faults, v.stuck)
	r.node.stop()
}

// The harness finds nothing in the honest fake, and the fault in each of the others.
func TestKill9_harness(t *testing.T) {
	self := fakeProgram(t)
	for _, c := range []struct {
		faults string
		found  func(v verdict) bool
	}{
		{"", nil},
		{"early", func(v verdict) bool { return len(v.lost) > 0 }},
		{"forget", func(v verdict) bool { return len(v.lost) > 0 }},
		{"nodoubt", func(v verdict) bool { return len(v.repeated) > 0 }},
		{"damage", func(v verdict) bool { return len(v.faults) > 0 }},
	} {
		t.Run("fake "+c.faults, func(t *testing.T) {
			t.Parallel()
			// A fault shows when the kill comes at its moment, which chance decides.
			for try := 0; ; try++ {
				r := newRun(t, self, t.TempDir()+"/data", "CRASHTEST_FAKE="+c.faults)
				r.patience, r.first = 15*time.Second, 1
				v := r.kills(2)
				if c.found == nil {
					r.judge(v.lost, v.repeated, v.faults, v.stuck)
					return
				}
				if c.found(v) {
					return
				}
				if try == 4 {
					t.Errorf("the fault was not found: %d lost, %d repeated, %d faults", len(v.lost), len(v.repeated), len(v.faults))
					return
				}
			}
		})
	}
}
