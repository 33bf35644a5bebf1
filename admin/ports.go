package admin

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/tarishi/tarishi/mail"
)

// Queue is the operator's side of the mail queue. Methods may be called
// concurrently; an error means that the queue could not answer.
type Queue interface {
	// Lanes tells what is queued per destination, the max longest lanes.
	Lanes(ctx context.Context, max int) (Overview, error)
	// Find lists up to max matching deliveries without claiming them.
	Find(ctx context.Context, f Filter, max int) ([]Entry, error)
	// Select claims each matching delivery that is in nobody's hand and gives it to
	// fn, which must end it. It stops at the first error of fn and returns it.
	Select(ctx context.Context, f Filter, fn func(Job) error) (Selection, error)
	// Doubts lists attempts that were cut off between the final dot and its reply:
	// their mail may arrive twice.
	Doubts(ctx context.Context) ([]Doubt, error)
	// Open reads the octets of a queued message; id names it or one of its
	// deliveries. ErrNotFound when neither is queued.
	Open(ctx context.Context, id string) (io.ReadCloser, error)
}

// Doer is implemented by a Queue whose mail is in the hands of several nodes: an
// action is then a value, which each node carries out on what it has. Only the counts
// of the Progress are used.
type Doer interface {
	// Do returns when what it did is stored. reply is for Bounce, note for the journal.
	Do(ctx context.Context, a Action, f Filter, note string, reply mail.Reply, progress func(Progress)) (Progress, error)
}

// ErrNotFound says that nothing of that id is queued.
var ErrNotFound = errors.New("nothing of that id is queued")

// Job is one delivery claimed for the operator. Exactly one of Wait, Remove,
// Release, and a Bounce that returned nil ends it.
type Job interface {
	// Info is the delivery as it is stored. The caller does not change what it points to.
	Info() mail.Delivery
	// Wait stores next in its place, to be attempted when it is due.
	Wait(next mail.Delivery)
	// Remove takes it out of the queue without telling its sender; note goes to the journal.
	Remove(note string)
	// Bounce takes it out and stores the failure notice for its sender first,
	// quoting reply as the cause. After an error the job is still claimed.
	Bounce(ctx context.Context, reply mail.Reply) error
	// Release gives it back as it was.
	Release()
}

// Filter names a part of the queue: what matches every field that is set.
type Filter struct {
	ID          string      // of a message or of one delivery
	Destination mail.Domain // canonical
	Sender      string      // raw address, compared without regard to case; "<>" for the null sender
}

// Selection is what a Select met. Busy matched too, but were being sent just then.
type Selection struct{ Matched, Busy int }

// Entry is one queued delivery and where it stands: ready, waiting, active or held.
type Entry struct {
	mail.Delivery
	State string
}

// Overview is the queue by destination.
type Overview struct {
	Lanes        []LaneInfo // the longest first
	Destinations int        // in all, those not in Lanes included

	// Ready, Waiting and Held are the whole queue; Active, those in a deliverer's
	// hand, are among the first two.
	Ready, Waiting, Held, Active int64

	// ReadySorted is false when too many are ready to go to be sorted by
	// destination; then they count in Ready and in no lane.
	ReadySorted bool
}

// LaneInfo is what is queued for one destination.
type LaneInfo struct {
	Destination         mail.Domain
	Count, Held, Active int64
	Oldest              time.Time // arrival of the oldest
	NextDue             time.Time // zero: at once, or nothing waits
	LastReply           mail.Reply
	LastHost            string
}

// Doubt is one attempt of unknown outcome.
type Doubt struct {
	DeliveryID  string
	Attempt     int
	Destination mail.Domain
	Host        string
	At          time.Time // when the final dot was sent
	Found       time.Time // when the missing outcome was noticed
}

// MakeFilter checks and canonicalises what an operator typed. At least one of
// the three must be given: no verb of ours means the whole queue by accident.
func MakeFilter(id, destination, sender string) (Filter, error) {
	f := Filter{ID: strings.ToUpper(strings.TrimSpace(id)), Sender: strings.TrimSpace(sender)}
	destination = strings.TrimSpace(destination)
	for _, v := range []string{f.ID, destination, f.Sender} {
		if len(v) > 1000 || strings.ContainsFunc(v, func(r rune) bool { return r < ' ' || r == 0x7f }) {
			return Filter{}, errors.New("a filter holds control characters or more than 1000 octets; check what was pasted")
		}
	}
	switch {
	case f.ID == "" && destination == "" && f.Sender == "":
		return Filter{}, errors.New("nothing was selected; name an id, a destination or a sender")
	case strings.Trim(f.ID, "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZ.-_") != "":
		return Filter{}, fmt.Errorf("%q is no message id; ids look like 01K9ABCDEFGH12345678 or, for one delivery, 01K9ABCDEFGH12345678.0", id)
	case strings.ContainsAny(destination, "@ /"):
		return Filter{}, fmt.Errorf("%q is no destination; give the domain alone, as in example.org", destination)
	}
	if destination != "" {
		f.Destination = mail.CanonicalDomain(destination)
	}
	if s := f.Sender; len(s) > 2 && s[0] == '<' && s[len(s)-1] == '>' {
		f.Sender = s[1 : len(s)-1]
	}
	if f.Sender != "" && f.Sender != "<>" && !strings.Contains(f.Sender, "@") && !strings.EqualFold(f.Sender, "postmaster") {
		return Filter{}, fmt.Errorf(`%q is no sender; give the whole address, or "<>" for the null sender`, f.Sender)
	}
	return f, nil
}

// String is the filter as logs and questions show it.
func (f Filter) String() string {
	var parts []string
	if f.ID != "" {
		parts = append(parts, "id "+f.ID)
	}
	if f.Destination != "" {
		parts = append(parts, "destination "+string(f.Destination))
	}
	if f.Sender != "" {
		parts = append(parts, "sender "+f.Sender)
	}
	return strings.Join(parts, ", ")
}
