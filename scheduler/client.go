package scheduler

import (
	"context"
	"log/slog"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"time"

	"github.com/tarishi/tarishi/shaping"
)

// ClientOptions is what a Client needs. News, OnPart and OnRules are called by
// Client.Run, one at a time and without any lock held; they must be quick.
type ClientOptions struct {
	Node    string // of the configuration, for people
	Params  Params
	Peers   Peers
	Clock   func() int64                // BootTime
	Wall    func() int64                // Unix time in ns; nil: the machine's
	Rates   func() (steered, raw int64) // see Rates; nil: not watched
	Parts   bool                        // drains WAIT, and wants partitions
	Former  SessionID                   // of this node's last process, if it is certain that that has ended; 0: none is known
	Begun   func(SessionID)             // a session has begun, and holds nothing yet; nil: nobody keeps it for the next process
	News    func(Lane)                  // permits, slots or a hold came for the lane, or were taken away
	OnPart  func(gained bool, p Part)   // false: let go of it, then say PartGone; or it is lost already
	OnRules func()                      // Rules has changed, or the session works again
	Log     *slog.Logger
}

// How often a session speaks, and how long it waits.
const (
	busyBeat = 40 * time.Millisecond // while something is asked for or in hand
	idleBeat = time.Second
	soonBeat = time.Millisecond // after the last one, when something cannot wait
	silence  = 2 * time.Second  // without an answer: look for the leader elsewhere
	opening  = 5 * time.Second  // for the handshake, in which a session may have to be committed
	freshFor = 400 * time.Millisecond
	wallStep = 100 * time.Millisecond
)

// Client is a deliverer's side of the scheduler: it keeps a session with whoever
// leads and answers, from what it holds, whether something may start now. Run does
// the talking; everything else answers at once and may be called by any number of
// goroutines.
type Client struct {
	o     ClientOptions
	until atomic.Int64                 // of the local clock: until when the session may work; 0: not
	rules atomic.Pointer[rulesInForce] // nil before the first session
	parts []atomic.Uint64              // epoch of each partition held; 0: not held
	kick  chan struct{}

	sightings sightings

	mu       sync.Mutex
	h        *Holdings // nil: no session
	lanes    map[Lane]*clientLane
	active   []*clientLane // those the next beat may have to speak of
	waiting  int           // lanes for which an answer may come any moment
	slots    map[SlotID]*HeldSlot
	wakes    wakeHeap
	noted    []*clientLane // those News is due for
	partNews []partNews
	rulesNew bool
	urgent   bool // the next beat cannot wait
	owing    bool // the leader should hear soon what became of permits
	draining bool

	answered int64 // local clock when the newest answered frame was sent
	offset   int64 // wall clock less local clock, when last looked at
	stepped  int64 // local clock when the offset was seen to have changed

	acked   uint64 // version of the rules that everything started here obeys
	ackNext uint64 // will be, from ackAt on
	ackAt   int64

	stats   ClientStats
	touched int64 // when idle lanes were last looked for
}

// ClientStats is what a Client has to show. The counters only grow.
type ClientStats struct {
	Session   SessionID
	Leader    string // address; "" for this process's own; see Connected
	Connected bool
	Term      uint64
	Started   uint64 // permits used
	Late      uint64 // of them, by a stall longer than Params.Margin after the grant's end: over the limit, perhaps
	Expired   uint64 // permits that were taken and could not be used any more
	Lost      uint64 // sessions that lapsed
	Streams   uint64 // connections made
	Steps     uint64 // jumps of the wall clock against the local one
}

type partNews struct {
	gained bool
	part   Part
}

type rulesInForce struct {
	table *shaping.Table
	book  *ruleBook
}

// NewClient makes a Client; Run starts it.
func NewClient(o ClientOptions) *Client {
	if o.Wall == nil {
		o.Wall = func() int64 { return time.Now().UnixNano() }
	}
	if o.News == nil {
		o.News = func(Lane) {}
	}
	if o.OnPart == nil {
		o.OnPart = func(bool, Part) {}
	}
	if o.OnRules == nil {
		o.OnRules = func() {}
	}
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	return &Client{o: o, parts: make([]atomic.Uint64, o.Params.Partitions), kick: make(chan struct{}, 1),
		lanes: map[Lane]*clientLane{}, slots: map[SlotID]*HeldSlot{}, offset: o.Wall() - o.Clock()}
}

// Live tells whether the session's lease stands: without it nothing at all may
// start here. It costs an atomic load and a look at the clock.
func (c *Client) Live() bool {
	u := c.until.Load()
	return u != 0 && c.o.Clock() < u
}

// Rules is the limits in force here; nil before the first session.
func (c *Client) Rules() *shaping.Table {
	if r := c.rules.Load(); r != nil {
		return r.table
	}
	return nil
}

// Version is that of Rules; 0 before the first session.
func (c *Client) Version() uint64 {
	if r := c.rules.Load(); r != nil {
		return r.table.Version()
	}
	return 0
}

// MayStart is asked right before something starts that needs no permit under the
// rules t: the session is live, and t is still in force. What checked it and then
// starts within Params.Margin obeys the rules that the cluster believes it obeys.
func (c *Client) MayStart(t *shaping.Table) bool {
	r := c.rules.Load()
	return r != nil && r.table == t && c.Live()
}

// Stats tells how it goes.
func (c *Client) Stats() ClientStats {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.stats
}

// Drain is said when the deliverer is about to leave: it gets nothing new and is
// asked to let go of its partitions.
func (c *Client) Drain() {
	c.mu.Lock()
	c.draining = true
	for _, ln := range c.lanes {
		c.activate(ln)
	}
	c.hurry()
	c.mu.Unlock()
}

// hurry makes the next beat go at once. The caller holds mu.
func (c *Client) hurry() {
	if c.urgent {
		return
	}
	c.urgent = true
	select {
	case c.kick <- struct{}{}:
	default:
	}
}

// fresh tells whether the newest round trip is young enough for a permit to be
// used. After a freeze, stamps of before it may still lie in the socket; only an
// answer to what was asked after it says what time it is. The caller holds mu.
func (c *Client) fresh(x int64) bool {
	if off := c.o.Wall() - x; off-c.offset > int64(wallStep) || c.offset-off > int64(wallStep) {
		// Our clocks disagree by how long it has been: the machine may have been
		// stopped unseen, or somebody set the wall clock, which costs a round trip.
		c.stepped, c.offset = x, off
		c.stats.Steps++
	}
	if c.answered > c.stepped && x-c.answered <= int64(freshFor) {
		return true
	}
	c.hurry()
	return false
}

// local turns an instant of the local clock into one that people and timers know.
func (c *Client) local(at, x int64) time.Time { return time.Now().Add(time.Duration(at - x)) }

// jitter is up to d, so that nodes do not come all at once.
func jitter(d time.Duration) time.Duration { return rand.N(d) }

// Run keeps the session until ctx ends.
func (c *Client) Run(ctx context.Context) error {
	r := &runner{c: c, dialled: make(chan dialResult, 1), find: finder{peers: c.o.Peers}}
	r.ctx, r.cancel = context.WithCancel(context.WithoutCancel(ctx)) // it says goodbye after ctx has ended
	r.timer = time.NewTimer(0)
	defer r.end()
	for {
		x := c.o.Clock()
		r.step(x)
		r.timer.Reset(max(r.wait(x), 50*time.Microsecond))
		select {
		case <-ctx.Done():
			return nil
		case d := <-r.dialled:
			r.took(d)
		case f := <-r.in():
			r.got(f)
		case <-c.kick:
		case <-r.timer.C:
		}
	}
}
