package ingress

import (
	"context"

	"github.com/tarishi/tarishi/mail"
	"github.com/tarishi/tarishi/plugin"
	"github.com/tarishi/tarishi/smtp"
)

// rcptAsked is Rcpt where plugins have a say. One that says OK has us take mail that
// the configuration does not know of; when none decides, the configuration does. While
// they are asked, the recipient is the last one of the transaction, so that they may
// put others in its place.
func (s *session) rcptAsked(ctx context.Context, to mail.Address, o *smtp.RcptOptions) *mail.Reply {
	tx := s.asked.tx
	before := tx.Count()
	if before >= s.h.p.MaxRecipients {
		s.h.stats.tooMany.Add(1)
		return &tooMany
	}
	addr, never := s.h.relay.admit(to, true)
	if never != nil { // plugins are not asked for what no OK could bring
		return s.judged(ctx, to, false, never)
	}
	r := mail.Recipient{Address: addr, Notify: o.NotifyList(), ORcpt: o.Orcpt}
	tx.AddRecipient(r)
	said, refused := s.welcomed(ctx, to, r, o)
	if refused != nil {
		tx.Keep(before)
		return refused
	}
	return said
}

// welcomed asks whether a recipient is.
func (s *session) welcomed(ctx context.Context, to mail.Address, r mail.Recipient, o *smtp.RcptOptions) (said, refused *mail.Reply) {
	tx := s.asked.tx
	var v plugin.Verdict
	if s.asksOf(plugin.Rcpt) {
		asked := r // what they do to it changes nothing: the transaction has it
		v = s.ask(ctx, &plugin.Event{Hook: plugin.Rcpt, Address: to, Recipient: &asked, Params: rcptParams(o)})
		if refused = s.refusal(ctx, plugin.Rcpt, v, rcptDenied, rcptLater); refused != nil {
			return nil, refused
		}
	}
	// A plugin that says OK knows the domain, hardly what somebody behind us makes of
	// a%b in front of it.
	if v.Code != plugin.OK || !s.trusted && to.Domain != "" && routes(to.Local()) {
		_, refused = s.h.relay.admit(to, s.trusted)
	}
	last, ok := tx.LastRecipient()
	if refused = s.judged(ctx, to, ok && last == r && r.Address == to, refused); refused != nil {
		return nil, refused
	}
	said = accepted(v)
	if s.asksOf(plugin.RcptOK) {
		asked := r
		v := s.ask(ctx, &plugin.Event{Hook: plugin.RcptOK, Address: to, Recipient: &asked})
		if refused = s.refusal(ctx, plugin.RcptOK, v, rcptDenied, rcptLater); refused != nil {
			return nil, refused
		}
	}
	return said, nil
}
