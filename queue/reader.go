package queue

import (
	"context"
	"errors"
	"math"
	"time"

	"github.com/nats-io/nats.go/jetstream"
)

// stored is a record as it was read from a stream.
type stored struct {
	seq     uint64
	subject string
	at      time.Time
	data    []byte
}

// slotReader reads one subject (or many) of WAIT in stream order. It is an
// ephemeral consumer without acknowledgements, made when first needed: it costs
// a fraction of a look-up per message and the server forgets it by itself.
type slotReader struct {
	q       *Queue
	stream  string
	subject string
	next    uint64 // lowest sequence not read yet
	again   uint64 // lowest sequence to be read again; MaxUint64: none
	cons    jetstream.Consumer
}

func (q *Queue) newReader(subject string, from uint64) *slotReader {
	return q.newStreamReader(streamWait, subject, from)
}

func (q *Queue) newStreamReader(stream, subject string, from uint64) *slotReader {
	return &slotReader{q: q, stream: stream, subject: subject, next: from, again: math.MaxUint64}
}

// read returns up to max records, and none when there are no more just now.
func (r *slotReader) read(ctx context.Context, max int) ([]stored, error) {
	if r.cons == nil {
		if err := r.open(ctx); err != nil {
			return nil, err
		}
	}
	b, err := r.cons.FetchNoWait(max)
	if err != nil {
		r.close()
		return nil, err
	}
	var out []stored
	for m := range b.Messages() {
		md, err := m.Metadata()
		if err != nil {
			continue
		}
		r.next = md.Sequence.Stream + 1
		out = append(out, stored{seq: md.Sequence.Stream, subject: m.Subject(), at: md.Timestamp, data: m.Data()})
	}
	if err := b.Error(); err != nil && !errors.Is(err, jetstream.ErrNoMessages) && len(out) == 0 {
		r.close() // the server has forgotten it: made anew at the next read
		if errors.Is(err, jetstream.ErrConsumerDeleted) || errors.Is(err, jetstream.ErrConsumerNotFound) {
			return nil, nil
		}
		return nil, err
	}
	return out, nil
}

func (r *slotReader) open(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, 30*time.Second)
	defer cancel()
	var err error
	r.cons, err = r.q.getJS.CreateConsumer(ctx, r.stream, jetstream.ConsumerConfig{
		AckPolicy: jetstream.AckNonePolicy, MemoryStorage: true, FilterSubject: r.subject,
		DeliverPolicy: jetstream.DeliverByStartSequencePolicy, OptStartSeq: max(r.next, 1),
		InactiveThreshold: time.Minute,
	})
	return err
}

// rewind makes the next read begin at what was given back.
func (r *slotReader) rewind() {
	r.close()
	r.next, r.again = min(r.next, r.again), math.MaxUint64
}

// close lets the server forget the reader. It does not block.
func (r *slotReader) close() {
	if r.cons == nil {
		return
	}
	name := r.cons.CachedInfo().Name
	r.cons = nil
	q, stream := r.q, r.stream
	q.removals.add(removal{consumer: name, stream: stream})
}
