package queue

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"strconv"
	"strings"
	"time"

	"github.com/tarishi/tarishi/mail"
	"github.com/tarishi/tarishi/proto"
)

// State names where a delivery is, for listings.
const (
	StateReady   = "ready"   // in READY, nobody has it
	StateActive  = "active"  // in a deliverer's hand
	StateWaiting = "waiting" // in WAIT
	StateHeld    = "held"    // in WAIT, until it is released
)

// Entry is one delivery in a listing.
type Entry struct {
	mail.Delivery
	State string
	Node  string // that has it in hand, of an active one; "": not known

	seq  uint64
	slot slotName // of WAIT
}

var errEnough = errors.New("enough")

// Page says which part of a listing is wanted.
type Page struct {
	Max   int           // entries; 0: all
	After string        // Next of the page before; "": from the start
	For   time.Duration // how long to look at most; 0: as long as it takes
}

// Found is a page of a listing.
type Found struct {
	Entries []Entry
	Next    string // where the next page begins; "": there is none
	Looked  bool   // false: time was up before Max were found
}

// Find lists up to max matching deliveries.
func (q *Queue) Find(ctx context.Context, f Filter, max int) ([]Entry, error) {
	found, err := q.FindPage(ctx, f, Page{Max: max})
	return found.Entries, err
}

// ErrPage means that a page's After is none of ours.
var ErrPage = errors.New("that is no place in a listing")

// FindPage lists a page of the matching deliveries: those of READY in its order, then
// those of WAIT in theirs.
func (q *Queue) FindPage(ctx context.Context, f Filter, p Page) (Found, error) {
	if f.ID != "" && p.After == "" {
		return q.findID(ctx, f)
	}
	x := &finding{q: q, p: p, m: newMatcher(f), byID: map[string]int{}, began: time.Now(), out: Found{Looked: true}}
	from, err := placeOf(p.After)
	if err != nil {
		return x.out, err
	}
	if q.team != nil {
		if x.elsewhere, err = q.handsNow(ctx); err != nil {
			return x.out, err
		}
	}
	if from.stream == streamReady {
		err = q.scanReadyFrom(ctx, from.seq, x.each)
		from = place{streamWait, 1}
	}
	if err == nil {
		err = q.scanWaitFrom(ctx, from.seq, x.m.subjects(nil), x.each)
	}
	if errors.Is(err, errEnough) {
		err = nil
	}
	return x.out, err
}

// finding is one look through the queue.
type finding struct {
	q         *Queue
	p         Page
	m         *matcher
	elsewhere hands
	byID      map[string]int
	began     time.Time
	looks     int
	out       Found
}

func (x *finding) each(m stored) error {
	if x.looks++; x.p.For > 0 && x.looks%64 == 0 && time.Since(x.began) > x.p.For {
		x.out.Looked, x.out.Next = false, placeName(m)
		return errEnough
	}
	if m.subject != "" {
		if s, err := parseSlot(m.subject); err != nil || !x.m.line(s.line) {
			return nil
		}
	}
	for _, d := range x.q.deliveriesOf(m) {
		if !x.m.match(&d) {
			continue
		}
		e := x.q.entry(m, d, x.elsewhere)
		if i, ok := x.byID[d.ID()]; ok { // it moved while we read
			if d.Generation >= x.out.Entries[i].Generation {
				x.out.Entries[i] = e
			}
			continue
		}
		if x.p.Max > 0 && len(x.out.Entries) >= x.p.Max {
			x.out.Next = placeName(m)
			return errEnough
		}
		x.byID[d.ID()] = len(x.out.Entries)
		x.out.Entries = append(x.out.Entries, e)
	}
	return nil
}

// placeName is where a record lies, as Page.After has it: the next page begins with it.
func placeName(m stored) string {
	if m.subject == "" {
		return "r" + strconv.FormatUint(m.seq, 10)
	}
	return "w" + strconv.FormatUint(m.seq, 10)
}

func placeOf(s string) (place, error) {
	if s == "" {
		return place{streamReady, 1}, nil
	}
	for letter, stream := range map[string]string{"r": streamReady, "w": streamWait} {
		if n, ok := strings.CutPrefix(s, letter); ok {
			if seq, err := strconv.ParseUint(n, 10, 64); err == nil && seq > 0 {
				return place{stream, seq}, nil
			}
		}
	}
	return place{}, fmt.Errorf("%w: %q", ErrPage, s)
}

func (q *Queue) entry(m stored, d mail.Delivery, elsewhere hands) Entry {
	e := Entry{Delivery: d, State: q.stateOf(m, &d, elsewhere), seq: m.seq}
	if e.State == StateActive {
		stream := streamWait
		if m.subject == "" {
			stream = streamReady
		}
		if e.Node = elsewhere.of(stream, m.seq); e.Node == "" {
			e.Node = q.o.Node
		}
	}
	if m.subject != "" {
		e.slot, _ = parseSlot(m.subject)
	}
	return e
}

func (q *Queue) stateOf(m stored, d *mail.Delivery, elsewhere hands) string {
	stream := streamWait
	if m.subject == "" {
		stream = streamReady
	}
	switch {
	case q.claims.has(stream, m.seq) || elsewhere.of(stream, m.seq) != "":
		return StateActive
	case d.Held:
		return StateHeld
	case stream == streamReady:
		return StateReady
	default:
		return StateWaiting
	}
}

// OpenBody reads the message of a delivery for an operator; a delivery id or a
// message id names it. ErrNotFound when it is not in the queue.
func (q *Queue) OpenBody(ctx context.Context, id string) (io.ReadCloser, error) {
	var found *stored
	m := newMatcher(Filter{ID: id})
	err := q.eachOfID(ctx, id, func(s stored) error {
		if q.meantIn(s, m.match) > 0 {
			found = &s
			return errEnough
		}
		return nil
	})
	if err != nil && !errors.Is(err, errEnough) {
		return nil, err
	}
	if found == nil {
		return nil, ErrNotFound
	}
	var head proto.Mail
	body, err := proto.ReadFrame(found.data, proto.KindMail, &head)
	if err != nil {
		return nil, err
	}
	if head.Body == nil {
		return io.NopCloser(bytes.NewReader(body)), nil
	}
	return q.openBody(ctx, head.Id, head.Body)
}

// ErrNotFound means that no delivery in the queue has that id: it has been
// delivered, bounced or removed, or never was.
var ErrNotFound = errors.New("no such message in the queue")

// deliveriesOf returns the deliveries of a stored record that are still due: after
// an unclean stop READY may hold some that have ended, until it offers them again.
func (q *Queue) deliveriesOf(m stored) []mail.Delivery {
	var head proto.Mail
	if _, err := proto.ReadFrame(m.data, proto.KindMail, &head); err != nil {
		return nil // it cannot be acted on; the deliverer says why
	}
	msg := head.Message()
	r := &record{stream: streamReady, seq: m.seq}
	if strings.HasPrefix(m.subject, "wait.") {
		r.stream = streamWait
	}
	ds := make([]mail.Delivery, 0, len(head.Deliveries))
	for _, d := range head.Deliveries {
		d := d.Delivery(msg)
		if q.recent == nil || !q.recent.ended(d.ID(), d.Generation, r) {
			ds = append(ds, d)
		}
	}
	return ds
}
