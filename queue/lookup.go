package queue

import (
	"context"
	"errors"
	"slices"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/tarishi/tarishi/mail"
)

// A message is found by its id without a list of ids anywhere: its id tells when it
// came in, so that nothing that was stored before need be looked at, and each record
// begins with it. Where the streams' files lie on this machine they are read; a node
// without them asks the others; and where nobody has them, JetStream is asked for the
// names of all that waits.

// idSlack is by how much clocks may differ.
const idSlack = time.Minute

// readyLook is how long after a message came in its record may have been stored in READY.
const readyLook = 2 * time.Minute

// findID lists the deliveries of an id.
func (q *Queue) findID(ctx context.Context, f Filter) (Found, error) {
	x := &finding{q: q, m: newMatcher(f), byID: map[string]int{}, began: time.Now(), out: Found{Looked: true}}
	if q.team != nil {
		var err error
		if x.elsewhere, err = q.handsNow(ctx); err != nil {
			return x.out, err
		}
	}
	err := q.eachOfID(ctx, f.ID, x.each)
	if errors.Is(err, errEnough) {
		err = nil
	}
	return x.out, err
}

// eachOfID gives each record that holds a delivery of an id, and may give others.
func (q *Queue) eachOfID(ctx context.Context, id string, each func(stored) error) error {
	message, _ := mail.SplitDeliveryID(id)
	came, ok := mail.IDTime(message)
	if !ok {
		came = time.Time{} // none of ours: everything is looked at
	}
	if found, ok := q.recordsOf(ctx, message); ok {
		return q.eachLooked(ctx, found, each)
	}
	if err := q.readyOfID(ctx, came, each); err != nil {
		return err
	}
	return q.waitOfID(ctx, message, came, each)
}

// recordsOf finds where the records of a message may lie. ok: somebody has looked.
func (q *Queue) recordsOf(ctx context.Context, message string) (l looked, ok bool) {
	came, ok := mail.IDTime(message)
	if !ok {
		return l, false // none of ours
	}
	return q.lookup(ctx, message, came, opLookup)
}

// eachReady gives the records of READY in which a matcher's deliveries may be.
func (q *Queue) eachReady(ctx context.Context, m *matcher, each func(stored) error) error {
	if m.ID != "" {
		if l, ok := q.recordsOf(ctx, m.message); ok {
			return q.eachLooked(ctx, looked{Ready: l.Ready}, each)
		}
	}
	return q.scanReady(ctx, each)
}

// looked is where the records of a message may lie.
type looked struct {
	Ready []uint64 `json:"ready,omitempty"`
	Wait  []uint64 `json:"wait,omitempty"`
	Event []uint64 `json:"event,omitempty"` // of the journal: many deliveries share a record
}

// What can be looked for in the files: where a message waits, and what became of it.
const (
	opLookup = "lookup" // in READY and WAIT
	opFate   = "fate"   // in EVENT
)

// lookup finds the records of a message in the files of this machine or another's. ok:
// somebody has looked.
func (q *Queue) lookup(ctx context.Context, message string, came time.Time, op string) (l looked, ok bool) {
	if q.o.Lookup != nil {
		l, err := q.lookHere(ctx, message, came, op)
		if err == nil {
			return l, true
		}
		q.log.Warn("the streams' files could not be looked through", "error", err)
	}
	if q.team == nil {
		return l, false
	}
	rs, err := q.actions.liveNodes(ctx)
	if err != nil {
		return l, false
	}
	// The first who has looked is enough; the others have copies of the same.
	answers, _, err := q.askAll(ctx, rs, question{Op: op, ID: message}, lookupWait, func(a map[string]report) bool {
		for _, r := range a {
			if r.Looked != nil {
				return true
			}
		}
		return false
	})
	if err != nil {
		return l, false
	}
	for _, r := range answers {
		if r.Looked != nil {
			return *r.Looked, true
		}
	}
	return l, false
}

