package queue

import (
	"cmp"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/tarishi/tarishi/mail"
)

// slotName is the subject of WAIT that a delivery lies under: its lane, which is its
// destination; its line in it, unless that is the plain one of mail of no tenant in
// no special class; and the slot in which it is due, with its deadline. Slots widen with
// the delay, so that a line has a handful and never one per message.
type slotName struct {
	part uint32 // partition
	line mail.Line
	at   int64 // Unix milliseconds from which it may be read; 0: released by an operator, before all others
	// Unix seconds by which it must be looked at even if it may not be attempted; 0: an
	// older version stored it, which did not say.
	until int64
	held  bool
	old   bool // stored before there were partitions: in partition 0, which its subject does not name
}

const heldToken = "held"

// slotFor chooses the slot of a delivery that is about to wait.
func slotFor(d *mail.Delivery, now time.Time) slotName {
	line := d.Line()
	switch {
	case d.Held:
		return slotName{line: line, held: true}
	case !d.Due.IsZero() && d.Due.Unix() <= 0:
		return slotName{line: line}
	case !d.Due.After(now):
		// Due at once and only waiting for room: one slot for ten minutes' arrivals, in their order.
		return slotName{line: line, at: now.Truncate(10 * time.Minute).UnixMilli()}
	}
	w := slotWidth(d.Due.Sub(now)).Milliseconds()
	return slotName{line: line, at: (d.Due.UnixMilli() + w - 1) / w * w}
}

// slotWidth bounds by how much a retry is late: about one part in fifty.
func slotWidth(delay time.Duration) time.Duration {
	switch {
	case delay < 15*time.Second:
		return 250 * time.Millisecond
	case delay < 2*time.Minute:
		return time.Second
	case delay < 20*time.Minute:
		return 5 * time.Second
	case delay < 3*time.Hour:
		return 30 * time.Second
	default:
		return 5 * time.Minute
	}
}

func (s slotName) subject() string {
	at := heldToken
	if !s.held {
		at = strconv.FormatInt(s.at, 10)
		if s.until != 0 {
			at += "-" + strconv.FormatInt(s.until, 10)
		}
	}
	if s.old {
		return "wait." + laneToken(s.line.Destination) + "." + at
	}
	lane := partPrefix(s.part) + laneToken(s.line.Destination) + "."
	if s.line.Tenant == "" && s.line.Class == mail.Normal && s.line.Route == "" {
		return lane + at
	}
	return lane + lineToken(s.line) + "." + at
}

// compare orders the slots of one line as they fall due.
func (s slotName) compare(t slotName) int {
	part := func(n slotName) int {
		if n.old {
			return -1
		}
		return int(n.part)
	}
	return cmp.Or(cmp.Compare(s.at, t.at), cmp.Compare(s.until, t.until), cmp.Compare(part(s), part(t)))
}

func parseSlot(subject string) (slotName, error) {
	unknown := fmt.Errorf("%q is no subject of WAIT", subject)
	parts := strings.Split(subject, ".")
	var s slotName
	switch {
	case len(parts) == 3 && parts[0] == "wait":
		s.old = true
		parts = parts[1:]
	case (len(parts) == 4 || len(parts) == 5) && parts[0] == "wait":
		p, err := strconv.ParseUint(parts[1], 10, 32)
		if err != nil || p >= Partitions {
			return s, unknown
		}
		s.part = uint32(p)
		parts = parts[2:]
	default:
		return s, unknown
	}
	lane, err := tokenText(parts[0])
	if err != nil {
		return s, err
	}
	s.line.Destination = mail.Domain(lane)
	if len(parts) == 3 {
		dest := s.line.Destination
		if s.line, err = lineOf(parts[1]); err != nil {
			return s, err
		}
		s.line.Destination = dest
		parts = parts[1:]
	}
	if parts[1] == heldToken {
		s.held = true
		return s, nil
	}
	at, until, dated := strings.Cut(parts[1], "-")
	if s.at, err = strconv.ParseInt(at, 10, 64); err != nil {
		return s, unknown
	}
	if dated {
		if s.until, err = strconv.ParseInt(until, 10, 64); err != nil || s.until <= 0 {
			return s, unknown
		}
	}
	return s, nil
}

// laneToken writes a domain as one token of a subject, "%" for none.
func laneToken(d mail.Domain) string {
	if d == "" {
		return "%"
	}
	return token(string(d))
}

// Each class has a letter in subjects.
var classLetters = map[mail.Class]string{mail.High: "h", mail.Normal: "n", mail.Bulk: "b"}

// lineToken writes a line's class and tenant, and its route if it has one, as one
// token of a subject.
func lineToken(l mail.Line) string {
	t := classLetters[l.Class.Known()] + token(l.Tenant)
	if l.Route != "" {
		t += "=" + token(l.Route)
	}
	return t
}

// lineOf reads it; the destination is not part of it.
func lineOf(t string) (l mail.Line, err error) {
	for c, letter := range classLetters {
		rest, ok := strings.CutPrefix(t, letter)
		if !ok || rest == "%" {
			continue
		}
		tenant, route, routed := strings.Cut(rest, "=")
		l.Class = c
		if l.Tenant, err = tokenText(tenant); err != nil || !routed {
			return l, err
		}
		if l.Route, err = tokenText(route); l.Route == "" {
			break
		}
		return l, err
	}
	return l, fmt.Errorf("%q is no line", t)
}

// token writes a text for use in a subject: dots become !, and what is neither
// letter, digit, hyphen nor underscore becomes %XX.
func token(s string) string {
	var b strings.Builder
	for i := range len(s) {
		switch c := s[i]; {
		case 'a' <= c && c <= 'z', '0' <= c && c <= '9', c == '-', c == '_':
			b.WriteByte(c)
		case c == '.':
			b.WriteByte('!')
		default:
			fmt.Fprintf(&b, "%%%02x", c)
		}
	}
	return b.String()
}

// tokenText reads what token and laneToken write.
func tokenText(t string) (string, error) {
	if t == "%" {
		return "", nil
	}
	var b strings.Builder
	for i := 0; i < len(t); i++ {
		switch c := t[i]; c {
		case '!':
			b.WriteByte('.')
		case '%':
			if i+3 > len(t) {
				return "", fmt.Errorf("%q is no token of ours", t)
			}
			n, err := strconv.ParseUint(t[i+1:i+3], 16, 8)
			if err != nil {
				return "", fmt.Errorf("%q is no token of ours", t)
			}
			b.WriteByte(byte(n))
			i += 2
		default:
			b.WriteByte(c)
		}
	}
	return b.String(), nil
}
