package queue

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/tarishi/tarishi/mail"
)

func flush(t *testing.T, n *node) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	if err := n.Flush(ctx); err != nil {
		t.Fatal(err)
	}
}

func ids(js []*Job) (out []string) {
	for _, j := range js {
		out = append(out, j.ID())
	}
	slices.Sort(out)
	return out
}

// After an unclean stop: what was settled is not offered again, what was between
// the dot and its outcome is offered and listed, the rest is offered silently.
func TestCrashBetweenDotAndOutcome(t *testing.T) {
	n := open(t, Options{})
	for i := range 4 {
		n.accept(fmt.Sprint("m", i), "x\r\n", "u@d.test")
	}
	js := n.fetch(4)
	for _, j := range js[:3] {
		if err := j.Dot(t.Context(), "mx.d.test"); err != nil {
			t.Fatal(err)
		}
	}
	settledOnly(t, n, js[0]) // m0: journaled, but its acknowledgement is lost
	js[1].Done(Attempt{})    // m1: all done
	flush(t, n)
	n.crash() // m2: after the dot; m3: before
	n.start()
	if got, want := ids(n.fetch(2)), []string{"m2.0", "m3.0"}; !slices.Equal(got, want) {
		t.Errorf("offered again: %v, want %v", got, want)
	}
	ds, err := n.Doubts(t.Context())
	if err != nil || len(ds) != 1 || ds[0].DeliveryID != "m2.0" || ds[0].Host != "mx.d.test" {
		t.Errorf("doubts: %+v, %v", ds, err)
	}
	// A second crash at once must not forget what the first had settled, nor list a doubt twice.
	n.crash()
	n.start()
	if got, want := ids(n.fetch(2)), []string{"m2.0", "m3.0"}; !slices.Equal(got, want) {
		t.Errorf("after a second crash: %v, want %v", got, want)
	}
	if ds, _ := n.Doubts(t.Context()); len(ds) != 1 {
		t.Errorf("doubts after a second crash: %+v", ds)
	}
}

// settledOnly journals a job's end as Done does, and stops there.
func settledOnly(t *testing.T, n *node, j *Job) {
	t.Helper()
	done := make(chan struct{})
	n.journal.attempt(j, &Attempt{}, true, func() { close(done) })
	<-done
}

// A crash after a delivery was stored in WAIT and before its old record was
// removed leaves both; only the younger one may live.
func TestCrashBetweenWaitAndRemoval(t *testing.T) {
	for _, from := range []string{streamReady, streamWait} {
		t.Run(from, func(t *testing.T) {
			n := open(t, Options{})
			n.accept("m", "x\r\n", "u@d.test")
			j := n.fetch(1)[0]
			if from == streamWait {
				j.Wait(j.Delivery, nil)
				flush(t, n)
				j = n.drain(1)[0]
			}
			// As settler.round does, up to the removal.
			next := j.Delivery
			next.Generation++
			next.Attempts = 1
			x := settling{job: j, next: &next}
			storeOnly(t, n, x)
			n.crash()
			n.start()
			var got []*Job
			ctx, cancel := context.WithTimeout(t.Context(), 2*time.Second)
			defer cancel()
			drained := make(chan struct{})
			go func() {
				defer close(drained)
				_ = n.Drain(ctx, func(mail.Line) int { return 10 }, func(j *Job) { got = append(got, j) })
			}()
			fs, _ := n.Fetch(ctx, 10)
			<-drained
			flush(t, n)
			got = append(got, fs...)
			if len(got) != 1 || got[0].Attempts != 1 {
				t.Errorf("after the crash %d jobs: %v", len(got), ids(got))
			}
			if s := n.Stats(); s.Waiting != 1 {
				t.Errorf("%+v", s)
			}
		})
	}
}

func storeOnly(t *testing.T, n *node, x settling) {
	t.Helper()
	frame, err := x.frame()
	if err != nil {
		t.Fatal(err)
	}
	if _, err := n.publish(t.Context(), n.slotFor(x.next, time.Now()).subject(), x.header(), frame); err != nil {
		t.Fatal(err)
	}
}

