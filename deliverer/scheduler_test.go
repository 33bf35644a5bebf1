package deliverer

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/tarishi/tarishi/mail"
	"github.com/tarishi/tarishi/shaping"
)

// memScheduler is the scheduler in memory: exact sliding windows, permits that
// live for a moment, slots with a lease. It answers after rtt and checks that what
// it gave is used as it must be.
type memScheduler struct {
	t   testing.TB
	out func() *Deliverer
	rtt time.Duration
	// life is how long a permit may be begun.
	life time.Duration

	mu      sync.Mutex
	down    bool
	version uint64
	key     func(mail.Domain, []string) shaping.Destination
	rules   map[string]memRule // by key; "*" for all others
	weights map[string]int     // by tenant
	lanes   map[memKey]*memPermits
	slots   map[shaping.Destination]*memSlots
	turning bool
	frozen  bool // grants nothing and says nothing
}

// memRule is what limits one destination.
type memRule struct {
	messages, recipients, dials []memWindow
	perTenant                   bool
	connections, perConnection  int
	suspended                   bool
	high                        int // percent of each window that is kept for high mail
}

type memWindow struct {
	max    int
	length time.Duration
}

type memKey struct {
	to     shaping.Destination
	tenant string
	class  mail.Class
	dial   bool
}

// memUse is one start as it was reported.
type memUse struct {
	at         time.Time
	recipients int
	tenant     string
}

type memPermits struct {
	s     *memScheduler
	k     memKey
	clock float64 // goes on by a part of one with each permit, the smaller the heavier the tenant
	want  want
	wants []want
	free  []*memPermit
	hold  Hold
	uses  []memUse
	late  int
	void  int // begun too late, and refused
	back  int // given back, or lapsed
}

type memPermit struct {
	p          *memPermits
	recipients int
	until      time.Time
	state      string // free, taken, begun, used, void, back
}

func newMemScheduler(t testing.TB) *memScheduler {
	return &memScheduler{t: t, rtt: 10 * time.Millisecond, life: 300 * time.Millisecond, version: 1,
		rules: map[string]memRule{}, lanes: map[memKey]*memPermits{}, slots: map[shaping.Destination]*memSlots{},
		key: func(d mail.Domain, mx []string) shaping.Destination {
			if mx == nil {
				return shaping.Destination{Key: "domain:" + string(d)}
			}
			return shaping.Destination{Key: "site:" + strings.Join(mx, ",")}
		}}
}

func (s *memScheduler) Live() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return !s.down
}

func (s *memScheduler) Version() uint64 {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.version
}

func (s *memScheduler) Destination(d mail.Domain, mx []string) shaping.Destination {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.key(d, mx)
}

func (s *memScheduler) rule(to shaping.Destination) memRule {
	if r, ok := s.rules[to.Key]; ok {
		return r
	}
	return s.rules["*"]
}

func (s *memScheduler) Weight(tenant string) int { return max(s.weights[tenant], 1) }

func (s *memScheduler) Limits(to shaping.Destination, tenant string, _ mail.Class) Limits {
	s.mu.Lock()
	defer s.mu.Unlock()
	r := s.rule(to)
	l := Limits{Permits: len(r.messages)+len(r.recipients) > 0, Tenants: r.perTenant, Dials: len(r.dials) > 0, Slots: r.connections > 0,
		Connections: r.connections, PerConnection: r.perConnection, Suspended: r.suspended}
	for _, w := range r.recipients {
		if l.MaxRecipients == 0 || w.max < l.MaxRecipients {
			l.MaxRecipients = w.max
		}
	}
	if r.suspended {
		l.Why = "suspended"
	}
	return l
}

func (s *memScheduler) lane(k memKey) *memPermits {
	s.mu.Lock()
	defer s.mu.Unlock()
	p := s.lanes[k]
	if p == nil {
		p = &memPermits{s: s, k: k}
		s.lanes[k] = p
	}
	return p
}

func (s *memScheduler) Permits(to shaping.Destination, tenant string, class mail.Class) Permits {
	return s.lane(memKey{to, tenant, class, false})
}

func (s *memScheduler) Dials(to shaping.Destination) Permits {
	return s.lane(memKey{to: to, dial: true})
}

func (s *memScheduler) Slots(to shaping.Destination) Slots {
	s.mu.Lock()
	defer s.mu.Unlock()
	x := s.slots[to]
	if x == nil {
		x = &memSlots{s: s, to: to}
		s.slots[to] = x
	}
	return x
}

