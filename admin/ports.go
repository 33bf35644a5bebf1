package admin

import (
	"context"
	"errors"
	"io"
	"time"

	"github.com/tarishi/tarishi/mail"
)

// Queue is the operator's side of the mail queue. Methods may be called
// concurrently; an error means that the queue could not answer.
type Queue interface {
	// Lanes tells what is queued per destination, the max longest lanes.
	Lanes(ctx context.Context, max int) (Overview, error)
	// Summary is the whole queue in a few numbers.
	Summary(ctx context.Context) (Summary, error)
	// Lines counts what waits, held mail not among it, by line.
	Lines(ctx context.Context) (map[mail.Line]int64, error)
	// Find lists a page of the matching deliveries. ErrPage: its After is none.
	Find(ctx context.Context, f Filter, p Page) (Found, error)
	// Doubts lists attempts that were cut off between the final dot and its reply:
	// their mail may arrive twice.
	Doubts(ctx context.Context) ([]Doubt, error)
	// Open reads the octets of a queued message; id names it or one of its
	// deliveries. ErrNotFound when neither is queued.
	Open(ctx context.Context, id string) (io.ReadCloser, error)

	// Begin stores an action; when it returns, the action goes on until it is done or
	// cancelled, whoever dies.
	Begin(ctx context.Context, a Action) (ActionState, error)
	// Follow tells progress how far an action is, from the caller's goroutine, until it
	// has ended. When ctx ends before, the action goes on.
	Follow(ctx context.Context, id string, progress func(ActionState)) (ActionState, error)
	// Actions lists the actions that are still known, the newest first.
	Actions(ctx context.Context) ([]ActionState, error)
	// Action tells how far one is. ErrNoAction: there is none of that id.
	Action(ctx context.Context, id string) (ActionState, error)
	// Cancel ends one; what it has done stays done. ErrEnded: it has.
	Cancel(ctx context.Context, id, author string) error
}

// What a Queue answers besides that it could not.
var (
	ErrNotFound = errors.New("nothing of that id is queued")
	ErrNoAction = errors.New("there is no such action")
	ErrEnded    = errors.New("the action has ended")
	ErrPage     = errors.New("that is no place in a listing")
)

// Action is a verb for a part of the queue.
type Action struct {
	ID     string
	Verb   Verb
	Filter Filter
	Author string
	Reason string
	At     time.Time  // Begin sets it, and ID
	Reply  mail.Reply // Bounce: what the notice gives as the cause
}

// ActionState is how far an action has come. The counts are of deliveries.
type ActionState struct {
	Action
	State     string // running, done, cancelled
	Matched   int    // those in Busy and Ordered included
	Changed   int
	Unchanged int  // there was nothing to do
	Busy      int  // being sent just then: done if they come back
	Planned   int  // of Changed: due only when their delivery hours, or their client's time, have come
	Ordered   int  // ready to go on some node of a cluster: done when one takes them
	AtLeast   bool // a node died with it, and what it did last is not counted
	Share     float64
	Expected  int64 // how many it may mean, by the counts; 0: not known
	Ended     time.Time
	Cancelled string // who cancelled it
	Error     string // what stands in its way; it is tried again
	Waits     int    // parts of the waiting mail that no node holds just now
}

// Page says which part of a listing is wanted.
type Page struct {
	Max   int
	After string        // Next of the page before
	For   time.Duration // how long to look at most
}

// Found is a page of a listing.
type Found struct {
	Entries []Entry
	Next    string // empty: there is no more
	Looked  bool   // false: time was up
}

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
	Bounce              string // bounce class of LastReply
}

// Summary is the whole queue in a few numbers.
type Summary struct {
	Ready, Waiting, Held, Active int64
	Destinations, Lines          int
	Tenants                      map[string]int64
	Classes                      map[mail.Class]int64
	Due                          []DueCount
}

// DueCount is how much waits that is due within so long; 0: now; negative: later.
type DueCount struct {
	Within time.Duration
	Count  int64
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
