package queue

import (
	"context"
	"errors"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/tarishi/tarishi/cluster"
)

// A stream that is there and would lose mail is refused, and the error says why.
func TestUnfit(t *testing.T) {
	q := &Queue{o: Options{Cluster: true, Server: &cluster.NATS{}}.withDefaults()}
	for _, want := range q.streamConfigs() {
		if err := unfit(want, want); err != nil {
			t.Error(err)
		}
		for word, spoil := range map[string]func(c *jetstream.StreamConfig){
			"replicas":  func(c *jetstream.StreamConfig) { c.Replicas = 1 },
			"memory":    func(c *jetstream.StreamConfig) { c.Storage = jetstream.MemoryStorage },
			"retention": func(c *jetstream.StreamConfig) { c.Retention = jetstream.InterestPolicy },
			"forgets":   func(c *jetstream.StreamConfig) { c.MaxAge = time.Hour },
			"bounds":    func(c *jetstream.StreamConfig) { c.MaxMsgs = 1000 },
			"repeats":   func(c *jetstream.StreamConfig) { c.Duplicates = time.Millisecond },
			"subjects":  func(c *jetstream.StreamConfig) { c.Subjects = []string{"x.>"} },
			"direct":    func(c *jetstream.StreamConfig) { c.AllowDirect = false },
			"removed":   func(c *jetstream.StreamConfig) { c.DenyDelete = true },
			"octets":    func(c *jetstream.StreamConfig) { c.MaxMsgSize = 1000 },
		} {
			have := want
			spoil(&have)
			if err := unfit(have, want); !errors.Is(err, ErrUnfit) || !strings.Contains(err.Error(), word) || !strings.Contains(err.Error(), want.Name) {
				t.Errorf("%s with other %s: %v", want.Name, word, err)
			}
		}
		better := want
		better.Replicas, better.Duplicates, better.MaxBytes = 5, time.Hour, 1<<40
		if err := unfit(better, want); err != nil {
			t.Error(err)
		}
	}
}

func TestOpenRefusesAnUnfitStream(t *testing.T) {
	t.Parallel()
	s, err := cluster.StartNATS(cluster.NATSOptions{Dir: t.TempDir()})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(s.Stop)
	nc, err := nats.Connect("", nats.InProcessServer(s))
	if err != nil {
		t.Fatal(err)
	}
	defer nc.Close()
	js, err := jetstream.New(nc)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := js.CreateStream(t.Context(), jetstream.StreamConfig{Name: streamWait, Subjects: []string{"wait.>"}, MaxAge: time.Hour}); err != nil {
		t.Fatal(err)
	}
	_, err = Open(t.Context(), Options{Server: s, Cluster: true, Replicas: 1, Node: "a", MayWork: func(uint32, uint64) bool { return true }})
	if !errors.Is(err, ErrUnfit) || !strings.Contains(err.Error(), "1h0m0s") {
		t.Error(err)
	}
}

// Without a majority nothing opens, and the error says what to look for.
func TestOpenWithoutMajority(t *testing.T) {
	t.Parallel()
	peers := []cluster.Peer{{Node: "a", Addr: freePorts(t)}, {Node: "b", Addr: freePorts(t)}, {Node: "c", Addr: freePorts(t)}}
	s, err := cluster.StartNATS(cluster.NATSOptions{Dir: t.TempDir(), Cluster: &cluster.NATSCluster{Name: "test", Node: "a", Peers: peers}})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(s.Stop)
	ctx, cancel := context.WithTimeout(t.Context(), time.Second)
	defer cancel()
	_, err = Open(ctx, Options{Server: s, Cluster: true, Node: "a", MayWork: func(uint32, uint64) bool { return true }})
	if err == nil || !strings.Contains(err.Error(), "no majority of the JetStream servers") {
		t.Error(err)
	}
}

