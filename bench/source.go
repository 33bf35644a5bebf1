package bench

import (
	"context"
	"errors"
	"fmt"
	"net"
	"strings"
	"sync"
	"sync/atomic"
	"time"
)

// Source sends numbered messages to a server as fast as it takes them, or at a rate.
// Fill in the fields and call Send once.
type Source struct {
	To          string        // host:port of the server
	Connections int           // at the same time; default 1
	Messages    uint64        // how many altogether; 0: until Duration
	Duration    time.Duration // for how long; 0: until Messages
	Size        int           // octets of a whole message, header included; default 5120

	Destinations int    // recipients go to d0…dN-1.bench.test in turn; default 1
	Template     string // recipient address: {n} is the destination's number, {r} the recipient's; default user@d{n}.bench.test
	Recipients   int    // of each message; default 1

	Rate                  float64       // messages a second over all connections; 0: no limit. What a slow moment missed is caught up.
	MessagesPerConnection int           // then QUIT and connect anew; 0: no limit
	NoPipelining          bool          // one command, one reply, even where PIPELINING is offered (RFC 2920)
	TLS                   TLSMode       // default off
	Sender                string        // reverse-path; default bench@source.test
	NullSender            bool          // MAIL FROM:<>
	Helo                  string        // default source.test
	Header                []string      // further fields of each message: "X-Tenant: acme"
	Hash                  bool          // put the body's SHA-256 in each header, for the sink to verify
	KeepIDs               string        // file to append "id<TAB>unix_nanos<TAB>rcpt<TAB>reply" to, once acknowledged, each line written at once
	Retry                 bool          // connect again after 421, EOF or refusal, with a growing pause of up to a second
	Timeout               time.Duration // for each step of a dialogue; default 60 s
	Run                   string        // first part of each id; default: made from the clock

	Dial     func(context.Context) (net.Conn, error) // instead of TCP to To, for tests
	Progress func(SourceProgress)                    // called each second while running, from one goroutine
}

// SourceProgress is a glance at a running Source.
type SourceProgress struct {
	Elapsed  time.Duration
	Acked    uint64
	Rate     float64 // of the last second
	Failed   uint64
	Unknown  uint64
	OpenConn int64
}

// stopGrace is how long transactions under way may take to end after a cancel.
const stopGrace = 5 * time.Second

// work is what the connections of one run share.
type work struct {
	cfg  *Source
	text *composer
	keep *lineFile // nil: not asked for

	start           time.Time
	firstMail       atomic.Int64 // unix nanos; 0: none yet
	lastAck         atomic.Int64
	next            atomic.Uint64 // number of the next message
	acked           atomic.Uint64
	failed, unknown atomic.Uint64
	open            atomic.Int64
}

func (s *Source) defaults() error {
	if s.To == "" && s.Dial == nil {
		return errors.New("source: no server to send to")
	}
	if s.Messages == 0 && s.Duration <= 0 {
		return errors.New("source: say how many messages or for how long")
	}
	if err := s.TLS.check(); err != nil {
		return err
	}
	setDefault(&s.Connections, 1)
	setDefault(&s.Size, 5120)
	setDefault(&s.Destinations, 1)
	setDefault(&s.Recipients, 1)
	setDefault(&s.Timeout, time.Minute)
	setDefault(&s.Helo, "source.test")
	if s.NullSender {
		s.Sender = ""
	} else {
		setDefault(&s.Sender, "bench@source.test")
	}
	if s.Connections < 0 || s.Size < 0 || s.Destinations < 0 || s.Recipients < 0 || s.Rate < 0 || s.MessagesPerConnection < 0 {
		return errors.New("source: a number is negative")
	}
	for _, f := range s.Header {
		name, _, ok := strings.Cut(f, ":")
		if !ok || name == "" || strings.ContainsAny(name, " \t") || strings.ContainsAny(f, "\r\n") || len(f) > lineLen {
			return fmt.Errorf("source: %q is no header field; write one such as X-Tenant: acme", f)
		}
	}
	if s.Dial == nil {
		d := &net.Dialer{Timeout: s.Timeout}
		s.Dial = func(ctx context.Context) (net.Conn, error) { return d.DialContext(ctx, "tcp", s.To) }
	}
	return nil
}

