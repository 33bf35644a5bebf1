package queue

import (
	"context"
	"crypto/sha256"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/tarishi/tarishi/cluster"
	"github.com/tarishi/tarishi/mail"
)

// store is a folder as a stop left it, and what the queue owes then.
type store struct {
	dir   string
	clean bool
	owed  []string
}

const (
	inReady = 90
	inWait  = 90
)

// damageOptions make JetStream's blocks as small as they get: 32 kB.
var damageOptions = Options{MaxBytes: 127_000, MaxInline: 1 << 10}

// stores makes two: after a clean stop, and as a kill leaves it. READY and WAIT have
// at least three blocks each; READY's first records have gone.
func stores(t *testing.T) (clean, killed *store) {
	t.Helper()
	n := open(t, damageOptions)
	body := strings.Repeat(strings.Repeat("x", 78)+"\r\n", 10)
	killed, clean = &store{dir: t.TempDir()}, &store{dir: n.dir, clean: true}
	for i := range inWait {
		n.accept(fmt.Sprint("w", i), body, "u@d.test")
		for _, j := range n.fetch(1) {
			clean.owed = append(clean.owed, j.ID())
			j.Wait(j.Delivery, nil)
		}
	}
	flush(t, n)
	for i := range inReady {
		b := body
		if i%50 == 0 {
			b = strings.Repeat(body, 4) // in BODY
		}
		id := fmt.Sprint("r", i)
		n.accept(id, b, "u@d.test")
		clean.owed = append(clean.owed, id+".0")
	}
	flush(t, n)
	if err := n.nats.KeepMeta(); err != nil {
		t.Fatal(err)
	}
	slices.Sort(clean.owed)
	killed.owed = clean.owed
	copyStore(t, killed.dir, n.dir)
	n.stop()
	return clean, killed
}

func copyStore(t *testing.T, to, from string) {
	t.Helper()
	if err := os.RemoveAll(to); err != nil {
		t.Fatal(err)
	}
	if err := os.CopyFS(to, os.DirFS(from)); err != nil {
		t.Fatal(err)
	}
}

// copy gives a store of its own to damage.
func (s *store) copy(t *testing.T) *store {
	t.Helper()
	c := *s
	c.dir = t.TempDir()
	copyStore(t, c.dir, s.dir)
	return &c
}

// files lists what lies under the streams' folders and matches.
func (s *store) files(t *testing.T, pattern string) []string {
	t.Helper()
	var out []string
	err := filepath.WalkDir(cluster.StreamsDir(s.dir), func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		rel, _ := filepath.Rel(cluster.StreamsDir(s.dir), path)
		if ok, _ := filepath.Match(pattern, rel); ok {
			out = append(out, path)
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	slices.SortFunc(out, func(a, b string) int { return blockNumber(a) - blockNumber(b) })
	return out
}

func blockNumber(path string) (n int) {
	_, _ = fmt.Sscanf(filepath.Base(path), "%d.blk", &n)
	return n
}

func (s *store) sum(t *testing.T) [32]byte {
	t.Helper()
	h := sha256.New()
	err := filepath.WalkDir(s.dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		b, err := os.ReadFile(path)
		fmt.Fprintf(h, "%s %d\n%s", path, len(b), b)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return [32]byte(h.Sum(nil))
}

func (s *store) prepare(accept bool, log *slog.Logger) error {
	_, err := cluster.Prepare(context.Background(), cluster.PrepareOptions{
		Dir: s.dir, Keep: filepath.Join(s.dir, "damaged"), Accept: accept, Log: log,
		Unsynced: 1, // all of these stores was written within a second
	})
	return err
}

// start opens the queue without another check.
func (s *store) start(t *testing.T) *node {
	t.Helper()
	n := &node{t: t, dir: s.dir, opts: damageOptions}
	n.start()
	t.Cleanup(n.stop)
	return n
}

// offered lists the deliveries that the queue hands out whole, and ends.
func (s *store) offered(t *testing.T) (out []string) {
	t.Helper()
	n := s.start(t)
	want := n.Stats()
	if err := n.checkRoom(t.Context()); err != nil {
		t.Fatal(err)
	}
	want = n.Stats()
	got := make(chan *Job, 1000)
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	done := make(chan struct{})
	go func() {
		defer close(done)
		_ = n.Drain(ctx, func(mail.Line) int { return 1000 }, func(j *Job) { got <- j })
	}()
	go func() {
		for ctx.Err() == nil {
			js, _ := n.Fetch(ctx, 100)
			for _, j := range js {
				got <- j
			}
		}
	}()
	for range want.Ready + want.Waiting {
		var j *Job
		select {
		case j = <-got:
		case <-ctx.Done():
			t.Errorf("%d deliveries were counted and %d offered", want.Ready+want.Waiting, len(out))
			slices.Sort(out)
			return out
		}
		b, err := j.Open(t.Context())
		if err == nil {
			_, err = io.Copy(io.Discard, b)
		}
		if err != nil {
			t.Logf("body of %s: %v", j.ID(), err)
			continue
		}
		out = append(out, j.ID())
	}
	cancel()
	<-done
	slices.Sort(out)
	return out
}

func edit(t *testing.T, path string, f func(b []byte) []byte) {
	t.Helper()
	b, err := os.ReadFile(path)
	if err == nil {
		err = os.WriteFile(path, f(b), 0o640)
	}
	if err != nil {
		t.Fatal(err)
	}
}
