package queue

import (
	"testing"
	"time"

	"pgregory.net/rapid"
)

func TestRecordIDs(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		id := recordID{delivery: rapid.StringMatching(`[A-Z0-9.-]{1,30}\.[0-9]{1,3}`).Draw(t, "delivery"), generation: rapid.IntRange(0, 1<<20).Draw(t, "generation")}
		switch rapid.IntRange(0, 2).Draw(t, "kind") {
		case 1:
			id.claim = claim{ready: rapid.Uint64Min(1).Draw(t, "seq"), offer: offer{rapid.Int64Min(0).Draw(t, "since"), rapid.Uint64Min(1).Draw(t, "n")}}
		case 2:
			id.claim.fence = fence{rapid.Uint64().Draw(t, "era"), rapid.Uint64Min(1).Draw(t, "epoch")}
		}
		if got, ok := parseRecordID(id.String()); !ok || got != id {
			t.Errorf("%+v is written %q and read %+v, %v", id, id.String(), got, ok)
		}
	})
	for _, bad := range []string{"", "m", "m.0/", "m.0/x", "m.0/1/", "m.0/1/x1", "m.0/1/e1", "m.0/1/r1.2", "m.0/1/r0.1.1", "m.0/1/rx.1.1", "m.0/1/e1.x"} {
		if id, ok := parseRecordID(bad); ok {
			t.Errorf("%q is read as %+v", bad, id)
		}
	}
}

// What counts for nothing, by the fences before it.
func TestVoid(t *testing.T) {
	f := newFences()
	f.parts[3] = []partFenced{{10, fence{0, 5}}, {20, fence{0, 7}}, {30, fence{0, 6}}, {40, fence{1, 1}}}
	long := time.Now().Add(-fencesKept - time.Minute)
	f.ready[9] = []readyFenced{{15, long, offer{100, 2}}}
	f.ready[8] = []readyFenced{{15, long, offer{100, 1}}, {17, time.Now(), offer{100, 1}}}
	for _, x := range []struct {
		part uint32
		seq  uint64
		c    claim
		want bool
	}{
		{3, 12, claim{fence: fence{0, 5}}, false},
		{3, 12, claim{fence: fence{0, 4}}, true},  // its holder was an earlier one
		{3, 22, claim{fence: fence{0, 5}}, true},  // it was taken over
		{3, 32, claim{fence: fence{0, 7}}, false}, // the later fence is of an earlier epoch: it came late
		{3, 32, claim{fence: fence{0, 6}}, true},
		{3, 41, claim{fence: fence{0, 7}}, true}, // epochs have begun anew
		{3, 41, claim{fence: fence{1, 1}}, false},
		{4, 41, claim{fence: fence{0, 1}}, false}, // of another partition
		{3, 14, claim{ready: 9, offer: offer{100, 1}}, false},
		{3, 16, claim{ready: 9, offer: offer{100, 1}}, true}, // it was offered again
		{3, 16, claim{ready: 9, offer: offer{100, 2}}, false},
		{3, 16, claim{ready: 9, offer: offer{200, 1}}, false}, // by a consumer that was made anew
		{3, 16, claim{ready: 8, offer: offer{100, 1}}, false},
		{3, 99, claim{}, false}, // of a node alone
	} {
		if got := f.void(x.part, x.seq, x.c); got != x.want {
			t.Errorf("at %d in partition %d, %v: void is %v", x.seq, x.part, x.c, got)
		}
	}
	if old := f.prune(time.Now()); len(old) != 1 || old[0] != 15 || len(f.ready) != 1 || len(f.ready[8]) != 1 {
		t.Errorf("pruned %v, left %v", old, f.ready)
	}
}
