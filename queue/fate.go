package queue

import (
	"context"
	"errors"
	"slices"
	"strconv"
	"time"

	"github.com/tarishi/tarishi/mail"
	"github.com/tarishi/tarishi/proto"
)

// Past is one thing that happened to a delivery, as the journal has it.
type Past struct {
	Delivery string
	Node     string
	At       time.Time
	Kind     string // attempted, ended, sending (the final dot was about to be sent), doubt
	Attempt  int
	Host     string
	Outcomes []mail.Outcome
	Note     string
}

// What happened, see Past.
const (
	PastAttempt = "attempted"
	PastEnded   = "ended"
	PastDot     = "sending"
	PastDoubt   = "doubt"
)

// mostPast bounds what is told of one message.
const mostPast = 1000

// Fate tells what the journal knows of a message or one of its deliveries, in order: a
// week of it, if it is not pushed out by more. whole is false when it could not be
// looked through in time.
func (q *Queue) Fate(ctx context.Context, id string) (out []Past, whole bool, err error) {
	message, index := mail.SplitDeliveryID(id)
	take := func(m stored) {
		var rec proto.Journal
		if _, err := proto.ReadFrame(m.data, proto.KindJournal, &rec); err != nil {
			return
		}
		for _, e := range rec.Events {
			if e.MessageId == message && (index < 0 || int(e.Delivery) == index) {
				if p, ok := pastOf(e, rec.Node); ok && len(out) < mostPast {
					out = append(out, p)
				}
			}
		}
	}
	came, ok := mail.IDTime(message)
	if !ok {
		return nil, true, nil
	}
	whole = true
	if l, ok := q.lookup(ctx, message, came, opFate); ok {
		for _, seq := range l.Event {
			m, err := q.load(ctx, streamEvent, seq)
			if errors.Is(err, errNoRecord) {
				continue
			}
			if err != nil {
				return out, false, err
			}
			take(m)
		}
	} else if whole, err = q.journalFrom(ctx, came.Add(-idSlack), take); err != nil {
		return out, false, err
	}
	slices.SortStableFunc(out, func(a, b Past) int { return a.At.Compare(b.At) })
	return out, whole, nil
}

// journalFor bounds how long the journal is read where its files are elsewhere.
const journalFor = 3 * time.Second

// journalFrom gives the records of all journals since a time, as long as there is time.
func (q *Queue) journalFrom(ctx context.Context, since time.Time, take func(stored)) (whole bool, err error) {
	in := q.newStreamReader(streamEvent, 0, subjectJournal, subjectJournal+".>", subjectDoubt)
	in.since = &since
	defer in.close()
	for began := time.Now(); time.Since(began) < journalFor; {
		ms, err := in.read(ctx, readMax)
		if err != nil || len(ms) == 0 {
			return err == nil, err
		}
		for _, m := range ms {
			take(m)
		}
	}
	return false, nil
}

func pastOf(e *proto.Event, node string) (Past, bool) {
	p := Past{Delivery: e.MessageId + "." + strconv.Itoa(int(e.Delivery)), Node: node, At: proto.FromMicros(e.AtUs),
		Attempt: int(e.Attempt), Host: e.Host, Note: e.Note}
	switch e.Kind {
	case proto.Event_ATTEMPT:
		p.Kind = PastAttempt
	case proto.Event_SETTLED:
		p.Kind = PastEnded
	case proto.Event_DOT:
		p.Kind = PastDot
	case proto.Event_DOUBT:
		p.Kind = PastDoubt
	default:
		return p, false
	}
	for _, o := range e.Outcomes {
		p.Outcomes = append(p.Outcomes, mail.Outcome{
			Recipient: mail.Recipient{Address: mail.NewAddress(o.Recipient)}, Status: mail.Status(o.Status),
			Host: e.Host, Reply: o.Reply.Reply(), Class: o.Class, Action: o.Action,
		})
	}
	return p, true
}

// endsIn counts the attempts for a destination whose end a record of the journal tells.
func endsIn(m stored, d mail.Domain) (n int) {
	var rec proto.Journal
	if _, err := proto.ReadFrame(m.data, proto.KindJournal, &rec); err != nil {
		return 0
	}
	for _, e := range rec.Events {
		if (e.Kind == proto.Event_ATTEMPT || e.Kind == proto.Event_SETTLED) && e.Host != "" && mail.Domain(e.Destination) == d {
			n++
		}
	}
	return n
}
