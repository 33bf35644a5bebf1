package bench

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"hash/maphash"
	"net"
	"sync"
	"sync/atomic"
	"time"
)

// SinkConfig says how a Sink behaves; the zero value takes everything at once.
type SinkConfig struct {
	Hostname       string  // in the greeting; default sink.test
	MaxConnections int     // at the same time on one listener; one more is answered 421; 0: no limit
	NoExtensions   bool    // offer neither PIPELINING, CHUNKING, SIZE nor 8BITMIME
	TLS            TLSMode // default off; the certificate is made at start and signed by itself

	ConnectDelay time.Duration // before the greeting
	Delay        time.Duration // before the reply to the final dot
	Stall        string        // never answer this step: connect, ehlo, mail, rcpt, data or dot
	CloseAfter   int           // break the connection after so many messages of it; 0: never
	GoAwayAfter  int           // answer MAIL with 421 after so many messages of a connection; 0: never

	Refuse   float64 // fraction of recipients answered 550 5.1.1
	TempFail float64 // fraction of recipients answered 451 4.3.0
	Random   bool    // draw for each RCPT anew; otherwise by the hash of the address: the same one always fares the same
	Seed     uint64  // of the draw or the hash
	Greylist int     // the first N attempts of a pair of sender and recipient are answered 451 4.7.1

	IDs    string // file to append "id<TAB>unix_nanos<TAB>rcpt" to for each copy received
	Record string // file to append a line to for each connection, MAIL, RCPT and message, see record.go
	Hash   bool   // verify the source's body hashes

	Expect  uint64        // stop once so many distinct ids are in; 0: until cancelled
	Timeout time.Duration // give up on Expect after this; 0: never
	Linger  time.Duration // after Expect is reached, stay so long for duplicates

	Progress func(SinkProgress) // called each second, from one goroutine
}

// SinkProgress is a glance at a running Sink.
type SinkProgress struct {
	Elapsed    time.Duration
	Messages   uint64
	Distinct   uint64
	Duplicates uint64
	Rate       float64 // messages in the last second
	Open       int64
}

// Sink receives mail, counts it and throws it away. Call NewSink, then Serve once.
type Sink struct {
	cfg    SinkConfig
	tls    *tls.Config
	seed   maphash.Seed
	policy *policy
	ids    *lineFile
	rec    *recordFile
	stop   chan struct{} // closed when sessions should end
	full   chan struct{} // closed when Expect is reached
	once   sync.Once

	seenIDs, seenCopies idSet
	count               counters

	mu    sync.Mutex
	conns map[net.Conn]struct{}
}

// counters are the sink's figures while it runs.
type counters struct {
	messages, distinct, copies, duplicates atomic.Uint64
	noID, noHash, badHash, bytes           atomic.Uint64
	rcptRefused, rcptDeferred, turnedAway  atomic.Uint64
	connections                            atomic.Uint64
	open, peak                             atomic.Int64
	first, lastDistinct                    atomic.Int64 // unix nanos; 0: none yet
	perSecond                              []uint64     // of the sampling goroutine until Serve returns
}

const (
	sinkIdle  = 5 * time.Minute // RFC 5321 §4.5.3.2.7
	sinkGrace = 3 * time.Second // for transactions under way when the sink stops
)

// ErrTimeout says that Timeout passed before Expect was reached.
var ErrTimeout = errors.New("sink: not all expected messages came in time")

// NewSink checks the configuration and opens the files.
func NewSink(cfg SinkConfig) (*Sink, error) {
	setDefault(&cfg.Hostname, "sink.test")
	if err := cfg.TLS.check(); err != nil {
		return nil, err
	}
	switch stage(cfg.Stall) {
	case "", atConnect, atHello, atMail, atRcpt, atData, atDot:
	default:
		return nil, fmt.Errorf("sink: cannot stall at %q: it is not one of connect, ehlo, mail, rcpt, data, dot", cfg.Stall)
	}
	if cfg.Refuse < 0 || cfg.TempFail < 0 || cfg.Refuse+cfg.TempFail > 1 {
		return nil, errors.New("sink: refuse and tempfail are fractions, 1 together at most")
	}
	s := &Sink{
		cfg: cfg, seed: maphash.MakeSeed(), policy: newPolicy(cfg),
		stop: make(chan struct{}), full: make(chan struct{}), conns: map[net.Conn]struct{}{},
	}
	var err error
	if cfg.TLS == TLSStart || cfg.TLS == TLSImplicit {
		if s.tls, err = selfSigned(cfg.Hostname); err != nil {
			return nil, err
		}
	}
	if cfg.IDs != "" {
		if s.ids, err = openLines(cfg.IDs, 64<<10); err != nil {
			return nil, fmt.Errorf("sink: ids: %w", err)
		}
	}
	if cfg.Record != "" {
		if s.rec, err = openRecord(cfg.Record); err != nil {
			return nil, fmt.Errorf("sink: record: %w", err)
		}
	}
	return s, nil
}

