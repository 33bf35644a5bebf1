package scheduler

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"reflect"
	"strings"
	"testing"
	"time"

	pb "google.golang.org/protobuf/proto"
	"pgregory.net/rapid"

	"github.com/tarishi/tarishi/mail"
	"github.com/tarishi/tarishi/proto"
	"github.com/tarishi/tarishi/shaping"
)

func genLane(t *rapid.T) Lane {
	return Lane{Dest: shaping.Destination{Key: rapid.SampledFrom([]string{"domain:a.test", "site:mx1.b.test,mx2.b.test", "name:google"}).Draw(t, "key"),
		Name: rapid.SampledFrom([]string{"", "google"}).Draw(t, "name")},
		Source: rapid.SampledFrom([]string{"", "192.0.2.1"}).Draw(t, "source"), Tenant: rapid.StringN(0, 5, 10).Draw(t, "tenant"),
		Class: mail.Class(rapid.IntRange(0, 2).Draw(t, "class")), Kind: Kind(rapid.IntRange(0, 1).Draw(t, "kind"))}
}

func some[T any](t *rapid.T, name string, gen func(*rapid.T) T) []T {
	var out []T
	for range rapid.IntRange(0, 4).Draw(t, name) {
		out = append(out, gen(t))
	}
	return out
}

func num(t *rapid.T) int            { return rapid.IntRange(0, maxCount).Draw(t, "n") }
func id(t *rapid.T) uint64          { return rapid.Uint64().Draw(t, "id") }
func genPart(t *rapid.T) Part       { return Part{uint32(rapid.IntRange(0, 63).Draw(t, "part")), id(t)} }
func genTime(t *rapid.T) Time       { return Time(rapid.Int64Range(0, 1<<60).Draw(t, "time")) }
func text(t *rapid.T) string        { return rapid.StringN(0, 20, 80).Draw(t, "text") }
func genClaim(t *rapid.T) SlotClaim { return SlotClaim{SlotID(id(t)), genLane(t)} }

func genNode(t *rapid.T) *nodeFrame {
	f := &nodeFrame{sent: rapid.Int64().Draw(t, "sent"), seen: id(t), behind: rapid.Int64().Draw(t, "behind")}
	switch rapid.IntRange(0, 4).Draw(t, "what") {
	case 0:
		f.open = &openFrame{node: text(t), session: SessionID(id(t))}
	case 1:
		f.hello = &helloFrame{sum: id(t), Hello: Hello{Session: SessionID(id(t)), Term: id(t), Conn: id(t), Version: id(t),
			Slots: some(t, "slots", genClaim), Parts: some(t, "parts", genPart)}}
	case 2:
		f.busy = rapid.Bool().Draw(t, "busy")
		f.beat = &Beat{Seq: id(t), Version: id(t), Parts: rapid.Bool().Draw(t, "parts"), Draining: rapid.Bool().Draw(t, "draining"),
			Wants: some(t, "wants", func(t *rapid.T) Want { return Want{genLane(t), num(t), num(t), num(t)} }),
			Uses: some(t, "uses", func(t *rapid.T) Use {
				return Use{GrantID(id(t)), num(t), num(t), genTime(t), num(t), num(t), num(t)}
			}),
			Slots:  some(t, "slots", func(t *rapid.T) SlotWant { return SlotWant{genLane(t), num(t)} }),
			Closed: some(t, "closed", func(t *rapid.T) SlotID { return SlotID(id(t)) }),
			Gone:   some(t, "gone", genPart)}
	case 3:
		f.bye = true
	case 4:
		f.call = &callFrame{what: text(t), json: []byte(text(t) + "x")}
	}
	return f
}

// genLeader makes orders in the order in which they are decoded.
func genLeader(t *rapid.T) *leaderFrame {
	f := &leaderFrame{number: id(t), echo: rapid.Int64().Draw(t, "echo"), stamp: genTime(t), term: id(t), session: SessionID(id(t)),
		lease: genTime(t), led: genTime(t), ack: id(t), gone: rapid.Bool().Draw(t, "gone"), again: rapid.Bool().Draw(t, "again")}
	for range rapid.IntRange(0, 3).Draw(t, "grants") {
		from := genTime(t)
		f.orders = append(f.orders, Order{Grant: &Grant{ID: GrantID(id(t)), Term: f.term, Lane: genLane(t), N: num(t), Recipients: num(t),
			NotBefore: from, NotAfter: from + Time(rapid.Int64Range(0, maxLife).Draw(t, "life"))}})
	}
	for range rapid.IntRange(0, 2).Draw(t, "slots") {
		f.orders = append(f.orders, Order{Slot: &Slot{SlotID(id(t)), genLane(t)}})
	}
	if rapid.Bool().Draw(t, "end slot") {
		f.orders = append(f.orders, Order{EndSlot: SlotID(id(t) | 1)})
	}
	for _, p := range some(t, "parts", genPart) {
		f.orders = append(f.orders, Order{Part: &p})
	}
	for _, p := range some(t, "end parts", genPart) {
		f.orders = append(f.orders, Order{EndPart: &p})
	}
	for range rapid.IntRange(0, 2).Draw(t, "holds") {
		f.orders = append(f.orders, Order{Hold: &Hold{genLane(t), genTime(t), text(t)}})
	}
	if rapid.Bool().Draw(t, "redirect") {
		f.redirect = &redirect{text(t), text(t), text(t)}
	}
	if rapid.Bool().Draw(t, "reply") {
		f.reply = &replyFrame{[]byte("{}"), rapid.Bool().Draw(t, "last"), text(t), text(t), text(t), text(t)}
	}
	return f
}

