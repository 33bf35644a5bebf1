package queue

import (
	"context"
	"errors"
	"fmt"
	"io"
	"sync"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/tarishi/tarishi/proto"
)

// bodies counts, for each body in BODY that this run has stored or met, how many
// deliveries still need it. What an earlier run left is found by the sweep.
type bodies struct {
	shared  bool // with other nodes
	mu      sync.Mutex
	needed  map[uint64]*body    // by first chunk
	live    map[uint64]struct{} // all chunks of these
	pending map[uint64]struct{} // chunks of messages that are still coming in
	drop    []dropped
	unsure  []dropped // pending, of messages of which nobody knows whether they were stored
}

type body struct {
	chunks []uint64
	open   int // deliveries without a final outcome; -1: unknown, left to the sweep
	// In a cluster: which have ended here, since one that was lost and has come back may
	// end twice; and when the first did.
	ended map[int]struct{}
	since time.Time
}

type dropped struct {
	chunks []uint64
	at     time.Time
}

func newBodies(shared bool) *bodies {
	return &bodies{shared: shared, needed: map[uint64]*body{}, live: map[uint64]struct{}{}, pending: map[uint64]struct{}{}}
}

func (b *bodies) uploading(seq uint64) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.pending[seq] = struct{}{}
}

func (b *bodies) finishUpload(chunks []uint64) {
	for _, s := range chunks {
		delete(b.pending, s)
	}
}

func (b *bodies) committed(chunks []uint64, deliveries int) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.finishUpload(chunks)
	if b.shared {
		return // whoever delivers it counts; that may be another node
	}
	if x := b.needed[chunks[0]]; x == nil {
		b.needed[chunks[0]] = &body{chunks: chunks, open: deliveries}
		for _, c := range chunks {
			b.live[c] = struct{}{}
		}
	} else { // a quick deliverer has met it before its writer got here
		x.open += deliveries
		b.checkLocked(chunks[0], x)
	}
}

func (b *bodies) abandon(chunks []uint64) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.finishUpload(chunks)
	b.drop = append(b.drop, dropped{chunks, time.Now()})
}

// unknown keeps the chunks of a message whose record may have been stored or not.
// They are spared for unsureFor; after that the sweep finds out.
func (b *bodies) unknown(chunks []uint64) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.unsure = append(b.unsure, dropped{chunks, time.Now()})
}

// unsureFor is longer than a publish can be on its way.
const unsureFor = 10 * time.Minute

// settleUnsure leaves to the sweep what has been unsure for long enough.
func (b *bodies) settleUnsure(now time.Time) {
	b.mu.Lock()
	defer b.mu.Unlock()
	for len(b.unsure) > 0 && now.Sub(b.unsure[0].at) >= unsureFor {
		chunks := b.unsure[0].chunks
		b.finishUpload(chunks)
		delete(b.needed, chunks[0]) // met by a deliverer, and never by its writer
		b.unsure = b.unsure[1:]
	}
}

// finished notes that one delivery of the body has its final outcome.
func (b *bodies) finished(j *Job) {
	ref := j.ref
	if ref == nil || len(ref.Chunks) == 0 {
		return
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	first := ref.Chunks[0]
	x := b.needed[first]
	if x == nil {
		if _, ok := b.pending[first]; !ok && ref.Deliveries > 1 && !b.shared {
			return // of an earlier run: only the sweep knows the others
		}
		x = &body{chunks: ref.Chunks}
		if _, ok := b.pending[first]; !ok || b.shared {
			x.open = int(ref.Deliveries)
		}
		b.needed[first] = x
	}
	if b.shared {
		if x.ended == nil {
			x.ended, x.since = map[int]struct{}{}, time.Now()
		}
		if _, ok := x.ended[j.Index]; ok {
			return
		}
		x.ended[j.Index] = struct{}{}
	}
	x.open--
	b.checkLocked(first, x)
}

func (b *bodies) checkLocked(first uint64, x *body) {
	if x.open == 0 {
		delete(b.needed, first)
		for _, c := range x.chunks {
			delete(b.live, c)
		}
		b.drop = append(b.drop, dropped{x.chunks, time.Now()})
	}
}

// partsElsewhere is for how long a cluster's node waits for the other deliveries of a
// body to end here too. Those that end on other nodes never do; the sweep finds out.
const partsElsewhere = time.Hour

// forgetShared leaves to the sweep what other nodes seem to have a part in.
func (b *bodies) forgetShared(now time.Time) {
	b.mu.Lock()
	defer b.mu.Unlock()
	for first, x := range b.needed {
		if _, ok := b.pending[first]; !ok && !x.since.IsZero() && now.Sub(x.since) > partsElsewhere {
			delete(b.needed, first)
			for _, c := range x.chunks {
				delete(b.live, c)
			}
		}
	}
}

// due returns the bodies to be removed that have been so for long enough.
func (b *bodies) due(now time.Time, after time.Duration) [][]uint64 {
	b.mu.Lock()
	defer b.mu.Unlock()
	var out [][]uint64
	i := 0
	for ; i < len(b.drop) && now.Sub(b.drop[i].at) >= after; i++ {
		out = append(out, b.drop[i].chunks)
	}
	b.drop = b.drop[i:]
	return out
}

func (b *bodies) known(seq uint64) bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	if _, ok := b.pending[seq]; ok {
		return true
	}
	_, ok := b.live[seq]
	return ok
}

