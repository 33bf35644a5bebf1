package deliverer

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/netip"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/tarishi/tarishi/mail"
	"github.com/tarishi/tarishi/shaping"
	"github.com/tarishi/tarishi/smtp/smtptest"
)

// memQueue is the queue in memory: what is ready, what waits, and the history of
// every delivery. It keeps the queue's promises and checks the deliverer's: each
// job is ended exactly once.
type memQueue struct {
	t    testing.TB
	mu   sync.Mutex
	news chan struct{} // something changed; cap 1, one for the fetcher and one for the drainer
	poke chan struct{}

	ready   []*memJob
	waiting []*memJob
	ended   []ending
	hand    int
	peak    int
	reads   int // from what waits
	dotErr  error
	putErr  error
	notices []stored
	frozen  bool         // claims are not extended
	done    func(memJob) // called at Done, for benchmarks

	deadline  func(*mail.Delivery) time.Time
	decideErr error // what Decide says
}

type ending struct {
	id      string
	at      time.Time
	how     string // done, wait, parked, release
	attempt *Attempt
	next    mail.Delivery
}

type stored struct {
	m    *mail.Message
	body []byte
	ds   []mail.Delivery
}

type memJob struct {
	q      *memQueue
	env    mail.Delivery
	body   []byte
	big    bool // body comes by Open
	claim  time.Time
	stored time.Time // where it waits
	ended  bool
	waits  bool // it was read from where it waits
	late   bool // past its deadline

	decided *Attempt
	number  int
	reborn  bool // it was decided in an earlier life
}

func (j *memJob) Overdue() bool { return j.late }

func newMemQueue(t testing.TB) *memQueue {
	return &memQueue{t: t, news: make(chan struct{}, 1), poke: make(chan struct{}, 1)}
}

func signal(c chan struct{}) {
	select {
	case c <- struct{}{}:
	default:
	}
}

func (q *memQueue) add(js ...*memJob) {
	q.mu.Lock()
	for _, j := range js {
		j.q = q
	}
	q.ready = append(q.ready, js...)
	q.mu.Unlock()
	signal(q.news)
}

func (q *memQueue) Fetch(ctx context.Context, n int) ([]Job, error) {
	for {
		q.mu.Lock()
		if len(q.ready) > 0 {
			n = min(n, len(q.ready))
			js := make([]Job, n)
			for i, j := range q.ready[:n] {
				j.claim = time.Now()
				js[i] = j
			}
			q.ready = q.ready[n:]
			q.hand += n
			q.peak = max(q.peak, q.hand)
			q.mu.Unlock()
			return js, nil
		}
		q.mu.Unlock()
		select {
		case <-ctx.Done():
			return nil, ctx.Err()
		case <-q.news:
		}
	}
}

func (q *memQueue) Drain(ctx context.Context, room func(mail.Line) int, take func(Job)) error {
	for {
		now := time.Now()
		next := now.Add(time.Hour)
		q.mu.Lock()
		due := map[mail.Line]int{}
		for _, j := range q.waiting {
			if j.env.Held {
				continue
			}
			if j.env.Due.After(now) {
				if j.env.Due.Before(next) {
					next = j.env.Due
				}
				continue
			}
			due[j.env.Line()]++
		}
		late := q.takeLate(now)
		q.mu.Unlock()
		for _, j := range late {
			take(j)
			if !j.env.Due.After(now) {
				due[j.env.Line()]--
			}
		}
		for line, n := range due {
			free := min(room(line), n)
			for range free {
				if j := q.takeDue(line, now); j != nil {
					take(j)
				}
			}
			if free < n {
				// What stays is asked for again when kicked, and each second.
				if s := now.Add(time.Second); s.Before(next) {
					next = s
				}
			}
		}
		timer := time.NewTimer(next.Sub(now))
		select {
		case <-ctx.Done():
			timer.Stop()
			return ctx.Err()
		case <-q.poke:
			timer.Stop()
		case <-timer.C:
		}
	}
}

