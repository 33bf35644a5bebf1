package smtp

import (
	"strconv"
	"time"

	"github.com/tarishi/tarishi/mail"
)

// Postponer is a Session that takes mail to be sent later: FUTURERELEASE, RFC 4865.
type Postponer interface {
	// Postpones returns how far off its client may have mail sent, in whole seconds; 0:
	// it is not offered that. It may change with who the client has proved to be.
	Postpones() time.Duration
}

// mostHold is what nine digits can say (RFC 4865 §3).
const mostHold = 999_999_999 * time.Second

// postpones is what the session offers its client now.
func (c *Conn) postpones() time.Duration {
	if p, ok := c.session.(Postponer); ok {
		return min(p.Postpones(), mostHold).Truncate(time.Second)
	}
	return 0
}

// futureRelease is the EHLO line that offers it: the longest interval, and the latest
// time, which is that interval from now.
func futureRelease(most time.Duration, now time.Time) string {
	return "FUTURERELEASE " + strconv.FormatInt(int64(most/time.Second), 10) + " " + now.Add(most).UTC().Format(time.RFC3339)
}

var (
	twoHolds = mail.R(501, "5.5.4", "HOLDFOR and HOLDUNTIL exclude one another")
	badFor   = mail.R(501, "5.5.4", "HOLDFOR wants seconds, such as HOLDFOR=3600")
	badUntil = mail.R(501, "5.5.4", "HOLDUNTIL wants a time, such as HOLDUNTIL=2026-12-24T18:00:00Z (RFC 3339)")
)

// hold reads HOLDFOR or HOLDUNTIL. A time that has passed on its way here is no hold.
func (o *MailOptions) hold(key, value string, most time.Duration, now time.Time) *mail.Reply {
	if o.HoldRequest != "" {
		if (key == "HOLDFOR") == (o.HoldRequest[:4] == "for;") {
			return &twiceParam
		}
		return &twoHolds
	}
	switch key {
	case "HOLDFOR":
		n, ok := decimal(value, 9)
		if !ok || value[0] == '0' { // future-release-integer = %x31-39 *8DIGIT
			return &badFor
		}
		o.HoldUntil, o.HoldRequest = now.Add(time.Duration(n)*time.Second), "for;"+value
	default:
		at, err := time.Parse(time.RFC3339, upper(value))
		if err != nil {
			return &badUntil
		}
		o.HoldUntil, o.HoldRequest = at, "until;"+upper(value)
	}
	if o.HoldUntil.After(now.Add(most)) {
		r := mail.R(501, "5.5.4", key+" is further off than this host keeps mail for; the latest is "+now.Add(most).UTC().Format(time.RFC3339))
		return &r
	}
	return nil
}