// Serve accepts connections on all of lns until ctx ends or Expect is reached, then lets
// transactions under way finish for three seconds, closes everything and reports.
// It owns lns. The error is ErrTimeout, or that of a listener or a file; the report
// is valid beside it.
func (s *Sink) Serve(ctx context.Context, lns ...net.Listener) (*SinkReport, error) {
	begin, cpu := time.Now(), cpuTime()
	if s.rec != nil {
		names := make([]string, len(lns))
		for i, ln := range lns {
			names[i] = ln.Addr().String()
			stampArrivals(ln)
		}
		s.rec.start(names)
	}
	var sessions, accepting sync.WaitGroup
	failed := make(chan error, len(lns))
	for _, ln := range lns {
		accepting.Go(func() { failed <- s.accept(ln, &sessions) })
	}
	sampler := make(chan struct{})
	go func() { defer close(sampler); s.sample(begin) }()

	err := s.wait(ctx, failed)
	close(s.stop)
	for _, ln := range lns {
		_ = ln.Close()
	}
	accepting.Wait()
	s.hurry(time.Now()) // wakes those that wait for a command
	force := time.AfterFunc(sinkGrace, s.closeAll)
	sessions.Wait()
	force.Stop()
	<-sampler

	r := s.report(time.Since(begin), cpuTime()-cpu)
	return r, errors.Join(err, s.closeFiles())
}

// wait returns when the sink should stop, and why when that is a failure.
func (s *Sink) wait(ctx context.Context, failed <-chan error) error {
	var timeout <-chan time.Time
	if s.cfg.Timeout > 0 {
		t := time.NewTimer(s.cfg.Timeout)
		defer t.Stop()
		timeout = t.C
	}
	select {
	case err := <-failed:
		return fmt.Errorf("sink: %w", err)
	case <-ctx.Done():
		return nil
	case <-timeout:
		if s.cfg.Expect == 0 {
			return nil // a run for a fixed time
		}
		return ErrTimeout
	case <-s.full:
		pause(ctx, s.cfg.Linger)
		return nil
	}
}

func (s *Sink) closeFiles() error {
	var err error
	if s.ids != nil {
		err = s.ids.close()
	}
	if s.rec != nil {
		err = errors.Join(err, s.rec.lines.close())
	}
	return err
}

func (s *Sink) accept(ln net.Listener, sessions *sync.WaitGroup) error {
	name := ln.Addr().String()
	var open atomic.Int64
	for {
		conn, err := ln.Accept()
		if err != nil {
			return err
		}
		id := s.count.connections.Add(1)
		if s.rec != nil {
			s.rec.open(accepted(conn), id, conn.RemoteAddr().String(), name)
		}
		turnAway := s.cfg.MaxConnections > 0 && open.Load() >= int64(s.cfg.MaxConnections)
		if !turnAway {
			open.Add(1)
		}
		s.enter(conn, turnAway)
		sessions.Go(func() {
			se := newSession(s, conn, id)
			se.run(turnAway)
			se.ends()
			s.leave(conn, turnAway)
			if !turnAway {
				open.Add(-1)
			}
			if s.rec != nil {
				s.rec.close(se.over, id)
			}
		})
	}
}

func (s *Sink) enter(conn net.Conn, turnedAway bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.conns[conn] = struct{}{}
	if !turnedAway {
		// Only here, under the lock, does the count rise.
		s.count.peak.Store(max(s.count.peak.Load(), s.count.open.Add(1)))
	}
}

func (s *Sink) leave(conn net.Conn, turnedAway bool) {
	if !turnedAway {
		s.count.open.Add(-1)
	}
	_ = conn.Close()
	s.mu.Lock()
	delete(s.conns, conn)
	s.mu.Unlock()
}

// hurry lets every read that waits return at t.
func (s *Sink) hurry(t time.Time) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for c := range s.conns {
		_ = c.SetReadDeadline(t)
	}
}

func (s *Sink) closeAll() {
	s.mu.Lock()
	defer s.mu.Unlock()
	for c := range s.conns {
		_ = c.Close()
	}
}

// sample keeps the messages of each second, writes the files' buffers out five times
// a second so that others may read along, and reports progress.
func (s *Sink) sample(begin time.Time) {
	tick := time.NewTicker(200 * time.Millisecond)
	defer tick.Stop()
	var last uint64
	for n := 1; ; n++ {
		select {
		case <-s.stop:
			return
		case now := <-tick.C:
			if s.ids != nil {
				s.ids.flush()
			}
			if s.rec != nil {
				s.rec.lines.flush()
			}
			if n%5 != 0 {
				continue
			}
			total := s.count.messages.Load()
			s.count.perSecond = append(s.count.perSecond, total-last)
			if s.cfg.Progress != nil {
				s.cfg.Progress(SinkProgress{
					Elapsed: now.Sub(begin), Messages: total, Distinct: s.count.distinct.Load(),
					Duplicates: s.count.duplicates.Load(), Rate: float64(total - last), Open: s.count.open.Load(),
				})
			}
			last = total
		}
	}
}

// stopping tells whether the sink is on its way out.
func (s *Sink) stopping() bool {
	select {
	case <-s.stop:
		return true
	default:
		return false
	}
}
