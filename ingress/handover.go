package ingress

import (
	"context"
	"fmt"
	"log/slog"
	"time"

	"github.com/tarishi/tarishi/mail"
	"github.com/tarishi/tarishi/plugin"
	"github.com/tarishi/tarishi/smtp"
)

var (
	postDenied  = mail.R(550, "5.7.1", "Your message is not welcome here")
	postLater   = mail.R(450, "4.7.1", "Your message is not taken now, try again later")
	nobodyLeft  = &refusal{reply: mail.R(554, "5.5.1", "Your message has no recipient left"), counted: true}
	badEnvelope = &refusal{reply: mail.R(451, "4.3.5", "A plugin made an envelope that cannot be sent, try again later"), counted: true}
	badNotes    = &refusal{reply: mail.R(451, "4.3.5", "A plugin noted what cannot be kept, try again later"), counted: true}
)

// lookedAt tells whether plugins want the message itself: it is kept then until they
// have said what they have to. Otherwise it goes into the queue while it comes in.
func (s *session) lookedAt() bool {
	if s.asked.tx == nil {
		return false
	}
	ch := s.asked.chain
	return ch.Has(plugin.DataPost) || ch.Has(plugin.Queue) || ch.Has(plugin.QueueOutbound) || ch.Has(plugin.PreSend) ||
		s.asked.tx.Amended() || s.asked.tx.Discarded()
}

// inspect takes a message in that plugins look at, and asks them, in Haraka's order. A
// reply ends it: it was refused, or somebody has taken it over.
func (s *session) inspect(ctx context.Context, m *mail.Message, body *smtp.Body, now time.Time) (*spool, *orders, *mail.Reply) {
	sp := &spool{folder: s.h.p.Spool, inMem: spoolMemory}
	o, err := s.spooled(sp, m, body, now)
	if err != nil {
		sp.close()
		r := s.refuse(ctx, m, err)
		return nil, nil, &r
	}
	if r := s.inspected(ctx, m, sp); r != nil {
		sp.close()
		return nil, nil, r
	}
	return sp, o, nil
}

// spooled reads a message to its end, and what its client ordered.
func (s *session) spooled(sp *spool, m *mail.Message, body *smtp.Body, now time.Time) (*orders, error) {
	if err := s.copy(sp, m, s.traceFor(m, s.asked.tx.Recipients(), now), body); err != nil {
		return nil, err
	}
	o, err := s.h.ordersOf(&s.filter)
	if err != nil {
		return nil, err
	}
	sp.done()
	return &o, nil
}

func (s *session) inspected(ctx context.Context, m *mail.Message, sp *spool) *mail.Reply {
	tx := s.asked.tx
	tx.SetMessage(sp)
	if s.asksOf(plugin.DataPost) {
		v := s.ask(ctx, &plugin.Event{Hook: plugin.DataPost})
		if r := s.refusal(ctx, plugin.DataPost, v, postDenied, postLater); r != nil {
			return r
		}
	}
	hook := plugin.Queue
	if s.trusted {
		hook = plugin.QueueOutbound
	}
	if s.asksOf(hook) && !tx.Discarded() && !s.h.p.DryRun {
		v := s.ask(ctx, &plugin.Event{Hook: hook})
		if r := s.refusal(ctx, hook, v, postDenied, postLater); r != nil {
			return r
		}
		if v.Code == plugin.OK {
			return s.takenOver(ctx, m, v, "taken over by a plugin")
		}
	}
	if tx.Discarded() {
		return s.takenOver(ctx, m, plugin.Verdict{}, "thrown away, as a plugin wanted it")
	}
	if s.asksOf(plugin.PreSend) {
		v := s.ask(ctx, &plugin.Event{Hook: plugin.PreSend})
		return s.refusal(ctx, plugin.PreSend, v, postDenied, postLater)
	}
	return nil
}

// takenOver answers for a message that is not ours to store.
func (s *session) takenOver(ctx context.Context, m *mail.Message, v plugin.Verdict, what string) *mail.Reply {
	s.h.stats.accepted.Add(1)
	s.h.stats.takenOver.Add(1)
	s.h.p.Log.LogAttrs(ctx, slog.LevelInfo, what, slog.String("message", m.ID), slog.String("plugin", v.Plugin),
		slog.String("sender", m.Sender.Raw), slog.String("client", m.ClientIP), slog.String("helo", m.Helo))
	r := queued(m)
	if own := accepted(v); own != nil {
		r = *own
	}
	s.stored(ctx, r)
	return &r
}

func queued(m *mail.Message) mail.Reply {
	return mail.Reply{Code: 250, Enhanced: mail.EnhancedCode{2, 0, 0}, Text: "Queued as " + m.ID}
}

// stored tells the plugins that the message is; the reply comes next.
func (s *session) stored(ctx context.Context, r mail.Reply) {
	if s.asksOf(plugin.QueueOK) && !s.h.p.DryRun {
		s.ask(ctx, &plugin.Event{Hook: plugin.QueueOK, Text: r.Text})
	}
}

// envelope takes over what plugins have made of the message's envelope, and their
// notes. They are the operator's own, but no line of his may reach another server as a
// command: an address that none of ours would accept stays here.
func (s *session) envelope(m *mail.Message) ([]mail.Recipient, error) {
	tx := s.asked.tx
	rcpts := tx.Recipients()
	if len(rcpts) == 0 {
		return nil, nobodyLeft
	}
	for i, r := range rcpts {
		a, err := smtp.ParseMailbox(r.Raw)
		if err != nil {
			return nil, s.faulty(badEnvelope, "recipient", r.Raw, err)
		}
		rcpts[i].Address = a
	}
	m.Sender = tx.From()
	if m.Sender.Raw != "" && m.Sender != s.from {
		a, err := smtp.ParseMailbox(m.Sender.Raw)
		if err != nil {
			return nil, s.faulty(badEnvelope, "sender", m.Sender.Raw, err)
		}
		m.Sender = a
	}
	notes, err := tx.Notes.Pack()
	if err != nil {
		return nil, s.faulty(badNotes, "message", m.ID, err)
	}
	m.Notes = notes
	return rcpts, nil
}

func (s *session) faulty(r *refusal, what, which string, err error) error {
	s.h.p.Log.Error("a plugin has spoilt a message", what, which, "error", err, "connection", s.conn.ID())
	return fmt.Errorf("%w (%w)", r, err)
}
