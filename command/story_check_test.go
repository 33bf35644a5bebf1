package command

import (
	"bufio"
	"bytes"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/tarishi/tarishi/mail"
)

// fateOf names a recipient of a letter, fate is what became of it.
type fateOf struct{ letter, recipient string }

type fate struct {
	delivered, failed, silent int // times it was delivered, was in a DSN, failed with nobody to tell
	delayed                   []time.Time
	at                        time.Time // of the first final one
}

func (s *story) fate(letter, recipient string) *fate {
	k := fateOf{letter, recipient}
	f := s.fates[k]
	if f == nil {
		f = &fate{}
		s.fates[k] = f
	}
	return f
}

func (f *fate) happened(at time.Time) {
	if f.at.IsZero() || at.Before(f.at) {
		f.at = at
	}
}

// noteDoubts asks the queue which deliveries were possibly made twice.
func (s *story) noteDoubts() {
	s.t.Helper()
	ds, err := s.node.queue.Doubts(s.t.Context())
	if err != nil {
		s.t.Fatal(err)
	}
	clear(s.doubts) // the list keeps those of earlier runs
	for _, d := range ds {
		s.doubts[d.DeliveryID]++
	}
}

// checkEmpty checks that the queue has nothing left, bodies included.
func (s *story) checkEmpty() {
	s.t.Helper()
	st := s.node.queue.Stats()
	if st.Ready != 0 || st.Waiting != 0 || st.Held != 0 || st.Active != 0 {
		s.t.Errorf("left in the queue: %d ready, %d waiting, %d held, %d in hand", st.Ready, st.Waiting, st.Held, st.Active)
	}
	if st.Bytes != 0 {
		s.t.Errorf("%d octets are left in the streams of mail and bodies", st.Bytes)
	}
	o, err := s.node.queue.Lanes(s.t.Context(), 100)
	if err != nil || o.Destinations != 0 {
		s.t.Errorf("lanes left: %+v %v", o, err)
	}
	if h := s.node.out.Stats(); h.Hand != 0 || h.HandBytes != 0 {
		s.t.Errorf("left in the deliverer's hand: %d deliveries, %d octets", h.Hand, h.HandBytes)
	}
}

// readWorld gathers what the receivers took and what the log says nobody was told of.
func (s *story) readWorld() {
	s.t.Helper()
	byName, byID := map[string]*letter{}, map[string]*letter{}
	for _, l := range s.letters {
		byName[l.name], byID[l.id] = l, l
	}
	for domain, r := range s.world.receivers {
		for _, m := range r.Messages() {
			l := byName[header(m.Data, "Story: ")]
			if l == nil {
				s.t.Errorf("%s got a message that nobody sent: %.200q", domain, m.Data)
				continue
			}
			if bytes.Contains(m.Data, []byte("Content-Type: multipart/report")) {
				s.readNotice(l, string(domain), m.From, m.To, m.Data, m.Received)
				continue
			}
			if fingerprint(m.Data) != fingerprint(l.data) {
				s.t.Errorf("%s arrived at %s changed: %d octets of %d", l.name, domain, len(m.Data), len(l.data))
			}
			if from, _, _ := strings.Cut(m.From, " "); from != "<"+l.from+">" {
				s.t.Errorf("%s arrived from %s", l.name, m.From)
			}
			for _, to := range m.To {
				to, _, _ = strings.Cut(to, " ")
				to = strings.Trim(to, "<>")
				if !slices.Contains(l.to, to) || domainOf(to) != string(domain) {
					s.t.Errorf("%s arrived at %s for %s", l.name, domain, to)
				}
				f := s.fate(l.name, to)
				f.delivered++
				f.happened(m.Received)
			}
		}
	}
	for _, x := range s.log.silent {
		id, _ := mail.SplitDeliveryID(x.delivery)
		if l := byID[id]; l == nil {
			s.t.Errorf("a failure nobody is told of, of a message nobody sent: %+v", x)
		} else {
			s.fate(l.name, x.recipient).silent++
		}
	}
}

