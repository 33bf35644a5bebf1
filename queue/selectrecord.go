package queue

import (
	"context"
	"fmt"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/tarishi/tarishi/mail"
)

// claimed is what became of a try to claim a record for an operator's action.
type claimed int

const (
	claimedIt claimed = iota
	claimBusy         // somebody has it in hand
	claimGone         // it has been ended, or counts for nothing, or its partition is another's
)

// claimFor claims a record of WAIT, or of READY on a node alone.
func (q *Queue) claimFor(m stored) (*record, claimed) {
	r := &record{stream: streamWait, seq: m.seq, subject: m.subject}
	if m.subject == "" {
		r.stream, r.msg = streamReady, readyByDelete{q: q, seq: m.seq}
	}
	if q.team != nil {
		if r.hold = q.team.workingOn(m.subject); r.hold == nil {
			return nil, claimGone // let go meanwhile
		}
		if id, ok := parseRecordID(m.header.Get(jetstream.MsgIDHeader)); ok {
			if void, known := r.hold.void(m.seq, id.claim); void || !known || r.hold.superseded[m.seq] {
				return nil, claimGone
			}
		}
	}
	switch taken, gone := q.claims.take(r); {
	case gone:
		return nil, claimGone
	case !taken:
		return nil, claimBusy
	}
	if r.stream == streamWait {
		q.lanes.take(r)
	}
	return r, claimedIt
}

// Selection is what selectRecord came to.
type Selection struct {
	Matched int // jobs given to the caller
	Busy    int // deliveries a deliverer has in hand just now; not touched
}

// selectRecord claims a record and gives the deliveries that are meant to fn, which
// must end them. ends is how many claims had ended when the record was read, at the
// latest; 0: not known. A message's other deliveries in a record of READY move to WAIT, due at once.
func (q *Queue) selectRecord(ctx context.Context, m stored, meant func(*mail.Delivery) bool, ends uint64, fn func(*Job) error) (sel Selection, err error) {
	r, what := q.claimFor(m)
	switch what {
	case claimGone:
		return sel, nil
	case claimBusy:
		sel.Busy = q.meantIn(m, meant)
		return sel, nil
	}
	// What we read may be old by now: somebody may have ended it since. A node alone
	// knows, unless very much has ended meanwhile.
	if q.team != nil || q.claims.ends()-ends >= goneSize || ends == 0 {
		there, err := q.exists(ctx, r)
		if err != nil || !there {
			q.giveBack(r)
			return sel, err
		}
	}
	js, err := q.jobs(r, m.data)
	if err != nil {
		q.giveBack(r)
		return sel, fmt.Errorf("record %d of %s: %w", m.seq, r.stream, err)
	}
	for i, j := range js {
		switch {
		case meant(&j.Delivery):
			sel.Matched++
			if err := fn(j); err != nil {
				for _, rest := range js[i+1:] {
					rest.release()
				}
				return sel, err
			}
		case r.stream == streamReady:
			j.wait(j.Delivery, nil)
		default:
			j.release()
		}
	}
	return sel, nil
}

// meantIn counts the deliveries of a stored record that are meant.
func (q *Queue) meantIn(m stored, meant func(*mail.Delivery) bool) int {
	n := 0
	for _, d := range q.deliveriesOf(m) {
		if meant(&d) {
			n++
		}
	}
	return n
}
