package scheduler

import (
	pb "google.golang.org/protobuf/proto"

	"github.com/tarishi/tarishi/proto"
)

func encodeLeader(f *leaderFrame, lanes *laneWriter) pb.Message {
	lanes.begin(len(f.orders))
	m := &proto.LeaderFrame{Number: f.number, EchoNs: f.echo, StampCt: int64(f.stamp), Term: f.term,
		Session: uint64(f.session), LeaseCt: int64(f.lease), LedCt: int64(f.led), Ack: f.ack, Gone: f.gone, Again: f.again}
	if f.rules != nil {
		m.Rules = &proto.SessionRules{Version: f.rules.version, Book: f.rules.encoded}
	}
	for i := range f.orders {
		switch o := &f.orders[i]; {
		case o.Grant != nil:
			g := o.Grant
			m.Grants = append(m.Grants, &proto.Grant{Id: uint64(g.ID), Lane: lanes.number(g.Lane), N: count32(g.N), Recipients: count32(g.Recipients),
				NotBefore: int64(g.NotBefore - f.stamp), Life: uint64(max(0, g.NotAfter-g.NotBefore))})
		case o.Slot != nil:
			m.Slots = append(m.Slots, &proto.SlotGrant{Id: uint64(o.Slot.ID), Lane: lanes.number(o.Slot.Lane)})
		case o.EndSlot != 0:
			m.EndSlots = append(m.EndSlots, uint64(o.EndSlot))
		case o.Part != nil:
			m.Parts = append(m.Parts, &proto.PartClaim{Part: o.Part.N, Epoch: o.Part.Epoch})
		case o.EndPart != nil:
			m.EndParts = append(m.EndParts, &proto.PartClaim{Part: o.EndPart.N, Epoch: o.EndPart.Epoch})
		case o.Hold != nil:
			m.Holds = append(m.Holds, &proto.Hold{Lane: lanes.number(o.Hold.Lane), NotBefore: int64(o.Hold.NotBefore - f.stamp), Why: o.Hold.Why})
		}
	}
	if r := f.redirect; r != nil {
		m.Redirect = &proto.Redirect{Node: r.node, Addr: r.addr, Why: r.why}
	}
	if r := f.reply; r != nil {
		m.Reply = &proto.OperatorReply{Json: r.json, Last: r.last, Error: r.err, Kind: r.kind, Field: r.field, Mend: r.mend}
	}
	m.Lanes = lanes.fresh
	return m
}

// decodeLeader reads what encodeLeader made, or what a stranger did. Orders come
// out sorted by kind: what is given before what is taken back, so that a
// partition that was given and taken while the frame was made ends up taken; one
// that was taken and given again has another epoch.
func decodeLeader(b []byte, lanes *laneReader) (*leaderFrame, error) {
	m := &proto.LeaderFrame{}
	if err := pb.Unmarshal(b, m); err != nil {
		return nil, malformed("%v", err)
	}
	if err := lanes.take(m.Lanes); err != nil {
		return nil, err
	}
	f := &leaderFrame{number: m.Number, echo: m.EchoNs, stamp: Time(m.StampCt), term: m.Term,
		session: SessionID(m.Session), lease: Time(m.LeaseCt), led: Time(m.LedCt), ack: m.Ack, gone: m.Gone, again: m.Again}
	var err error
	if m.Rules != nil {
		if f.rules, err = parseRuleBook(m.Rules.Version, m.Rules.Book); err != nil {
			return nil, err
		}
	}
	if f.orders, err = decodeOrders(m, lanes); err != nil {
		return nil, err
	}
	if r := m.Redirect; r != nil {
		f.redirect = &redirect{r.Node, r.Addr, r.Why}
	}
	if r := m.Reply; r != nil {
		f.reply = &replyFrame{r.Json, r.Last, r.Error, r.Kind, r.Field, r.Mend}
	}
	return f, nil
}

func decodeOrders(m *proto.LeaderFrame, lanes *laneReader) ([]Order, error) {
	n := len(m.Grants) + len(m.Slots) + len(m.EndSlots) + len(m.Parts) + len(m.EndParts) + len(m.Holds)
	if n == 0 {
		return nil, nil
	}
	out := make([]Order, 0, n)
	for _, g := range m.Grants {
		l, err := lanes.lane(g.Lane)
		if err != nil {
			return nil, err
		}
		from := Time(m.StampCt) + Time(g.NotBefore)
		out = append(out, Order{Grant: &Grant{ID: GrantID(g.Id), Term: m.Term, Lane: l, N: toCount(g.N), Recipients: toCount(g.Recipients),
			NotBefore: from, NotAfter: from + Time(min(g.Life, maxLife))}})
	}
	for _, s := range m.Slots {
		l, err := lanes.lane(s.Lane)
		if err != nil {
			return nil, err
		}
		out = append(out, Order{Slot: &Slot{ID: SlotID(s.Id), Lane: l}})
	}
	for _, id := range m.EndSlots {
		out = append(out, Order{EndSlot: SlotID(id)})
	}
	for _, p := range m.Parts {
		out = append(out, Order{Part: &Part{N: p.Part, Epoch: p.Epoch}})
	}
	for _, p := range m.EndParts {
		out = append(out, Order{EndPart: &Part{N: p.Part, Epoch: p.Epoch}})
	}
	for _, h := range m.Holds {
		l, err := lanes.lane(h.Lane)
		if err != nil {
			return nil, err
		}
		out = append(out, Order{Hold: &Hold{Lane: l, NotBefore: Time(m.StampCt) + Time(h.NotBefore), Why: h.Why}})
	}
	return out, nil
}

// maxLife is more than any permit lives, in ns.
const maxLife = 60_000_000_000
