package command

import (
	"fmt"
	"math/rand/v2"
	"net/textproto"
	"os"
	"runtime/debug"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/nats-io/nats-server/v2/server/ats"

	"github.com/tarishi/tarishi/daemon"
	"github.com/tarishi/tarishi/mail"
)

// The story: a day of a node in a bubble of fake time, from the client's EHLO to
// the receiver's 250. SMTP, JetStream on disk, queue and deliverer are the real
// ones, wired by serve's own functions; only sockets and DNS are not.
//
//	00:00  mail begins to come: a few hundred messages until 16:00
//	02:17  the node is stopped, and started three minutes later
//	06:00  a burst, and in its middle the process is killed; back after half a minute
//	10:00  back.test answers again
//	17:00  the last message to gone.test has been given up
//	24:00  every message is accounted for
const (
	storyRetry   = "retry: {schedule: [1m, 5m, 15m, 1h], expire: 14h, delay_notice: 4h}\n"
	storyLimits  = "limits: [{to: slow.test, connections: 2}]\n"
	storyExpire  = 14 * time.Hour // as in storyRetry
	storyNotice  = 4 * time.Hour
	greyFor      = 20 * time.Minute
	slowFor      = 20 * time.Second
	backAt       = 10 * time.Hour
	stopAt       = 2*time.Hour + 17*time.Minute
	stopFor      = 3 * time.Minute
	killAt       = 6 * time.Hour
	killFor      = 30 * time.Second
	storyLength  = 24 * time.Hour
	lastLetterAt = 16 * time.Hour
)

func TestStory(t *testing.T) {
	if raceDetector || testing.Short() {
		t.Skip("a day takes minutes under the race detector; with -tags soak TestStorySeeds runs there")
	}
	bubble(t, func(t *testing.T, dir string) {
		s := newStory(t, storyConfig(t, dir, storyRetry+storyLimits))
		s.world.host("home.test") // where the senders live
		s.world.host("normal.test")
		s.world.host("grey.test").greylist(greyFor)
		s.world.host("mixed.test").mixed()
		s.world.host("slow.test").slow(slowFor)
		s.world.host("tar.test").tarpit(slowFor)
		s.world.host("back.test").refuses = func() bool { return s.clock() < backAt }
		s.world.host("gone.test").refuses = func() bool { return true }
		s.prompt = map[mail.Domain]bool{"home.test": true, "normal.test": true, "grey.test": true, "mixed.test": true}
		letters := dayOfMail(rand.New(rand.NewPCG(2026, 11)))

		s.start()
		letters = s.postUntil(letters, stopAt)
		s.sleepUntil(stopAt)
		s.stop()
		s.sleepUntil(stopAt + stopFor)
		s.start()
		letters = s.postUntil(letters, killAt)

		// The burst of 06:00 has posted its messages for slow.test, whose first two are
		// under way; half of a large message is in the store when the process dies.
		s.sleepUntil(killAt + 30*time.Second)
		half := &letter{name: "half", from: "half@home.test", to: []string{"half@normal.test"}, data: compose(s.rand, "half", 3<<20)}
		c := s.beginLetter(half)
		s.postAll(burst(s.rand, "mid", 60, "normal.test"))
		s.kill()
		_ = c.Close()
		s.sleepUntil(killAt + 30*time.Second + killFor)
		s.start()
		s.postAll([]*letter{half})
		if left := s.postUntil(letters, storyLength); len(left) > 0 {
			t.Fatalf("%d messages were never posted", len(left))
		}
		s.sleepUntil(storyLength)

		s.checkEmpty()
		s.stop()
		s.checkFates()
		s.checkRetries()
		s.checkDelays(storyNotice, "back.test", "gone.test")
		s.checkDay()
		s.end()
	})
}

