package deliverer

import (
	"context"
	"errors"
	"net/netip"
	"slices"
	"sync/atomic"
	"testing"
	"time"

	"github.com/tarishi/tarishi/mail"
	"github.com/tarishi/tarishi/plugin"
	"github.com/tarishi/tarishi/shaping"
	"github.com/tarishi/tarishi/smtp/smtptest"
)

// Wherever a plugin sends the mail of a domain, it counts against the domain's limits;
// and however long it thinks, what the window allows is used.
func TestWindowWherePluginsRoute(t *testing.T) {
	for think, least := range map[time.Duration]int{0: 570, 50 * time.Millisecond: 570, 2 * time.Second: 400} { // of 600
		tell(t, func(s *story) {
			w := memWindow{20, 10 * time.Second}
			m := s.under(map[string]memRule{"site:mx1.test": {messages: []memWindow{w}}})
			sink := &smtptest.Sink{Discard: true}
			defer sink.Close()
			s.mx("there.test", 1)
			for n := byte(1); n < 4; n++ {
				s.sink(n, sink)
			}
			var n atomic.Int32
			s.plugged(fns{
				plugin.SendEmail: func(ctx context.Context, _ *plugin.Event) plugin.Verdict {
					select {
					case <-time.After(think):
					case <-ctx.Done(): // or it would outlive the node, which waits a second for it
					}
					return plugin.Verdict{}
				},
				plugin.GetMX: func(context.Context, *plugin.Event) plugin.Verdict {
					switch n.Add(1) % 3 {
					case 0:
						return plugin.Verdict{Code: plugin.OK, Value: "192.0.2.2"}
					case 1:
						return plugin.Verdict{Code: plugin.OK, Value: []string{"192.0.2.3", "192.0.2.2"}}
					}
					return plugin.Verdict{}
				},
			})
			s.backlog(1000, "b@there.test")
			s.start()
			s.after(5 * time.Minute)
			starts := s.taps.starts()
			exact(s.T, "starts", starts, w, each)
			if len(starts) < least {
				s.Errorf("with %s of thinking %d started in 5 minutes, 600 were allowed", think, len(starts))
			}
			if used := m.spent(s.T, "site:mx1.test"); used != len(starts) {
				s.Errorf("%d starts, %d permits used", len(starts), used)
			}
			if r := s.reads(); r > len(starts)*5/4+100 {
				s.Errorf("%d read for %d sent", r, len(starts))
			}
			if s.q.peak > 150 {
				s.Errorf("%d in the hand at a time", s.q.peak)
			}
		})
	}
}

// Whose limits bind mail that a plugin sends to other hosts.
func TestViaDestination(t *testing.T) {
	google := shaping.Destination{Key: "name:google"}
	key := func(d mail.Domain, mx []string) shaping.Destination {
		switch {
		case d == "listed.test":
			return shaping.Destination{Key: "name:listed"}
		case slices.Contains(mx, "mx.google.test"):
			return google
		case d == "owned.test":
			return shaping.Destination{Key: "domain:owned.test"}
		case mx == nil:
			return shaping.Destination{Key: "domain:" + string(d)}
		}
		return shaping.Destination{Key: "site:" + mx[0]}
	}
	m := newMemScheduler(t)
	m.key = key
	d := &Deliverer{c: Config{Scheduler: m}}
	for _, row := range []struct {
		dest  mail.Domain
		mx    []string // its own
		hosts []string // the plugin's
		want  string
	}{
		{"x.test", []string{"mx.x.test"}, []string{"relay.test"}, "site:mx.x.test"},
		{"x.test", nil, []string{"relay.test"}, "domain:x.test"},
		{"gmail.test", []string{"mx.google.test"}, []string{"relay.test"}, "name:google"},
		{"x.test", []string{"mx.x.test"}, []string{"mx.google.test"}, "name:google"},
		{"listed.test", []string{"mx.x.test"}, []string{"mx.google.test"}, "name:listed"},
		{"owned.test", []string{"mx.x.test"}, []string{"relay.test"}, "domain:owned.test"},
	} {
		if got := d.viaDestination(row.dest, row.mx, &via{hosts: row.hosts}); got.Key != row.want {
			t.Errorf("%s with %v, sent to %v: %s, want %s", row.dest, row.mx, row.hosts, got.Key, row.want)
		}
	}
}

// stubbornHosts answers as it is told, and counts.
type stubbornHosts struct {
	err   error
	hosts []Host
	asked int
}

func (h *stubbornHosts) MailHosts(ctx context.Context, _ mail.Domain) (string, []Host, error) {
	h.asked++
	if h.err != nil && h.err.Error() == "silence" {
		<-ctx.Done()
		return "", nil, ctx.Err()
	}
	return "x", h.hosts, h.err
}

// DNS is asked whom limits mean, for a moment only: mail for a host that a plugin names
// goes without.
func TestUsualMXWithoutDNS(t *testing.T) {
	tell(t, func(s *story) {
		h := &stubbornHosts{hosts: []Host{{Name: "mx1.test", Addrs: []netip.Addr{netip.MustParseAddr("192.0.2.1")}}}}
		s.c.Hosts = h
		d, err := New(s.c)
		if err != nil {
			s.Fatal(err)
		}
		l := &lane{laneKey: laneKey{dest: "there.test"}}
		want := func(mx []string, took time.Duration, asked int) {
			s.Helper()
			h.asked = 0
			began := time.Now()
			if got := l.usualMX(s.Context(), d); !slices.Equal(got, mx) || time.Since(began) != took || h.asked != asked {
				s.Errorf("%v after %s, asked %d times", got, time.Since(began), h.asked)
			}
		}
		want([]string{"mx1.test"}, 0, 1)
		h.err = errors.New("silence")
		want([]string{"mx1.test"}, mxPatience, 1)
		want([]string{"mx1.test"}, 0, 0)
		s.after(mxPause)
		h.err = &NoHosts{mail.R(550, "5.1.2", "no such domain")}
		want(nil, 0, 1)
	})
}

// A plugin that thinks about each delivery does not set the pace of a window that
// bounds many.
func TestPaceWhilePluginsThink(t *testing.T) {
	tell(t, func(s *story) {
		w := memWindow{50, time.Second}
		s.under(map[string]memRule{"*": {messages: []memWindow{w}}})
		sink := &smtptest.Sink{Discard: true}
		defer sink.Close()
		s.mx("there.test", 1)
		s.sink(1, sink)
		s.plugged(fns{plugin.SendEmail: func(context.Context, *plugin.Event) plugin.Verdict { time.Sleep(time.Second); return plugin.Verdict{} }})
		s.backlog(1200, "b@there.test")
		s.start()
		s.after(20 * time.Second)
		exact(s.T, "starts", s.taps.starts(), w, each)
		if s.q.peak > 150 {
			s.Errorf("%d in the hand at a time", s.q.peak)
		}
		if n := sink.Count(); n < 600 {
			s.Errorf("%d in 20 seconds, 1,000 were allowed", n)
		}
	})
}
