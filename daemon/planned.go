package daemon

import (
	"errors"
	"strings"
	"time"

	"github.com/tarishi/tarishi/hours"
)

// SMTPHeaders are the header fields by which clients in relay_from say how a message
// is to be treated. They are taken out of every message.
type SMTPHeaders struct {
	Class   string `yaml:"class" default:"X-Tarishi-Class" check:"field" doc:"Which mail goes first: high, normal or bulk. Empty: no such field."`
	SendAt  string `yaml:"send_at" default:"X-Tarishi-Send-At" check:"field" doc:"When to send it, and not before: 2026-12-24T18:00:00+01:00. Empty: no such field."`
	Expires string `yaml:"expires" default:"X-Tarishi-Expires" check:"field" doc:"Until when it is worth trying: a time likewise, or how long from when it may be sent: 36h, 2d. Empty: no such field."`
	Hours   string `yaml:"hours" default:"X-Tarishi-Hours" check:"field" doc:"In which hours it may be attempted: Mon-Fri 09:00-18:00 Europe/Berlin. Empty: no such field."`
}

// Suppress is the list of those who are sent nothing.
type Suppress struct {
	AtAccept string        `yaml:"at_accept" default:"refuse" enum:"refuse,accept" doc:"A recipient on the list is refused with 550 5.7.1 (refuse), or taken and returned to the sender with a failure notice (accept)."`
	Bounces  string        `yaml:"bounces" default:"tenant" enum:"tenant,global,off" doc:"A mailbox that a receiver says is not there goes on the list: for the tenant whose mail it was, or for everybody where the mail is nobody's in particular (tenant); for everybody (global); or not at all (off)."`
	Keep     time.Duration `yaml:"keep" default:"180d" min:"0s" max:"3650d" doc:"How long what bounces put on the list stays there. 0: for ever."`
}

// checkHours accepts opening hours.
func checkHours(s string) error {
	if _, err := hours.Parse(s); err != nil {
		return errors.New("is refused: " + err.Error())
	}
	return nil
}

// checkPlanned looks at when mail may be sent, and until when it is worth trying.
func (l *loader) checkPlanned(c *Config) {
	s := &c.SMTP
	if s.ShortestExpiry > s.LongestExpiry {
		l.fault("smtp.shortest_expiry", formatDuration(s.ShortestExpiry)+" is more than smtp.longest_expiry ("+formatDuration(s.LongestExpiry)+")", "make it shorter")
	}
	seen := map[string]string{strings.ToLower(s.TenantHeader): "smtp.tenant_header"}
	for _, x := range []struct{ path, name string }{
		{"smtp.headers.class", s.Headers.Class}, {"smtp.headers.send_at", s.Headers.SendAt}, {"smtp.headers.expires", s.Headers.Expires}, {"smtp.headers.hours", s.Headers.Hours},
	} {
		if other, twice := seen[strings.ToLower(x.name)]; twice && x.name != "" {
			l.fault(x.path, "is the same field as "+other, "each needs one of its own")
		}
		seen[strings.ToLower(x.name)] = x.path
	}
}

// TenantHours are those of the tenants that have some.
func (c *Config) TenantHours() map[string]string {
	out := map[string]string{}
	for name, t := range c.Tenants {
		if t.Hours != "" {
			out[name] = t.Hours
		}
	}
	return out
}
