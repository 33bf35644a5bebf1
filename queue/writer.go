package queue

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/tarishi/tarishi/mail"
	"github.com/tarishi/tarishi/proto"
)

const chunkSize = 512 << 10

// Writer takes in one message. It holds at most one chunk in memory: what is
// larger than the inline limit goes to BODY chunk by chunk while it comes in.
// One goroutine uses it.
type Writer struct {
	q    *Queue
	id   string
	buf  *[]byte
	size int64
	crc  uint32

	chunks  []uint64
	began   time.Time // when the first chunk was stored
	err     error
	settled bool
}

var inlineBuffers = sync.Pool{New: func() any { b := make([]byte, 0, 8<<10); return &b }}

// NewWriter begins the message id. The caller must call Commit or Abort.
func (q *Queue) NewWriter(id string) *Writer {
	return &Writer{q: q, id: id, buf: inlineBuffers.Get().(*[]byte)}
}

// Write takes the next octets of the message, as they will be sent.
func (w *Writer) Write(p []byte) (int, error) {
	if w.err != nil {
		return 0, w.err
	}
	n := len(p)
	w.size += int64(n)
	for {
		room := chunkSize - len(*w.buf)
		if len(p) <= room {
			*w.buf = append(*w.buf, p...)
			return n, nil
		}
		*w.buf = append(*w.buf, p[:room]...)
		p = p[room:]
		if w.err = w.flushChunk(context.Background()); w.err != nil {
			return 0, w.err
		}
	}
}

// flushChunk stores what is buffered as the next chunk of the body.
func (w *Writer) flushChunk(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, w.q.o.Patience)
	defer cancel()
	w.crc = proto.Checksum(w.crc, *w.buf)
	if w.chunks == nil {
		w.began = time.Now()
	}
	head := &proto.BodyChunk{MessageId: w.id, Number: uint32(len(w.chunks)), StoredUs: proto.Micros(time.Now())}
	frame, err := proto.AppendFrame(make([]byte, 0, proto.FrameSize(head, len(*w.buf))), proto.KindBody, head, *w.buf)
	if err != nil {
		return err
	}
	seq, err := w.q.publish(ctx, subjectBody, nil, frame)
	if err != nil {
		return err
	}
	w.chunks = append(w.chunks, seq)
	w.q.bodies.uploading(seq)
	*w.buf = (*w.buf)[:0]
	return nil
}

// Commit stores the message with its deliveries, which appear together or not at
// all, and returns nil only once they are on disk. It sets m.Size. After
// ErrUnavailable it is unknown whether the message was stored.
func (w *Writer) Commit(ctx context.Context, m *mail.Message, ds []mail.Delivery) error {
	defer w.Abort()
	if w.err != nil {
		return w.err
	}
	if len(ds) == 0 {
		return errors.New("a message without deliveries cannot be stored")
	}
	if err := w.q.barrier.Failed(); err != nil {
		return err
	}
	m.Size = w.size
	head := proto.FromMessage(m)
	for i := range ds {
		head.Deliveries = append(head.Deliveries, proto.FromDelivery(&ds[i]))
	}
	body := *w.buf
	// What each delivery would carry along when it has to wait decides where the body goes.
	if w.chunks != nil || len(body)*len(ds) > w.q.o.MaxInline {
		if err := w.flushChunk(ctx); err != nil {
			return err
		}
		head.Body = &proto.BodyRef{Chunks: w.chunks, Crc32C: w.crc, Deliveries: uint32(len(ds))}
		body = nil
		if w.q.team != nil && time.Since(w.began) > uploadMost {
			return fmt.Errorf("%w: the message took more than %s to come in; its body may have been swept away", ErrUnavailable, uploadMost)
		}
		// The body must be on disk before a record names it. Swapped, a power cut could
		// keep the record, which another message's barrier has synced, and give the
		// lost chunks' sequences to another message's body.
		if err := w.q.barrier.Wait(ctx, streamBody); err != nil {
			return err
		}
	}
	if err := w.q.putMail(ctx, m, ds, head, body); err != nil {
		if errors.Is(err, ErrUnavailable) && head.Body != nil {
			w.settled = true // the record may be there and need its body
			w.q.bodies.unknown(w.chunks)
		}
		return err
	}
	w.settled = true
	if head.Body != nil {
		w.q.bodies.committed(w.chunks, len(ds))
	}
	w.q.stats.accepted.Add(1)
	w.q.stats.acceptedBytes.Add(w.size)
	return nil
}

// putReady stores one READY record and waits for the disk.
func (q *Queue) putReady(ctx context.Context, head *proto.Mail, body []byte) error {
	buf := recordBuffers.Get().(*[]byte)
	frame, err := proto.AppendFrame((*buf)[:0], proto.KindMail, head, body)
	if err != nil {
		return err
	}
	var h nats.Header
	if head.Origin != "" || q.team != nil {
		// Made here, so that the next start must know whether it was stored; or stored in a
		// cluster, where a publish is repeated until a leader answers.
		h = messageID(head.Id)
	}
	if _, err := q.publish(ctx, subjectReady, h, frame); err != nil {
		return err // the buffer may still be on its way: it is not used again
	}
	if cap(frame) <= 128<<10 {
		*buf = frame
		recordBuffers.Put(buf)
	}
	// The barrier comes after the acknowledgement: swapped, the sync could miss the record.
	return q.barrier.Wait(ctx, streamReady)
}

var recordBuffers = sync.Pool{New: func() any { b := make([]byte, 0, 8<<10); return &b }}

// Abort forgets a message that was not committed. After Commit it does nothing.
func (w *Writer) Abort() {
	if w.buf == nil {
		return
	}
	if !w.settled && len(w.chunks) > 0 {
		w.q.bodies.abandon(w.chunks)
	}
	if cap(*w.buf) <= 128<<10 {
		*w.buf = (*w.buf)[:0]
		inlineBuffers.Put(w.buf)
	}
	w.buf = nil
	if w.err == nil {
		w.err = errors.New("the message has been committed or aborted")
	}
}

// Put stores a message that was made here (a DSN): durable when it returns nil. A
// repeat of an id that an earlier run had stored just before it died is dropped.
func (q *Queue) Put(ctx context.Context, m *mail.Message, body []byte, ds []mail.Delivery) error {
	if q.recent.hasMessage(m.ID) {
		return nil
	}
	if q.team != nil && m.Origin != "" {
		if there, err := q.storedBefore(ctx, m.ID, m.Origin); err != nil || there {
			return err
		}
	}
	w := q.NewWriter(m.ID)
	defer w.Abort()
	if _, err := w.Write(body); err != nil {
		return fmt.Errorf("store %s: %w", m.ID, err)
	}
	return w.Commit(ctx, m, ds)
}

// SyncFailed returns why nothing more can be made durable until the node is
// restarted, or nil.
func (q *Queue) SyncFailed() error { return q.barrier.Failed() }

// Room tells whether more mail may come in: nil, ErrFull or ErrUnavailable.
func (q *Queue) Room() error {
	if err := q.barrier.Failed(); err != nil {
		return err
	}
	if p := q.room.Load(); p != nil {
		return *p
	}
	return nil
}
