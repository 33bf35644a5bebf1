// Package ingress answers one question: may this stranger send us this, and if
// so, what has to be delivered where? It gives the SMTP engine its policy (who may
// relay, how many recipients, when to say "later"), puts the trace header on top,
// splits a message into one delivery per destination and hands it to the queue.
//
// Read session.go first: it is one client's visit from greeting to goodbye. Each
// step of SMTP has one method there, and that method is the place where a policy
// hook for the step runs.
//
// The promise is in message.go: 250 is said only after the queue says stored. The
// package never speaks the wire protocol (package smtp does), never stores
// anything itself, never delivers, and never reads a message beyond its header.
package ingress

import (
	"context"
	"io"
	"log/slog"
	"net/netip"
	"strings"
	"sync/atomic"
	"time"

	"github.com/tarishi/tarishi/mail"
	"github.com/tarishi/tarishi/plugin"
	"github.com/tarishi/tarishi/smtp"
)

// Writer takes in one message. One goroutine uses it.
type Writer interface {
	io.Writer
	// Commit returns nil only when message and deliveries are on disk; it sets m.Size.
	Commit(ctx context.Context, m *mail.Message, ds []mail.Delivery) error
	// Abort forgets a message that was not committed; otherwise it does nothing.
	Abort()
}

// Store is where accepted mail goes. All its parts are safe for concurrent use.
type Store struct {
	NewWriter func(id string) Writer
	Room      func() error // nil, or why no mail can be taken now; cheap
	Full      error        // the error (errors.Is) of Room, Write and Commit that means "no room left"; others mean "try later"
}

// Policy is what the operator decides. Zero fields take the defaults named.
type Policy struct {
	Hostname      string                // our name in Received
	RelayFrom     []netip.Prefix        // clients that may send anywhere
	LocalDomains  []string              // domains everybody may send to
	Postmaster    string                // mailbox for <postmaster>; empty: postmaster@Hostname, and only for RelayFrom
	MaxRecipients int                   // of one message; 1,000; never below 100 (RFC 5321 §4.5.3.1.8)
	MaxReceived   int                   // Received fields of a message; 100; never below 100 (RFC 5321 §6.3)
	MaxHeader     int64                 // octets of the header block; 1 MiB
	Expire        time.Duration         // age at which a delivery is given up; 5 days
	Clients       []Client              // whose mail those of RelayFrom bring
	TenantClass   map[string]mail.Class // the class of mail of tenants that have one of their own
	TenantHeader  string                // header field that names the tenant, believed of RelayFrom and dropped of all; empty: none
	// Headers name the other control fields, believed of RelayFrom and dropped of all.
	Headers        Headers
	FarthestSendAt time.Duration // how far off a client may have its mail sent; 30 days; negative: not at all
	ShortestLife   time.Duration // a message may be asked to expire no sooner after it may be sent; 1 minute
	LongestLife    time.Duration // and no later; 30 days, and never less than Expire

	TenantHours map[string]string // the hours of tenants' mail that says none itself; see the package hours
	Suppressed  Suppressed        // who is sent nothing is refused; nil: nobody is asked

	// ReverseName gives the host name of a client's address for the trace header,
	// "" when it has none; asked once per connection, before the first message,
	// with a deadline of ReverseWait (1 s). nil: nobody is asked.
	ReverseName func(ctx context.Context, ip netip.Addr) string
	ReverseWait time.Duration

	Auth *Auth // nil: nobody can prove who he is
	// Owns tells whether a user may send as an address; nil: as any.
	Owns func(user string, from mail.Address) bool

	Plugins *plugin.Current   // are asked at each step; nil, or none in force: nobody is
	Spool   string            // folder for messages that plugins look at, when they are large; empty: the system's own
	Watch   func(plugin.Step) // is told of each function that was asked; nil: nobody is
	// DryRun leaves out the hooks at which plugins could take a message over, or count
	// it as taken in: queue, queue_outbound and queue_ok.
	DryRun bool

	Log *slog.Logger // nil: none
}

