package scheduler

import (
	"fmt"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	pb "google.golang.org/protobuf/proto"

	"github.com/tarishi/tarishi/shaping"
)

func someSighting(t *testing.T, threshold, remedy string, n int) shaping.Sighting {
	t.Helper()
	x := shaping.Sighting{Rule: "a/rate", To: dest("a.test"), Source: "192.0.2.1", Tenant: "acme", Count: n, Sample: "421 4.7.28\r\n unusual rate"}
	if err := x.Threshold.UnmarshalText([]byte(threshold)); err != nil {
		t.Fatal(err)
	}
	if err := x.Remedy.UnmarshalText([]byte(remedy)); err != nil {
		t.Fatal(err)
	}
	return x
}

func (w *world) book() *shaping.Book {
	w.t.Helper()
	b, err := w.operator("op").Book(w.ctx)
	if err != nil {
		w.t.Fatal(err)
	}
	return b
}

// A threshold counts the replies that all nodes see. What comes of it outlives its
// leader, holds in every window from then on, recovers step by step, and ends.
func TestReactionOfTheWholeCluster(t *testing.T) {
	inWorld(t, 7, func(w *world) {
		const most, length = 100, 10 * time.Second
		w.set(shaping.Rule{To: "a.test", Messages: perWindow(most, length)})
		a, b := w.client("d1"), w.client("d2")
		for _, c := range w.clients {
			w.run.Go(func() { c.send(w.ctx, laneTo("a.test"), 10) })
		}
		time.Sleep(20 * time.Second)
		n := someSighting(t, "3 in 10m", "slow 0.1 recover 30%/1m", 1)
		a.Sighted(n)
		a.Sighted(n)
		time.Sleep(time.Minute)
		if r := w.book().Reactions; len(r) != 0 {
			t.Fatalf("a reaction to two of three replies: %+v", r)
		}
		b.Sighted(n)
		var r shaping.Reaction
		w.eventually(3*time.Second, "the reaction", func() bool {
			rs := w.book().Reactions
			if len(rs) == 1 {
				r = rs[0]
			}
			return len(rs) == 1
		})
		if r.Rule != "a/rate" || r.Cause != "421 4.7.28 unusual rate" || r.Source != "" || r.Pace() != (shaping.Window{Max: 10, Length: length}) {
			t.Errorf("%+v, %s", r, r.Pace())
		}
		if _, err := w.operator("op").Wait(w.ctx, w.book().Version, nil); err != nil {
			t.Fatal(err)
		}
		forced := time.Now()
		live, err := w.operator("op").Live(w.ctx, LiveQuery{To: "a.test"})
		var from []string
		for _, l := range live.Live {
			from = append(from, fmt.Sprintf("%d from %s", l.Max, l.From))
		}
		slices.Sort(from)
		if got := strings.Join(from, ", "); err != nil || got != "10 from a.test (reaction r1)" {
			t.Errorf("in use: %s, %v", got, err) // of two windows of one length the smaller is the only one
		}

		old := w.leads()
		w.killServer(old)
		time.Sleep(1500 * time.Millisecond)
		w.raft.elect(w.servers[(old+1)%3].node)
		w.eventually(20*time.Second, "the next leader's starts", func() bool { return w.since("domain:a.test", forced.Add(5*time.Second)) > 0 })
		time.Sleep(time.Until(r.Next) - time.Second)
		// Exact in every window that began after it was in force, over the change of
		// leader, too.
		if n := w.since("domain:a.test", forced.Add(length)); n < 10 {
			t.Errorf("%d starts in %v by 10 in %v", n, time.Since(forced.Add(length)), length)
		}
		w.checkSince(forced, "domain:a.test", 10, length)
		w.eventually(15*time.Second, "a step of recovery by another leader", func() bool {
			rs := w.book().Reactions
			return len(rs) == 1 && rs[0].Left > r.Left
		})
		if rs := w.book().Reactions; rs[0].Left != 400_000 {
			t.Errorf("%d of a million after the first step", rs[0].Left)
		}
		w.eventually(3*time.Minute, "the end", func() bool { return len(w.book().Reactions) == 0 })
		free := time.Now()
		time.Sleep(30 * time.Second)
		if n := w.since("domain:a.test", free.Add(5*time.Second)); n < 2*most {
			t.Errorf("%d starts in 25 s after the recovery", n)
		}
		w.check("domain:a.test", most, length)
	})
}

// What comes in a burst deepens a reaction once; what cannot be done is no harm.
func TestBurstOfReplies(t *testing.T) {
	inWorld(t, 8, func(w *world) {
		w.set(shaping.Rule{To: "a.test", Messages: perWindow(100, 10*time.Second)})
		c := w.client("d1")
		time.Sleep(5 * time.Second)
		n := someSighting(t, "", "slow 0.5", 1)
		bad := n
		bad.Rule, bad.To = "b", shaping.Destination{Key: "nonsense"}
		for range 200 {
			c.Sighted(n)
			time.Sleep(20 * time.Millisecond)
		}
		if rs := w.book().Reactions; len(rs) != 1 || rs[0].Left != 500_000 || rs[0].Times != 1 {
			t.Fatalf("after a burst: %+v", rs)
		}
		c.Sighted(bad)
		time.Sleep(10 * time.Second)
		c.Sighted(n)
		w.eventually(5*time.Second, "the second cut", func() bool { return w.book().Reactions[0].Left == 250_000 })
		if rs := w.book().Reactions; len(rs) != 1 {
			t.Errorf("%+v", rs)
		}
		p, err := w.operator("op").Change(w.ctx, shaping.Change{Op: shaping.OpUndo, Author: "ann", IDs: []uint64{1}}, nil)
		if err != nil || p.InForce.IsZero() || len(w.book().Reactions) != 0 {
			t.Errorf("undone: %+v, %v", p, err)
		}
		if e := w.book().History; e[len(e)-1].Author != "ann" {
			t.Errorf("%+v", e[len(e)-1])
		}
	})
}

// Sightings travel; those that the reader does not understand are left out, and are no
// end of the stream.
func TestSightingsTravel(t *testing.T) {
	n := someSighting(t, "3 in 10m", "slow 0.5 per source,tenant", 7)
	n.Sample = "421 4.7.28 unusual rate"
	enc := encodeSightings([]shaping.Sighting{n, n})
	enc[0].Remedy = "charm for 1h"
	if got := decodeSightings(enc); len(got) != 1 || !reflect.DeepEqual(got[0], n) {
		t.Errorf("got %+v\nwant %+v", got, n)
	}
	b, err := pb.Marshal(encodeNode(&nodeFrame{beat: &Beat{Seq: 1}, sightings: []shaping.Sighting{n}}, &laneWriter{}))
	if err != nil {
		t.Fatal(err)
	}
	f, err := decodeNode(b, &laneReader{})
	if err != nil || len(f.sightings) != 1 || !reflect.DeepEqual(f.sightings[0], n) {
		t.Errorf("%+v, %v", f, err)
	}
}
