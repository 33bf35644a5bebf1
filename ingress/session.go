package ingress

import (
	"context"
	"errors"
	"log/slog"
	"net/netip"
	"time"

	"github.com/tarishi/tarishi/auth"
	"github.com/tarishi/tarishi/mail"
	"github.com/tarishi/tarishi/smtp"
)

// session is one client's visit. Its methods run one at a time, in the order of
// the dialogue, on the connection's goroutine.
type session struct {
	h       *Handler
	conn    *smtp.Conn
	ip      netip.Addr
	trusted bool // may send to any domain
	client  word // what Policy.Clients says of it
	login   auth.Identity
	name    string
	named   bool // name has been asked for

	from  mail.Address
	opts  smtp.MailOptions
	hold  hold
	rcpts []mail.Recipient // accepted so far; handed over to the queue with the message

	trace  []byte // scratch for the trace header
	filter headerFilter
}

var (
	tooMany     = mail.R(452, "4.5.3", "Too many recipients, send the rest in another transaction")
	full        = mail.R(452, "4.3.1", "The queue is full, try again later")
	holdDenied  = mail.R(530, "5.7.0", "Authentication required: only known clients may have their mail sent later")
	unavailable = mail.R(451, "4.3.0", "The queue is not available, try again later")
)

// Connect greets everybody; limits on connections are the engine's.
func (h *Handler) Connect(_ context.Context, c *smtp.Conn) (smtp.Session, *mail.Reply) {
	h.stats.connections.Add(1)
	s := &session{h: h, conn: c, ip: clientIP(c.RemoteAddr())}
	s.client = h.p.clientWord(s.ip)
	s.trust()
	return s, nil
}

// Hello takes any name. RFC 5321 §4.1.4: mail MUST NOT be refused because the
// name is wrong. It gives no rights either.
func (s *session) Hello(context.Context, string, bool) *mail.Reply {
	s.trust()
	return nil
}

// Mail opens a transaction if the queue can take one. Any sender is welcome, and
// none gives rights, whoever's domain it names.
func (s *session) Mail(_ context.Context, from mail.Address, o *smtp.MailOptions) *mail.Reply {
	if err := s.h.store.Room(); err != nil {
		return s.later(err)
	}
	if o.HoldRequest != "" && !s.trusted {
		return &holdDenied
	}
	s.from, s.opts = from, *o
	s.hold = hold{o.HoldUntil, o.HoldRequest}
	return nil
}

// Postpones offers FUTURERELEASE to whom we trust, and to those who may yet prove
// their name: EHLO comes before AUTH.
func (s *session) Postpones() time.Duration {
	if s.trusted || len(s.offers()) > 0 {
		return max(s.h.p.FarthestSendAt, 0)
	}
	return 0
}

// Rcpt accepts or refuses one recipient.
func (s *session) Rcpt(ctx context.Context, to mail.Address, o *smtp.RcptOptions) *mail.Reply {
	if len(s.rcpts) >= s.h.p.MaxRecipients {
		s.h.stats.tooMany.Add(1)
		return &tooMany // RFC 5321 §4.5.3.1.10: those before it are kept
	}
	addr, refused := s.h.relay.admit(to, s.trusted)
	switch {
	case refused == &relayDenied:
		s.h.stats.relayDenied.Add(1)
	case refused != nil:
		s.h.stats.badRecipient.Add(1)
	case addr == to:
		tenant, _ := s.whose(word{})
		if refused = s.suppressed(ctx, to, tenant); refused != nil && refused.Permanent() {
			s.h.stats.suppressed.Add(1)
		}
	}
	if refused != nil {
		s.h.p.Log.LogAttrs(ctx, slog.LevelInfo, "recipient refused",
			slog.String("client", s.clientText()), slog.String("helo", s.conn.Hello()),
			slog.String("sender", s.from.Raw), slog.String("recipient", to.Raw), slog.String("reply", refused.String()))
		return refused
	}
	s.rcpts = append(s.rcpts, mail.Recipient{Address: addr, Notify: o.NotifyList(), ORcpt: o.Orcpt})
	return nil
}

// Data is the last question before the message comes in. The client's name is
// looked up here, so that only those who bring mail cost a lookup.
func (s *session) Data(ctx context.Context) *mail.Reply {
	if ask := s.h.p.ReverseName; ask != nil && !s.named && s.ip.IsValid() && !s.ip.IsLoopback() {
		ctx, cancel := context.WithTimeout(ctx, s.h.p.ReverseWait)
		s.name = ask(ctx, s.ip)
		cancel()
	}
	s.named = true
	return nil
}

// Reset forgets the transaction.
func (s *session) Reset(context.Context) {
	s.from, s.opts, s.hold, s.rcpts = mail.Address{}, smtp.MailOptions{}, hold{}, nil
}

// Close has nothing to give back: a message in progress was aborted by Message.
func (s *session) Close(context.Context) {}

// later is the reply to an error of the store: 452 when it is full, else 451. Never
// a 5yz: the client is right and we are not (RFC 5321 §4.2.1).
func (s *session) later(err error) *mail.Reply {
	if s.h.store.Full != nil && errors.Is(err, s.h.store.Full) {
		s.h.stats.full.Add(1)
		return &full
	}
	s.h.stats.unavl.Add(1)
	return &unavailable
}

func (s *session) clientText() string {
	if !s.ip.IsValid() {
		return "unknown"
	}
	return s.ip.String()
}