// Handler is the policy as the SMTP engine calls it. Safe for concurrent use.
type Handler struct {
	p     Policy
	store Store
	relay relay
	stats counters

	name         string // our name in lower case
	controls     []control
	controlNames []string // in lower case
}

var _ smtp.Handler = (*Handler)(nil)

// New makes the Handler of a node.
func New(p Policy, store Store) *Handler {
	atLeast := func(v, def, floor int) int {
		if v == 0 {
			v = def
		}
		return max(v, floor)
	}
	p.MaxRecipients = atLeast(p.MaxRecipients, 1000, 100)
	p.MaxReceived = atLeast(p.MaxReceived, 100, 100)
	if p.MaxHeader <= 0 {
		p.MaxHeader = 1 << 20
	}
	if p.Expire <= 0 {
		p.Expire = 5 * 24 * time.Hour
	}
	if p.ReverseWait <= 0 {
		p.ReverseWait = time.Second
	}
	if p.Log == nil {
		p.Log = slog.New(slog.DiscardHandler)
	}
	setDefault(&p.FarthestSendAt, 30*24*time.Hour)
	setDefault(&p.ShortestLife, time.Minute)
	setDefault(&p.LongestLife, 30*24*time.Hour)
	p.LongestLife = max(p.LongestLife, p.Expire)
	h := &Handler{p: p, store: store, relay: newRelay(p), name: strings.ToLower(p.Hostname), controls: controlsOf(&p)}
	h.controlNames = lowerNames(h.controls)
	return h
}

func setDefault(d *time.Duration, to time.Duration) {
	if *d == 0 {
		*d = to
	}
}

// Stats are counts since the start.
type Stats struct {
	Connections   int64 // greeted
	Accepted      int64 // messages answered 250
	AcceptedBytes int64 // octets of these, trace header included
	Recipients    int64 // of these
	Deliveries    int64 // of these
	Suppressed    int64 // recipients refused because they are on the suppression list, and messages to nobody else
	RelayDenied   int64 // recipients refused with 550 5.7.1
	BadRecipient  int64 // recipients refused for another permanent reason
	TooMany       int64 // recipients put off with 452 4.5.3
	Loops         int64 // messages refused with 554 5.4.6
	BadHeader     int64 // messages refused for the size of their header block, or for a control field that says nothing that can be followed
	Full          int64 // refusals with 452 4.3.1
	Unavailable   int64 // refusals with 451 4.3.0
	Logins        int64 // clients that proved who they are
	LoginsDenied  int64 // and that could not
	ByPlugins     int64 // refusals by plugins, whatever of
	TakenOver     int64 // messages that a plugin has taken over, or had thrown away; they are among Accepted
}

type counters struct {
	connections, accepted, acceptedBytes, recipients, deliveries                  atomic.Int64
	relayDenied, badRecipient, suppressed, tooMany, loops, badHeader, full, unavl atomic.Int64
	logins, loginsDenied, byPlugins, takenOver                                    atomic.Int64
}

// Stats returns the counts so far.
func (h *Handler) Stats() Stats {
	c := &h.stats
	return Stats{
		Connections: c.connections.Load(), Accepted: c.accepted.Load(), AcceptedBytes: c.acceptedBytes.Load(),
		Recipients: c.recipients.Load(), Deliveries: c.deliveries.Load(), RelayDenied: c.relayDenied.Load(),
		BadRecipient: c.badRecipient.Load(), Suppressed: c.suppressed.Load(), TooMany: c.tooMany.Load(), Loops: c.loops.Load(),
		BadHeader: c.badHeader.Load(), Full: c.full.Load(), Unavailable: c.unavl.Load(),
		Logins: c.logins.Load(), LoginsDenied: c.loginsDenied.Load(),
		ByPlugins: c.byPlugins.Load(), TakenOver: c.takenOver.Load(),
	}
}
