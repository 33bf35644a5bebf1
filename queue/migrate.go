package queue

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/tarishi/tarishi/mail"
	"github.com/tarishi/tarishi/proto"
)

// Migration is how far everything of a node that was alone has come into a cluster.
// Its caller keeps it, as JSON, on the old node's disk.
type Migration struct {
	Format  int       `json:"format"`
	Started time.Time `json:"started"`
	Done    bool      `json:"done"`

	// Sequences of the old streams up to which everything is in the cluster.
	Body   uint64 `json:"body"`
	Ready  uint64 `json:"ready"`
	Wait   uint64 `json:"wait"`
	Doubts uint64 `json:"doubts"`
	// Suppress is likewise of the suppression list.
	Suppress uint64 `json:"suppress,omitempty"`
	// Chunks tells where each chunk of a body lies now.
	Chunks []ChunkRun `json:"chunks,omitempty"`
	// After is how far the cluster's streams had come then: what was stored since and is
	// not told of here lies above.
	After Marks `json:"after"`

	Messages   int64 `json:"messages"` // records of READY
	Waiting    int64 `json:"waiting"`  // and of WAIT
	Deliveries int64 `json:"deliveries"`
	Octets     int64 `json:"octets"` // of bodies and records
	Suppressed int64 `json:"suppressed,omitempty"`
}

// ChunkRun is a run of chunks with successive sequences, before and after.
type ChunkRun struct {
	Old uint64 `json:"old"`
	New uint64 `json:"new"`
	N   uint64 `json:"n"`
}

// Marks are sequences of the cluster's streams.
type Marks struct {
	Event uint64 `json:"event"`
	Wait  uint64 `json:"wait"`
	Ready uint64 `json:"ready"`
}

const migrationFormat = 1

// Migrate stores everything a node alone keeps in a cluster: bodies, mail that is ready
// and that waits with its ids, generations, due times and holds, the doubts, and the
// suppression list.
// Nothing must be taken from the old queue meanwhile, nor be accepted by it. save is
// called after every few hundred records and must keep what it is given; a migration
// that broke off, by whatever, goes on from what was saved last, and neither loses a
// delivery nor doubles one. m is zero at first. The old queue is not changed.
func Migrate(ctx context.Context, from, to *Queue, m Migration, save func(Migration) error) (Migration, error) {
	switch {
	case from.team != nil || to.team == nil:
		return m, errors.New("migrate goes from a node alone to a cluster")
	case m.Format > migrationFormat:
		return m, fmt.Errorf("the migration was begun by a newer version (format %d, this one knows %d)", m.Format, migrationFormat)
	case from.claims.open() > 0:
		return m, errors.New("the old queue has mail in hand: migrate before its deliverer starts")
	case m.Done:
		return m, nil
	case !m.Started.IsZero() && time.Since(m.Started) > importMost-24*time.Hour:
		return m, fmt.Errorf("the migration was begun on %s; bodies that were copied then may have been swept away: begin anew with an empty cluster", m.Started.Format(time.DateOnly))
	}
	x := &migration{Migration: m, from: from, to: to, save: save, saved: m, have: map[string]bool{}, past: traces{}}
	if m.Started.IsZero() {
		x.Started, x.Format = time.Now().UTC(), migrationFormat
		if err := x.note(); err != nil {
			return x.saved, err
		}
	} else if err := x.lookBack(ctx); err != nil {
		return x.saved, err
	}
	for _, step := range []func(context.Context) error{x.suppressions, x.bodies, x.ready, x.waiting, x.doubts} {
		if err := step(ctx); err != nil {
			return x.saved, err
		}
	}
	x.Done = true
	err := x.note()
	return x.saved, err
}

type migration struct {
	Migration
	from, to *Queue
	save     func(Migration) error
	saved    Migration
	have     map[string]bool // ids of messages that lie in the cluster's READY though nobody noted it
	past     traces          // and what else there is of what was not noted
}

