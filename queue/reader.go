package queue

import (
	"context"
	"errors"
	"fmt"
	"math"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
)

// stored is a record as it was read from a stream.
type stored struct {
	seq     uint64
	subject string
	at      time.Time
	data    []byte
	header  nats.Header
	behind  int64 // how many there were behind it when it was read
	whole   bool  // it was read from the stream's leader, and with its body
}

// slotReader reads one subject (or many) of WAIT in stream order. It is an
// ephemeral consumer without acknowledgements, made when first needed: it costs
// a fraction of a look-up per message and the server forgets it by itself. What
// the server has sent and we have not got is read again: a record that a reader
// skips would wait until the next start. One goroutine uses it.
type slotReader struct {
	q        *Queue
	stream   string
	subjects []string
	since    *time.Time // for the first read: from this time on, instead of next
	headers  bool       // no bodies
	leader   bool       // one by one, from the stream's leader; of one subject only
	silence  time.Duration

	next  uint64 // lowest sequence not read yet
	again uint64 // lowest sequence to be read again; MaxUint64: none. Guarded by lanes.mu
	cons  string // the consumer's name; empty: none now
	got   uint64 // records it has given
	open  *int   // counts readers that have a consumer; nil: nobody counts
}

func (q *Queue) newReader(from uint64, subjects ...string) *slotReader {
	return q.newStreamReader(streamWait, from, subjects...)
}

func (q *Queue) newStreamReader(stream string, from uint64, subjects ...string) *slotReader {
	return &slotReader{q: q, stream: stream, subjects: subjects, next: from, again: math.MaxUint64, silence: readSilence}
}

// readMax bounds one read: at 64 KiB a record it stays below the 64 MiB that our
// end of a connection buffers for one reader.
const readMax = 512

// A consumer is on one of a cluster's servers. When that dies with our request nobody
// answers any more: after so long a silence another one is made, and read from, as long
// as readPatience.
const readSilence, readPatience = 4 * time.Second, 30 * time.Second

// What a new consumer mends: the server has forgotten ours, or sent what did not arrive.
var (
	errForgotten = errors.New("the consumer is gone")
	errUnheard   = errors.New("nobody answers for the consumer")
	errLost      = errors.New("records were lost on the way")
	errMute      = errors.New("the server of the consumer is silent")
)

// read returns up to max records, and none when the server says that there are no
// more just now. One that was stored this moment may be missed, see fresh.
func (r *slotReader) read(ctx context.Context, max int) ([]stored, error) {
	if r.leader {
		return r.readLeader(ctx, max)
	}
	began := time.Now()
	for again := false; ; again = true {
		if r.cons == "" {
			if err := r.openConsumer(ctx); err != nil {
				if r.q.team != nil && ctx.Err() == nil && errors.Is(err, context.DeadlineExceeded) && time.Since(began) < readPatience {
					continue // whoever was asked has died
				}
				return nil, err
			}
		}
		out, err := r.pull(ctx, min(max, readMax))
		if err == nil {
			return out, nil
		}
		if errors.Is(err, errUnheard) && r.q.team != nil && time.Since(began) < 2*time.Second {
			select { // it has just been made on another server, and ours has not heard of it yet
			case <-ctx.Done():
			case <-time.After(10 * time.Millisecond):
			}
			continue
		}
		r.close() // what is missing is read by a new one, from r.next
		switch {
		case len(out) > 0:
			return out, nil
		case errors.Is(err, errMute) && time.Since(began) < readPatience:
		case again || !errors.Is(err, errForgotten) && !errors.Is(err, errUnheard) && !errors.Is(err, errLost):
			return nil, fmt.Errorf("%w: reading %s: %w", ErrUnavailable, r.stream, err)
		}
	}
}

// readLeader is read for a few records.
func (r *slotReader) readLeader(ctx context.Context, max int) (out []stored, err error) {
	r.close()
	for len(out) < max {
		m, err := r.q.loadFromLeader(ctx, r.stream, fmt.Appendf(nil, `{"seq":%d,"next_by_subj":%q}`, r.next, r.subjects[0]))
		if errors.Is(err, errNoRecord) {
			break
		}
		if err != nil {
			if len(out) > 0 {
				break
			}
			return nil, fmt.Errorf("%w: reading %s: %w", ErrUnavailable, r.stream, err)
		}
		r.next = m.seq + 1
		out = append(out, m)
	}
	return out, nil
}