// set changes the rule of a key and tells the deliverer.
func (s *memScheduler) set(key string, r memRule) {
	s.mu.Lock()
	s.rules[key] = r
	s.version++
	s.mu.Unlock()
	if d := s.out(); d != nil {
		d.RulesChanged()
	}
	s.poke()
}

// live sets whether the session lives.
func (s *memScheduler) live(yes bool) {
	s.mu.Lock()
	s.down = !yes
	s.mu.Unlock()
	s.poke()
}

// poke has the scheduler take its turn after rtt.
func (s *memScheduler) poke() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.pokeIn(s.rtt)
}

func (s *memScheduler) pokeIn(t time.Duration) {
	if !s.turning {
		s.turning = true
		time.AfterFunc(t, s.turn)
	}
}

// turn grants what windows and slots have room for.
func (s *memScheduler) turn() {
	now := time.Now()
	var news []memKey
	s.mu.Lock()
	s.turning = false
	if !s.down && !s.frozen {
		keys := make([]memKey, 0, len(s.lanes))
		for k := range s.lanes {
			keys = append(keys, k)
		}
		slices.SortFunc(keys, func(a, b memKey) int { return strings.Compare(fmt.Sprint(a), fmt.Sprint(b)) })
		again := time.Time{}
		told := map[memKey]bool{}
		full := map[memKey]bool{}
		for _, k := range keys {
			s.lanes[k].lapse(now)
		}
		for {
			p := s.first(keys, full)
			if p == nil {
				break
			}
			next, why := s.room(p, now)
			if !next.After(now) {
				n := max(p.want.head, 1)
				p.free = append(p.free, &memPermit{p: p, recipients: n, until: now.Add(s.life), state: "free"})
				p.hold = Hold{}
				p.clock += 1 / float64(s.Weight(p.k.tenant))
				time.AfterFunc(s.life, s.poke)
				told[p.k] = true
				continue
			}
			full[p.k] = true
			if !next.Equal(p.hold.NotBefore) {
				p.hold = Hold{NotBefore: next, Why: why}
				told[p.k] = true
			}
			if again.IsZero() || next.Before(again) {
				again = next
			}
		}
		for _, k := range keys {
			if told[k] {
				news = append(news, k)
			}
		}
		for to, x := range s.slots {
			if x.grant() {
				news = append(news, memKey{to: to})
			}
		}
		if !again.IsZero() {
			time.AfterFunc(max(again.Sub(now), time.Millisecond), s.poke)
		}
	}
	s.mu.Unlock()
	if d := s.out(); d != nil {
		for _, k := range news {
			d.News(k.to, k.tenant, k.class)
		}
	}
}

// first is whose turn it is: the higher class, then by weight.
func (s *memScheduler) first(keys []memKey, full map[memKey]bool) (best *memPermits) {
	for _, class := range mail.Classes {
		for _, k := range keys {
			if p := s.lanes[k]; k.class == class && !full[k] && p.want.n > p.ready() && (best == nil || p.clock < best.clock) {
				best = p
			}
		}
		if best != nil {
			return best
		}
	}
	return nil
}

// room is when the next permit of a lane may be given.
func (s *memScheduler) room(p *memPermits, now time.Time) (next time.Time, why string) {
	r := s.rule(p.k.to)
	next = now
	check := func(ws []memWindow, need int, dial bool, count func(memUse) int) {
		for _, w := range ws {
			if p.k.class != mail.High {
				w.max -= w.max * r.high / 100
			}
			var uses []memUse
			for k, x := range s.lanes {
				if k.to != p.k.to || k.dial != dial || r.perTenant && k.tenant != p.k.tenant {
					continue
				}
				uses = append(uses, x.uses...)
				for _, f := range x.out(now) {
					uses = append(uses, memUse{at: f.until, recipients: f.recipients}) // the worst case
				}
			}
			slices.SortFunc(uses, func(a, b memUse) int { return b.at.Compare(a.at) })
			if w.max < need {
				next, why = now.Add(1000*time.Hour), fmt.Sprintf("%d/%s", w.max, w.length)
			}
			sum := need
			for _, u := range uses {
				if sum += count(u); sum > w.max && u.at.Add(w.length).After(now) {
					if free := u.at.Add(w.length + time.Millisecond); free.After(next) {
						next, why = free, fmt.Sprintf("%d/%s", w.max, w.length)
					}
					break
				}
			}
		}
	}
	one := func(memUse) int { return 1 }
	if p.k.dial {
		check(r.dials, 1, true, one)
		return next, why
	}
	check(r.messages, 1, false, one)
	check(r.recipients, max(p.want.head, 1), false, func(u memUse) int { return u.recipients })
	return next, why
}