// What goes over a connection comes out of it, whatever went before on the stream.
func TestFramesTravel(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		a, b := net.Pipe()
		node, leader := dialled(a, 0), accepted(b, 0)
		defer node.Close()
		defer leader.Close()
		up := some(t, "up", genNode)
		down := some(t, "down", genLeader)
		go func() {
			for _, f := range up {
				node.Send(f)
			}
		}()
		for _, want := range up {
			if got, err := leader.Recv(); err != nil || !reflect.DeepEqual(got, want) {
				t.Fatalf("got %+v, %v\nwant %+v", got, err, want)
			}
		}
		go func() {
			for _, f := range down {
				leader.Send(f)
			}
		}()
		for _, want := range down {
			if got, err := node.Recv(); err != nil || !reflect.DeepEqual(got, want) {
				t.Fatalf("got %+v, %v\nwant %+v", got, err, want)
			}
		}
	})
}

// The limits travel whole, but for their history.
func TestRulesTravel(t *testing.T) {
	b := &shaping.Book{}
	b, err := b.Apply(shaping.Change{Op: shaping.OpSet, Author: "t", Rule: &shaping.Rule{To: "a.test", Messages: []shaping.Window{{Max: 5, Length: time.Minute}}}})
	if err != nil {
		t.Fatal(err)
	}
	r, err := newRuleBook(b)
	if err != nil {
		t.Fatal(err)
	}
	got, err := parseRuleBook(r.version, r.encoded)
	if err != nil || got.sum != r.sum || got.book.History != nil || !reflect.DeepEqual(got.book.Set, b.Set) || len(b.History) == 0 {
		t.Fatalf("%+v, %v", got, err)
	}
	if _, err := parseRuleBook(r.version+1, r.encoded); err == nil {
		t.Error("a version that is not the book's was taken")
	}
}

// A stream that speaks of more lanes than a table holds begins a new table, and both
// ends agree.
func TestManyLanes(t *testing.T) {
	w, r := &laneWriter{}, &laneReader{}
	for round := range 12 {
		f := &nodeFrame{beat: &Beat{}}
		for i := range maxWants {
			f.beat.Wants = append(f.beat.Wants, Want{Lane: Lane{Dest: shaping.Destination{Key: fmt.Sprintf("domain:%d.test", (round*3000+i)%50_000)}}, N: i})
		}
		b, err := pb.Marshal(encodeNode(f, w))
		if err != nil {
			t.Fatal(err)
		}
		got, err := decodeNode(b, r)
		if err != nil || !reflect.DeepEqual(got.beat.Wants, f.beat.Wants) {
			t.Fatalf("round %d: %v", round, err)
		}
		if len(r.lanes) > maxLanes {
			t.Fatalf("the table holds %d lanes", len(r.lanes))
		}
	}
}