// takeLate takes what must be looked at, whether or not it is due or there is room: its
// time is up, or its sender is to be told. With mu held.
func (q *memQueue) takeLate(now time.Time) (late []*memJob) {
	for i := 0; i < len(q.waiting) && len(late) < 64; {
		j := q.waiting[i]
		by := q.deadline(&j.env)
		if j.env.Held || now.Before(by.Add(10*time.Second)) || now.Before(j.stored.Add(time.Minute)) {
			i++
			continue
		}
		late, j.late = append(late, j), true
		q.claim(i, now)
	}
	return late
}

func (q *memQueue) takeDue(line mail.Line, now time.Time) *memJob {
	q.mu.Lock()
	defer q.mu.Unlock()
	i := slices.IndexFunc(q.waiting, func(j *memJob) bool {
		return j.env.Line() == line && !j.env.Held && !j.env.Due.After(now)
	})
	if i < 0 {
		return nil
	}
	return q.claim(i, now)
}

func (q *memQueue) claim(i int, now time.Time) *memJob {
	j := q.waiting[i]
	q.waiting = slices.Delete(q.waiting, i, i+1)
	q.reads++
	j.claim, j.waits = now, true
	q.hand++
	q.peak = max(q.peak, q.hand)
	return j
}

func (q *memQueue) Kick()                       { signal(q.poke) }
func (q *memQueue) Flush(context.Context) error { return nil }

func (q *memQueue) Put(_ context.Context, m *mail.Message, body []byte, ds []mail.Delivery) error {
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.putErr != nil {
		return q.putErr
	}
	q.notices = append(q.notices, stored{m, body, ds})
	return nil
}

func (j *memJob) Envelope() *mail.Delivery { return &j.env }
func (j *memJob) Bytes() []byte {
	if j.big {
		return nil
	}
	return j.body
}
func (j *memJob) Open(context.Context) (io.ReadCloser, error) {
	return io.NopCloser(bytes.NewReader(j.body)), nil
}

// ClaimedAt is now, as long as the queue keeps extending the claim.
func (j *memJob) ClaimedAt() time.Time {
	if j.q.frozen {
		return j.claim
	}
	return time.Now()
}
func (j *memJob) Dot(context.Context, string) error {
	j.q.mu.Lock()
	defer j.q.mu.Unlock()
	return j.q.dotErr
}

func (j *memJob) Decide(_ context.Context, a Attempt, number int) error {
	j.q.mu.Lock()
	defer j.q.mu.Unlock()
	if j.q.decideErr != nil {
		return j.q.decideErr
	}
	if j.ended || j.decided != nil {
		j.q.t.Errorf("%s: decided when it was ended or decided before", j.env.ID())
	}
	j.decided, j.number = &a, number
	return nil
}
func (j *memJob) Decided() (*Attempt, int) {
	if !j.reborn {
		return nil, 0
	}
	return j.decided, j.number
}
func (j *memJob) end(e ending) {
	if j.ended {
		j.q.t.Errorf("%s was ended twice: %+v", j.env.ID(), e)
	}
	j.ended = true
	j.q.hand--
	e.id, e.at = j.env.ID(), time.Now()
	j.q.ended = append(j.q.ended, e)
}

func (j *memJob) Done(a Attempt) {
	j.q.mu.Lock()
	defer j.q.mu.Unlock()
	if j.q.done != nil {
		j.q.hand--
		j.q.done(*j)
		return
	}
	j.end(ending{how: "done", attempt: &a})
}

func (j *memJob) Wait(next mail.Delivery, a *Attempt) {
	j.q.mu.Lock()
	defer j.q.mu.Unlock()
	how := "wait"
	if a == nil {
		how = "parked"
	}
	j.end(ending{how: how, attempt: a, next: next})
	j.q.waiting = append(j.q.waiting, &memJob{q: j.q, env: next, body: j.body, big: j.big, stored: time.Now()})
	signal(j.q.poke)
}

func (j *memJob) Release() {
	j.q.mu.Lock()
	defer j.q.mu.Unlock()
	j.end(ending{how: "release"})
	again := &memJob{q: j.q, env: j.env, body: j.body, big: j.big}
	if j.waits {
		j.q.waiting = slices.Insert(j.q.waiting, 0, again)
		signal(j.q.poke)
		return
	}
	j.q.ready = append(j.q.ready, again)
	signal(j.q.news)
}