// fresh is read with a new consumer, which sees all that is stored by now. An old
// one is told of new records behind the publisher's back, a moment late.
func (r *slotReader) fresh(ctx context.Context, max int) ([]stored, error) {
	r.close()
	return r.read(ctx, max)
}

// pull asks the consumer once. nats.go's FetchNoWait takes a second's silence for
// the end; here only the server's word ends a read.
func (r *slotReader) pull(ctx context.Context, max int) (out []stored, err error) {
	ctx, cancel := context.WithTimeout(ctx, 30*time.Second)
	defer cancel()
	inbox := r.q.get.NewInbox()
	answers := make(chan *nats.Msg, max+8) // SubscribeSync would make one of 65,536 for each read
	sub, err := r.q.get.ChanSubscribe(inbox, answers)
	if err != nil {
		return nil, err
	}
	defer func() { _ = sub.Unsubscribe() }()
	subject := "$JS.API.CONSUMER.MSG.NEXT." + r.stream + "." + r.cons
	if err := r.q.get.PublishRequest(subject, inbox, fmt.Appendf(nil, `{"batch":%d,"no_wait":true}`, max)); err != nil {
		return nil, err
	}
	quiet := time.NewTimer(r.silence)
	defer quiet.Stop()
	if r.q.team == nil {
		quiet.Stop() // it is this process
	}
	for len(out) < max {
		var m *nats.Msg
		select {
		case <-quiet.C:
			return out, errMute
		case m = <-answers:
			if r.q.team != nil {
				quiet.Reset(r.silence)
			}
		case <-ctx.Done():
			return out, ctx.Err()
		}
		switch status := m.Header.Get("Status"); status {
		case "":
		case "100": // a heartbeat
			continue
		case "404", "408": // no more just now
			return out, nil
		case "409": // deleted
			return out, errForgotten
		case "503":
			return out, errUnheard
		default:
			return out, fmt.Errorf("%s %s", status, m.Header.Get("Description"))
		}
		md, err := m.Metadata()
		if err != nil {
			return out, err
		}
		if md.Sequence.Consumer != r.got+1 {
			return out, errLost
		}
		r.got++
		r.next = md.Sequence.Stream + 1
		out = append(out, stored{seq: md.Sequence.Stream, subject: m.Subject, at: md.Timestamp, data: m.Data, header: m.Header, behind: int64(md.NumPending)})
	}
	return out, nil
}

func (r *slotReader) openConsumer(ctx context.Context) error {
	patience := 30 * time.Second
	if r.q.team != nil {
		patience = 2 * readSilence // our caller tries again
	}
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	c := jetstream.ConsumerConfig{
		AckPolicy: jetstream.AckNonePolicy, MemoryStorage: true, HeadersOnly: r.headers,
		DeliverPolicy: jetstream.DeliverByStartSequencePolicy, OptStartSeq: max(r.next, 1),
		InactiveThreshold: time.Minute,
	}
	switch {
	case r.stream == streamWait && len(r.subjects) == 1 && r.subjects[0] == allWaiting:
		// No filter: with one the server counts what is pending subject by subject.
	case len(r.subjects) == 1:
		c.FilterSubject = r.subjects[0]
	default:
		c.FilterSubjects = r.subjects
	}
	if r.since != nil && r.next == 0 {
		c.DeliverPolicy, c.OptStartSeq, c.OptStartTime = jetstream.DeliverByStartTimePolicy, 0, r.since
	}
	cons, err := r.q.getJS.CreateConsumer(ctx, r.stream, c)
	if err != nil {
		return fmt.Errorf("%w: reading %s: %w", ErrUnavailable, r.stream, err)
	}
	r.cons, r.got = cons.CachedInfo().Name, 0
	if r.open != nil {
		*r.open++
	}
	return nil
}

// rewind makes the next read begin at what was given back. The caller holds lanes.mu.
func (r *slotReader) rewind() {
	r.close()
	r.next, r.again = min(r.next, r.again), math.MaxUint64
}

// rewindTo makes the next read begin at seq.
func (r *slotReader) rewindTo(seq uint64) {
	r.close()
	r.next = seq
}

// close lets the server forget the reader, which goes on where it was when it is
// read again. It does not block.
func (r *slotReader) close() {
	if r.cons == "" {
		return
	}
	r.q.removals.add(removal{consumer: r.cons, stream: r.stream})
	r.cons = ""
	if r.open != nil {
		*r.open--
	}
}
