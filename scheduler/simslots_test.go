package scheduler

import (
	"maps"
	"slices"
)

// looseSlots are the ids of connections that need no slot.
const looseSlots = SlotID(1) << 62

// socket is an open connection of a deliverer.
type socket struct {
	d      *deliverer
	id     SlotID
	lane   Lane
	up     bool // opened
	opened int64
	busy   bool // in a transaction
	ending bool
	closed bool
}

func (d *deliverer) socketIDs() []SlotID { return slices.Sorted(maps.Keys(d.sockets)) }

// open uses a slot: when new connections are limited, with a permit.
func (d *deliverer) open(x *Slot) {
	k := &socket{d: d, id: x.ID, lane: x.Lane}
	d.sockets[x.ID] = k
	k.dial()
}

func (k *socket) dial() {
	d, s := k.d, k.d.s
	if k.closed || !d.up || d.h == nil {
		return
	}
	x := d.local()
	if k.ending || !d.h.MayStart(x) {
		k.close(true)
		return
	}
	l := k.lane
	if d.rule(l).Suspended != nil {
		k.close(true)
		return
	}
	var t *Ticket
	if d.bound(l) {
		if t, _ = d.h.Take(l, 0, x); t == nil || d.h.Begin(t, x) != nil {
			s.in(20*ms, k.dial)
			return
		}
	}
	k.up, k.opened = true, s.now
	s.trace("d%d session %d opens %x %v", d.name, d.h.Session(), k.id, k.lane)
	if t != nil {
		s.starts[l] = append(s.starts[l], start{s.now, 1})
		d.h.Began(t, d.local())
	}
	k.watch()
	k.transact()
}

// watch closes the connection before the lease is over, whatever is under way.
func (k *socket) watch() {
	d, s := k.d, k.d.s
	if k.closed {
		return
	}
	if d.h == nil {
		k.close(false)
		return
	}
	x := d.local()
	ok, until := d.h.Live(x)
	if !ok {
		s.count.Lapses++
		k.close(false)
		return
	}
	s.in(max(until-x, 0)+1, k.watch)
}

func (k *socket) transact() {
	d, s := k.d, k.d.s
	if k.closed {
		return
	}
	if k.ending || d.h == nil || !d.h.MayStart(d.local()) || d.leaving {
		k.close(true)
		return
	}
	k.busy = true
	long := 50*ms + s.soon(1500*ms)
	if s.o.faults != "" && s.r.Intn(20) == 0 {
		long = s.soon(60 * sec) // ends after the lease, sometimes
	}
	s.in(long, func() {
		k.busy = false
		if s.r.Intn(20) == 0 {
			k.close(true) // enough on one connection
			return
		}
		k.transact()
	})
}

// end closes it after the transaction under way.
func (k *socket) end() {
	k.ending = true
	if k.up && !k.busy {
		k.close(true)
	}
}

// close closes it. polite: and the leader is to be told.
func (k *socket) close(polite bool) {
	if k.closed {
		return
	}
	k.closed = true
	k.d.s.trace("d%d closes %x %v polite %v", k.d.name, k.id, k.lane, polite)
	d := k.d
	delete(d.sockets, k.id)
	if k.up {
		d.s.connections = append(d.s.connections, span{d.name, k.lane, k.opened, d.s.now, polite && k.id < looseSlots})
	}
	if polite && d.h != nil {
		d.h.Closed(k.id)
	}
}

func (d *deliverer) beginTenure(p Part) {
	if ok, _ := d.h.Live(d.local()); !ok {
		return
	}
	if _, ok := d.parts[p.N]; !ok {
		d.parts[p.N] = tenure{p.N, p.Epoch, d.s.now, 0}
	}
	d.s.watchPart(d, p)
}

// watchPart lets go of a partition when the lease is over, by itself.
func (s *sim) watchPart(d *deliverer, p Part) {
	if !d.up || d.h == nil || d.h.Parts()[p.N] != p.Epoch {
		return
	}
	x := d.local()
	ok, until := d.h.Live(x)
	if !ok {
		s.count.Lapses++
		d.endTenure(p.N)
		return
	}
	s.in(max(until-x, 0)+1, func() { s.watchPart(d, p) })
}

func (d *deliverer) endTenure(n uint32) {
	if t, ok := d.parts[n]; ok {
		delete(d.parts, n)
		t.to = d.s.now
		d.s.tenures = append(d.s.tenures, t)
	}
}
