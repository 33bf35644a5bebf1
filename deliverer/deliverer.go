// Package deliverer answers "who sends the mail that is ready, and what became of
// it?". It takes claimed deliveries from the queue into a bounded hand, lines them
// up by destination, sends them over pooled connections host by host, and settles
// each recipient: delivered, failed (with a DSN that is stored first) or open,
// with the time of the next attempt.
//
// What cannot start soon is given back: it holds no delivery while it waits for
// somebody else's clock. It never stores mail itself, never asks DNS itself and
// never decides how much a destination can bear: queue, resolver and shaping rules
// are handed to it.
package deliverer

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"net"
	"net/netip"
	"sync"
	"time"

	"github.com/tarishi/tarishi/mail"
	"github.com/tarishi/tarishi/shaping"
	"github.com/tarishi/tarishi/smtp"
)

// Job is one claimed delivery. Exactly one of Done, Wait and Release ends it.
type Job interface {
	// Envelope is the delivery as stored: Attempts is the number made before. Not
	// to be changed.
	Envelope() *mail.Delivery
	// Bytes is the message when it travels with the delivery, else nil.
	Bytes() []byte
	// Open reads the message either way. A damaged body is an error before its last octets.
	Open(ctx context.Context) (io.ReadCloser, error)
	// Dot records that the final dot is about to be sent to host. An error means:
	// do not send it.
	Dot(ctx context.Context, host string) error
	// Done: every recipient has a final outcome.
	Done(Attempt)
	// Wait stores next in place of the delivery. A nil attempt means that none was made.
	Wait(next mail.Delivery, a *Attempt)
	// Release gives the delivery back untouched.
	Release()
}

// Claimed is implemented by a Job that knows when its claim was last confirmed by
// the queue: fetched or extended, on the monotonic clock.
type Claimed interface{ ClaimedAt() time.Time }

// Attempt is what happened, for the journal.
type Attempt struct {
	Started  time.Time
	Duration time.Duration
	Host     string // "mx.example.net[192.0.2.1]:25"; the last one talked to
	Outcomes []mail.Outcome
	Note     string // what the operator should know besides the replies
}

// Queue is where deliveries come from.
type Queue interface {
	// Fetch waits until a delivery is ready and returns up to max, claimed, in order.
	Fetch(ctx context.Context, max int) ([]Job, error)
	// Drain reads deliveries that are due from where they wait, as room allows,
	// until ctx ends.
	Drain(ctx context.Context, room func(mail.Domain) int, take func(Job)) error
	// Kick says that some destination has room again.
	Kick()
	// Flush waits until what was settled is confirmed.
	Flush(ctx context.Context) error
}

// Store keeps the notices we write. Put returns nil once m is safely stored. It may
// be called twice with the same m.ID: the second is the first come again after a crash.
type Store interface {
	Put(ctx context.Context, m *mail.Message, body []byte, ds []mail.Delivery) error
}

// Host is one mail host of a domain with the addresses to dial, in order.
type Host struct {
	Name  string
	Addrs []netip.Addr
}

// Hosts says where mail for a domain goes. site names the set of hosts: domains
// with the same site share connections. An error is a *NoHosts, or temporary.
type Hosts interface {
	MailHosts(ctx context.Context, d mail.Domain) (site string, hosts []Host, err error)
}

// NoHosts is why a domain has no host to dial, as a reply: 5yz fails the
// recipients (null MX, no such domain), 4yz defers them.
type NoHosts struct{ Reply mail.Reply }

func (e *NoHosts) Error() string { return e.Reply.String() }

// Permit answers a request to start attempts: N may start now, or none before NotBefore.
type Permit struct {
	N         int
	NotBefore time.Time
}

// Permits is asked before each attempt. It never blocks.
type Permits interface {
	Acquire(d mail.Domain, n int) Permit
}

