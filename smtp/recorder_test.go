package smtp

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"sync"

	"github.com/tarishi/tarishi/mail"
)

// recorder is the Handler of the tests: it takes everything and writes down what
// it was asked. Local parts choose the answer: no… 550, later… 451, bye… 421.
type recorder struct {
	connect func(c *Conn) *mail.Reply
	setup   func(c *Conn)
	session func(c *Conn) Session             // nil: one that records
	message func(c *Conn, r *Body) mail.Reply // nil: read and record
	data    func() *mail.Reply

	mu       sync.Mutex
	events   []string // "MAIL a@b", "RCPT c@d", "MESSAGE 12", "RESET", "CLOSE"
	sessions int
	messages []string // bodies of messages that were read whole
	failures []error  // what Body said when they were not
}

func (h *recorder) Connect(_ context.Context, c *Conn) (Session, *mail.Reply) {
	if h.connect != nil {
		if r := h.connect(c); r != nil {
			return nil, r
		}
	}
	h.mu.Lock()
	h.sessions++
	h.mu.Unlock()
	if h.setup != nil {
		h.setup(c)
	}
	if h.session != nil {
		return h.session(c), nil
	}
	return &recordSession{h: h, c: c}, nil
}

func (h *recorder) note(format string, args ...any) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.events = append(h.events, fmt.Sprintf(format, args...))
}

func (h *recorder) count(event string) (n int) {
	h.mu.Lock()
	defer h.mu.Unlock()
	for _, e := range h.events {
		if strings.HasPrefix(e, event) {
			n++
		}
	}
	return n
}

type recordSession struct {
	h *recorder
	c *Conn
}

func byLocal(local string) *mail.Reply {
	var r mail.Reply
	switch {
	case strings.HasPrefix(local, "no"):
		r = mail.R(550, "5.1.1", "No such user")
	case strings.HasPrefix(local, "later"):
		r = mail.R(451, "4.7.1", "Greylisted")
	case strings.HasPrefix(local, "bye"):
		r = mail.R(421, "4.7.0", "Go away")
	default:
		return nil
	}
	return &r
}

// given is nothing when value is, else both.
func given(name, value string) string {
	if value == "" {
		return ""
	}
	return name + value
}

func (s *recordSession) Hello(_ context.Context, name string, esmtp bool) *mail.Reply {
	s.h.note("HELLO %s %v", name, esmtp)
	return nil
}

func (s *recordSession) Keywords() []string { return []string{"XTEST"} }

func (s *recordSession) Mail(_ context.Context, from mail.Address, o *MailOptions) *mail.Reply {
	s.h.note("MAIL %s|%s%s", from.Raw, from.Domain, given(" RET=", string(o.Return))+given(" ENVID=", o.Envid))
	return byLocal(from.Local())
}

func (s *recordSession) Rcpt(_ context.Context, to mail.Address, o *RcptOptions) *mail.Reply {
	s.h.note("RCPT %s|%s%s", to.Raw, to.Domain, given(" NOTIFY=", o.NotifyList())+given(" ORCPT=", o.Orcpt))
	return byLocal(to.Local())
}

func (s *recordSession) Data(context.Context) *mail.Reply {
	if s.h.data != nil {
		return s.h.data()
	}
	return nil
}

func (s *recordSession) Message(_ context.Context, r *Body) mail.Reply {
	if s.h.message != nil {
		return s.h.message(s.c, r)
	}
	return s.h.read(s.c, r)
}

func (h *recorder) read(c *Conn, r *Body) mail.Reply {
	var b strings.Builder
	_, err := io.Copy(&b, r)
	h.mu.Lock()
	defer h.mu.Unlock()
	if err != nil {
		h.failures = append(h.failures, err)
		var be *BodyError
		if !errors.As(err, &be) {
			panic("not a BodyError: " + err.Error())
		}
		return mail.R(250, "2.0.0", "This must never be sent")
	}
	h.messages = append(h.messages, b.String())
	h.events = append(h.events, "MESSAGE "+c.Protocol())
	return mail.R(250, "2.0.0", fmt.Sprintf("Queued as Q%d", len(h.messages)))
}

func (s *recordSession) Command(_ context.Context, verb, args string) *mail.Reply {
	s.h.note("COMMAND %s %s", verb, args)
	if verb == "XASK" {
		answer, err := s.c.Challenge("c2F5")
		s.h.note("ANSWER %d %v", len(answer), err)
		s.c.SetIdentity(answer)
		r := mail.R(235, "2.7.0", "Welcome")
		if err != nil {
			r = mail.R(501, "5.5.2", "No")
		}
		return &r
	}
	if verb == "XTEST" {
		r := mail.R(250, "2.0.0", "two\nlines")
		if args == "close" {
			s.c.CloseAfterReply()
		}
		return &r
	}
	return nil
}

func (s *recordSession) Reset(context.Context) { s.h.note("RESET") }
func (s *recordSession) Close(context.Context) { s.h.note("CLOSE") }
