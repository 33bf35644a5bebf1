package replies

import "github.com/tarishi/tarishi/mail"

// settle is the action on a reply of a class; asked is what its rule says, if
// anything. Whatever rule and class say, an address is suppressed only by a
// receiver's final word on this one recipient, and never by a policy (5.7.X), a
// full mailbox (5.2.2) or what the message holds (5.6.X): that says nothing of the
// next one.
func settle(c Class, asked Action, r *Reply) Action {
	info := c.Info()
	a := info.Transient
	if r.Code/100 == 5 {
		a = info.Permanent
	}
	if asked != "" {
		a = asked
	}
	if a == Suppress && !aboutAddress(r) {
		return endOf(r.Code)
	}
	return a
}

// aboutAddress tells whether the reply can be a final word on its recipient.
func aboutAddress(r *Reply) bool {
	switch {
	case r.Ours, r.Code/100 != 5:
		return false
	case r.Phase != Rcpt && r.Phase != Data && r.Phase != Dot && r.Phase != "":
		return false
	case r.Enhanced[1] == 7, r.Enhanced[1] == 6, r.Enhanced[1] == 2 && r.Enhanced[2] == 2:
		return false
	}
	return true
}

// endOf is the action that adds nothing.
func endOf(code int) Action {
	if code/100 == 5 {
		return Return
	}
	return Retry
}

// ours is the class of our own words, which have an enhanced code each.
func ours(e mail.EnhancedCode) Class {
	if e == (mail.EnhancedCode{5, 4, 4}) {
		return BadDomain // it exists, and has no host that mail can go to
	}
	switch [2]uint16{e[1], e[2]} {
	case [2]uint16{4, 1}:
		return NoAnswerFromHost
	case [2]uint16{4, 2}, [2]uint16{7, 5}:
		return BadConnection
	case [2]uint16{4, 3}:
		return DNSFailure
	case [2]uint16{4, 5}, [2]uint16{3, 0}:
		return NotTried
	case [2]uint16{4, 7}:
		return MessageExpired
	case [2]uint16{1, 2}, [2]uint16{1, 10}:
		return BadDomain
	case [2]uint16{4, 4}, [2]uint16{4, 6}:
		return RoutingErrors
	case [2]uint16{1, 3}:
		return InvalidRecipient
	case [2]uint16{1, 7}:
		return InvalidSender
	case [2]uint16{3, 4}:
		return MessageTooLarge
	}
	if e[1] == 5 || e[1] == 6 || e[1] == 7 && e[2] == 30 {
		return ProtocolErrors
	}
	return Unclassified
}
