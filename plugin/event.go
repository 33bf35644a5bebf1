package plugin

import (
	"time"

	"github.com/tarishi/tarishi/mail"
)

// Event is one moment. Which of its fields are set goes by the hook.
type Event struct {
	Hook        Hook
	Connection  *Connection
	Transaction *Transaction // from mail on, until the transaction is over
	Delivery    *mail.Delivery

	Name      string          // helo, ehlo: the client's name; get_mx: the domain
	Address   mail.Address    // mail: reverse-path; vrfy: what is asked for
	Recipient *mail.Recipient // rcpt, rcpt_ok
	Params    []Param         // mail, rcpt: ESMTP parameters
	Verb      string          // unrecognized_command, with Name its arguments
	Text      string          // queue_ok: what the client is told

	Outcomes []mail.Outcome // delivered, deferred, bounce: those it is about
	Host     string         // and who said so
	Pause    time.Duration  // deferred: until the next attempt

	Secured, Authenticated bool // delivered: over TLS; after AUTH

	Refused *Verdict // deny: what is to be overruled; At is the hook it was said at
	At      Hook

	// Watch, if set, is told of every function that was called, for people who look on.
	Watch func(Step)
}

// Param is one ESMTP parameter.
type Param struct{ Key, Value string }

// Step is one call of a function.
type Step struct {
	Hook             Hook
	Plugin, Function string
	Verdict          Verdict
	Took             time.Duration
	Fault            string // why the function did not answer for itself; empty: it did
	Event            *Event // what it was asked about
}