// history returns how the deliveries with this id ended, in order.
func (q *memQueue) history(id string) []ending {
	q.mu.Lock()
	defer q.mu.Unlock()
	var es []ending
	for _, e := range q.ended {
		if e.id == id {
			es = append(es, e)
		}
	}
	return es
}

// attempts leaves out what was parked or released.
func attempts(es []ending) []ending {
	return slices.DeleteFunc(es, func(e ending) bool { return e.attempt == nil })
}

func (q *memQueue) stored() []stored {
	q.mu.Lock()
	defer q.mu.Unlock()
	return slices.Clone(q.notices)
}

// world is a network in memory: hosts by address, domains by name.
type world struct {
	mu      sync.Mutex
	remotes map[string]func() (net.Conn, error)
	domains map[mail.Domain]domain
	dialled []string
	taps    *wiretap
}

type domain struct {
	site  string
	hosts []Host
	err   error
}

func (w *world) dial(ctx context.Context, _, addr string) (net.Conn, error) {
	w.mu.Lock()
	w.dialled = append(w.dialled, addr)
	if w.taps != nil {
		w.taps.dials = append(w.taps.dials, tapped{at: time.Now(), addr: addr})
	}
	f := w.remotes[addr]
	w.mu.Unlock()
	if f == nil {
		return nil, errors.New("connection refused")
	}
	type result struct {
		c   net.Conn
		err error
	}
	got := make(chan result, 1)
	go func() {
		c, err := f()
		got <- result{c, err}
	}()
	select {
	case r := <-got:
		if r.err == nil && w.taps != nil {
			return w.taps.wrap(r.c, addr), nil
		}
		return r.c, r.err
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

func (w *world) set(addr string, f func() (net.Conn, error)) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.remotes[addr] = f
}

func (w *world) dials(addr string) (n int) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, a := range w.dialled {
		if a == addr {
			n++
		}
	}
	return n
}

func (w *world) MailHosts(_ context.Context, d mail.Domain) (string, []Host, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	x, ok := w.domains[d]
	if !ok {
		return "", nil, &NoHosts{mail.R(550, "5.1.2", "domain "+string(d)+" does not exist")}
	}
	return x.site, x.hosts, x.err
}

// mx gives domain d hosts at 192.0.2.1, .2 and so on, by the last octets given.
func (w *world) mx(d mail.Domain, last ...byte) {
	var hosts []Host
	site := ""
	for _, n := range last {
		name := fmt.Sprintf("mx%d.test", n)
		site += name + " "
		hosts = append(hosts, Host{Name: name, Addrs: []netip.Addr{netip.AddrFrom4([4]byte{192, 0, 2, n})}})
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	w.domains[d] = domain{site: site, hosts: hosts}
}

func addr(n byte) string { return fmt.Sprintf("192.0.2.%d:25", n) }

func (w *world) sink(n byte, s *smtptest.Sink) {
	w.set(addr(n), func() (net.Conn, error) { return s.Dial(), nil })
}

// script has the nth connection to the host play the nth dialogue; further ones are refused.
func (w *world) script(t testing.TB, n byte, dialogues ...string) {
	i := 0
	w.set(addr(n), func() (net.Conn, error) {
		w.mu.Lock()
		defer w.mu.Unlock()
		if i == len(dialogues) {
			return nil, errors.New("connection refused")
		}
		i++
		return smtptest.Start(t, dialogues[i-1]), nil
	})
}

// story is one bubble with a deliverer in it.
type story struct {
	*testing.T
	*world
	q    *memQueue
	c    Config
	d    *Deliverer
	log  *bytes.Buffer
	stop func()
	n    int
}

// tell runs fn in a bubble of fake time; the deliverer starts with s.start.
func tell(t *testing.T, fn func(s *story)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		w := &world{remotes: map[string]func() (net.Conn, error){}, domains: map[mail.Domain]domain{}}
		s := &story{T: t, world: w, q: newMemQueue(t), log: new(bytes.Buffer), stop: func() {}}
		s.c = Config{Hostname: "us.test", Queue: s.q, Store: s.q, Hosts: w, Dial: w.dial,
			Log: slog.New(slog.NewTextHandler(s.log, nil))}
		t.Cleanup(func() {
			s.stop()
			if t.Failed() {
				t.Log(s.log.String())
			}
		})
		fn(s)
	})
}

