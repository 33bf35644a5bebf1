package queue

import (
	"context"
	"errors"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/tarishi/tarishi/mail"
)

// A message is found by its id without a list of ids anywhere: its id tells when it
// came in, so that nothing that was stored before need be looked at; READY is looked
// through from there; and in WAIT the names of the records are, which begin with it.

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
	if err := q.readyOfID(ctx, came, each); err != nil {
		return err
	}
	return q.waitOfID(ctx, message, came, each)
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