// now is how far the cluster's streams have come, as far as we have seen.
func (x *migration) now() Marks {
	k := x.to.known.marks()
	x.to.journal.mu.Lock()
	defer x.to.journal.mu.Unlock()
	return Marks{Event: x.to.journal.last, Wait: k.wait, Ready: k.ready}
}

// outgoing is one record on its way into the cluster.
type outgoing struct {
	subject string
	header  nats.Header
	frame   []byte
	done    func(seq uint64)
}

// store stores records, in order as long as nothing fails, and then notes them.
func (x *migration) store(ctx context.Context, list []outgoing) error {
	ps := make([]pending, len(list))
	errs := make([]error, len(list))
	for i, o := range list {
		ps[i], errs[i] = x.to.publishAsync(ctx, o.subject, o.header, o.frame)
	}
	for i, o := range list {
		var seq uint64
		err := errs[i]
		if err == nil {
			seq, err = ps[i].wait(ctx)
		}
		if err != nil && !errors.Is(err, ErrFull) {
			seq, err = x.to.publish(ctx, o.subject, o.header, o.frame)
		}
		if err != nil {
			// Those behind it are on their way: their buffers and our budget must come back.
			for j := i + 1; j < len(list); j++ {
				if errs[j] == nil {
					_, _ = ps[j].wait(ctx)
				}
			}
			return fmt.Errorf("store in the cluster: %w", err)
		}
		if o.done != nil {
			o.done(seq)
		}
		x.Octets += int64(len(o.frame))
	}
	return nil
}

// note saves how far it is.
func (x *migration) note() error {
	x.After = x.now()
	m := x.Migration
	m.Chunks = slices.Clone(m.Chunks)
	if err := x.save(m); err != nil {
		return fmt.Errorf("note how far the migration is: %w", err)
	}
	x.saved = m
	return nil
}

// Sizes of what is on its way at a time.
const (
	migrateRecords = 256
	migrateChunks  = 32
)

func (x *migration) bodies(ctx context.Context) error {
	in := x.from.newStreamReader(streamBody, x.Body+1, "body.>")
	defer in.close()
	for {
		ms, err := in.read(ctx, migrateChunks)
		if err != nil || len(ms) == 0 {
			return err
		}
		list := make([]outgoing, len(ms))
		for i, m := range ms {
			list[i] = outgoing{subject: subjectImported, frame: m.data, done: func(seq uint64) { x.chunk(m.seq, seq) }}
		}
		if err := x.store(ctx, list); err != nil {
			return err
		}
		x.Body = ms[len(ms)-1].seq
		if err := x.note(); err != nil {
			return err
		}
	}
}

// chunk notes where a chunk lies now. They come in the order of the old store.
func (x *migration) chunk(old, now uint64) {
	if n := len(x.Chunks); n > 0 {
		if last := &x.Chunks[n-1]; last.Old+last.N == old && last.New+last.N == now {
			last.N++
			return
		}
	}
	x.Chunks = append(x.Chunks, ChunkRun{old, now, 1})
}

func (x *migration) chunkNow(old uint64) (uint64, bool) {
	i, ok := slices.BinarySearchFunc(x.Chunks, old, func(r ChunkRun, old uint64) int {
		switch {
		case old < r.Old:
			return 1
		case old >= r.Old+r.N:
			return -1
		}
		return 0
	})
	if !ok {
		return 0, false
	}
	return x.Chunks[i].New + old - x.Chunks[i].Old, true
}

// reframe makes the record of the deliveries that are still due and not there yet, with
// its body where that lies now. nil: there are none.
func (x *migration) reframe(m stored, there func(*mail.Delivery) bool) (head *proto.Mail, frame []byte, err error) {
	head = new(proto.Mail)
	body, err := proto.ReadFrame(m.data, proto.KindMail, head)
	if err != nil {
		return nil, nil, err
	}
	ds := slices.DeleteFunc(x.from.deliveriesOf(m), func(d mail.Delivery) bool { return there(&d) })
	if len(ds) == 0 {
		return nil, nil, nil
	}
	head.Deliveries = nil
	for i := range ds {
		head.Deliveries = append(head.Deliveries, proto.FromDelivery(&ds[i]))
	}
	if head.Body != nil {
		for i, c := range head.Body.Chunks {
			now, ok := x.chunkNow(c)
			if !ok {
				return nil, nil, fmt.Errorf("%w: its body's chunk %d is not in BODY", proto.ErrDamaged, c)
			}
			head.Body.Chunks[i] = now
		}
	}
	frame, err = proto.AppendFrame(nil, proto.KindMail, head, body)
	return head, frame, err
}