func setDefault[T comparable](p *T, v T) {
	var zero T
	if *p == zero {
		*p = v
	}
}

// Send runs the load until the count, the duration or ctx ends it, and reports what
// was done; a cancelled run reports what it has. Transactions under way at that
// moment get five seconds to finish. The error says why a run could not do its work:
// a bad field, a file, or all connections lost; the report is valid beside it.
func (s *Source) Send(ctx context.Context) (*SourceReport, error) {
	if err := s.defaults(); err != nil {
		return nil, err
	}
	w := &work{cfg: s, start: time.Now()}
	run := s.Run
	if run == "" {
		run = newRun(w.start)
	}
	var err error
	if w.text, err = newComposer(s, run, w.start); err != nil {
		return nil, err
	}
	if s.KeepIDs != "" {
		if w.keep, err = openLines(s.KeepIDs, 0); err != nil {
			return nil, fmt.Errorf("source: ids: %w", err)
		}
	}
	cpu := cpuTime()
	runCtx, cancel := context.WithCancel(ctx)
	defer cancel()
	if s.Duration > 0 {
		runCtx, cancel = context.WithTimeout(ctx, s.Duration)
		defer cancel()
	}

	workers := make([]*worker, s.Connections)
	var wg sync.WaitGroup
	for i := range workers {
		workers[i] = &worker{work: w, replies: map[stage]map[int]uint64{}, samples: map[int]string{}}
		wg.Go(func() { workers[i].run(runCtx) })
	}
	stopProgress := s.watch(w)
	wg.Wait()
	stopProgress()

	r := w.report(workers, run, cpuTime()-cpu)
	if w.keep != nil {
		if err := w.keep.close(); err != nil {
			return r, fmt.Errorf("source: ids: %w", err)
		}
	}
	if done := runCtx.Err() != nil || s.Messages > 0 && r.Attempted >= s.Messages; !done || r.Acked == 0 && ctx.Err() == nil {
		return r, r.lostError()
	}
	return r, nil
}

// watch calls Progress each second until the function it returns is called.
func (s *Source) watch(w *work) (stop func()) {
	if s.Progress == nil {
		return func() {}
	}
	quit, done := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(done)
		tick := time.NewTicker(time.Second)
		defer tick.Stop()
		var last uint64
		for {
			select {
			case <-quit:
				return
			case now := <-tick.C:
				acked := w.acked.Load()
				s.Progress(SourceProgress{
					Elapsed: now.Sub(w.start), Acked: acked, Rate: float64(acked - last),
					Failed: w.failed.Load(), Unknown: w.unknown.Load(), OpenConn: w.open.Load(),
				})
				last = acked
			}
		}
	}()
	return func() { close(quit); <-done }
}

// take reserves the next message number and waits for its turn when there is a rate.
func (w *work) take(ctx context.Context) (uint64, bool) {
	if ctx.Err() != nil {
		return 0, false
	}
	n := w.next.Add(1) - 1
	if w.cfg.Messages > 0 && n >= w.cfg.Messages {
		return 0, false
	}
	if w.cfg.Rate > 0 {
		due := w.start.Add(time.Duration(float64(n) / w.cfg.Rate * float64(time.Second)))
		if !pause(ctx, time.Until(due)) {
			return 0, false
		}
	}
	return n, true
}

// pause waits for d and tells whether ctx let it.
func pause(ctx context.Context, d time.Duration) bool {
	if d <= 0 {
		return ctx.Err() == nil
	}
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-ctx.Done():
		return false
	case <-t.C:
		return true
	}
}
