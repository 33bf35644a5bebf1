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
	"io"
	"net/netip"
	"sync"
	"time"

	"github.com/tarishi/tarishi/mail"
	"github.com/tarishi/tarishi/shaping"
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
	// Decide records what attempt number came to before anybody is told of it. An error
	// means: tell nobody.
	Decide(ctx context.Context, a Attempt, number int) error
	// Decided is what was recorded so in an earlier life, and has not been settled; nil:
	// nothing. No other attempt is to be made.
	Decided() (a *Attempt, number int)
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
	// Drain reads deliveries that are due from where they wait, as room allows for
	// each line of them, until ctx ends.
	Drain(ctx context.Context, room func(mail.Line) int, take func(Job)) error
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
// with the same site share connections. A host without addresses is one of the set
// and is not dialled. An error is a *NoHosts, or temporary.
type Hosts interface {
	MailHosts(ctx context.Context, d mail.Domain) (site string, hosts []Host, err error)
}

// NoHosts is why a domain has no host to dial, as a reply: 5yz fails the
// recipients (null MX, no such domain), 4yz defers them.
type NoHosts struct{ Reply mail.Reply }

func (e *NoHosts) Error() string { return e.Reply.String() }

// Deliverer sends mail. Make it with New, start it with Run; Bounce and Stats may
// be called by any goroutine.
type Deliverer struct {
	c   Config
	met metrics

	hours readHours

	mu       sync.Mutex // guards all below, lanes and paths too; never held across I/O
	lanes    map[laneKey]*lane
	routed   map[laneKey][]*lane // of them, those where plugins send mail, by a key without that
	paths    map[pathKey]*path
	accounts map[shaping.Destination]*account
	limited  map[*account]struct{} // those that something binds
	slotted  map[*carrier]struct{} // carriers with a slot
	portions map[party]*portion    // what whom has of the hand
	weights  int                   // theirs together
	hand     int                   // deliveries held
	aged     int                   // of them, those that have waited in the queue before
	busy     int                   // of them, those under way
	busyAged int                   // and of these, those that have waited
	bytes    int64                 // and their octets
	starving bool                  // the fetcher waits for room in the hand
	starved  time.Time             // since
	cramped  time.Time             // room had to be made for new mail last
	refused  bool                  // waiting mail was refused because the hand was full
	missed   time.Time             // and that was of somebody who has little, last
	stopping bool
	resting  bool // the ticker sleeps for longer than a tick
	kickDue  bool // the queue is to be told that there is room

	doors     map[laneKey]*door // where plugins are asked
	asking    int               // of how many deliveries
	doorsFull bool              // some wait for others' turn to end
	walkFrom  time.Time         // the ticker looks at every lane again

	version   uint64    // of the rules all this follows
	downSince time.Time // nothing may start: the scheduler's session does not live
	saidDown  time.Time // as the log knows it

	told    news          // by the scheduler
	roomy   chan struct{} // the hand has room; cap 1
	roused  chan struct{} // the ticker is to look; cap 1
	stop    chan struct{} // closed when stopping
	parking chan parked

	crew       crew          // waits for plugins
	consulting chan struct{} // of whose outcomes; cap: how many may be
	teller     teller
	carriers   sync.WaitGroup
	soft       context.Context // ends when Run is asked to stop
	hard       context.Context // ends when open transactions are cut
}

// New makes a Deliverer. The error names the missing field of c.
func New(c Config) (*Deliverer, error) {
	if err := c.check(); err != nil {
		return nil, err
	}
	c.setDefaults()
	return &Deliverer{
		c:        c,
		lanes:    map[laneKey]*lane{},
		routed:   map[laneKey][]*lane{},
		paths:    map[pathKey]*path{},
		accounts: map[shaping.Destination]*account{},
		portions: map[party]*portion{},
		doors:    map[laneKey]*door{},
		limited:  map[*account]struct{}{},
		slotted:  map[*carrier]struct{}{},
		told:     news{of: map[newsKey]struct{}{}, bell: make(chan struct{}, 1)},
		roomy:    make(chan struct{}, 1),
		roused:   make(chan struct{}, 1),
		stop:     make(chan struct{}),

		consulting: make(chan struct{}, max(c.HandJobs/4, 1)),
		// What is being given back is still in the hand, so this never fills up.
		parking: make(chan parked, 2*c.HandJobs),
	}, nil
}

// parkers give deliveries back, several at once: each may have to store a notice
// first, which waits for the disk.
const parkers = 8

// Run delivers until ctx ends; then it takes no more, gives back what has not
// started, lets open transactions finish within DrainTimeout, says QUIT and
// returns nil. Call it once.
//
// It owns: the fetcher, the drainer, the ticker, the reader of news, the parkers, one
// goroutine per connection and one for each delivery about which a plugin is asked;
// all have ended when it returns.
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
	if d.c.Scheduler != nil {
		intake.Go(d.newsLoop)
	}

	<-ctx.Done()
	intake.Wait()
	timer := time.AfterFunc(d.c.DrainTimeout, cut)
	defer timer.Stop()
	d.halt()
	d.carriers.Wait()
	d.crew.wait()
	close(d.parking)
	back.Wait()
	d.crew.wait() // for what the parkers have begun
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
	left = d.emptyDoors(left)
	for a := range d.limited {
		for _, p := range a.purses {
			d.tell(p, time.Now())
		}
		a.relax()
	}
	d.mu.Unlock()
	for _, h := range left {
		h.job.Release()
		d.drop(h)
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