// checkDay checks what is particular to this day.
func (s *story) checkDay() {
	s.t.Helper()
	if got := s.world.receivers["slow.test"].maxOpen; got != 2 {
		s.t.Errorf("slow.test had %d connections at a time, allowed and needed are 2", got)
	}
	if len(s.doubts) < 2 {
		s.t.Errorf("%d doubts after a death with two transactions waiting for the reply to their dot", len(s.doubts))
	}
	if s.extra == 0 {
		s.t.Error("the receiver that had the message when the process died never got it again; the kill came at the wrong moment")
	}
	for _, x := range s.log.attempts {
		// Back at ten, and known to be within its longest pause and a turn of the schedule.
		if x.destination == "back.test" && x.status == "deferred" && x.ended.After(s.began.Add(backAt)) {
			s.t.Errorf("%s: deferred at %v: %s", x.delivery, x.ended.Sub(s.began), x.reply)
		}
	}
	for _, l := range s.letters {
		for _, to := range l.to {
			f := s.fates[fateOf{l.name, to}]
			switch at := f.at.Sub(l.accepted); domainOf(to) {
			case "gone.test":
				// Expired when its time was up, not before and at most one pause of a dead host after.
				if at < storyExpire-time.Second || at > storyExpire+12*time.Minute {
					s.t.Errorf("%s to %s was given up after %v, its time is %v", l.name, to, at, storyExpire)
				}
			case "back.test":
				if came := f.at.Sub(s.began); came < backAt || l.at < backAt && came > backAt+80*time.Minute {
					s.t.Errorf("%s to %s arrived at %v", l.name, to, came)
				}
			case "tar.test":
				if at > 8*time.Minute { // a minute's pause, a dialogue of a minute, and the stop
					s.t.Errorf("%s to %s arrived after %v", l.name, to, at)
				}
			case "grey.test":
				if at < greyFor || at > 92*time.Minute { // 1, 5, 15 minutes may add up to less than 20

					s.t.Errorf("%s to %s arrived after %v", l.name, to, at)
				}
			}
		}
	}
}

// dayOfMail is a few hundred letters, in the order of their times.
func dayOfMail(r *rand.Rand) []*letter {
	var ls []*letter
	for i := range 320 {
		l := &letter{name: fmt.Sprintf("m%03d", i), at: time.Duration(r.Int64N(int64(lastLetterAt)))}
		l.from = fmt.Sprintf("u%d@home.test", i)
		if r.IntN(12) == 0 {
			l.from = ""
		}
		domains := []string{"normal.test", "normal.test", "normal.test", "grey.test", "mixed.test", "mixed.test", "slow.test", "tar.test", "back.test", "gone.test"}
		n := 1
		if r.IntN(5) == 0 {
			n = 2 + r.IntN(3)
		}
		for k := range n {
			switch d := domains[r.IntN(len(domains))]; {
			case d == "gone.test" && l.at > 3*time.Hour:
				l.to = append(l.to, fmt.Sprintf("r%d-%d@normal.test", i, k)) // would not have expired by the end of the day
			case d == "mixed.test":
				for j, name := range []string{"good", "bad", "later"}[r.IntN(3):] {
					l.to = append(l.to, fmt.Sprintf("%s%d-%d-%d@mixed.test", name, i, k, j))
				}
			default:
				l.to = append(l.to, fmt.Sprintf("r%d-%d@%s", i, k, d))
			}
		}
		size := 500 + r.IntN(8<<10)
		switch r.IntN(24) {
		case 0:
			size = 1<<20 + r.IntN(1<<20)
		case 1, 2, 3:
			size = 65<<10 + r.IntN(200<<10)
		}
		l.data = compose(r, l.name, size)
		ls = append(ls, l)
	}
	for _, l := range burst(r, "slow", 30, "slow.test") {
		l.at = killAt - time.Millisecond
		ls = append(ls, l)
	}
	slices.SortStableFunc(ls, func(a, b *letter) int { return int(a.at - b.at) })
	return ls
}

// burst is n letters to one domain.
func burst(r *rand.Rand, name string, n int, domain string) []*letter {
	var ls []*letter
	for i := range n {
		l := &letter{name: fmt.Sprintf("%s-%02d", name, i), from: name + "@home.test", to: []string{fmt.Sprintf("%s%d@%s", name, i, domain)}}
		l.data = compose(r, l.name, 500+r.IntN(3000))
		ls = append(ls, l)
	}
	return ls
}

// bubble runs a story in fake time, which passes only while everybody waits.
func bubble(t *testing.T, run func(t *testing.T, dir string)) {
	t.Helper()
	// JetStream's own clock lives outside, where real time passes: inside, its channel
	// of another world would keep fake time from passing at all.
	ats.Register()
	defer ats.Unregister()
	defer debug.SetGCPercent(debug.SetGCPercent(400))
	dir, now := memoryDir(t), time.Now()
	synctest.Test(t, func(t *testing.T) {
		// A bubble begins in the year 2000. By JetStream's clock the journal of that
		// year is too old to be kept.
		time.Sleep(time.Until(now))
		run(t, dir)
	})
}