func (s *story) start() {
	s.Helper()
	d, err := New(s.c)
	if err != nil {
		s.Fatal(err)
	}
	s.d = d
	s.q.deadline = d.Deadline
	ctx, cancel := context.WithCancel(context.Background())
	over := make(chan error, 1)
	go func() { over <- d.Run(ctx) }()
	s.stop = func() {
		cancel()
		if err := <-over; err != nil {
			s.Errorf("Run: %v", err)
		}
		s.stop = func() {}
		d.mu.Lock()
		defer d.mu.Unlock()
		if d.hand != 0 || d.bytes != 0 || d.met.open.Load() != 0 {
			s.Errorf("after Run: %d deliveries and %d octets in the hand, %d connections open", d.hand, d.bytes, d.met.open.Load())
		}
		for _, a := range d.accounts {
			if a.open != 0 || a.connected != 0 || a.idle != 0 || a.held != 0 || a.slotted != 0 || a.knocking != 0 || a.jobs != 0 {
				s.Errorf("after Run: account %s: %+v", a.to, *a)
			}
		}
		for _, p := range d.paths {
			if p.open != 0 || p.connected != 0 || p.opening != 0 || len(p.idle) != 0 {
				s.Errorf("after Run: path %s open %d connected %d opening %d idle %d", p.site, p.open, p.connected, p.opening, len(p.idle))
			}
		}
		for _, l := range d.lanes {
			if l.busy != 0 || l.opening != 0 || l.len() != 0 {
				s.Errorf("after Run: lane %s busy %d opening %d waiting %d", l.dest, l.busy, l.opening, l.len())
			}
		}
	}
}

// after lets the bubble live for that long, and come to rest.
func (s *story) after(t time.Duration) {
	time.Sleep(t)
	synctest.Wait()
}

const body = "From: a@here.test\r\nSubject: hello\r\n\r\nHi.\r\n"

// letter makes a delivery to recipients of one domain; its id is returned with it.
func (s *story) letter(to ...string) *memJob {
	s.n++
	return letter(s.n, time.Now(), to...)
}

func letter(n int, now time.Time, to ...string) *memJob {
	m := &mail.Message{
		ID:       fmt.Sprintf("%020d", n),
		Received: now,
		Sender:   mail.NewAddress("a@here.test"),
		Size:     int64(len(body)),
	}
	d := mail.Delivery{Message: m, Expires: now.Add(5 * 24 * time.Hour)}
	for _, r := range to {
		d.Recipients = append(d.Recipients, mail.Recipient{Address: mail.NewAddress(r)})
	}
	d.Destination = d.Recipients[0].Domain
	return &memJob{env: d, body: []byte(body)}
}

func (s *story) send(to ...string) string {
	j := s.letter(to...)
	s.q.add(j)
	return j.env.ID()
}

// became says what an attempt made of its recipients: "delivered 250 deferred 451".
func became(e ending) string {
	out := e.how + ":"
	if e.attempt == nil {
		return out
	}
	for _, o := range e.attempt.Outcomes {
		out += fmt.Sprintf(" %s %s %d", o.Recipient.Local(), o.Status, o.Reply.Code)
	}
	return out
}

func (s *story) expect(id string, want ...string) []ending {
	s.Helper()
	es := attempts(s.q.history(id))
	var got []string
	for _, e := range es {
		got = append(got, became(e))
	}
	if !slices.Equal(got, want) {
		s.Errorf("%s:\n got  %q\n want %q", id, got, want)
	}
	return es
}

func one(to string, connections, per int) *shaping.Rules {
	r, err := shaping.NewRules([]shaping.ConnectionRule{{To: to, Limit: shaping.Limit{Connections: connections, PerConnection: per}}})
	if err != nil {
		panic(err)
	}
	return r
}