// removeBodies removes bodies nobody needs. They go late: READY's and WAIT's
// removals must be on disk first, or a power cut could bring back a delivery
// whose body is gone.
func (q *Queue) removeBodies(ctx context.Context, after time.Duration) {
	q.bodies.settleUnsure(time.Now())
	q.bodies.forgetShared(time.Now())
	list := q.bodies.due(time.Now(), after)
	if len(list) == 0 {
		return
	}
	if err := q.barrier.Wait(ctx, streamReady, streamWait, streamEvent); err != nil {
		return // left to the sweep
	}
	s, err := q.getJS.Stream(ctx, streamBody)
	if err != nil {
		return
	}
	for _, chunks := range list {
		for _, seq := range chunks {
			if err := s.DeleteMsg(ctx, seq); err != nil && !errors.Is(err, jetstream.ErrMsgNotFound) && ctx.Err() == nil {
				q.log.Debug("body chunk not removed; the sweep will", "seq", seq, "error", err)
			}
		}
	}
}

// openBody reads a body from BODY.
func (q *Queue) openBody(ctx context.Context, message string, ref *proto.BodyRef) (io.ReadCloser, error) {
	return &bodyReader{ctx: ctx, q: q, message: message, ref: ref}, nil
}

// bodyReader reads chunk by chunk, one chunk in memory. It returns the last chunk
// only after the checksum of the whole has been found right.
type bodyReader struct {
	ctx     context.Context
	q       *Queue
	message string
	ref     *proto.BodyRef
	next    int
	crc     uint32
	buf     []byte
}

func (r *bodyReader) Read(p []byte) (int, error) {
	for len(r.buf) == 0 {
		if r.next == len(r.ref.Chunks) {
			return 0, io.EOF
		}
		if err := r.load(); err != nil {
			return 0, err
		}
	}
	n := copy(p, r.buf)
	r.buf = r.buf[n:]
	return n, nil
}

func (r *bodyReader) load() error {
	seq := r.ref.Chunks[r.next]
	m, err := r.q.load(r.ctx, streamBody, seq)
	if err != nil {
		return fmt.Errorf("body chunk %d of %d (BODY sequence %d): %w", r.next+1, len(r.ref.Chunks), seq, err)
	}
	var head proto.BodyChunk
	b, err := proto.ReadFrame(m.data, proto.KindBody, &head)
	if err != nil {
		return fmt.Errorf("body chunk %d of %d (BODY sequence %d): %w", r.next+1, len(r.ref.Chunks), seq, err)
	}
	if head.MessageId != r.message || int(head.Number) != r.next {
		return fmt.Errorf("body chunk %d of %d (BODY sequence %d): %w: it belongs to message %s",
			r.next+1, len(r.ref.Chunks), seq, proto.ErrDamaged, head.MessageId)
	}
	r.crc = proto.Checksum(r.crc, b)
	r.next++
	if r.next == len(r.ref.Chunks) && r.crc != r.ref.Crc32C {
		return fmt.Errorf("body at BODY sequence %d: %w: checksum differs", r.ref.Chunks[0], proto.ErrDamaged)
	}
	r.buf = b
	return nil
}

func (r *bodyReader) Close() error { return nil }
