package queue

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"os"
	"testing"
	"time"

	"github.com/tarishi/tarishi/cluster"
	"github.com/tarishi/tarishi/mail"
)

// node is a queue on a store of its own, which can be stopped and started again.
type node struct {
	t    testing.TB
	dir  string
	opts Options
	nats *cluster.NATS
	*Queue
}

func open(t testing.TB, opts Options) *node {
	t.Helper()
	n := &node{t: t, dir: t.TempDir(), opts: opts}
	n.start()
	t.Cleanup(n.stop)
	return n
}

func (n *node) start() {
	n.t.Helper()
	var err error
	if n.nats, err = cluster.StartNATS(cluster.NATSOptions{Dir: n.dir}); err != nil {
		n.t.Fatal(err)
	}
	o := n.opts
	o.Server, o.StreamsDir = n.nats, cluster.StreamsDir(n.dir)
	o.Lookup = func(ctx context.Context, stream string, since time.Time, name []byte, head int, found func(uint64) error) error {
		return cluster.Lookup(ctx, o.StreamsDir, stream, since, name, head, found)
	}
	if testing.Verbose() {
		o.Log = slog.New(slog.NewTextHandler(os.Stderr, nil))
	}
	if n.Queue, err = Open(n.t.Context(), o); err != nil {
		n.t.Fatal(err)
	}
}

// stop ends the node cleanly; crash ends it without a word to the journal.
func (n *node) stop() {
	if n.Queue == nil {
		return
	}
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	if err := n.Close(ctx); err != nil {
		n.t.Error(err)
	}
	n.Queue = nil
	n.nats.Stop()
}

func (n *node) crash() {
	n.Queue.stop()
	n.Queue.wg.Wait()
	n.put.Close()
	n.get.Close()
	n.Queue = nil
	n.nats.Stop()
}

func message(id string, to ...string) (*mail.Message, []mail.Delivery) {
	m := &mail.Message{ID: id, Received: time.Now().UTC().Truncate(time.Microsecond), Sender: mail.NewAddress("a@b.test")}
	var ds []mail.Delivery
	for i, a := range to {
		r := mail.NewAddress(a)
		ds = append(ds, mail.Delivery{Message: m, Index: i, Destination: r.Domain, Recipients: []mail.Recipient{{Address: r}}})
	}
	return m, ds
}

func (n *node) accept(id string, body string, to ...string) {
	n.t.Helper()
	m, ds := message(id, to...)
	w := n.NewWriter(id)
	if _, err := io.WriteString(w, body); err != nil {
		n.t.Fatal(err)
	}
	if err := w.Commit(n.t.Context(), m, ds); err != nil {
		n.t.Fatal(err)
	}
}

func (n *node) fetch(want int) []*Job {
	n.t.Helper()
	ctx, cancel := context.WithTimeout(n.t.Context(), 30*time.Second)
	defer cancel()
	var js []*Job
	for len(js) < want {
		more, err := n.Fetch(ctx, want-len(js))
		if err != nil {
			n.t.Fatalf("fetched %d of %d: %v", len(js), want, err)
		}
		js = append(js, more...)
	}
	return js
}

func TestAcceptFetchDone(t *testing.T) {
	n := open(t, Options{})
	n.accept("m1", "Subject: x\r\n\r\nhello\r\n", "u@one.test", "v@two.test")
	js := n.fetch(2)
	for i, j := range js {
		b, err := j.Open(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		got, _ := io.ReadAll(b)
		if string(got) != "Subject: x\r\n\r\nhello\r\n" {
			t.Errorf("body %q", got)
		}
		if j.ID() != fmt.Sprint("m1.", i) {
			t.Error(j.ID())
		}
		if err := j.Dot(t.Context(), "mx"); err != nil {
			t.Fatal(err)
		}
		j.Done(Attempt{})
	}
	if err := n.Flush(t.Context()); err != nil {
		t.Fatal(err)
	}
	if err := n.checkRoom(t.Context()); err != nil {
		t.Fatal(err)
	}
	s := n.Stats()
	if s.Accepted != 1 || s.Barriers == 0 || s.Active != 0 {
		t.Errorf("%+v", s)
	}
	n.stop()
	n.start()
	if st := n.Stats(); st.Ready != 0 || n.recent != nil {
		t.Errorf("after a clean stop: %+v, recovered %v", st, n.recent)
	}
}

// drainAll collects due jobs until want have come.
func (n *node) drain(want int) []*Job {
	n.t.Helper()
	ctx, cancel := context.WithTimeout(n.t.Context(), 30*time.Second)
	defer cancel()
	var js []*Job
	_ = n.Drain(ctx, func(mail.Line) int { return want - len(js) }, func(j *Job) {
		js = append(js, j)
		if len(js) == want {
			cancel()
		}
	})
	if len(js) < want {
		n.t.Fatalf("drained %d of %d", len(js), want)
	}
	return js
}

func TestWaitAndDrain(t *testing.T) {
	n := open(t, Options{})
	for i := range 50 {
		n.accept(fmt.Sprintf("m%02d", i), "x\r\n", fmt.Sprintf("u@d%d.test", i%3))
	}
	for _, j := range n.fetch(50) {
		j.Wait(j.Delivery, nil)
	}
	if err := n.Flush(t.Context()); err != nil {
		t.Fatal(err)
	}
	if s := n.Stats(); s.Waiting != 50 || s.Active != 0 {
		t.Errorf("%+v", s)
	}
	n.stop()
	n.start()
	if s := n.Stats(); s.Waiting != 50 {
		t.Errorf("after a restart: %+v", s)
	}
	o, err := n.Lanes(t.Context(), 10)
	if err != nil || len(o.Lanes) != 3 || o.Lanes[0].Count != 17 {
		t.Errorf("%+v %v", o, err)
	}
	seen := map[string]bool{}
	for _, j := range n.drain(50) {
		if seen[j.ID()] {
			t.Error("twice:", j.ID())
		}
		seen[j.ID()] = true
		j.Done(Attempt{})
	}
	if err := n.Flush(t.Context()); err != nil {
		t.Fatal(err)
	}
	if s := n.Stats(); s.Waiting != 0 || s.Active != 0 {
		t.Errorf("%+v", s)
	}
}

// noSync is for tests that store much and prove nothing about the disk.
func noSync(*os.File) error { return nil }
