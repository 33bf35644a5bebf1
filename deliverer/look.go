package deliverer

import (
	"time"

	"github.com/tarishi/tarishi/mail"
)

// Look is how a destination stands with this deliverer, for people.
type Look struct {
	Waiting     int       `json:"waiting"`             // deliveries in memory, those that plugins are asked about included
	Sending     int       `json:"sending"`             // transactions under way
	Connections int       `json:"connections"`         // to its hosts
	Down        time.Time `json:"down_until,omitzero"` // no host answers: not tried before; zero: it is
	Failures    int       `json:"failures,omitempty"`  // how often in a row none did
	Full        time.Time `json:"full_until,omitzero"` // a further connection was refused: no more before
	Host        string    `json:"host,omitempty"`      // the hosts it shares with others, as logs show them
	Live        bool      `json:"live"`                // something may start: the session with the scheduler lives
}

// Look tells how a destination stands, whichever way its mail goes. known is false when
// this deliverer has had nothing for it lately. Any goroutine may call it.
func (d *Deliverer) Look(to mail.Domain) (out Look, known bool) {
	out.Live = d.c.Scheduler == nil || d.c.Scheduler.Live()
	now := time.Now()
	d.mu.Lock()
	defer d.mu.Unlock()
	ways := []string{""}
	if d.c.Routes != nil {
		for route := range d.c.Routes.named {
			ways = append(ways, route)
		}
	}
	for _, route := range ways {
		if dr := d.doors[laneKey{dest: to, route: route}]; dr != nil {
			known = true
			for _, c := range dr.inside {
				out.Waiting += c.n
			}
		}
		for _, l := range d.lanesOf(laneKey{dest: to, route: route}) {
			known = true
			out.Waiting += l.len()
			out.Sending += l.busy
			if until, shut := l.shut(now); shut && until.After(out.Down) {
				out.Down = until
			}
			out.Failures = max(out.Failures, l.gate.failures)
			if p := l.path; p != nil {
				out.Failures = max(out.Failures, p.gate.failures)
				out.Connections += p.connected
				out.Host = p.name()
				if p.full.After(now) && p.full.After(out.Full) {
					out.Full = p.full
				}
			}
		}
	}
	return out, known
}
