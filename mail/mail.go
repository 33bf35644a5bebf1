// Package mail holds the nouns of the system: address, message, recipient,
// delivery, reply, outcome. They are values; nothing here does anything to the
// world, and the package imports nothing of ours.
package mail

import "time"

// BodyType is the BODY parameter of MAIL FROM (RFC 6152, RFC 3030).
type BodyType string

const (
	Body7Bit     BodyType = ""
	Body8BitMIME BodyType = "8BITMIME"
)

// Message is one accepted mail: its envelope's sender, where it came from, and
// how to find its octets. Every delivery of it shares the one Message.
type Message struct {
	ID         string    // see NewID; the 250 after DATA carries it
	Received   time.Time // when the final dot was read
	Sender     Address   // reverse-path; null for <>
	Body       BodyType
	SMTPUTF8   bool
	EnvelopeID string // ENVID of RFC 3461, xtext as received; empty when not given
	Ret        string // RET of RFC 3461: FULL, HDRS or empty
	Size       int64  // octets, trace headers included

	// How it came: for logs, notices and the queue listing.
	ClientIP string
	Helo     string
	Protocol string // ESMTP, ESMTPS, ... (RFC 3848)
	Origin   string // id of the message this one reports on (a DSN), else empty
	Tenant   string // whose mail it is, as a trusted client said; empty: nobody's in particular
	Class    Class  // which goes first
	Hours    string // when it may be attempted, see the package hours; empty: always
	// SendAt is when its client wants it sent, and not before; zero: at once.
	SendAt time.Time
	// HoldRequest is the client's FUTURERELEASE request as its notices repeat it
	// (RFC 4865): for;3600 or until;2026-12-24T18:00:00Z; empty: it made none.
	HoldRequest string
	// Notes are what plugins have noted of it on its way in, as JSON; nil: nothing.
	Notes []byte
}

// AtOnce is m without a time or hours to wait for.
func (m *Message) AtOnce() *Message {
	c := *m
	c.SendAt, c.Hours = time.Time{}, ""
	return &c
}

// Recipient is one forward-path with the DSN options its client asked for (RFC 3461).
type Recipient struct {
	Address
	Notify string // NOTIFY value as received, empty when not given
	ORcpt  string // ORCPT value as received, empty when not given
	// NotBefore is when it may be tried again, where that is later than the delivery is
	// due: its host has asked for that, and for no other's sake. Zero: with the others.
	NotBefore time.Time
}

// Delivery is one message for its recipients at one destination: the unit that
// is attempted, retried, held and bounced. Recipients are those still without a
// final outcome.
type Delivery struct {
	Message     *Message
	Index       int    // position among the message's deliveries, from 0
	Destination Domain // the recipients' domain
	Recipients  []Recipient

	Attempts     int       // attempts made so far
	Due          time.Time // not before; zero: at once
	Expires      time.Time // give up after
	LastAttempt  time.Time // zero: none yet
	LastHost     string    // "mx.example.net[192.0.2.1]:25", or empty
	LastReply    Reply     // of the last attempt; zero: none yet
	LastClass    string    // and its bounce class
	DelayNoticed bool      // the sender has been told of the delay
	Held         bool      // an operator holds it
	Route        string    // a reply sent it another way: the route's name; empty: the usual one
	Generation   int       // how often it has been stored anew; the queue counts it
	// Operator is the operator's action that changed it last; nil: none did. It is not changed.
	Operator *ActionNote
}

// ActionNote says which operator's action changed a delivery, and who asked for it.
type ActionNote struct {
	Action string // its id
	Verb   string // hold, release or retry
	Author string
	Reason string
	At     time.Time
}

// ID names the delivery: the message's id and the delivery's index.
func (d *Delivery) ID() string { return DeliveryID(d.Message.ID, d.Index) }

// Status says what became of a recipient in one attempt.
type Status int

const (
	Deferred  Status = iota // try again
	Delivered               // the remote has taken responsibility
	Failed                  // never: a DSN is owed
)

func (s Status) String() string {
	switch s {
	case Delivered:
		return "delivered"
	case Failed:
		return "failed"
	default:
		return "deferred"
	}
}

// Outcome is the result of one attempt for one recipient.
type Outcome struct {
	Recipient Recipient
	Status    Status
	Host      string // who said so, or empty when we did (no host, expired)
	Reply     Reply
	Class     string // what was wrong: a bounce class; empty: nothing, or not looked at
	Action    string // what comes of it besides, see the package replies
}