func TestKnownServer(t *testing.T) {
	for v, ok := range map[string]bool{
		"2.15.2": true, "2.15.3": true, "2.16.0": true, "3.0.0": true, "2.15.2-beta.1": true,
		"2.15.1": false, "2.14.9": false, "1.99.99": false, "": false, "x": false, "2.15": false,
	} {
		if err := knownServer(v); (err == nil) != ok {
			t.Errorf("%q: %v", v, err)
		}
	}
}

func TestOptionsAreChecked(t *testing.T) {
	may := func(uint32, uint64) bool { return true }
	server := &cluster.NATS{}
	for name, x := range map[string]struct {
		o    Options
		word string
	}{
		"alone":            {Options{Server: server, StreamsDir: "x"}, ""},
		"a cluster":        {Options{Server: server, Cluster: true, MayWork: may}, ""},
		"by URL":           {Options{URLs: []string{"nats://x"}, Cluster: true, MayWork: may}, ""},
		"no store":         {Options{Cluster: true, MayWork: may}, "URLs"},
		"alone by URL":     {Options{URLs: []string{"nats://x"}, StreamsDir: "x"}, "cluster"},
		"two replicas":     {Options{Server: server, Cluster: true, MayWork: may, Replicas: 2}, "1, 3 or 5"},
		"nobody to ask":    {Options{Server: server, Cluster: true}, "MayWork"},
		"without a folder": {Options{Server: server}, "barrier"},
	} {
		o := x.o.withDefaults()
		err := o.check()
		if x.word == "" != (err == nil) || err != nil && !strings.Contains(err.Error(), x.word) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// What is in hand for long is said again, so that others need not look far back, and
// what was said is found nevertheless.
func TestJournalIsRenewed(t *testing.T) {
	t.Parallel()
	f := newFleet(t, Options{AckWait: 3 * time.Second})
	a, b := f.join("a"), f.join("b")
	a.put("m", "u@d.test", "u@e.test")
	js := a.fetch(2)
	if err := js[0].Dot(t.Context(), "mx"); err != nil {
		t.Fatal(err)
	}
	settledOnly(t, a.node, js[1])
	r := js[0].rec
	a.journal.mu.Lock()
	said := a.journal.last
	for i, e := range a.journal.epochs { // all that was long ago
		e.began = e.began.Add(-time.Duration(len(a.journal.epochs)-i) * time.Minute)
	}
	a.journal.mu.Unlock()
	a.put("other", "u@d.test") // a later epoch
	if err := a.fetch(1)[0].Dot(t.Context(), "mx"); err != nil {
		t.Fatal(err)
	}
	a.journal.mu.Lock()
	a.journal.epochs[len(a.journal.epochs)-1].began = time.Now().Add(-2 * renewTo)
	old := r.epoch
	a.journal.mu.Unlock()
	a.journal.renew(time.Now())
	eventually(t, "it counts as entered later", func() bool {
		a.journal.mu.Lock()
		defer a.journal.mu.Unlock()
		return r.epoch != old
	})
	if _, err := a.beat(t.Context()); err != nil {
		t.Fatal(err)
	}
	for range 2 { // what b looks back to on its own account is later, too
		b.journal.mu.Lock()
		for _, e := range b.journal.epochs {
			e.began = e.began.Add(-time.Minute)
		}
		b.journal.mu.Unlock()
		if _, err := b.beat(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	rs, err := b.runs(t.Context(), 0)
	if err != nil {
		t.Fatal(err)
	}
	for _, x := range rs {
		if x.marks.event <= said {
			t.Errorf("%s's journal matters from %d on, and it was said up to %d", x.node, x.marks.event, said)
		}
	}
	a.kill()
	f.give(b, allParts()...)
	if got, want := ids(b.fetch(2)), []string{"m.0", "other.0"}; !slices.Equal(got, want) {
		t.Errorf("offered again: %v, want %v", got, want)
	}
	if got, want := doubted(t, b), []string{"m.0", "other.0"}; !slices.Equal(got, want) {
		t.Errorf("doubts: %v, want %v", got, want)
	}
}