// What a stranger may send is refused with a reason, and costs no more than it sends.
func TestStrangers(t *testing.T) {
	frame := func(m *proto.NodeFrame) []byte {
		b, _ := pb.Marshal(m)
		return append(binary.BigEndian.AppendUint32(nil, uint32(len(b))), b...)
	}
	for _, x := range []struct {
		name string
		in   []byte
		want string
	}{
		{"too large", []byte{0xff, 0xff, 0xff, 0xff}, "frame of more than 16777216 octets"},
		{"claims much and sends little", []byte{0, 0xff, 0xff, 0xff, 1, 2}, "unexpected EOF"},
		{"HTTP", []byte("GET / HTTP/1.1\r\nHost: a.test\r\n\r\n"), "frame of more than"},
		{"no protobuf", []byte{0, 0, 0, 2, 0xff, 0xff}, "not understood"},
		{"a newer protocol", frame(&proto.NodeFrame{Open: &proto.NodeOpen{Protocol: 2}}), "session protocol 2; this version speaks 1"},
		{"a long name", frame(&proto.NodeFrame{Open: &proto.NodeOpen{Protocol: 1, Node: strings.Repeat("x", 300)}}), "a node's name of more than 256 octets"},
		{"a lane without a number", frame(&proto.NodeFrame{Beat: &proto.NodeBeat{Wants: []*proto.Want{{Lane: 0}}}}), "lane 0 of 0"},
		{"a lane for nothing", frame(&proto.NodeFrame{Lanes: &proto.LaneTable{Add: []*proto.LaneName{{Kind: 7, Destination: "x"}}}}), `a lane with destination "x", kind 7`},
		{"a lane to nowhere", frame(&proto.NodeFrame{Lanes: &proto.LaneTable{Add: []*proto.LaneName{{}}}}), `a lane with destination ""`},
		{"a use before time", frame(&proto.NodeFrame{Beat: &proto.NodeBeat{Uses: []*proto.Use{{AtCt: -1}}}}), "a use at -1"},
		{"a slot's lane", frame(&proto.NodeFrame{Hello: &proto.NodeHello{Slots: []*proto.SlotClaim{{Lane: 4}}}}), "lane 4 of 0"},
	} {
		t.Run(x.name, func(t *testing.T) {
			a, b := net.Pipe()
			go func() { a.Write(x.in); a.Close() }()
			w := accepted(b, 0).(*wire[leaderFrame, nodeFrame])
			defer w.Close()
			_, err := w.Recv()
			if err == nil || !strings.Contains(err.Error(), x.want) {
				t.Errorf("got %v, want %q", err, x.want)
			}
			if cap(w.buf) > 2*readStep {
				t.Errorf("it cost %d octets", cap(w.buf))
			}
		})
	}
}

// A peer that sends half a frame and then nothing is given up.
func TestHalfAFrame(t *testing.T) {
	a, b := net.Pipe()
	defer a.Close()
	go a.Write([]byte{0})
	w := accepted(b, 0).(*wire[leaderFrame, nodeFrame])
	defer w.Close()
	w.patience = 20 * time.Millisecond
	var timeout net.Error
	if _, err := w.Recv(); !errors.As(err, &timeout) || !timeout.Timeout() {
		t.Errorf("got %v", err)
	}
}

// drained is a connection that has nothing but what it was made of.
type drained struct {
	net.Conn
	r io.Reader
}

func (d drained) Read(b []byte) (int, error)        { return d.r.Read(b) }
func (d drained) SetReadDeadline(t time.Time) error { return nil }

func FuzzNodeFrames(f *testing.F) {
	l := Lane{Dest: shaping.Destination{Key: "domain:a.test"}}
	var whole []byte
	w := &laneWriter{}
	for _, x := range []*nodeFrame{{open: &openFrame{node: "n"}}, {hello: &helloFrame{Hello: Hello{Session: 1, Term: 2, Slots: []SlotClaim{{3, l}}, Parts: []Part{{4, 5}}}}},
		{beat: &Beat{Seq: 1, Wants: []Want{{l, 1, 2, 2}}, Uses: []Use{{Grant: 9, Started: 1, At: 3}}, Slots: []SlotWant{{l, 2}}, Closed: []SlotID{1}, Gone: []Part{{1, 1}}}},
		{call: &callFrame{"book", []byte("{}")}}, {bye: true}} {
		b, err := pb.Marshal(encodeNode(x, w))
		if err != nil {
			f.Fatal(err)
		}
		whole = append(binary.BigEndian.AppendUint32(whole, uint32(len(b))), b...)
	}
	f.Add(whole)
	f.Add([]byte{0, 0, 0, 1, 0})
	f.Fuzz(func(t *testing.T, in []byte) {
		w := accepted(drained{r: bytes.NewReader(in)}, 0)
		for {
			if _, err := w.Recv(); err != nil {
				return
			}
		}
	})
}

func FuzzLeaderFrames(f *testing.F) {
	l := Lane{Dest: shaping.Destination{Key: "domain:a.test"}}
	r, err := newRuleBook(&shaping.Book{Version: 1})
	if err != nil {
		f.Fatal(err)
	}
	b, err := pb.Marshal(encodeLeader(&leaderFrame{number: 1, stamp: 5, rules: r, orders: []Order{{Grant: &Grant{ID: 1, Lane: l, N: 1, NotBefore: 5, NotAfter: 9}},
		{Slot: &Slot{1, l}}, {EndSlot: 1}, {Part: &Part{1, 1}}, {EndPart: &Part{1, 1}}, {Hold: &Hold{l, 9, "shut"}}}, redirect: &redirect{"a", "b", "c"}, reply: &replyFrame{last: true}}, &laneWriter{}))
	if err != nil {
		f.Fatal(err)
	}
	f.Add(append(binary.BigEndian.AppendUint32(nil, uint32(len(b))), b...))
	f.Fuzz(func(t *testing.T, in []byte) {
		w := dialled(drained{r: bytes.NewReader(in)}, 0)
		for {
			if _, err := w.Recv(); err != nil {
				return
			}
		}
	})
}