// A record that is removed must never be on disk as removed before its
// replacement is: the barrier runs between the two.
func TestBarrierStandsBetweenReplacementAndRemoval(t *testing.T) {
	var n *node
	var atSync []int64
	watch := false
	n = open(t, Options{Sync: func(f *os.File) error {
		if watch && strings.Contains(f.Name(), "/WAIT/msgs/") {
			s, err := n.getJS.Stream(context.Background(), streamReady)
			if err == nil {
				atSync = append(atSync, int64(s.CachedInfo().State.Msgs))
			}
		}
		return f.Sync()
	}})
	n.accept("m", "x\r\n", "u@d.test")
	j := n.fetch(1)[0]
	watch = true
	j.Wait(j.Delivery, nil)
	flush(t, n)
	watch = false
	if len(atSync) == 0 || atSync[0] != 1 {
		t.Errorf("READY's records while WAIT was synced: %v, want the old one still there", atSync)
	}
}

// Commit returns after a sync that began after the record was stored.
func TestCommitWaitsForTheDisk(t *testing.T) {
	gate := make(chan struct{})
	var hold bool
	n := open(t, Options{Sync: func(f *os.File) error {
		if hold && strings.Contains(f.Name(), "/READY/") {
			<-gate
		}
		return f.Sync()
	}})
	hold = true
	done := make(chan struct{})
	go func() { defer close(done); n.accept("m", "x\r\n", "u@d.test") }()
	// The record is there and can be read; its 250 must still be out.
	ctx, cancel := context.WithTimeout(t.Context(), 5*time.Second)
	defer cancel()
	for {
		es, err := n.Find(ctx, Filter{ID: "m"}, 1)
		if err != nil {
			t.Fatal(err)
		}
		if len(es) == 1 {
			break
		}
	}
	select {
	case <-done:
		t.Error("Commit returned before the sync had ended")
	default:
	}
	close(gate)
	<-done
}

// A sync that fails takes its whole cohort with it, and nobody passes afterwards.
func TestFailedSyncStopsAcceptance(t *testing.T) {
	var broken bool
	n := open(t, Options{Sync: func(f *os.File) error {
		if broken {
			return errors.New("input/output error")
		}
		return f.Sync()
	}})
	n.accept("m0", "x\r\n", "u@d.test")
	broken = true
	for i := range 2 {
		m, ds := message(fmt.Sprint("m", i+1), "u@d.test")
		w := n.NewWriter(m.ID)
		_, _ = io.WriteString(w, "x\r\n")
		if err := w.Commit(t.Context(), m, ds); !errors.Is(err, ErrUnavailable) {
			t.Errorf("commit %d on a broken disk: %v", i, err)
		}
		broken = false // the next sync would succeed and prove nothing
	}
	if err := n.Room(); !errors.Is(err, ErrUnavailable) {
		t.Errorf("Room: %v", err)
	}
}

// The barrier follows the stream over its block files, also when they come fast.
func TestBarrierCoversEveryBlock(t *testing.T) {
	synced := map[string]int64{}
	n := open(t, Options{Sync: func(f *os.File) error {
		if st, err := f.Stat(); err == nil && !st.IsDir() {
			synced[f.Name()] = st.Size()
		}
		return f.Sync()
	}})
	body := strings.Repeat(strings.Repeat("x", 70)+"\r\n", 800) // 57 KiB: about 70 to a block
	for i := range 350 {
		n.accept(fmt.Sprint("m", i), body, "u@d.test")
	}
	dir := n.barrier.streams[streamReady].dir
	es, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	blocks := 0
	for _, e := range es {
		if !strings.HasSuffix(e.Name(), ".blk") {
			continue
		}
		blocks++
		st, _ := e.Info()
		if got := synced[dir+"/"+e.Name()]; got != st.Size() {
			t.Errorf("%s: %d octets were synced of %d", e.Name(), got, st.Size())
		}
	}
	if blocks < 3 {
		t.Fatalf("only %d blocks: the test is vacuous", blocks)
	}
}

