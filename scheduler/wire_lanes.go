package scheduler

import (
	"github.com/tarishi/tarishi/mail"
	"github.com/tarishi/tarishi/proto"
	"github.com/tarishi/tarishi/shaping"
)

// A frame names the same few lanes again and again, and a lane's name is some
// hundred octets. So each direction of a stream numbers the lanes it speaks of:
// the frame that uses a number first spells the lane out. When the table is full
// the sender begins a new one.

const (
	maxLanes    = 32 << 10
	maxLaneName = 4 << 10 // octets of one lane's texts; a site is a list of hosts
)

// laneWriter is the sender's table.
type laneWriter struct {
	numbers map[Lane]uint32
	fresh   *proto.LaneTable // of the frame being made
}

// begin starts a frame that speaks of up to n lanes.
func (w *laneWriter) begin(n int) {
	w.fresh = nil
	if w.numbers == nil || len(w.numbers) > 0 && len(w.numbers)+n > maxLanes {
		w.numbers = map[Lane]uint32{}
		w.fresh = &proto.LaneTable{Anew: true}
	}
}

func (w *laneWriter) number(l Lane) uint32 {
	if n, ok := w.numbers[l]; ok {
		return n
	}
	n := uint32(len(w.numbers))
	w.numbers[l] = n
	if w.fresh == nil {
		w.fresh = &proto.LaneTable{}
	}
	w.fresh.Add = append(w.fresh.Add, &proto.LaneName{Destination: l.Dest.Key, Name: l.Dest.Name,
		Source: l.Source, Tenant: l.Tenant, Class: uint32(l.Class), Kind: uint32(l.Kind)})
	return n
}

// laneReader is the receiver's table.
type laneReader struct{ lanes []Lane }

// take works in the table of a frame.
func (r *laneReader) take(t *proto.LaneTable) error {
	if t.GetAnew() {
		r.lanes = nil
	}
	for _, n := range t.GetAdd() {
		if len(n.Destination)+len(n.Name)+len(n.Source)+len(n.Tenant) > maxLaneName {
			return malformed("a lane's name of more than %d octets", maxLaneName)
		}
		if n.Destination == "" || n.Kind > uint32(Connection) {
			return malformed("a lane with destination %q, kind %d", n.Destination, n.Kind)
		}
		if len(r.lanes) >= 2*maxLanes {
			return malformed("more than %d lanes", len(r.lanes))
		}
		r.lanes = append(r.lanes, Lane{Dest: shaping.Destination{Key: n.Destination, Name: n.Name},
			Source: n.Source, Tenant: n.Tenant, Class: mail.Class(min(n.Class, 255)).Known(), Kind: Kind(n.Kind)})
	}
	return nil
}

func (r *laneReader) lane(n uint32) (Lane, error) {
	if int64(n) >= int64(len(r.lanes)) {
		return Lane{}, malformed("lane %d of %d", n, len(r.lanes))
	}
	return r.lanes[n], nil
}