// out lists the permits that may still be used.
func (p *memPermits) out(now time.Time) (fs []*memPermit) {
	return p.free
}

// lapse drops permits that nobody took in time.
func (p *memPermits) lapse(now time.Time) {
	p.free = slices.DeleteFunc(p.free, func(f *memPermit) bool {
		old := !now.Before(f.until) && f.state != "begun"
		if old {
			f.state = "lapsed"
			p.back++
		}
		return old
	})
}

func (p *memPermits) Want(n, recipients, head int) {
	s := p.s
	s.mu.Lock()
	defer s.mu.Unlock()
	p.want = want{n, recipients, head}
	p.wants = append(p.wants, p.want)
	over := p.ready() - n
	p.free = slices.DeleteFunc(p.free, func(f *memPermit) bool {
		back := over > 0 && f.state == "free"
		if back {
			over--
			f.state = "back"
			p.back++
		}
		return back
	})
	s.pokeIn(s.rtt)
}

func (p *memPermits) Ready() (int, Hold) {
	s := p.s
	s.mu.Lock()
	defer s.mu.Unlock()
	p.lapse(time.Now())
	return p.ready(), p.hold
}

func (p *memPermits) ready() (n int) {
	for _, f := range p.free {
		if f.state == "free" {
			n++
		}
	}
	return n
}

func (p *memPermits) Take(recipients int) (Permit, Hold) {
	s := p.s
	s.mu.Lock()
	defer s.mu.Unlock()
	p.lapse(time.Now())
	for _, f := range p.free {
		if f.state == "free" && f.recipients >= recipients {
			f.state = "taken"
			p.want.n = max(p.want.n-1, 0)
			return f, Hold{}
		}
	}
	s.pokeIn(s.rtt)
	return nil, p.hold
}

func (f *memPermit) leave(state string) {
	f.state = state
	f.p.free = slices.DeleteFunc(f.p.free, func(x *memPermit) bool { return x == f })
}

func (f *memPermit) Begin() error {
	s := f.p.s
	s.mu.Lock()
	defer s.mu.Unlock()
	if f.state != "taken" && f.state != "lapsed" {
		s.t.Errorf("a permit that is %s is begun", f.state)
	}
	if f.state == "lapsed" || !time.Now().Before(f.until) || s.down {
		f.leave("void")
		f.p.void++
		s.pokeIn(s.rtt)
		return errors.New("expired")
	}
	f.state = "begun"
	return nil
}

func (f *memPermit) Began() bool {
	s := f.p.s
	s.mu.Lock()
	defer s.mu.Unlock()
	if f.state != "begun" {
		s.t.Errorf("the use of a permit that is %s is reported", f.state)
	}
	f.leave("used")
	now := time.Now()
	f.p.uses = append(f.p.uses, memUse{now, f.recipients, f.p.k.tenant})
	s.pokeIn(s.rtt)
	if late := now.After(f.until.Add(beganWithin)); late {
		f.p.late++
		return true
	}
	return false
}

func (f *memPermit) Return() {
	s := f.p.s
	s.mu.Lock()
	defer s.mu.Unlock()
	if f.state != "taken" && f.state != "lapsed" {
		s.t.Errorf("a permit that is %s is given back", f.state)
	}
	f.leave("back")
	f.p.back++
	s.pokeIn(s.rtt)
}

func (f *memPermit) Limits() string { return "of " + f.p.k.to.Key }

// under has the story's deliverer work under a scheduler with these rules.
func (s *story) under(rules map[string]memRule) *memScheduler {
	m := newMemScheduler(s.T)
	m.out = func() *Deliverer { return s.d }
	for k, r := range rules {
		m.rules[k] = r
	}
	s.c.Scheduler = m
	s.tap()
	return m
}

// spent compares the permits that were used for a destination with what left.
func (m *memScheduler) spent(t testing.TB, key string) (used int) {
	t.Helper()
	m.mu.Lock()
	defer m.mu.Unlock()
	for k, p := range m.lanes {
		if k.to.Key == key && !k.dial {
			used += len(p.uses)
		}
	}
	return used
}