// readNotice reads a delivery status notification as the sender's machine would.
func (s *story) readNotice(l *letter, domain, from string, to []string, data []byte, at time.Time) {
	s.t.Helper()
	if !strings.HasPrefix(from, "<>") {
		s.t.Errorf("a notice about %s came from %s", l.name, from)
	}
	if len(to) != 1 || !strings.HasPrefix(to[0], "<"+l.from+">") || l.from == "" {
		s.t.Errorf("a notice about %s of <%s> went to %s at %s", l.name, l.from, to, domain)
	}
	recipient := ""
	for in := bufio.NewScanner(bytes.NewReader(data)); in.Scan(); {
		if v, ok := strings.CutPrefix(in.Text(), "Final-Recipient: rfc822;"); ok {
			recipient = strings.TrimSpace(v)
		}
		action, ok := strings.CutPrefix(in.Text(), "Action: ")
		if !ok {
			continue
		}
		if !slices.Contains(l.to, recipient) {
			s.t.Errorf("a notice about %s names %q", l.name, recipient)
		}
		f := s.fate(l.name, recipient)
		switch action {
		case "failed":
			f.failed++
			f.happened(at)
		case "delayed":
			f.delayed = append(f.delayed, at)
		default:
			s.t.Errorf("a notice about %s that nobody asked for: %s", l.name, action)
		}
	}
}

// header returns the value of the first line of data that begins with name.
func header(data []byte, name string) string {
	_, rest, ok := bytes.Cut(data, []byte("\n"+name))
	if !ok {
		return ""
	}
	line, _, _ := bytes.Cut(rest, []byte("\r\n"))
	return string(line)
}

// checkFates checks that every recipient of every accepted message was delivered
// once, or reported once, or failed once with nobody to tell; more than once only
// where the queue says so itself.
func (s *story) checkFates() {
	s.t.Helper()
	s.readWorld()
	if len(s.log.troubles) > 0 {
		s.t.Errorf("%d errors in the log, the first: %s", len(s.log.troubles), s.log.troubles[0])
	}
	over := map[string]bool{} // deliveries made more than once
	for _, l := range s.letters {
		where := l.destinations()
		for _, to := range l.to {
			f := s.fate(l.name, to)
			delivery := mail.DeliveryID(l.id, slices.Index(where, domainOf(to)))
			what := fmt.Sprintf("%s (%s) to %s: delivered %d times, reported %d times, silently failed %d times",
				l.name, delivery, to, f.delivered, f.failed, f.silent)
			switch {
			case f.delivered+f.failed+f.silent == 0:
				s.t.Errorf("LOST: %s", what)
			case f.failed+f.silent > 1, f.delivered > 0 && f.failed+f.silent > 0 && s.doubts[delivery] == 0:
				s.t.Errorf("more than one end: %s", what)
			case f.failed > 0 && l.from == "", f.silent > 0 && l.from != "":
				s.t.Errorf("the wrong one was told: %s", what)
			case f.delivered > 1+s.doubts[delivery]:
				s.t.Errorf("DUPLICATE the queue does not know of (doubts: %d): %s", s.doubts[delivery], what)
			}
			if f.delivered > 1 {
				over[delivery] = true
			}
			if !s.anyEnd {
				if fails := domainOf(to) == "gone.test" || strings.HasPrefix(to, "bad"); fails != (f.delivered == 0) {
					s.t.Errorf("unexpected end: %s", what)
				}
			}
			if f.silent > 0 {
				f.at = s.lastAttempt(delivery)
			}
		}
	}
	s.extra = len(over)
	if s.extra > len(s.doubts) {
		s.t.Errorf("%d deliveries were made more than once, the queue doubts %d", s.extra, len(s.doubts))
	}
}

func (s *story) lastAttempt(delivery string) (at time.Time) {
	for _, x := range s.log.attempts {
		if x.delivery == delivery {
			at = x.ended
		}
	}
	return at
}
