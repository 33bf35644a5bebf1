package queue

import (
	"slices"
	"strings"
	"time"

	"github.com/tarishi/tarishi/mail"
)

// Filter says which deliveries are meant; every field that is set must match. It is
// stored with an action, so fields are only ever added.
type Filter struct {
	ID           string        `json:"id,omitempty"`           // of a message or of a delivery
	Destination  mail.Domain   `json:"destination,omitempty"`  // the recipients' domain
	Destinations []mail.Domain `json:"destinations,omitempty"` // one of these
	Site         string        `json:"site,omitempty"`         // what Destinations count as; for people
	Sender       string        `json:"sender,omitempty"`       // reverse-path, letter case ignored; "<>" for null; "@example.net": of that domain
	Recipient    string        `json:"recipient,omitempty"`    // forward-path, letter case ignored
	Tenant       string        `json:"tenant,omitempty"`
	Class        *mail.Class   `json:"class,omitempty"`
	Bounce       string        `json:"bounce,omitempty"`       // bounce class of the last reply
	Reply        string        `json:"reply,omitempty"`        // a part of the last reply, letter case ignored
	Before       time.Time     `json:"before,omitzero"`        // arrived before
	After        time.Time     `json:"after,omitzero"`         // arrived at this time or later
	MinAttempts  int           `json:"min_attempts,omitempty"` // made so many at least
	MaxAttempts  *int          `json:"max_attempts,omitempty"` // and so many at most
	Held         *bool         `json:"held,omitempty"`         // held by an operator, or not
}

// Match tells whether the delivery is meant. A Filter that is asked often is made a
// matcher first.
func (f Filter) Match(d *mail.Delivery) bool { return newMatcher(f).match(d) }

// matcher is a Filter made ready for many deliveries.
type matcher struct {
	Filter
	destinations map[mail.Domain]bool // nil: any
	message      string               // of ID
	index        int                  // of ID; -1: any
	senderDomain mail.Domain
	reply        string // in lower case
}

func newMatcher(f Filter) *matcher {
	m := &matcher{Filter: f, index: -1, reply: strings.ToLower(f.Reply)}
	if f.ID != "" {
		m.message, m.index = mail.SplitDeliveryID(f.ID)
	}
	if domain, ok := strings.CutPrefix(f.Sender, "@"); ok {
		m.senderDomain = mail.CanonicalDomain(domain)
	}
	// A site that nothing belongs to means nothing, and not everything.
	if some := f.Destinations != nil || f.Site != ""; some || f.Destination != "" {
		m.destinations = make(map[mail.Domain]bool, len(f.Destinations))
		for _, d := range f.Destinations {
			if f.Destination == "" || d == f.Destination {
				m.destinations[d] = true
			}
		}
		if !some {
			m.destinations[f.Destination] = true
		}
	}
	return m
}

// line tells whether deliveries of a line can be meant.
func (m *matcher) line(l mail.Line) bool {
	return (m.destinations == nil || m.destinations[l.Destination]) &&
		(m.Tenant == "" || m.Tenant == l.Tenant) &&
		(m.Class == nil || *m.Class == l.Class)
}

// whole tells whether the line of a delivery, and whether it is held, is all that
// decides.
func (m *matcher) whole() bool {
	return m.ID == "" && m.Sender == "" && m.Recipient == "" && m.Bounce == "" && m.reply == "" &&
		m.Before.IsZero() && m.After.IsZero() && m.MinAttempts == 0 && m.MaxAttempts == nil
}

func (m *matcher) match(d *mail.Delivery) bool {
	if !m.line(d.Line()) || m.Held != nil && *m.Held != d.Held {
		return false
	}
	if m.ID != "" && (d.Message.ID != m.message || m.index >= 0 && d.Index != m.index) {
		return false
	}
	if !m.sender(d.Message.Sender) {
		return false
	}
	if m.Recipient != "" && !slices.ContainsFunc(d.Recipients, func(r mail.Recipient) bool { return strings.EqualFold(r.Raw, m.Recipient) }) {
		return false
	}
	if at := d.Message.Received; !m.Before.IsZero() && !at.Before(m.Before) || !m.After.IsZero() && at.Before(m.After) {
		return false
	}
	if d.Attempts < m.MinAttempts || m.MaxAttempts != nil && d.Attempts > *m.MaxAttempts {
		return false
	}
	if m.reply != "" && !strings.Contains(strings.ToLower(d.LastReply.String()), m.reply) {
		return false
	}
	return m.Bounce == "" || strings.EqualFold(d.LastClass, m.Bounce)
}

func (m *matcher) sender(a mail.Address) bool {
	switch {
	case m.Sender == "":
		return true
	case m.Sender == "<>":
		return a.IsNull()
	case m.senderDomain != "":
		return a.Domain == m.senderDomain
	default:
		return strings.EqualFold(m.Sender, a.Raw)
	}
}

// lanesInOrder bounds for how many destinations a pass asks the store for their lanes
// alone; for more it reads everything.
const lanesInOrder = 64

// subjects are those of WAIT that may hold what is meant: in the partitions given, or
// in all of a node alone's when parts is nil.
func (m *matcher) subjects(parts []uint32) []string {
	var out []string
	prefixes := []string{"wait.*."}
	if parts != nil {
		prefixes = nil
		for _, p := range parts {
			prefixes = append(prefixes, partPrefix(p))
		}
	}
	if m.destinations == nil || len(m.destinations)*len(prefixes) > 4*lanesInOrder {
		if parts == nil {
			return []string{"wait.>"}
		}
		for _, p := range prefixes {
			out = append(out, p+">")
		}
		return out
	}
	for d := range m.destinations {
		for _, p := range prefixes {
			out = append(out, p+laneToken(d)+".>")
		}
		if parts == nil {
			out = append(out, "wait."+laneToken(d)+".*") // from before there were partitions
		}
	}
	slices.Sort(out)
	return out
}
