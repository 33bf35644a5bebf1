package ingress

import (
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/tarishi/tarishi/hours"
	"github.com/tarishi/tarishi/mail"
)

// readSendAt reads when a message is to be sent, and not before.
func readSendAt(o *orders, value string) error {
	at, err := time.Parse(time.RFC3339, value)
	if err != nil {
		return fmt.Errorf("says %s, which is no time; write it as 2026-12-24T18:00:00+01:00 (RFC 3339)", quoted(value))
	}
	o.sendAt = at.UTC()
	return nil
}

// readExpires reads until when a message is worth sending: an instant, or for how
// long from when it may be sent.
func readExpires(o *orders, value string) error {
	if at, err := time.Parse(time.RFC3339, value); err == nil {
		o.expires = at.UTC()
		return nil
	}
	d, ok := parseLife(value)
	if !ok {
		return fmt.Errorf("says %s, which is neither a time nor how long; write it as 2026-12-31T12:00:00Z (RFC 3339), or as 36h or 2d", quoted(value))
	}
	o.lasts = d
	return nil
}

// readHours reads the hours in which a message may be attempted.
func readHours(o *orders, value string) error {
	if _, err := hours.Parse(value); err != nil {
		return fmt.Errorf("says no hours: %s", printableLine(err.Error()))
	}
	o.hours = strings.Join(strings.Fields(value), " ")
	return nil
}

// parseLife reads 90m, 36h, 2d or 1w2d12h: whole numbers of weeks, days, hours,
// minutes and seconds.
func parseLife(s string) (d time.Duration, ok bool) {
	units := [...]struct {
		name byte
		d    time.Duration
	}{{'w', 7 * 24 * time.Hour}, {'d', 24 * time.Hour}, {'h', time.Hour}, {'m', time.Minute}, {'s', time.Second}}
	next := 0
	for s != "" {
		digits := 0
		for digits < len(s) && '0' <= s[digits] && s[digits] <= '9' {
			digits++
		}
		n, err := strconv.ParseUint(s[:digits], 10, 16)
		if err != nil || digits == len(s) {
			return 0, false
		}
		for next < len(units) && units[next].name != s[digits]|0x20 {
			next++
		}
		if next == len(units) {
			return 0, false
		}
		d += time.Duration(n) * units[next].d
		next++
		s = s[digits+1:]
	}
	return d, d > 0
}

// plan is when a message may be sent, and until when it is worth trying.
type plan struct {
	sendAt  time.Time // zero: at once
	request string    // the FUTURERELEASE request that said so
	expires time.Time
}

// planOf decides when a message goes, from what its fields and the parameters of
// MAIL say. The life of a message that waits for its time begins then.
func (h *Handler) planOf(o *orders, hold hold, now time.Time) (plan, error) {
	p := &h.p
	pl := plan{sendAt: o.sendAt}
	if !hold.at.IsZero() {
		if !o.sendAt.IsZero() {
			return pl, badControl(p.Headers.SendAt, "names a time, and so does MAIL with HOLDFOR or HOLDUNTIL; leave one of them")
		}
		pl.sendAt, pl.request = hold.at, hold.request
	} else if p.FarthestSendAt < 0 && !o.sendAt.IsZero() {
		return pl, badControl(p.Headers.SendAt, "is not followed here: this host keeps no mail for later")
	} else if most := now.Add(p.FarthestSendAt); o.sendAt.After(most) {
		return pl, badControl(p.Headers.SendAt, "is further off than this host keeps mail for; the latest is "+most.UTC().Format(time.RFC3339))
	}
	if !pl.sendAt.After(now) {
		pl.sendAt = time.Time{} // on its way here its time has come
	}
	from := now
	if pl.sendAt.After(now) {
		from = pl.sendAt
	}
	least, most := from.Add(p.ShortestLife), from.Add(p.LongestLife)
	switch pl.expires = o.expires; {
	case o.lasts != 0:
		pl.expires = from.Add(o.lasts)
	case o.expires.IsZero():
		pl.expires = from.Add(p.Expire)
		return pl, nil
	}
	if pl.expires.Before(least) || pl.expires.After(most) {
		return pl, badControl(p.Headers.Expires, fmt.Sprintf("is out of bounds; between %s and %s may be asked for",
			least.UTC().Format(time.RFC3339), most.UTC().Format(time.RFC3339)))
	}
	return pl, nil
}

// hold is what MAIL asked for by FUTURERELEASE (RFC 4865).
type hold struct {
	at      time.Time
	request string
}

// put notes the plan and the hours in a message and its deliveries.
func (pl *plan) put(m *mail.Message, ds []mail.Delivery) {
	m.SendAt, m.HoldRequest = pl.sendAt, pl.request
	for i := range ds {
		ds[i].Due, ds[i].Expires = pl.sendAt, pl.expires
	}
}

// printableLine makes a text safe to stand in a reply.
func printableLine(s string) string {
	return strings.Map(func(r rune) rune {
		if r < ' ' || r > '~' {
			return '?'
		}
		return r
	}, s[:min(len(s), 250)])
}
