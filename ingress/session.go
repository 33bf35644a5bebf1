package ingress

import (
	"context"
	"errors"
	"log/slog"
	"net/netip"
	"time"

	"github.com/tarishi/tarishi/auth"
	"github.com/tarishi/tarishi/mail"
	"github.com/tarishi/tarishi/plugin"
	"github.com/tarishi/tarishi/smtp"
)

// session is one client's visit. Its methods run one at a time, in the order of
// the dialogue, on the connection's goroutine.
type session struct {
	h       *Handler
	conn    *smtp.Conn
	ip      netip.Addr
	own     bool // the configuration, or a proof, lets it send to any domain
	trusted bool // may send to any domain; plugins may have decided so
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

	asked asked // what plugins know of it
}

var (
	_ smtp.Asider  = (*session)(nil)
	_ smtp.Weigher = (*session)(nil)
)

var (
	tooMany     = mail.R(452, "4.5.3", "Too many recipients, send the rest in another transaction")
	full        = mail.R(452, "4.3.1", "The queue is full, try again later")
	holdDenied  = mail.R(530, "5.7.0", "Authentication required: only known clients may have their mail sent later")
	unavailable = mail.R(451, "4.3.0", "The queue is not available, try again later")
)

// Connect greets everybody whom plugins welcome; limits on connections are the engine's.
func (h *Handler) Connect(ctx context.Context, c *smtp.Conn) (smtp.Session, *mail.Reply) {
	h.stats.connections.Add(1)
	s := &session{h: h, conn: c, ip: clientIP(c.RemoteAddr())}
	s.client = h.p.clientWord(s.ip)
	s.vouched()
	s.trust()
	return s, s.meet(ctx)
}

// Hello takes any name. RFC 5321 §4.1.4: mail MUST NOT be refused because the
// name is wrong. It gives no rights either. Plugins may think otherwise.
func (s *session) Hello(ctx context.Context, name string, esmtp bool) *mail.Reply {
	s.trust()
	return s.introduced(ctx, name, esmtp)
}

// Mail opens a transaction if the queue can take one. Any sender is welcome, and
// none gives rights, whoever's domain it names.
func (s *session) Mail(ctx context.Context, from mail.Address, o *smtp.MailOptions) *mail.Reply {
	if err := s.h.store.Room(); err != nil {
		return s.later(err)
	}
	if refused := s.submits(from); refused != nil {
		return refused
	}
	if o.HoldRequest != "" && !s.trusted {
		return &holdDenied
	}
	s.from, s.opts = from, *o
	s.hold = hold{o.HoldUntil, o.HoldRequest}
	return s.begin(ctx, from, o)
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
	if s.asked.tx != nil {
		return s.rcptAsked(ctx, to, o)
	}
	if len(s.rcpts) >= s.h.p.MaxRecipients {
		s.h.stats.tooMany.Add(1)
		return &tooMany // RFC 5321 §4.5.3.1.10: those before it are kept
	}
	addr, refused := s.h.relay.admit(to, s.trusted)
	if refused = s.judged(ctx, to, addr == to, refused); refused != nil {
		return refused
	}
	s.rcpts = append(s.rcpts, mail.Recipient{Address: addr, Notify: o.NotifyList(), ORcpt: o.Orcpt})
	return nil
}

// judged is the last word on a recipient who is taken, asIs or under another address,
// or refused: nobody is taken who is sent nothing. Refusals are counted and logged.
func (s *session) judged(ctx context.Context, to mail.Address, asIs bool, refused *mail.Reply) *mail.Reply {
	switch {
	case refused == &relayDenied:
		s.h.stats.relayDenied.Add(1)
	case refused != nil:
		s.h.stats.badRecipient.Add(1)
	case asIs:
		tenant, _ := s.whose(word{})
		if refused = s.suppressed(ctx, to, tenant); refused != nil && refused.Permanent() {
			s.h.stats.suppressed.Add(1)
		}
	}
	if refused != nil {
		s.h.p.Log.LogAttrs(ctx, slog.LevelInfo, "recipient refused",
			slog.String("client", s.clientText()), slog.String("helo", s.conn.Hello()),
			slog.String("sender", s.from.Raw), slog.String("recipient", to.Raw), slog.String("reply", refused.String()))
	}
	return refused
}

// Data is the last question before the message comes in. The client's name is
// looked up here, so that only those who bring mail cost a lookup.
func (s *session) Data(ctx context.Context) *mail.Reply {
	s.lookUpName(ctx)
	if !s.asksOf(plugin.Data) {
		return nil
	}
	v := s.ask(ctx, &plugin.Event{Hook: plugin.Data})
	return s.refusal(ctx, plugin.Data, v, dataDenied, dataLater)
}

// lookUpName asks once what the client's host is called.
func (s *session) lookUpName(ctx context.Context) {
	if ask := s.h.p.ReverseName; ask != nil && !s.named && s.ip.IsValid() && !s.ip.IsLoopback() {
		ctx, cancel := context.WithTimeout(ctx, s.h.p.ReverseWait)
		s.name = ask(ctx, s.ip)
		cancel()
		if c := s.asked.conn; c != nil {
			c.SetHost(s.name)
		}
	}
	s.named = true
}

// Reset forgets the transaction.
func (s *session) Reset(ctx context.Context) {
	s.over(ctx)
	s.from, s.opts, s.hold, s.rcpts = mail.Address{}, smtp.MailOptions{}, hold{}, nil
}

// Close has nothing to give back: a message in progress was aborted by Message.
func (s *session) Close(ctx context.Context) { s.gone(ctx) }

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
