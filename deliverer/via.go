package deliverer

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"strings"
	"time"

	"github.com/tarishi/tarishi/mail"
	"github.com/tarishi/tarishi/plugin"
	"github.com/tarishi/tarishi/shaping"
)

// via is where plugins have a delivery go, and how. Deliveries with the same via share
// lanes and connections.
type via struct {
	key     string   // all it says, logins included: for comparing, and never shown
	name    string   // for people
	usual   bool     // the hosts are those it would go to anyway
	manner  *manner  // with usual: how they are talked to
	port    string   // with usual: empty: the usual one
	lmtp    bool     // with usual
	hosts   []string // their names
	targets []target
	ranks   []int // the priorities of the targets
}

// readVia makes a via of what a plugin gave as hosts.
func (d *Deliverer) readVia(value any) (*via, error) {
	hops, err := plugin.NextHops(value)
	if err != nil {
		return nil, err
	}
	v := &via{}
	var key, name strings.Builder
	for i := range hops {
		h := &hops[i]
		fmt.Fprintf(&key, "%q %d %q %q %d %t %s %q %s %q %q %s %t\n", h.Host, h.Port, h.Path, h.Route, h.Priority, h.LMTP, h.Bind, h.Hello,
			h.TLS, h.User, h.Password, h.Mechanism, h.Insecure)
		if h.Host+h.Path+h.Route == "" {
			v.usual, v.lmtp = true, h.LMTP
			if h.Port != 0 || h.TLS == "implicit" || h.LMTP {
				v.port = d.hopPort(h)
			}
			v.manner, err = hopManner(h)
		} else {
			var t target
			if t, err = d.hopTarget(h); err == nil {
				v.targets, v.ranks = append(v.targets, t), append(v.ranks, h.Priority)
				if t.name != "" {
					v.hosts = append(v.hosts, t.name)
				}
			}
		}
		if err != nil {
			return nil, err
		}
		if i > 0 {
			name.WriteString(",")
		}
		name.WriteString(strings.ReplaceAll(h.String(), " ", "_"))
	}
	v.key, v.name = key.String(), name.String()
	return v, nil
}

// inRanks are the targets by priority, those of the same in any order.
func (v *via) inRanks() []target {
	out := append([]target(nil), v.targets...)
	for from := 0; from < len(out); {
		to := from + 1
		for to < len(out) && v.ranks[to] == v.ranks[from] {
			to++
		}
		rand.Shuffle(to-from, func(i, j int) { out[from+i], out[from+j] = out[from+j], out[from+i] })
		from = to
	}
	return out
}

// hosting is where mail of l goes, as plugins say.
func (v *via) hosting(ctx context.Context, d *Deliverer, l *lane) (hosting, error) {
	if !v.usual {
		return hosting{site: "plugin " + string(l.dest) + " " + v.name, mx: l.usualMX(ctx, d), targets: v.inRanks()}, nil
	}
	w, err := d.hosts(ctx, l.dest, d.sourceOf(v.manner))
	if err != nil {
		return w, err
	}
	w.targets = append([]target(nil), w.targets...)
	for i := range w.targets {
		t := &w.targets[i]
		if v.manner != nil {
			t.manner = v.manner
		}
		t.lmtp = t.lmtp || v.lmtp
		if host, _, err := net.SplitHostPort(t.addr); err == nil && v.port != "" {
			t.addr = net.JoinHostPort(host, v.port)
			t.label = t.label[:strings.LastIndexByte(t.label, ':')+1] + v.port
		}
	}
	return w, nil
}

const (
	// mxPatience is how long a delivery whose hosts a plugin has named waits for DNS, which
	// is asked for the sake of limits alone; mxPause is until it is asked again.
	mxPatience = 2 * time.Second
	mxPause    = time.Minute
)

// usualMX are the hosts of the domain's MX: by them limits find the mail that a plugin
// has sent elsewhere. While DNS does not answer they are those of before.
func (l *lane) usualMX(ctx context.Context, d *Deliverer) []string {
	d.mu.Lock()
	mx, rests := l.mx, time.Now().Before(l.mxFrom)
	d.mu.Unlock()
	if rests {
		return mx
	}
	ctx, cancel := context.WithTimeout(ctx, mxPatience)
	defer cancel()
	w, err := d.hosts(ctx, l.dest, d.c.Source)
	d.mu.Lock()
	defer d.mu.Unlock()
	var no *NoHosts
	if err == nil || errors.As(err, &no) {
		l.mx = w.mx
	} else {
		l.mxFrom = time.Now().Add(mxPause)
	}
	return l.mx
}

// viaDestination is whose limits bind mail that a plugin sends elsewhere: those of
// whom it would have gone to; or of the named destination that the hosts belong to,
// where that has limits of its own and the other is none.
func (d *Deliverer) viaDestination(dest mail.Domain, mx []string, v *via) shaping.Destination {
	to := d.c.Scheduler.Destination(dest, mx)
	if named(to) || v.usual {
		return to
	}
	if by := d.c.Scheduler.Destination(dest, v.hosts); named(by) {
		return by
	}
	return to
}

func named(to shaping.Destination) bool {
	return to.Name != "" || strings.HasPrefix(to.Key, "name:")
}
