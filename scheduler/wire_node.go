package scheduler

import (
	"math"

	pb "google.golang.org/protobuf/proto"

	"github.com/tarishi/tarishi/proto"
)

// protocolVersion is what hello says it speaks.
const protocolVersion = 1

// maxNode bounds a node's name, in octets.
const maxNode = 256

// maxCount bounds every number of transactions, recipients and slots in a frame,
// so that sums of them cannot overflow.
const maxCount = 1 << 30

func count32(n int) uint32 { return uint32(min(max(n, 0), maxCount)) }
func toCount(n uint32) int { return int(min(n, maxCount)) }

func encodeNode(f *nodeFrame, lanes *laneWriter) pb.Message {
	m := &proto.NodeFrame{SentNs: f.sent, Seen: f.seen, BehindNs: f.behind, Bye: f.bye}
	switch {
	case f.hello != nil:
		h := f.hello
		lanes.begin(len(h.Slots))
		m.Hello = &proto.NodeHello{Session: uint64(h.Session), Term: h.Term, Conn: h.Conn, Rules: h.Version, RulesSum: h.sum}
		for _, s := range h.Slots {
			m.Hello.Slots = append(m.Hello.Slots, &proto.SlotClaim{Id: uint64(s.ID), Lane: lanes.number(s.Lane)})
		}
		for _, p := range h.Parts {
			m.Hello.Parts = append(m.Hello.Parts, &proto.PartClaim{Part: p.N, Epoch: p.Epoch})
		}
	case f.beat != nil:
		b := f.beat
		lanes.begin(len(b.Wants) + len(b.Slots))
		m.Beat = encodeBeat(b, lanes)
		m.Beat.Busy = f.busy
		m.Beat.Sightings = encodeSightings(f.sightings)
	default:
		lanes.begin(0)
	}
	if f.open != nil {
		m.Open = &proto.NodeOpen{Protocol: protocolVersion, Node: f.open.node, Session: uint64(f.open.session), Former: uint64(f.open.former)}
	}
	if f.call != nil {
		m.Call = &proto.OperatorCall{What: f.call.what, Json: f.call.json}
	}
	m.Lanes = lanes.fresh
	return m
}

func encodeBeat(b *Beat, lanes *laneWriter) *proto.NodeBeat {
	x := &proto.NodeBeat{Seq: b.Seq, Rules: b.Version, Parts: b.Parts, Draining: b.Draining}
	wants := make([]proto.Want, len(b.Wants))
	for i, w := range b.Wants {
		y := &wants[i]
		y.Lane, y.N, y.Recipients, y.Head = lanes.number(w.Lane), count32(w.N), count32(w.Recipients), count32(w.Head)
		x.Wants = append(x.Wants, y)
	}
	uses := make([]proto.Use, len(b.Uses))
	for i, u := range b.Uses {
		y := &uses[i]
		y.Grant, y.Started, y.Recipients, y.AtCt = uint64(u.Grant), count32(u.Started), count32(u.Recipients), int64(u.At)
		y.Returned, y.ReturnedRecipients, y.Late = count32(u.Returned), count32(u.ReturnedRecipients), count32(u.Late)
		x.Uses = append(x.Uses, y)
	}
	for _, p := range b.Gone {
		x.PartsGone = append(x.PartsGone, &proto.PartClaim{Part: p.N, Epoch: p.Epoch})
	}
	for _, w := range b.Slots {
		x.SlotWants = append(x.SlotWants, &proto.SlotWant{Lane: lanes.number(w.Lane), N: count32(w.N)})
	}
	for _, id := range b.Closed {
		x.SlotsClosed = append(x.SlotsClosed, uint64(id))
	}
	return x
}

// decodeNode reads what encodeNode made, or what a stranger did.
func decodeNode(b []byte, lanes *laneReader) (*nodeFrame, error) {
	m := &proto.NodeFrame{}
	if err := pb.Unmarshal(b, m); err != nil {
		return nil, malformed("%v", err)
	}
	if err := lanes.take(m.Lanes); err != nil {
		return nil, err
	}
	f := &nodeFrame{sent: m.SentNs, seen: m.Seen, behind: m.BehindNs, bye: m.Bye}
	var err error
	if o := m.Open; o != nil {
		if o.Protocol != protocolVersion {
			return nil, malformed("session protocol %d; this version speaks %d", o.Protocol, protocolVersion)
		}
		if len(o.Node) > maxNode {
			return nil, malformed("a node's name of more than %d octets", maxNode)
		}
		f.open = &openFrame{node: o.Node, session: SessionID(o.Session), former: SessionID(o.Former)}
	}
	if h := m.Hello; h != nil {
		f.hello = &helloFrame{sum: h.RulesSum}
		f.hello.Session, f.hello.Term, f.hello.Conn, f.hello.Version = SessionID(h.Session), h.Term, h.Conn, h.Rules
		for _, s := range h.Slots {
			c := SlotClaim{ID: SlotID(s.Id)}
			if c.Lane, err = lanes.lane(s.Lane); err != nil {
				return nil, err
			}
			f.hello.Slots = append(f.hello.Slots, c)
		}
		for _, p := range h.Parts {
			f.hello.Parts = append(f.hello.Parts, Part{N: p.Part, Epoch: p.Epoch})
		}
	}
	if m.Beat != nil {
		f.busy = m.Beat.Busy
		f.sightings = decodeSightings(m.Beat.Sightings)
		if f.beat, err = decodeBeat(m.Beat, lanes); err != nil {
			return nil, err
		}
	}
	if c := m.Call; c != nil {
		f.call = &callFrame{what: c.What, json: c.Json}
	}
	return f, nil
}

func decodeBeat(x *proto.NodeBeat, lanes *laneReader) (*Beat, error) {
	b := &Beat{Seq: x.Seq, Version: x.Rules, Parts: x.Parts, Draining: x.Draining}
	for _, w := range x.Wants {
		l, err := lanes.lane(w.Lane)
		if err != nil {
			return nil, err
		}
		b.Wants = append(b.Wants, Want{Lane: l, N: toCount(w.N), Recipients: toCount(w.Recipients), Head: toCount(w.Head)})
	}
	for _, u := range x.Uses {
		if u.AtCt < 0 || u.AtCt > math.MaxInt64/2 {
			return nil, malformed("a use at %d", u.AtCt)
		}
		b.Uses = append(b.Uses, Use{Grant: GrantID(u.Grant), Started: toCount(u.Started), Recipients: toCount(u.Recipients),
			At: Time(u.AtCt), Returned: toCount(u.Returned), ReturnedRecipients: toCount(u.ReturnedRecipients), Late: toCount(u.Late)})
	}
	for _, w := range x.SlotWants {
		l, err := lanes.lane(w.Lane)
		if err != nil {
			return nil, err
		}
		b.Slots = append(b.Slots, SlotWant{Lane: l, N: toCount(w.N)})
	}
	for _, p := range x.PartsGone {
		b.Gone = append(b.Gone, Part{N: p.Part, Epoch: p.Epoch})
	}
	for _, id := range x.SlotsClosed {
		b.Closed = append(b.Closed, SlotID(id))
	}
	return b, nil
}