func (x *migration) ready(ctx context.Context) error {
	in := &readyReader{q: x.from, next: x.Ready + 1}
	for {
		ms, _, err := in.read(ctx, migrateRecords)
		if err != nil || len(ms) == 0 {
			return err
		}
		var list []outgoing
		for _, m := range ms {
			m.subject = ""
			x.Messages++
			head, frame, err := x.reframe(m, func(d *mail.Delivery) bool {
				x.Deliveries++
				// Of a record that has left READY, each delivery has ended, or waits under the next generation.
				return x.have[d.Message.ID] || x.past.has(d.ID(), d.Generation+1)
			})
			if err != nil {
				return fmt.Errorf("READY sequence %d of the old queue: %w", m.seq, err)
			}
			if head == nil {
				continue
			}
			list = append(list, outgoing{subject: subjectReady, header: messageID(head.Id), frame: frame, done: x.to.known.sawReady})
		}
		if err := x.store(ctx, list); err != nil {
			return err
		}
		x.Ready = ms[len(ms)-1].seq
		if err := x.note(); err != nil {
			return err
		}
	}
}

func (x *migration) waiting(ctx context.Context) error {
	in := x.from.newReader(x.Wait+1, "wait.>")
	defer in.close()
	for {
		ms, err := in.read(ctx, migrateRecords)
		if err == nil && len(ms) == 0 {
			ms, err = in.fresh(ctx, migrateRecords)
		}
		if err != nil || len(ms) == 0 {
			return err
		}
		var list []outgoing
		for _, m := range ms {
			slot, err := parseSlot(m.subject)
			if err != nil {
				return fmt.Errorf("WAIT sequence %d of the old queue: %w", m.seq, err)
			}
			x.Waiting++
			head, frame, err := x.reframe(m, func(d *mail.Delivery) bool {
				x.Deliveries++
				return x.past.has(d.ID(), d.Generation)
			})
			if err != nil {
				return fmt.Errorf("WAIT sequence %d of the old queue: %w", m.seq, err)
			}
			if head == nil {
				continue
			}
			if len(head.Deliveries) != 1 {
				return fmt.Errorf("WAIT sequence %d of the old queue: %w: %d deliveries in one record", m.seq, proto.ErrDamaged, len(head.Deliveries))
			}
			d := head.Deliveries[0]
			id := mail.DeliveryID(head.Id, int(d.Index))
			name := generationID(id, int(d.Generation))
			slot.line.Tenant, slot.line.Class = head.Tenant, mail.Class(head.Class).Known()
			slot.part, slot.old = PartitionOf(slot.line.Destination, id), false
			list = append(list, outgoing{subject: slot.subject(), header: messageID(name), frame: frame, done: x.to.known.sawWait})
		}
		if err := x.store(ctx, list); err != nil {
			return err
		}
		x.Wait = ms[len(ms)-1].seq
		if err := x.note(); err != nil {
			return err
		}
	}
}

// doubts copies the list of possible duplicates. One that comes twice is listed once.
func (x *migration) doubts(ctx context.Context) error {
	in := x.from.newStreamReader(streamEvent, x.Doubts+1, subjectDoubt)
	defer in.close()
	for {
		ms, err := in.read(ctx, migrateRecords)
		if err != nil || len(ms) == 0 {
			return err
		}
		list := make([]outgoing, len(ms))
		for i, m := range ms {
			list[i] = outgoing{subject: subjectDoubt, frame: m.data}
		}
		if err := x.store(ctx, list); err != nil {
			return err
		}
		x.Doubts = ms[len(ms)-1].seq
		if err := x.note(); err != nil {
			return err
		}
	}
}