// Config is what a Deliverer works with. Queue, Store and Hostname are required;
// Hosts too unless every destination has a route.
type Config struct {
	Hostname string // our FQDN: EHLO, Reporting-MTA, Message-ID
	Queue    Queue
	Store    Store
	Hosts    Hosts
	Routes   *Routes // before Hosts
	Rules    *shaping.Rules
	Retry    shaping.Retry   // zero: shaping.DefaultRetry
	Backoff  shaping.Backoff // nil: shaping.DefaultBackoff
	Permits  Permits         // nil: no windows
	Log      *slog.Logger    // nil: slog.Default

	HandJobs  int   // deliveries held at most; 0: 2,000
	HandBytes int64 // octets of their messages held at most; 0: 64 MiB
	// Patience is how long a fetched delivery may wait for a connection before it
	// is given back. Given back, it is stored again, which costs more than sending
	// it: a destination that takes its share of the hand within this time is left
	// to set the pace. 0: 4 s.
	Patience time.Duration
	// IdleClose is how long an unused connection is kept; less than what remotes
	// allow, so that we hang up first. 0: 4 s; negative: not at all.
	IdleClose      time.Duration
	ConnectTimeout time.Duration // for one address; 0: 30 s
	// AttemptTimeout ends an attempt whatever the remote does. 0: 1 h.
	AttemptTimeout time.Duration
	DrainTimeout   time.Duration // for open transactions at shutdown; 0: 30 s
	// ClaimAge is the oldest confirmed claim with which a final dot may be sent:
	// half the queue's ack wait, or a frozen process could send what another node
	// was given meanwhile. 0: 15 s.
	ClaimAge      time.Duration
	DelayNotice   time.Duration // age at which the sender is told of a delay, once; 0: 4 h; negative: never
	MaxRecipients int           // in a transaction; 0: 100 (RFC 5321 §4.5.3.1.8)
	Port          string        // of mail hosts found by Hosts; "": 25
	Timeouts      smtp.ClientTimeouts
	TLS           smtp.TLSPolicy
	// PlaintextAfterTLSFailure is what RFC 7435 asks of opportunistic TLS: a new
	// connection without it. RequireWorkingTLS turns that off.
	RequireWorkingTLS bool
	Dial              func(ctx context.Context, network, addr string) (net.Conn, error)
	Debug             func(dir, line string) // every line of every dialogue
}

func (c *Config) setDefaults() {
	setDefault(&c.HandJobs, 2000)
	setDefault(&c.HandBytes, 64<<20)
	setDefault(&c.Patience, 4*time.Second)
	setDefault(&c.IdleClose, 4*time.Second)
	setDefault(&c.ConnectTimeout, 30*time.Second)
	setDefault(&c.AttemptTimeout, time.Hour)
	setDefault(&c.DrainTimeout, 30*time.Second)
	setDefault(&c.ClaimAge, 15*time.Second)
	setDefault(&c.DelayNotice, 4*time.Hour)
	setDefault(&c.MaxRecipients, 100)
	setDefault(&c.Port, "25")
	if len(c.Retry.Schedule) == 0 {
		c.Retry.Schedule = shaping.DefaultRetry().Schedule
	}
	setDefault(&c.Retry.Expire, shaping.DefaultRetry().Expire)
	if c.Backoff == nil {
		c.Backoff = shaping.DefaultBackoff()
	}
	if c.Log == nil {
		c.Log = slog.Default()
	}
	if c.Dial == nil {
		c.Dial = new(net.Dialer).DialContext
	}
}

func setDefault[T comparable](v *T, to T) {
	var zero T
	if *v == zero {
		*v = to
	}
}

// Deliverer sends mail. Make it with New, start it with Run; Bounce and Stats may
// be called by any goroutine.
type Deliverer struct {
	c   Config
	met metrics

	mu       sync.Mutex // guards all below, lanes and paths too; never held across I/O
	lanes    map[mail.Domain]*lane
	paths    map[string]*path
	hand     int   // deliveries held
	bytes    int64 // and their octets
	starving bool  // the fetcher waits for room in the hand
	refused  bool  // waiting mail was refused because the hand was full
	stopping bool
	resting  bool // the ticker sleeps for longer than a tick

	roomy    chan struct{} // the hand has room; cap 1
	roused   chan struct{} // the ticker is to look; cap 1
	stop     chan struct{} // closed when stopping
	parking  chan parked
	carriers sync.WaitGroup
	soft     context.Context // ends when Run is asked to stop
	hard     context.Context // ends when open transactions are cut
}

// New makes a Deliverer. The error names the missing field of c.
func New(c Config) (*Deliverer, error) {
	switch {
	case c.Queue == nil:
		return nil, errors.New("deliverer: no queue to take mail from")
	case c.Store == nil:
		return nil, errors.New("deliverer: no store for delivery status notifications")
	case c.Hostname == "":
		return nil, errors.New("deliverer: no hostname to introduce ourselves with")
	}
	c.setDefaults()
	return &Deliverer{
		c:      c,
		lanes:  map[mail.Domain]*lane{},
		paths:  map[string]*path{},
		roomy:  make(chan struct{}, 1),
		roused: make(chan struct{}, 1),
		stop:   make(chan struct{}),
		// What is being given back is still in the hand, so this never fills up.
		parking: make(chan parked, 2*c.HandJobs),
	}, nil
}

