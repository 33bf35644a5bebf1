package command

import (
	"context"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"github.com/tarishi/tarishi/scheduler"
	"github.com/tarishi/tarishi/shaping"
	"github.com/tarishi/tarishi/smtp/smtptest"
)

// shy is a receiver with a limit that it tells nobody: above it every MAIL is
// answered 421.
type shy struct {
	mu       sync.Mutex
	began    time.Time
	limit    int // in any minute; 0: none any more
	taken    []time.Duration
	refused  []time.Duration
	relented time.Duration
}

func (s *shy) answer(step smtptest.Step) (smtptest.Answer, bool) {
	if step.Verb != "MAIL" {
		return smtptest.Answer{}, false
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	now := time.Since(s.began)
	if s.limit > 0 && within(s.taken, now-time.Minute, now) >= s.limit {
		s.refused = append(s.refused, now)
		return smtptest.Answer{Reply: "421 4.7.28 Our system has detected an unusual rate of mail"}, true
	}
	s.taken = append(s.taken, now)
	return smtptest.Answer{}, false
}

func (s *shy) relent() {
	s.mu.Lock()
	s.limit, s.relented = 0, time.Since(s.began)
	s.mu.Unlock()
}

// count is how many were taken and refused between two instants.
func (s *shy) count(from, to time.Duration) (taken, refused int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return within(s.taken, from, to), within(s.refused, from, to)
}

func within(ts []time.Duration, from, to time.Duration) (n int) {
	for _, t := range ts {
		if t >= from && t < to {
			n++
		}
	}
	return n
}

// The closed loop: a receiver refuses what comes faster than it likes, and says 421 to
// it. The node finds the rate by itself, stays about it without hammering, and is fast
// again when the receiver is. Everything but sockets and DNS is real, see TestStory.
func TestClosedLoop(t *testing.T) {
	if raceDetector || testing.Short() {
		t.Skip("it takes long under the race detector")
	}
	const hidden = 20 // a minute
	rules := `rules:
  - name: shy/rate
    for: [shy.test]
    when: {code: ["421"], text: unusual rate}
    class: RateLimited
    do: ["slow 0.5 from 80/1m floor 1/1m recover 2%/1m for 40m"]
`
	bubble(t, func(t *testing.T, dir string) {
		file := filepath.Join(dir, "rules.yaml")
		if err := os.WriteFile(file, []byte(rules), 0o600); err != nil {
			t.Fatal(err)
		}
		s := newStory(t, storyConfig(t, dir, "retry: {schedule: [1m], expire: 14h}\nreplies: {pack: off, files: ["+file+"]}\n"))
		r := s.world.host("shy.test")
		host := &shy{began: s.began, limit: hidden}
		r.Decide = host.answer
		s.start()
		s.postAll(burst(s.rand, "loop", 1100, "shy.test"))

		const found, relents = 5 * time.Minute, 25 * time.Minute
		s.sleepUntil(relents)
		early, bad := host.count(0, found)
		taken, refused := host.count(found, relents)
		minutes := int((relents - found) / time.Minute)
		t.Logf("at first: %d taken, %d refused; then %d and %d in %d minutes", early, bad, taken, refused, minutes)
		if bad > 100 {
			t.Errorf("%d refused in the first minutes: it hammers", bad)
		}
		if refused > minutes {
			t.Errorf("%d refused in %d minutes after the rate was found", refused, minutes)
		}
		if least := hidden * minutes * 6 / 10; taken < least {
			t.Errorf("%d taken in %d minutes, less than %d: the receiver would take %d", taken, minutes, least, hidden*minutes)
		}
		op := scheduler.NewOperator(s.node.council.reach, nil)
		if b := book(t, op); len(b.Reactions) != 1 || b.Reactions[0].Rule != "shy/rate" || b.Reactions[0].Times < 2 {
			t.Errorf("%+v", b.Reactions)
		}

		host.relent()
		s.sleepUntil(relents + 20*time.Minute)
		if n, bad := host.count(relents+10*time.Minute, relents+20*time.Minute); n < 10*hidden*3/2 || bad > 0 {
			t.Errorf("%d taken and %d refused in ten minutes after the receiver relented", n, bad)
		}
		s.sleepUntil(90 * time.Minute)
		if b := book(t, op); len(b.Reactions) != 0 {
			t.Errorf("it is not over: %+v", b.Reactions[0])
		}
		s.checkEmpty()
		s.stop()
		if n := r.Count(); n != 1100 {
			t.Errorf("%d of 1100 arrived", n)
		}
		s.end()
	})
}

func book(t *testing.T, op *scheduler.Operator) *shaping.Book {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	b, err := op.Book(ctx)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// One tenant that is held waits, and nobody else's mail to the same destination does,
// though nothing else limits it.
func TestOneTenantIsHeld(t *testing.T) {
	bubble(t, func(t *testing.T, dir string) {
		s := newStory(t, storyConfig(t, dir, "smtp: {tenant_header: X-Tenant}\nreplies: {pack: off}\n"))
		r := s.world.host("both.test")
		s.start()
		post := func(tenant string, n int) {
			ls := burst(s.rand, tenant, n, "both.test")
			for _, l := range ls {
				l.data = append([]byte("X-Tenant: "+tenant+"\r\n"), l.data...)
			}
			s.postAll(ls)
		}
		post("acme", 1) // so that the destination is known
		time.Sleep(5 * time.Second)
		op := scheduler.NewOperator(s.node.council.reach, nil)
		do, err := shaping.ParseRemedy("hold for 1h")
		if err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
		defer cancel()
		if _, err := op.Change(ctx, shaping.Change{Op: shaping.OpReact, Author: "ann", At: time.Now().UTC(), Triggers: []shaping.Trigger{
			{To: shaping.Destination{Key: "site:mx.both.test"}, Tenant: "acme", Remedy: do}}}, nil); err != nil {
			t.Fatal(err)
		}
		post("acme", 20)
		post("other", 20)
		time.Sleep(10 * time.Second)
		if n := r.Count(); n != 1+20 {
			t.Errorf("%d arrived while one tenant of two is held, not %d", n, 1+20)
		}
		time.Sleep(time.Hour)
		if n := r.Count(); n != 1+40 {
			t.Errorf("%d arrived in all, not %d", n, 1+40)
		}
		s.checkEmpty()
		s.stop()
		s.end()
	})
}
