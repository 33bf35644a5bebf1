package ingress

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"time"

	"github.com/tarishi/tarishi/mail"
	"github.com/tarishi/tarishi/smtp"
)

// Message takes in one message and answers for it. Positive means that the
// message is stored; nothing is stored when the reply is negative, except that
// after 451 it may be (the client's second try is then a duplicate, which is
// better than a loss).
func (s *session) Message(ctx context.Context, body *smtp.Body) mail.Reply {
	now := time.Now()
	m := &mail.Message{
		ID:         mail.NewID(now),
		Sender:     s.from,
		Body:       bodyType(s.opts),
		SMTPUTF8:   s.opts.UTF8,
		EnvelopeID: s.opts.Envid,
		Ret:        string(s.opts.Return),
		Helo:       s.conn.Hello(),
		Protocol:   s.conn.Protocol(),
		ClientIP:   s.clientText(),
	}
	if s.asked.tx != nil {
		m.ID = s.asked.tx.ID
	}
	rcpts := s.rcpts
	s.rcpts = nil // they belong to the queue from here on

	// Without plugins that look at the message, it goes into the queue as it comes.
	var w Writer
	var o orders
	var err error
	if s.lookedAt() {
		sp, said, r := s.inspect(ctx, m, body, now)
		if r != nil {
			return *r
		}
		defer sp.close()
		w, o = s.h.store.NewWriter(m.ID), *said
		defer w.Abort()
		err = sp.copyTo(w)
	} else {
		w = s.h.store.NewWriter(m.ID)
		defer w.Abort()
		o, err = s.stream(w, m, rcpts, body, now)
	}
	if err == nil && s.asked.tx != nil {
		rcpts, err = s.envelope(m)
	}
	if err != nil {
		return s.refuse(ctx, m, err)
	}
	ds := split(m, rcpts)
	m.Received = time.Now()
	plan, err := s.h.planOf(&o, s.hold, m.Received)
	if err != nil {
		return s.refuse(ctx, m, err)
	}
	m.Tenant, m.Class = s.whose(o.word)
	if m.Hours = o.hours; m.Hours == "" {
		m.Hours = s.h.p.TenantHours[m.Tenant]
	}
	if err := s.allSuppressed(ctx, ds, m.Tenant); err != nil {
		return s.refuse(ctx, m, err)
	}
	plan.put(m, ds)
	// The order is the promise: were 250 said before Commit, a crash in between
	// would lose mail that nobody keeps any more (RFC 5321 §6.1).
	if err := w.Commit(ctx, m, ds); err != nil {
		return s.refuse(ctx, m, err)
	}
	n := 0
	for i := range ds {
		n += len(ds[i].Recipients)
	}
	c := &s.h.stats
	c.accepted.Add(1)
	c.acceptedBytes.Add(m.Size)
	c.recipients.Add(int64(n))
	c.deliveries.Add(int64(len(ds)))
	if log := s.h.p.Log; log.Enabled(ctx, slog.LevelInfo) {
		attrs := []slog.Attr{
			slog.String("message", m.ID), slog.String("sender", m.Sender.Raw), slog.Int("recipients", n),
			slog.Int("deliveries", len(ds)), slog.Int64("size", m.Size), slog.String("client", m.ClientIP),
			slog.String("helo", m.Helo), slog.String("protocol", m.Protocol),
		}
		if m.Tenant != "" {
			attrs = append(attrs, slog.String("tenant", m.Tenant))
		}
		if m.Class != mail.Normal {
			attrs = append(attrs, slog.String("class", m.Class.String()))
		}
		if !m.SendAt.IsZero() {
			attrs = append(attrs, slog.Time("send_at", m.SendAt))
		}
		log.LogAttrs(ctx, slog.LevelInfo, "accepted", attrs...)
	}
	r := queued(m)
	s.stored(ctx, r)
	return r
}

// stream reads a message into the queue's Writer, and what its client ordered.
func (s *session) stream(w Writer, m *mail.Message, rcpts []mail.Recipient, body *smtp.Body, now time.Time) (o orders, err error) {
	if s.asked.tx != nil {
		rcpts = s.asked.tx.Recipients()
	}
	if err := s.copy(w, m, s.traceFor(m, rcpts, now), body); err != nil {
		return o, err
	}
	return s.h.ordersOf(&s.filter)
}

// copy writes the trace header and the message, filtered, to w.
func (s *session) copy(w io.Writer, m *mail.Message, trace []byte, body *smtp.Body) error {
	if _, err := w.Write(trace); err != nil {
		return err
	}
	s.filter.reset(w, s.h.p.MaxReceived, s.h.p.MaxHeader)
	s.filter.lookFor(s.h.controlNames, s.trusted)
	if s.conn.Port().Submission {
		s.filter.mend = mending{on: true, at: time.Now(), id: m.ID, host: s.h.p.Hostname}
	}
	if !s.trusted {
		s.filter.ours = s.h.name
	}
	if _, err := body.WriteTo(&s.filter); err != nil {
		return err
	}
	return s.filter.finish()
}

// traceFor is the Received field of a message, valid until the next one.
func (s *session) traceFor(m *mail.Message, rcpts []mail.Recipient, now time.Time) []byte {
	t := trace{Helo: m.Helo, Name: s.name, IP: s.ip, By: s.h.p.Hostname, Protocol: m.Protocol, ID: m.ID, Time: now}
	if same(rcpts) {
		t.For = rcpts[0].Raw
	}
	s.trace = t.append(s.trace[:0])
	return s.trace
}

// refuse turns an error of the way into the queue into a reply.
func (s *session) refuse(ctx context.Context, m *mail.Message, err error) mail.Reply {
	var ours *refusal
	var wire *smtp.BodyError
	level, reply := slog.LevelInfo, mail.Reply{}
	switch {
	case errors.As(err, &ours):
		reply = ours.reply
		switch {
		case ours == looping:
			s.h.stats.loops.Add(1)
		case !ours.counted:
			s.h.stats.badHeader.Add(1)
		}
	case errors.As(err, &wire):
		reply = wire.Reply // the engine says it, or nothing when there is nobody left
	default:
		level, reply = slog.LevelWarn, *s.later(err)
	}
	s.h.p.Log.LogAttrs(ctx, level, "message refused",
		slog.String("message", m.ID), slog.String("sender", m.Sender.Raw), slog.String("client", m.ClientIP),
		slog.String("helo", m.Helo), slog.String("reply", reply.String()), slog.Any("error", err))
	return reply
}

func bodyType(o smtp.MailOptions) mail.BodyType {
	if o.Body == "8BITMIME" {
		return mail.Body8BitMIME
	}
	return mail.Body7Bit
}
