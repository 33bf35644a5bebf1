package command

import (
	"fmt"
	"strings"

	"github.com/tarishi/tarishi/deliverer"
	"github.com/tarishi/tarishi/mail"
	"github.com/tarishi/tarishi/scheduler"
	"github.com/tarishi/tarishi/shaping"
)

// schedule is the scheduler as the deliverer sees it: the session's client, and the
// name of the source that this process sends from.
type schedule struct {
	c      *scheduler.Client
	source string
}

func (s schedule) Live() bool { return s.c.Live() }

func (s schedule) Version() uint64 {
	if t := s.c.Rules(); t != nil {
		return t.Version()
	}
	return 0
}

func (s schedule) Destination(domain mail.Domain, mx []string) shaping.Destination {
	t := s.c.Rules()
	if t == nil { // no session yet, so nothing can start: Version will change with the first
		return shaping.Destination{Key: "domain:" + string(domain)}
	}
	return t.Destination(domain, mx)
}

// unlimited stands for Bounds that say nothing.
var unlimited shaping.Bounds

func (s schedule) bounds(to shaping.Destination, tenant string) shaping.Bounds {
	t := s.c.Rules()
	if t == nil {
		return unlimited
	}
	return t.Bounds(to, s.source, tenant)
}

func (s schedule) Weight(tenant string) int {
	t := s.c.Rules()
	if t == nil {
		return 1
	}
	return t.Shares().Weight(tenant)
}

func (s schedule) Limits(to shaping.Destination, tenant string, class mail.Class) deliverer.Limits {
	b := s.bounds(to, tenant)
	l := deliverer.Limits{PerConnection: b.PerConnection}
	for _, x := range b.Counters {
		switch x.Unit {
		case shaping.NewConnections:
			l.Dials = true
			continue
		case shaping.Recipients:
			for _, w := range x.Windows {
				// What is kept for high mail is never anybody else's.
				if most := s.c.Rules().Shares().For(class, w.Max); l.MaxRecipients == 0 || most < l.MaxRecipients {
					l.MaxRecipients = most
				}
			}
		}
		l.Permits = true
		l.Tenants = l.Tenants || x.From.Per&shaping.Tenant != 0
	}
	for _, x := range b.Shadows { // the scheduler counts what it gives out
		if x.Unit == shaping.NewConnections {
			l.Dials = true
			continue
		}
		l.Permits = true
		l.Tenants = l.Tenants || x.From.Per&shaping.Tenant != 0
	}
	for _, x := range b.Slots {
		if !l.Slots || x.Max < l.Connections {
			l.Connections = x.Max
		}
		l.Slots = true
	}
	l.Tenants = l.Tenants || b.Tenants
	if x := b.Suspended; x != nil {
		l.Suspended, l.Until, l.Why = true, x.Until, "suspended"
		if x.Reason != "" {
			l.Why += ": " + x.Reason
		}
	}
	return l
}

func (s schedule) Permits(to shaping.Destination, tenant string, class mail.Class) deliverer.Permits {
	b := s.bounds(to, tenant)
	var names []string
	for _, x := range b.Counters {
		if x.Unit != shaping.NewConnections {
			names = append(names, fmt.Sprintf("%s %s", x.Unit, shaping.FormatWindows(x.Windows)))
		}
	}
	return permits{s.lane(to, tenant, class, scheduler.Transaction), strings.Join(names, "; ")}
}

func (s schedule) Dials(to shaping.Destination) deliverer.Permits {
	return permits{s.lane(to, "", mail.Normal, scheduler.Connection), "new connections"}
}

func (s schedule) Slots(to shaping.Destination) deliverer.Slots {
	return slots{s.lane(to, "", mail.Normal, scheduler.Connection)}
}

func (s schedule) lane(to shaping.Destination, tenant string, class mail.Class, k scheduler.Kind) *scheduler.LaneHandle {
	return s.c.Lane(scheduler.Lane{Dest: to, Source: s.source, Tenant: tenant, Class: class, Kind: k})
}

// Sighted passes on what replies ask for.
func (s schedule) Sighted(n shaping.Sighting) (enough bool) {
	n.Source = s.source
	return s.c.Sighted(n)
}

type permits struct {
	h      *scheduler.LaneHandle
	limits string
}

func (p permits) Want(n, recipients, head int) { p.h.Want(n, recipients, head) }

func (p permits) Ready() (int, deliverer.Hold) {
	n, v := p.h.Ready()
	return n, deliverer.Hold(v)
}

func (p permits) Take(recipients int) (deliverer.Permit, deliverer.Hold) {
	x, v := p.h.Take(recipients)
	if x == nil {
		return nil, deliverer.Hold(v)
	}
	return permit{x, p.limits}, deliverer.Hold{}
}

type permit struct {
	*scheduler.Permit
	limits string
}

func (p permit) Limits() string { return p.limits }

type slots struct{ h *scheduler.LaneHandle }

func (s slots) Want(n int) { s.h.WantSlots(n) }
func (s slots) Ready() int { return s.h.FreeSlots() }
func (s slots) Take() deliverer.Slot {
	if x, _ := s.h.TakeSlot(); x != nil {
		return x
	}
	return nil
}
