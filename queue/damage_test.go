package queue

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/tarishi/tarishi/cluster"
	"github.com/tarishi/tarishi/mail"
)

// Whatever is damaged, either the start is refused and nothing has been changed,
// or every delivery is offered: never a silent loss.
func TestDamageIsRefusedOrHarmless(t *testing.T) {
	clean, killed := stores(t)
	refused := 0
	for seed := range uint64(32) {
		s, r := killed, rand.New(rand.NewPCG(seed, 7))
		if seed%2 == 0 {
			s = clean
		}
		t.Run(fmt.Sprint("seed ", seed), func(t *testing.T) {
			s := s.copy(t)
			var all []string
			for _, p := range []string{"*/*", "*/msgs/*.blk", "*/msgs/index.db", "*/obs/*/*"} {
				all = append(all, s.files(t, p)...)
			}
			path := all[r.IntN(len(all))]
			what := r.IntN(4)
			edit(t, path, func(b []byte) []byte {
				// After a kill nobody can tell the end of the newest block from a write cut short.
				limit := len(b)
				blocks := s.files(t, filepath.Join(filepath.Base(filepath.Dir(filepath.Dir(path))), "msgs", "*.blk"))
				if !s.clean && strings.HasSuffix(path, ".blk") && path == blocks[len(blocks)-1] {
					what, limit = r.IntN(2), max(limit/2, 1)
				}
				if len(b) == 0 {
					return b
				}
				at := r.IntN(limit)
				switch what {
				case 0: // one bit
					b[at] ^= 1 << r.IntN(8)
				case 1: // a piece
					for i := at; i < min(at+64, len(b)); i++ {
						b[i] = byte(r.Uint32())
					}
				case 2:
					b = b[:at]
				case 3:
					b = nil
				}
				return b
			})
			before := s.sum(t)
			var damage *cluster.Damage
			switch err := s.prepare(false, nil); {
			case errors.As(err, &damage):
				refused++
				if damage.File != path && !(filepath.Dir(path) == filepath.Dir(damage.File)) || !strings.Contains(err.Error(), "nothing was changed") {
					t.Errorf("damaged %s, got: %v", path, err)
				}
				if s.sum(t) != before {
					t.Error("a refused start changed something")
				}
			case err != nil:
				t.Fatal(err)
			default:
				if got := s.offered(t); !slices.Equal(got, s.owed) {
					t.Errorf("%s damaged (%d): %d of %d are offered", path, what, len(got), len(s.owed))
				}
			}
		})
	}
	if refused < 8 {
		t.Errorf("only %d of 32 were refused", refused)
	}
}

