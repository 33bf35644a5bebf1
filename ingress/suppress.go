package ingress

import (
	"context"
	"log/slog"

	"github.com/tarishi/tarishi/mail"
)

// Suppressed tells why mail of a tenant is not sent to an address; empty: it is. It
// may ask the store about some addresses, and blocks for no others.
type Suppressed func(ctx context.Context, to mail.Address, tenant string) (why string, err error)

// notHere is what strangers are told: why is between us and our own clients.
const notHere = "This address takes no mail through this host"

// suppressed is the refusal of a recipient who is on the list; nil: he is not on it, or
// that is not looked at here. The bare postmaster is always welcome (RFC 5321 §4.5.1).
func (s *session) suppressed(ctx context.Context, to mail.Address, tenant string) *mail.Reply {
	if s.h.p.Suppressed == nil {
		return nil
	}
	why, err := s.h.p.Suppressed(ctx, to, tenant)
	switch {
	case err != nil:
		s.h.p.Log.LogAttrs(ctx, slog.LevelWarn, "the suppression list does not answer", slog.Any("error", err))
		return s.later(err)
	case why == "":
		return nil
	case !s.trusted:
		why = notHere
	}
	r := mail.R(550, "5.7.1", printableLine(why))
	return &r
}

// allSuppressed refuses a message whose header has named the tenant, when all of its
// recipients are on that tenant's list: at RCPT it was not known whose mail it is.
// Some of several are left to the deliverer: after DATA there is one reply for all.
func (s *session) allSuppressed(ctx context.Context, ds []mail.Delivery, tenant string) error {
	if known, _ := s.whose(word{}); s.h.p.Suppressed == nil || tenant == known {
		return nil
	}
	var last *mail.Reply
	for i := range ds {
		for _, r := range ds[i].Recipients {
			switch last = s.suppressed(ctx, r.Address, tenant); {
			case last == nil:
				return nil
			case last.Transient():
				return &refusal{reply: *last, counted: true}
			}
		}
	}
	s.h.stats.suppressed.Add(1)
	return &refusal{reply: *last, counted: true}
}
