package ingress

import (
	"bytes"
	"errors"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/tarishi/tarishi/mail"
)

// A control field is a header field by which a client that we trust says how its
// message is to be treated. It is taken out of everybody's mail, and heard of those
// who may relay: see headerFilter. One is added by a line in controlsOf.
type control struct {
	name string // as replies spell it
	// read notes what the field says. value is unfolded and has no blanks around it.
	// The error is the rest of a sentence that begins with the field's name, and says
	// how to mend it; a *refusal stands for itself.
	read func(o *orders, value string) error
}

// orders are what the control fields of one message say.
type orders struct {
	word    // whose it is
	sendAt  time.Time
	expires time.Time     // the instant, or
	lasts   time.Duration // the time from when it may be sent
	hours   string
}

// ownPrefix is that of control fields. One that we do not know is a stray: a
// misspelt X-Tarishi-Send-At would otherwise send Christmas mail in October.
const ownPrefix = "x-tarishi-"

// maxControl bounds all control fields of a message, blanks and folding included.
const maxControl = 4096

// Headers are the names of control fields. Empty: there is no such field.
type Headers struct {
	Class   string
	SendAt  string
	Expires string
	Hours   string
}

// controlsOf lists the control fields that the policy knows.
func controlsOf(p *Policy) []control {
	all := []control{
		{p.TenantHeader, readTenant},
		{p.Headers.Class, readClass},
		{p.Headers.SendAt, readSendAt},
		{p.Headers.Expires, readExpires},
		{p.Headers.Hours, readHours},
	}
	return slices.DeleteFunc(all, func(c control) bool { return c.name == "" })
}

// lowerNames are the names as the filter wants them.
func lowerNames(list []control) []string {
	names := make([]string, len(list))
	for i, c := range list {
		names[i] = strings.ToLower(c.name)
	}
	return names
}

var longControls = &refusal{reply: mail.R(554, "5.6.0", "The header fields that are meant for this host are too long")}

// keep notes octets of the control field, or of the Authentication-Results, that
// the filter is in.
func (f *headerFilter) keep(p []byte) error {
	if f.judging {
		f.judged = append(f.judged, p...)
		return nil
	}
	if !f.catch {
		return nil
	}
	if f.keptSize += len(p); f.keptSize > maxControl {
		return longControls
	}
	f.kept[f.at] = append(f.kept[f.at], p...)
	return nil
}

// ordersOf reads the control fields that were kept.
func (h *Handler) ordersOf(f *headerFilter) (o orders, err error) {
	if !f.trusted {
		return o, nil
	}
	for i := range h.controls {
		c := &h.controls[i]
		said := values(f.kept[i])
		switch {
		case len(said) == 0:
			continue
		case slices.ContainsFunc(said, func(v string) bool { return v != said[0] }):
			return o, c.refuse("says two things; leave one of them") // which is meant cannot be told
		}
		if err := c.read(&o, said[0]); err != nil {
			var ready *refusal
			if errors.As(err, &ready) {
				return o, ready
			}
			return o, c.refuse(err.Error())
		}
	}
	if strays := f.kept[len(h.controls)]; len(strays) > 0 {
		name, _, _ := bytes.Cut(strays, []byte{':'})
		return o, badControl(string(bytes.TrimSpace(name)), "is not known here; there are "+h.known())
	}
	return o, nil
}

// values reads fields of one name that stand one after the other, each perhaps
// folded. A field without a value says nothing, as if it were not there.
func values(fields []byte) (out []string) {
	var value []byte
	end := func() {
		if v := strings.Trim(string(value), " \t\r\n"); v != "" {
			out = append(out, v)
		}
		value = value[:0]
	}
	for line := range bytes.Lines(fields) {
		if line[0] == ' ' || line[0] == '\t' {
			value = append(value, bytes.TrimRight(line, "\r\n")...)
			continue
		}
		end()
		_, rest, _ := bytes.Cut(line, []byte{':'})
		value = append(value, bytes.TrimRight(rest, "\r\n")...)
	}
	end()
	return out
}

func (h *Handler) known() string {
	var names []string
	for _, c := range h.controls {
		names = append(names, c.name)
	}
	return strings.Join(names, ", ")
}

// refuse is the answer to a field that says nothing we can follow, and how to mend it.
func (c *control) refuse(why string) *refusal { return badControl(c.name, why) }

func badControl(name, why string) *refusal {
	return &refusal{reply: mail.R(554, "5.6.0", "Header field "+printable(name)+" "+why)}
}

// quoted shows a client its own words, short and on one line.
func quoted(s string) string { return strconv.QuoteToASCII(s[:min(len(s), 60)]) }

// printable is a field's name, which has no blanks and no controls, made short.
func printable(s string) string { return s[:min(len(s), 60)] }