// What each kind of damage does. want is a part of the refusal; empty: the start
// goes on and every delivery is offered.
func TestDamageTable(t *testing.T) {
	clean, killed := stores(t)
	cut := func(n int) func([]byte) []byte { return func(b []byte) []byte { return b[:len(b)-n] } }
	garbage := func(b []byte) []byte { return bytes.Repeat([]byte("garbage"), 1+len(b)/7)[:len(b)] }
	block := func(i int) func(*testing.T, *store) string {
		return func(t *testing.T, s *store) string {
			fs := s.files(t, "WAIT/msgs/*.blk")
			if len(fs) < 3 {
				t.Fatalf("WAIT has %d blocks, the test wants 3", len(fs))
			}
			return fs[(i+len(fs))%len(fs)]
		}
	}
	file := func(name string) func(*testing.T, *store) string {
		return func(_ *testing.T, s *store) string { return filepath.Join(cluster.StreamsDir(s.dir), name) }
	}
	for _, x := range []struct {
		name          string
		file          func(*testing.T, *store) string
		edit          func([]byte) []byte // nil: the file is removed
		clean, killed string
	}{
		{"nothing", block(0), func(b []byte) []byte { return b }, "", ""},
		{"the first block, in its middle", block(0), func(b []byte) []byte { copy(b[len(b)/2:], bytes.Repeat([]byte{'!'}, 64)); return b }, "1.blk at offset", "1.blk at offset"},
		{"a block of zeros", block(1), func(b []byte) []byte { return make([]byte, len(b)) }, "2.blk at offset 0", "2.blk at offset 0"},
		{"a middle block cut short", block(1), cut(9), "2.blk at offset", "2.blk at offset"},
		{"an empty middle block", block(1), cutAll, "2.blk at offset 0", "2.blk at offset 0"},
		{"a missing middle block", block(1), nil, "2.blk: the file is missing", "-"},
		{"the newest block with a torn write", block(-1), func(b []byte) []byte { return append(b, b[:100]...) }, "-", ""},
		{"the newest block cut short", block(-1), cut(9), ".blk at offset", "-"},
		{"the newest block's last octet", block(-1), func(b []byte) []byte { b[len(b)-1] ^= 1; return b }, ".blk at offset", "-"},
		{"the newest block empty", block(-1), cutAll, ".blk at offset 0", "-"},
		{"the newest block missing", block(-1), nil, ".blk: the file is missing", "-"},
		{"index.db garbage", file("WAIT/msgs/index.db"), garbage, "", "-"},
		{"index.db missing", file("WAIT/msgs/index.db"), nil, "", "-"},
		{"meta.inf garbage, with a copy", file("WAIT/meta.inf"), garbage, "", ""},
		{"meta.sum missing, with a copy", file("WAIT/meta.sum"), nil, "", ""},
		{"a consumer's state garbage", file("READY/obs/deliver/o.dat"), garbage, "", "-"},
		{"a consumer's meta garbage", file("READY/obs/deliver/meta.inf"), garbage, "", ""},
		{"a consumer's key misspelt", file("READY/obs/deliver/meta.inf"), func(b []byte) []byte { return bytes.Replace(b, []byte("durable"), []byte("durablf"), 1) }, "", ""},
		{"a stream's folder missing", file("WAIT"), nil, "WAIT: the folder of a stream is missing", "WAIT: the folder of a stream is missing"},
	} {
		for _, s := range []*store{clean, killed} {
			want, how := x.clean, "clean"
			if !s.clean {
				want, how = x.killed, "killed"
			}
			if want == "-" {
				continue
			}
			t.Run(x.name+"/"+how, func(t *testing.T) {
				s := s.copy(t)
				path := x.file(t, s)
				if x.edit == nil {
					if err := os.RemoveAll(path); err != nil {
						t.Fatal(err)
					}
				} else {
					edit(t, path, x.edit)
				}
				err := s.prepare(false, nil)
				if want != "" {
					if err == nil || !strings.Contains(err.Error(), want) {
						t.Fatalf("got %v, want a refusal with %q", err, want)
					}
					return
				}
				if err != nil {
					t.Fatal(err)
				}
				if got := s.offered(t); !slices.Equal(got, s.owed) {
					t.Errorf("%d of %d are offered", len(got), len(s.owed))
				}
			})
		}
	}
}

func cutAll([]byte) []byte { return nil }

// Without a copy of its configuration a stream cannot be opened, and JetStream
// would have a new, empty one in its place.
func TestDamagedMetaWithoutCopy(t *testing.T) {
	clean, killed := stores(t)
	for _, s := range []*store{clean, killed} {
		for _, name := range []string{"meta.inf", "meta.sum"} {
			for _, gone := range []bool{false, true} {
				s := s.copy(t)
				path := filepath.Join(cluster.StreamsDir(s.dir), "WAIT", name)
				err := os.RemoveAll(filepath.Join(s.dir, "meta"))
				if err == nil && gone {
					err = os.Remove(path)
				} else if err == nil {
					err = os.WriteFile(path, []byte("{}"), 0o640)
				}
				if err != nil {
					t.Fatal(err)
				}
				var damage *cluster.Damage
				if err := s.prepare(false, nil); !errors.As(err, &damage) || damage.Stream != "WAIT" {
					t.Errorf("%s, missing: %v: %v", name, gone, err)
				}
				// Even without the check no new stream takes the place.
				nats, err := cluster.StartNATS(cluster.NATSOptions{Dir: s.dir})
				if err != nil {
					t.Fatal(err)
				}
				_, err = Open(t.Context(), Options{Server: nats, StreamsDir: cluster.StreamsDir(s.dir)})
				if !errors.Is(err, ErrVanished) {
					t.Errorf("opened over a stream that JetStream passed over: %v", err)
				}
				nats.Stop()
				if len(s.files(t, "WAIT/msgs/*.blk")) < 3 {
					t.Error("its blocks are gone")
				}
			}
		}
	}
}

