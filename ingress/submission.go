package ingress

import (
	"time"

	"github.com/tarishi/tarishi/mail"
)

// What is different for the users of this host (RFC 6409), who hand their own mail over
// instead of bringing somebody else's.

var (
	authNeeded = mail.R(530, "5.7.0", "Authentication required")
	notYours   = mail.R(553, "5.7.1", "That sender address is not yours to use")
)

// submits tells why the client may not send as from; nil: it may. A client of a
// submission port has to prove who it is, wherever it comes from (RFC 6409 §4.3); and
// who has done so anywhere sends as himself (§6.1).
func (s *session) submits(from mail.Address) *mail.Reply {
	who := s.login.User
	switch {
	case who == "" && s.conn.Port().Submission:
		return &authNeeded
	case who != "" && s.h.p.Owns != nil && !from.IsNull() && !s.h.p.Owns(who, from):
		return &notYours
	}
	return nil
}

// vouched takes over what XCLIENT has said of the client.
func (s *session) vouched() {
	if name, known := s.conn.RemoteName(); known {
		s.name, s.named = name, true
	}
	if who := s.conn.Identity(); who != "" {
		s.login.User = who
		if a := s.h.p.Auth; a != nil {
			s.login = a.Users().Who(who)
		}
	}
}

// A mending is what is added to a message of a user: the fields that RFC 5322 §3.6 asks for
// and his client has left out (RFC 6409 §8.2, §8.3).
type mending struct {
	on      bool
	at      time.Time
	id      string // of the message
	host    string
	hasDate bool
	hasID   bool
}

// saw notes a field that is there already.
func (m *mending) saw(k lineKind) {
	m.hasDate = m.hasDate || k == dateField
	m.hasID = m.hasID || k == messageID
}

// missing are the fields to be added at the end of the header.
func (m *mending) missing() []byte {
	if !m.on {
		return nil
	}
	var b []byte
	if !m.hasDate {
		b = m.at.AppendFormat(append(b, "Date: "...), "Mon, 2 Jan 2006 15:04:05 -0700\r\n")
	}
	if !m.hasID {
		b = append(append(append(append(append(b, "Message-ID: <"...), m.id...), '@'), m.host...), ">\r\n"...)
	}
	return b
}
