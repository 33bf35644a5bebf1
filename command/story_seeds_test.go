//go:build soak

// Long: a few hours each, many times over.

package command

import (
	"fmt"
	"math/rand/v2"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/tarishi/tarishi/mail"
	"github.com/tarishi/tarishi/smtp/smtptest"
)

// A seed is a few hours with receivers that do at each step whatever chance says,
// and a node that is stopped and killed at any moment. Nothing is known of who
// gets what; but every message has one end, and nothing is left.
func TestStorySeeds(t *testing.T) {
	seeds := 20
	if raceDetector || testing.Short() {
		seeds = 2
	}
	for seed := range seeds {
		t.Run(fmt.Sprint(seed), func(t *testing.T) { storySeed(t, uint64(seed)) })
	}
}

const (
	seedMail  = 90 * time.Minute // mail comes until then
	seedHeals = 2 * time.Hour    // receivers behave from then on
	seedRetry = "retry: {schedule: [30s, 2m, 10m, 25m], expire: 3h, delay_notice: 1h}\n"
	seedEnd   = 5*time.Hour + 30*time.Minute
)

func storySeed(t *testing.T, seed uint64) {
	bubble(t, func(t *testing.T, dir string) {
		r := rand.New(rand.NewPCG(seed, 7))
		s := newStory(t, storyConfig(t, dir, seedRetry+fmt.Sprintf("delivery: {connections: %d, per_connection: %d}\n", 1+r.IntN(8), 1+r.IntN(10))))
		s.anyEnd = true
		s.world.host("home.test").moody(s, rand.New(rand.NewPCG(seed, 8)), true)
		for i := range 6 {
			s.world.host(mail.Domain(fmt.Sprintf("d%d.test", i))).moody(s, rand.New(rand.NewPCG(seed, uint64(10+i))), false)
		}
		var letters []*letter
		for i := range 120 {
			l := &letter{name: fmt.Sprintf("s%d-%03d", seed, i), at: time.Duration(i) * seedMail / 120, from: fmt.Sprintf("u%d@home.test", i)}
			if r.IntN(8) == 0 {
				l.from = ""
			}
			for k := range 1 + r.IntN(5) {
				l.to = append(l.to, fmt.Sprintf("r%d-%d@d%d.test", i, k, r.IntN(6)))
			}
			size := 300 + r.IntN(20<<10)
			if r.IntN(20) == 0 {
				size = 100<<10 + r.IntN(1<<20)
			}
			l.data = compose(r, l.name, size)
			letters = append(letters, l)
		}

		s.start()
		for range 4 { // lives of the node
			at := s.clock() + time.Minute + time.Duration(r.Int64N(int64(seedMail/3)))
			letters = s.postUntil(letters, at)
			s.sleepUntil(at)
			if r.IntN(2) == 0 {
				s.stop()
			} else {
				s.postAll(burst(r, fmt.Sprintf("b%v", int(at.Seconds())), 10, fmt.Sprintf("d%d.test", r.IntN(6))))
				s.kill()
			}
			time.Sleep(time.Second + time.Duration(r.Int64N(int64(5*time.Minute))))
			s.start()
		}
		s.postUntil(letters, seedEnd)
		s.sleepUntil(seedEnd)
		s.stop()
		s.start()
		time.Sleep(time.Minute) // the sweep for bodies that earlier lives have left
		s.checkEmpty()
		s.stop()
		s.checkFates()
		s.checkRetries()
		for k, f := range s.fates {
			if len(f.delayed) > 1 {
				t.Errorf("%s to %s: told of the delay %d times", k.letter, k.recipient, len(f.delayed))
			}
		}
		t.Logf("%d messages, %d ends, %d doubts, %d made again", len(s.letters), len(s.fates), len(s.doubts), s.extra)
		s.end()
	})
}

// moody has a receiver do this or that at any step until it heals. A gentle one
// never says 5yz and always lets a transaction through in the end.
func (r *receiver) moody(s *story, chance *rand.Rand, gentle bool) {
	var mu sync.Mutex
	trouble := chance.Float64() * 0.15 // at each step
	if gentle {
		trouble /= 2
	}
	downFrom := time.Duration(chance.Int64N(int64(seedMail)))
	downFor := time.Duration(chance.Int64N(int64(seedMail)))
	r.refuses = func() bool {
		at := s.clock()
		return !gentle && at >= downFrom && at < downFrom+downFor
	}
	r.Decide = func(st smtptest.Step) (a smtptest.Answer, ruled bool) {
		mu.Lock()
		defer mu.Unlock()
		if s.clock() > seedHeals || chance.Float64() >= trouble {
			return a, false
		}
		switch n := chance.IntN(12); {
		case n < 4:
			a.Reply = "451 4.3.0 Not in the mood"
		case n < 6 && !gentle:
			a.Reply = "550 5.7.1 Go away"
		case n == 7:
			a.Reply = "421 4.3.2 Leaving"
		case n == 8:
			a.Cut = true
		case n == 9 && st.Verb != "DOT":
			a.Stall = true
		default:
			// Shorter than the client's patience with a dot: beyond that the mail is
			// rightly sent again, and nobody can know of it.
			a.Wait = time.Duration(chance.Int64N(int64(time.Minute)))
		}
		if strings.HasPrefix(a.Reply, "5") && st.Verb == "QUIT" {
			a.Reply = ""
		}
		return a, true
	}
}