// With the operator's word the damaged bytes are kept, all but the damaged record
// is offered, and the log says how many went.
func TestAcceptDamage(t *testing.T) {
	clean, killed := stores(t)
	for _, s := range []*store{clean, killed} {
		for _, at := range []int{0, 1, 2} {
			t.Run(fmt.Sprint("clean ", s.clean, " block ", at), func(t *testing.T) {
				s := s.copy(t)
				path := s.files(t, "WAIT/msgs/*.blk")[at]
				edit(t, path, func(b []byte) []byte {
					copy(b[len(b)/3:], bytes.Repeat([]byte{0xee}, 64)) // inside one record
					return b
				})
				damaged, err := os.ReadFile(path)
				if err != nil {
					t.Fatal(err)
				}
				var log bytes.Buffer
				if err := s.prepare(true, slog.New(slog.NewTextHandler(&log, nil))); err != nil {
					t.Fatal(err)
				}
				kept, err := filepath.Glob(filepath.Join(s.dir, "damaged", "*", "WAIT", "msgs", filepath.Base(path)))
				if err != nil || len(kept) != 1 {
					t.Fatalf("copies: %v %v", kept, err)
				}
				if b, err := os.ReadFile(kept[0]); err != nil || !bytes.Equal(b, damaged) {
					t.Error("the copy is not what was damaged")
				}
				if !strings.Contains(log.String(), "records_lost_at_most=1") {
					t.Errorf("log: %s", log.String())
				}
				if err := s.prepare(false, nil); err != nil {
					t.Errorf("after it was accepted: %v", err)
				}
				got := s.offered(t)
				if len(got) != len(s.owed)-1 {
					t.Errorf("%d of %d are offered, want all but one", len(got), len(s.owed))
				}
			})
		}
	}
}

// A stream without a usable configuration is set aside whole.
func TestAcceptLostMeta(t *testing.T) {
	_, killed := stores(t)
	s := killed.copy(t)
	if err := errors.Join(os.RemoveAll(filepath.Join(s.dir, "meta")),
		os.Remove(filepath.Join(cluster.StreamsDir(s.dir), "WAIT", "meta.inf"))); err != nil {
		t.Fatal(err)
	}
	if err := s.prepare(true, nil); err != nil {
		t.Fatal(err)
	}
	kept, _ := filepath.Glob(filepath.Join(s.dir, "damaged", "*", "WAIT", "whole", "msgs", "*.blk"))
	if len(kept) < 3 {
		t.Errorf("kept: %v", kept)
	}
	if got := s.offered(t); len(got) != inReady {
		t.Errorf("%d are offered, want READY's %d", len(got), inReady)
	}
}

// A record that becomes unreadable while the node runs stays in the count.
func TestUnreadableWhileRunning(t *testing.T) {
	clean, _ := stores(t)
	s := clean.copy(t)
	edit(t, s.files(t, "WAIT/msgs/*.blk")[0], func(b []byte) []byte {
		copy(b[len(b)/3:], bytes.Repeat([]byte{0xee}, 64))
		return b
	})
	n := s.start(t) // unchecked, as when the disk fails later
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	offered := make(chan *Job, 1000)
	done := make(chan struct{})
	go func() {
		defer close(done)
		_ = n.Drain(ctx, func(mail.Line) int { return 1000 }, func(j *Job) { offered <- j })
	}()
	for n.Stats().Unreadable == 0 && ctx.Err() == nil {
		select {
		case <-offered:
		case <-time.After(10 * time.Millisecond):
		}
	}
	st := n.Stats()
	cancel()
	<-done
	if st.Unreadable == 0 || st.Waiting != inWait {
		t.Errorf("%d wait, %d of them unreadable; want %d, and some", st.Waiting, st.Unreadable, inWait)
	}
}