// memoryDir is a folder on a disk in memory, where there is one: a day has tens of
// thousands of commits, and no story cuts the power.
func memoryDir(t *testing.T) string {
	dir, err := os.MkdirTemp("/dev/shm", "tarishi-story-")
	if err != nil {
		return t.TempDir()
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	return dir
}

// storyConfig is a configuration as an operator would write it.
func storyConfig(t *testing.T, dir, more string) *daemon.Config {
	t.Helper()
	c, err := daemon.Parse("story.yaml", fmt.Appendf(nil, "hostname: mta.story.test\ndata: %s\n%s", dir, more), nil)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// story is a run of one node, its clients and the world, with what is known of them.
type story struct {
	t     *testing.T
	conf  *daemon.Config
	world *world
	log   *storyLog
	rand  *rand.Rand
	node  *storyNode
	began time.Time

	schedule []time.Duration // of retries
	expire   time.Duration
	prompt   map[mail.Domain]bool // receivers for which nothing due stands in line

	letters []*letter
	down    []downtime // when no node ran
	kills   []downtime // from the decision until nothing could be written
	remains []func()

	doubts map[string]int // by delivery id, from the queue's own list
	fates  map[fateOf]*fate
	extra  int  // deliveries made more than once
	anyEnd bool // the receivers decide at random who fails
}

type downtime struct{ from, to time.Time }

func newStory(t *testing.T, c *daemon.Config) *story {
	return &story{t: t, conf: c, schedule: c.Retry.Schedule, expire: c.Retry.Expire, world: newWorld(), log: newStoryLog(), rand: rand.New(rand.NewPCG(1, 2)), began: time.Now(),
		doubts: map[string]int{}, fates: map[fateOf]*fate{}}
}

func (s *story) clock() time.Duration { return time.Since(s.began) }

func (s *story) sleepUntil(at time.Duration) { time.Sleep(at - s.clock()) }

func (s *story) start() {
	s.t.Helper()
	if n := len(s.down); n > 0 {
		s.down[n-1].to = time.Now()
	}
	s.node = startNode(s.t, s.conf, s.world, s.log)
}

func (s *story) stop() {
	s.t.Helper()
	s.noteDoubts()
	s.down = append(s.down, downtime{from: time.Now()})
	s.node.stop(s.conf.Drain)
	s.node = nil
}

func (s *story) kill() {
	s.down = append(s.down, downtime{from: time.Now()})
	from := time.Now()
	s.remains = append(s.remains, s.node.kill())
	s.kills = append(s.kills, downtime{from, time.Now()})
	s.node = nil
}

// postUntil posts letters at their times and returns those that come later.
func (s *story) postUntil(ls []*letter, until time.Duration) []*letter {
	s.t.Helper()
	for len(ls) > 0 && ls[0].at < until {
		s.sleepUntil(ls[0].at)
		n := 1
		for n < len(ls) && ls[n].at == ls[0].at {
			n++
		}
		s.postAll(ls[:n])
		ls = ls[n:]
	}
	return ls
}

// postAll posts letters over several connections at once.
func (s *story) postAll(ls []*letter) {
	s.t.Helper()
	var all sync.WaitGroup
	slots := make(chan struct{}, 8)
	for _, l := range ls {
		slots <- struct{}{}
		all.Go(func() {
			defer func() { <-slots }()
			if err := l.post(s.node); err != nil {
				s.t.Errorf("%s was not accepted: %v", l.name, err)
			}
		})
	}
	all.Wait()
	s.letters = append(s.letters, ls...)
}

func (s *story) beginLetter(l *letter) *textproto.Conn {
	s.t.Helper()
	c, err := l.begin(s.node)
	if err != nil {
		s.t.Fatal(err)
	}
	return c.Conn
}

// end lets the last timers run out; whoever still waits after that has been
// forgotten, and the bubble says so.
func (s *story) end() {
	s.t.Helper()
	for _, gone := range s.remains {
		gone()
	}
	s.world.close()
	time.Sleep(10 * time.Minute)
}
