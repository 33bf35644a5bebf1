package bench

import (
	"context"
	"time"
)

// stage is the step of the dialogue a reply answers.
type stage string

const (
	atConnect stage = "connect"
	atHello   stage = "ehlo"
	atTLS     stage = "starttls"
	atMail    stage = "mail"
	atRcpt    stage = "rcpt"
	atData    stage = "data"
	atDot     stage = "dot"
	atRset    stage = "rset"
)

// fate is what became of a message.
type fate int

const (
	acknowledged fate = iota // 250 to the final dot: the server has it
	refused                  // a reply settled it: the server does not have it
	unsent                   // 421, or the connection broke, before the final dot: the server does not have it
	unknown                  // the connection broke after the final dot: the server may have it
)

// worker sends messages over one connection at a time. Only its goroutine touches
// it until the run is over.
type worker struct {
	*work
	conn *client // nil: none open

	latency     histogram
	replies     map[stage]map[int]uint64
	samples     map[int]string // the first text seen of each 4yz and 5yz
	attempted   uint64
	unsent      uint64
	rcptRefused uint64
	connects    uint64
	lost        uint64 // connections and attempts to connect that failed
	lastErr     error
}

const (
	firstPause = 50 * time.Millisecond
	maxPause   = time.Second
)

func (w *worker) run(ctx context.Context) {
	defer w.hangUp()
	for {
		n, ok := w.take(ctx)
		if !ok {
			return
		}
		w.attempted++
		f, alive := w.deliver(ctx, n)
		switch f {
		case acknowledged:
			w.acked.Add(1)
		case refused:
			w.failed.Add(1)
		case unsent:
			w.unsent++
			w.failed.Add(1)
		case unknown:
			w.unknown.Add(1)
		}
		if !alive {
			return
		}
	}
}

// deliver sends message n, over as many connections as Retry allows. A message the
// server certainly does not have is sent again under its own id; one whose fate is
// unknown is not, so that every duplicate the sink sees is the server's. alive is
// false when the worker cannot go on.
func (w *worker) deliver(ctx context.Context, n uint64) (f fate, alive bool) {
	for wait := firstPause; ; wait = min(2*wait, maxPause) {
		f = unsent
		err := w.connect(ctx)
		if err == nil {
			if f, err = w.conn.send(n); err == nil {
				w.renew()
				return f, true
			}
		}
		w.lastErr = err
		w.lost++
		w.drop()
		switch {
		case ctx.Err() != nil || !w.cfg.Retry:
			return f, false
		case f == unknown || f == refused:
			return f, true
		case !pause(ctx, wait):
			return f, false
		}
	}
}

// connect opens a connection when there is none.
func (w *worker) connect(ctx context.Context) error {
	if w.conn != nil {
		return nil
	}
	w.connects++
	c, err := dial(ctx, w)
	if err != nil {
		return err
	}
	w.conn = c
	w.open.Add(1)
	return nil
}

// renew ends the connection once it has carried what it may.
func (w *worker) renew() {
	if most := w.cfg.MessagesPerConnection; most > 0 && w.conn.sent >= most {
		w.hangUp()
	}
}

// drop closes the connection without a word.
func (w *worker) drop() {
	if w.conn != nil {
		w.conn.close()
		w.conn = nil
		w.open.Add(-1)
	}
}

// hangUp says QUIT and closes.
func (w *worker) hangUp() {
	if w.conn != nil {
		w.conn.quit()
		w.drop()
	}
}

// count notes a reply.
func (w *worker) count(at stage, r reply) {
	m := w.replies[at]
	if m == nil {
		m = map[int]uint64{}
		w.replies[at] = m
	}
	m[r.code]++
	if r.code >= 400 {
		if _, seen := w.samples[r.code]; !seen {
			w.samples[r.code] = string(at) + ": " + r.text
		}
	}
}