func TestBodies(t *testing.T) {
	n := open(t, Options{})
	big := bytes.Repeat([]byte("0123456789abcdef0123456789abcdef0123456789abcdef\r\n"), 40000) // 2 MB: several chunks
	n.accept("big", string(big), "u@one.test", "u@two.test")
	n.accept("wide", strings.Repeat("y", 3000)+"\r\n", many(30)...)
	n.accept("small", "z\r\n", many(10)...)
	w := n.NewWriter("gone")
	_, _ = w.Write(big)
	w.Abort()
	s, err := n.getJS.Stream(t.Context(), streamBody)
	if err != nil {
		t.Fatal(err)
	}
	if got := s.CachedInfo().State.Msgs; got != 4+1+3 {
		t.Errorf("BODY holds %d chunks, want 4 of big, 1 of wide, 3 of the aborted one", got)
	}
	for _, j := range n.fetch(42) {
		r, err := j.Open(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		b, err := io.ReadAll(r)
		if err != nil {
			t.Fatal(err)
		}
		if j.Message.ID == "big" && !bytes.Equal(b, big) || j.Message.Size != int64(len(b)) {
			t.Errorf("%s: %d octets, not those that came", j.ID(), len(b))
		}
		if (j.Message.ID == "small") != (j.Bytes() != nil) {
			t.Errorf("%s: inline is %v", j.ID(), j.Bytes() != nil)
		}
		j.Done(Attempt{})
	}
	flush(t, n)
	n.removeBodies(t.Context(), 0)
	if err := n.bodyChunks(t, 0); err != nil {
		t.Error(err)
	}
}

func (n *node) bodyChunks(t *testing.T, want uint64) error {
	s, err := n.getJS.Stream(t.Context(), streamBody)
	if err != nil {
		return err
	}
	if got := s.CachedInfo().State.Msgs; got != want {
		return fmt.Errorf("BODY holds %d chunks, want %d", got, want)
	}
	return nil
}

// What a crash leaves in BODY goes; what a delivery in READY or WAIT needs stays.
func TestSweepAfterCrash(t *testing.T) {
	n := open(t, Options{MaxInline: 10})
	n.accept("ready", strings.Repeat("r", 100)+"\r\n", "u@one.test")
	n.accept("waiting", strings.Repeat("w", 100)+"\r\n", "u@two.test")
	n.accept("done", strings.Repeat("d", 100)+"\r\n", "u@three.test")
	js := n.fetch(3)
	js[1].Wait(js[1].Delivery, nil)
	js[2].Done(Attempt{})
	flush(t, n)
	w := n.NewWriter("cut")
	_, _ = w.Write(bytes.Repeat([]byte("c"), chunkSize+1))
	n.crash()
	n.start()
	if err := n.sweepOrphans(t.Context(), time.Now()); err != nil {
		t.Fatal(err)
	}
	if err := n.bodyChunks(t, 2); err != nil {
		t.Error(err)
	}
	for _, j := range append(n.fetch(1), n.drain(1)...) {
		if r, err := j.Open(t.Context()); err != nil {
			t.Error(err)
		} else if b, err := io.ReadAll(r); err != nil || len(b) != 102 {
			t.Error(j.ID(), len(b), err)
		}
	}
}

func many(n int) (out []string) {
	for i := range n {
		out = append(out, fmt.Sprintf("u@d%d.test", i))
	}
	return out
}

func TestDamagedBodyIsAnError(t *testing.T) {
	n := open(t, Options{MaxInline: 10})
	n.accept("m", strings.Repeat("r", 1000)+"\r\n", "u@one.test")
	j := n.fetch(1)[0]
	j.ref.Crc32C++
	r, err := j.Open(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if b, err := io.ReadAll(r); err == nil || len(b) > 0 {
		t.Errorf("%d octets and %v of a body with a wrong checksum", len(b), err)
	}
}

func TestFullRefuses(t *testing.T) {
	n := open(t, Options{MaxBytes: 1 << 20})
	body := strings.Repeat("x", 30000) + "\r\n"
	var err error
	for i := range 100 {
		m, ds := message(fmt.Sprint("m", i), "u@d.test")
		w := n.NewWriter(m.ID)
		_, _ = io.WriteString(w, body)
		if err = w.Commit(t.Context(), m, ds); err != nil {
			break
		}
	}
	if !errors.Is(err, ErrFull) {
		t.Errorf("a stream at its limit said %v", err)
	}
	_ = n.checkRoom(t.Context())
	if err := n.Room(); !errors.Is(err, ErrFull) {
		t.Errorf("Room: %v", err)
	}
	for _, j := range n.fetch(10) { // what is in must still get out, and even wait
		j.Wait(j.Delivery, nil)
	}
	flush(t, n)
}

// After a power cut JetStream gives a lost record's sequence to the next one. What
// the journal or a header says of the sequence must not touch its new owner.
func TestReusedSequenceIsNotRemoved(t *testing.T) {
	n := open(t, Options{})
	n.accept("other", "x\r\n", "u@d.test")
	j := n.fetch(1)[0]
	j.Wait(j.Delivery, nil)
	flush(t, n)
	seq := n.drain(1)[0].rec.seq
	old := &Job{Delivery: j.Delivery, q: n.Queue, rec: &record{stream: streamWait, seq: seq}}
	m, ds := message("lost", "u@d.test")
	old.Delivery, old.Message = ds[0], m
	settledOnly(t, n, old)
	n.crash()
	n.start()
	if s := n.Stats(); s.Waiting != 1 {
		t.Errorf("the new owner of the sequence is gone: %+v", s)
	}
	if got := ids(n.drain(1)); got[0] != "other.0" {
		t.Error(got)
	}
}

// A body is on disk before any record names it.
func TestBodyBeforeItsRecord(t *testing.T) {
	var n *node
	var before []uint64
	watch := false
	n = open(t, Options{MaxInline: 10, Sync: func(f *os.File) error {
		if watch && strings.Contains(f.Name(), "/BODY/msgs/") {
			if s, err := n.getJS.Stream(context.Background(), streamReady); err == nil {
				before = append(before, s.CachedInfo().State.Msgs)
			}
		}
		return f.Sync()
	}})
	watch = true
	n.accept("m", strings.Repeat("x", 100)+"\r\n", "u@d.test")
	if len(before) == 0 || before[0] != 0 {
		t.Errorf("READY's records when BODY was synced: %v, want none", before)
	}
}

// A chunk of another message under our sequence is an error, whatever its octets.
func TestForeignChunk(t *testing.T) {
	n := open(t, Options{MaxInline: 10})
	n.accept("m", strings.Repeat("x", 100)+"\r\n", "u@d.test")
	j := n.fetch(1)[0]
	m := *j.Message
	m.ID = "another"
	j.Message = &m
	r, err := j.Open(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if _, err := io.ReadAll(r); err == nil || !strings.Contains(err.Error(), "belongs to message m") {
		t.Error(err)
	}
}

// A record that an operator's command holds while the work queue offers it is
// offered again as soon as it is given back.
func TestReleasedAfterSelectComesAtOnce(t *testing.T) {
	n := open(t, Options{})
	n.accept("m", "x\r\n", "u@d.test")
	offered := make(chan struct{})
	_, err := n.Select(t.Context(), Filter{ID: "m"}, func(j *Job) error {
		js, err := n.fetchNow(10) // the deliverer asks meanwhile, and gets nothing
		if err != nil || len(js) > 0 {
			t.Errorf("fetched %v, %v", ids(js), err)
		}
		j.Release()
		close(offered)
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	<-offered
	if got := ids(n.fetch(1)); got[0] != "m.0" { // fetch waits 10 s at most, the ack wait is 30
		t.Error(got)
	}
}

// What Select has read may be gone by the time it gets there.
func TestSelectSeesWhatIsGone(t *testing.T) {
	n := open(t, Options{})
	n.accept("m0", "x\r\n", "u@d.test")
	n.accept("m1", "x\r\n", "u@d.test")
	for _, j := range n.fetch(2) {
		j.Wait(j.Delivery, nil)
	}
	flush(t, n)
	var got []string
	_, err := n.Select(t.Context(), Filter{Destination: "d.test"}, func(j *Job) error {
		got = append(got, j.ID())
		if len(got) == 1 {
			n.drain(1)[0].Done(Attempt{}) // m1, which Select has read already
			flush(t, n)
		}
		next := j.Delivery
		next.Held = true
		j.Wait(next, nil)
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	flush(t, n)
	if s := n.Stats(); len(got) != 1 || s.Waiting != 1 {
		t.Errorf("selected %v, left %+v", got, s)
	}
}