const (
	fetchBatch = 256
	parkers    = 8 // giving back may have to store a notice first, which waits for the disk
	tick       = 250 * time.Millisecond
	quiet      = time.Minute // a lane without mail is forgotten after that
)

// Run delivers until ctx ends; then it takes no more, gives back what has not
// started, lets open transactions finish within DrainTimeout, says QUIT and
// returns nil. Call it once.
//
// It owns: the fetcher, the drainer, the ticker, the parkers and one goroutine
// per connection; all have ended when it returns.
func (d *Deliverer) Run(ctx context.Context) error {
	hard, cut := context.WithCancel(context.WithoutCancel(ctx))
	defer cut()
	d.soft, d.hard = ctx, hard

	var intake, back sync.WaitGroup
	for range parkers {
		back.Go(d.parkLoop)
	}
	intake.Go(d.fetchLoop)
	intake.Go(d.drainLoop)
	intake.Go(d.tickLoop)

	<-ctx.Done()
	intake.Wait()
	timer := time.AfterFunc(d.c.DrainTimeout, cut)
	defer timer.Stop()
	d.halt()
	d.carriers.Wait()
	close(d.parking)
	back.Wait()
	// With a limit of its own: hard has ended when transactions had to be cut, and
	// what became of those is still on its way to the disk.
	limit, cancel := context.WithTimeout(context.WithoutCancel(ctx), storePatience)
	defer cancel()
	return d.c.Queue.Flush(limit)
}

// halt gives back what waits and sends idle connections home.
func (d *Deliverer) halt() {
	d.mu.Lock()
	d.stopping = true
	close(d.stop)
	var left []held
	for _, l := range d.lanes {
		left = l.takeAll(left)
	}
	d.mu.Unlock()
	for _, h := range left {
		h.job.Release()
		d.drop(h)
	}
}

func (d *Deliverer) fetchLoop() {
	ctx := d.soft
	failing := false
	for ctx.Err() == nil {
		n := d.waitForRoom(ctx)
		if n == 0 {
			return
		}
		jobs, err := d.c.Queue.Fetch(ctx, n)
		if len(jobs) > 0 {
			d.take(jobs, false)
		}
		if err != nil && ctx.Err() == nil {
			if !failing {
				d.c.Log.Error("cannot fetch mail from the queue; trying each second", "error", err)
			}
			failing = true
			pause(ctx, time.Second)
		} else if failing && err == nil {
			failing = false
			d.c.Log.Info("fetching mail from the queue again")
		}
	}
}

func (d *Deliverer) drainLoop() {
	ctx := d.soft
	one := make([]Job, 1)
	for ctx.Err() == nil {
		err := d.c.Queue.Drain(ctx, d.room, func(j Job) {
			one[0] = j
			d.take(one, true)
		})
		if err != nil && ctx.Err() == nil {
			d.c.Log.Error("cannot read waiting mail; trying again in a second", "error", err)
		}
		pause(ctx, time.Second)
	}
}

// fetchable is how many deliveries the fetcher may take now; 0 until it is worth
// a fetch. With mu held.
func (d *Deliverer) fetchable() int {
	// A quarter is left to mail that has waited before, or a flood of new mail would starve it.
	ready := max(d.c.HandJobs*3/4, 1)
	n := min(ready-d.hand, fetchBatch)
	if n < min(fetchBatch, ready)/4+1 && n < ready || d.bytes >= d.c.HandBytes {
		return 0
	}
	return n
}

// waitForRoom returns how many deliveries the hand can take, 0 when ctx has ended.
func (d *Deliverer) waitForRoom(ctx context.Context) int {
	for {
		d.mu.Lock()
		n := d.fetchable()
		d.starving = n == 0
		d.mu.Unlock()
		if n > 0 {
			return n
		}
		select {
		case <-ctx.Done():
			return 0
		case <-d.roomy:
		}
	}
}

// drop takes an ended delivery off the hand.
func (d *Deliverer) drop(h held) {
	d.mu.Lock()
	d.hand--
	d.bytes -= h.bytes
	wake := d.starving && d.fetchable() > 0
	if wake {
		d.starving = false
	}
	kick := d.refused && d.hand <= d.c.HandJobs*3/4 && d.bytes < d.c.HandBytes
	if kick {
		d.refused = false
	}
	d.mu.Unlock()
	if kick {
		d.c.Queue.Kick()
	}
	if wake {
		select {
		case d.roomy <- struct{}{}:
		default:
		}
	}
}

// pause waits for t, or less when ctx ends.
func pause(ctx context.Context, t time.Duration) {
	timer := time.NewTimer(t)
	defer timer.Stop()
	select {
	case <-ctx.Done():
	case <-timer.C:
	}
}