// lookupWait is how long another node may look.
const lookupWait = 10 * time.Second

// lookHere finds the records of a message in this machine's files.
func (q *Queue) lookHere(ctx context.Context, message string, came time.Time, op string) (l looked, err error) {
	name := []byte(message)
	type in struct {
		stream string
		list   *[]uint64
		head   int
	}
	streams := []in{{streamReady, &l.Ready, nameWithin}, {streamWait, &l.Wait, nameWithin}}
	if op == opFate {
		streams = []in{{streamEvent, &l.Event, 0}}
	}
	for _, x := range streams {
		list := x.list
		err := q.o.Lookup(ctx, x.stream, came.Add(-idSlack), name, x.head, func(seq uint64) error {
			if *list = append(*list, seq); len(*list) > mostLooked {
				return errEnough // a message that quotes many others at its very start
			}
			return nil
		})
		if err != nil && !errors.Is(err, errEnough) {
			return l, err
		}
		slices.Sort(*list)
	}
	return l, nil
}

// nameWithin is how far into a record its message's name is: in the headers, or right
// behind them.
const nameWithin = 512

// mostLooked bounds what is looked at of what was found: a message has a record for
// each destination, and those that have been replaced are in the files for a while.
const mostLooked = 10000

// eachLooked gives the records that were found and are there still.
func (q *Queue) eachLooked(ctx context.Context, l looked, each func(stored) error) error {
	for stream, list := range map[string][]uint64{streamReady: l.Ready, streamWait: l.Wait} {
		for _, seq := range list {
			if stream == streamReady && q.claims.wasRemoved(seq) {
				continue
			}
			m, err := q.load(ctx, stream, seq)
			if errors.Is(err, errNoRecord) {
				continue
			}
			if err != nil {
				return err
			}
			if stream == streamReady {
				m.subject = ""
			}
			if err := each(m); err != nil {
				return err
			}
		}
	}
	return nil
}

// readyOfID gives each record of READY that was stored when a message came in.
func (q *Queue) readyOfID(ctx context.Context, came time.Time, each func(stored) error) error {
	in := &readyReader{q: q, next: 1}
	if !came.IsZero() {
		since := came.Add(-idSlack)
		in.since = &since
	}
	for {
		ms, _, err := in.read(ctx, 512)
		if err != nil || len(ms) == 0 {
			return err
		}
		for _, m := range ms {
			if q.claims.wasRemoved(m.seq) {
				continue
			}
			if !came.IsZero() && m.at.After(came.Add(readyLook)) {
				return nil
			}
			m.subject = ""
			if err := each(m); err != nil {
				return err
			}
		}
	}
}

// waitOfID gives each record of WAIT that is named after a message.
func (q *Queue) waitOfID(ctx context.Context, message string, came time.Time, each func(stored) error) error {
	in := q.newReader(0, "wait.>")
	in.headers = true
	if came.IsZero() {
		in.next = 1
	} else {
		since := came.Add(-idSlack)
		in.since = &since
	}
	defer in.close()
	for {
		ms, err := in.read(ctx, readMax)
		if err == nil && len(ms) == 0 {
			ms, err = in.fresh(ctx, readMax)
		}
		if err != nil || len(ms) == 0 {
			return err
		}
		for _, m := range ms {
			id, ok := parseRecordID(m.header.Get(jetstream.MsgIDHeader))
			if !ok {
				continue
			}
			if of, _ := mail.SplitDeliveryID(id.delivery); of != message {
				continue
			}
			if err := q.eachLoaded(ctx, m.seq, each); err != nil {
				return err
			}
		}
	}
}

// eachLoaded gives one record of WAIT, if it is there still.
func (q *Queue) eachLoaded(ctx context.Context, seq uint64, each func(stored) error) error {
	m, err := q.load(ctx, streamWait, seq)
	if errors.Is(err, errNoRecord) {
		return nil
	}
	if err != nil {
		return err
	}
	return each(m)
}
