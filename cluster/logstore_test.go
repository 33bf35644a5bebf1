package cluster

import (
	"encoding/hex"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/hashicorp/raft"
	bolt "go.etcd.io/bbolt"
	"pgregory.net/rapid"
)

func openTestStore(t *testing.T, dir string) *logStore {
	t.Helper()
	s, err := openStore(dir)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Close() })
	return s
}

// The store does what a map does, across restarts.
func TestStoreConformance(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		dir, err := os.MkdirTemp(t.TempDir(), "")
		if err != nil {
			rt.Fatal(err)
		}
		var s *logStore
		open := func() {
			if s, err = openStore(dir); err != nil {
				rt.Fatal(err)
			}
			s.db.NoSync = true
		}
		open()
		defer func() { s.Close() }()
		logs, conf := map[uint64]raft.Log{}, map[string]uint64{}
		first, last, term := uint64(1), uint64(0), uint64(1) // of the map: first > last when it is empty
		must := func(err error) {
			if err != nil {
				rt.Fatal(err)
			}
		}
		remove := func(from, to uint64) {
			must(s.DeleteRange(from, to))
			for i := from; i <= to; i++ {
				delete(logs, i)
			}
		}
		rt.Repeat(map[string]func(*rapid.T){
			"append": func(rt *rapid.T) {
				var ls []*raft.Log
				for range rapid.IntRange(1, 5).Draw(rt, "n") {
					last++
					term += rapid.Uint64Range(0, 1).Draw(rt, "term")
					l := raft.Log{Index: last, Term: term, Type: raft.LogType(rapid.IntRange(0, 5).Draw(rt, "type")),
						Data: rapid.SliceOfN(rapid.Byte(), 0, 50).Draw(rt, "data")}
					if rapid.Bool().Draw(rt, "more") {
						l.Extensions, l.AppendedAt = []byte{1, 2}, time.Unix(0, 1<<60)
					}
					logs[last] = l
					ls = append(ls, &l)
				}
				must(s.StoreLogs(ls))
			},
			"compact": func(rt *rapid.T) { // from the front, as after a snapshot
				to := rapid.Uint64Range(first-1, last).Draw(rt, "to")
				remove(first, to)
				first = to + 1
			},
			"truncate": func(rt *rapid.T) { // from the end, as under a new leader
				from := rapid.Uint64Range(first, last+1).Draw(rt, "from")
				remove(from, last)
				last = from - 1
			},
			"set": func(rt *rapid.T) {
				k, v := rapid.SampledFrom([]string{"a", "b"}).Draw(rt, "k"), rapid.Uint64().Draw(rt, "v")
				must(s.SetUint64([]byte(k), v))
				conf[k] = v
			},
			"reopen": func(rt *rapid.T) {
				s.Close()
				open()
			},
			"": func(rt *rapid.T) {
				wantFirst, wantLast := first, last
				if first > last {
					wantFirst, wantLast = 0, 0
				}
				a, errA := s.FirstIndex()
				b, errB := s.LastIndex()
				if a != wantFirst || b != wantLast || errA != nil || errB != nil {
					rt.Fatalf("from %d to %d, want %d to %d (%v, %v)", a, b, wantFirst, wantLast, errA, errB)
				}
				for i := range last + 2 {
					var l raft.Log
					err := s.GetLog(i, &l)
					want, ok := logs[i]
					if !ok {
						if !errors.Is(err, raft.ErrLogNotFound) {
							rt.Fatalf("entry %d that is not there: %v", i, err)
						}
						continue
					}
					if err != nil || fmt.Sprint(l) != fmt.Sprint(want) {
						rt.Fatalf("entry %d is %v, want %v (%v)", i, l, want, err)
					}
				}
				for _, k := range []string{"a", "b"} {
					v, err := s.GetUint64([]byte(k))
					if want, ok := conf[k]; ok && (v != want || err != nil) || !ok && (err == nil || err.Error() != "not found") { // the text that raft looks for
						rt.Fatalf("%s is %d (%v), want %d", k, v, err, want)
					}
				}
			},
		})
	})
}

// dump is what lies in the file, as text.
func dump(t *testing.T, path string) string {
	t.Helper()
	db, err := bolt.Open(path, 0o600, &bolt.Options{ReadOnly: true, Timeout: time.Second})
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	var out strings.Builder
	err = db.View(func(tx *bolt.Tx) error {
		return tx.ForEach(func(bucket []byte, b *bolt.Bucket) error {
			return b.ForEach(func(k, v []byte) error {
				key := string(k)
				if string(bucket) == "logs" {
					key = hex.EncodeToString(k)
				}
				fmt.Fprintf(&out, "%s %s %x\n", bucket, key, v)
				return nil
			})
		})
	})
	if err != nil {
		t.Fatal(err)
	}
	return out.String()
}

// fill makes a file of what a dump says.
func fill(t *testing.T, dir, dump string) {
	t.Helper()
	db, err := bolt.Open(filepath.Join(dir, "raft.db"), 0o600, nil)
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	err = db.Update(func(tx *bolt.Tx) error {
		for line := range strings.Lines(dump) {
			f := strings.Fields(line)
			b, err := tx.CreateBucketIfNotExists([]byte(f[0]))
			if err != nil {
				return err
			}
			k := []byte(f[1])
			if f[0] == "logs" {
				k, _ = hex.DecodeString(f[1])
			}
			v, err := hex.DecodeString(f[2])
			if err != nil {
				return err
			}
			if err := b.Put(k, v); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
}

// The format on disk is what it was when it was given its number.
func TestStoreGolden(t *testing.T) {
	want, err := os.ReadFile("testdata/raft-1.txt")
	if err != nil {
		t.Error(err)
	}
	id := identity{Cluster: "mx", ClusterID: "00112233aabbccdd", Node: "node1", Server: "node1-0a1b2c3d"}
	logs := []*raft.Log{
		{Index: 1, Term: 1, Type: raft.LogConfiguration, Data: []byte("servers")},
		{Index: 2, Term: 2, Type: raft.LogNoop, AppendedAt: time.Unix(1764000000, 5)},
		{Index: 3, Term: 2, Type: raft.LogCommand, Data: []byte("tick"), Extensions: []byte("x")},
	}
	dir := t.TempDir()
	s := openTestStore(t, dir)
	if err := errors.Join(s.setIdentity(id), s.StoreLogs(logs), s.SetUint64([]byte("CurrentTerm"), 2), s.Set([]byte("LastVoteCand"), []byte("node1-0a1b2c3d@a:1"))); err != nil {
		t.Fatal(err)
	}
	s.Close()
	if got := dump(t, filepath.Join(dir, "raft.db")); got != string(want) {
		t.Fatalf("the file now holds\n%s\nwhich is another format than testdata/raft-1.txt: give it a new number and keep reading the old one", got)
	}

	dir = t.TempDir()
	fill(t, dir, string(want))
	s = openTestStore(t, dir)
	if got, ok, err := s.identity(); err != nil || !ok || got != id {
		t.Errorf("identity %+v, %v, %v", got, ok, err)
	}
	for _, w := range logs {
		var l raft.Log
		if err := s.GetLog(w.Index, &l); err != nil || l.Term != w.Term || l.Type != w.Type || string(l.Data) != string(w.Data) ||
			string(l.Extensions) != string(w.Extensions) || !l.AppendedAt.Equal(w.AppendedAt) {
			t.Errorf("entry %d: %+v, %v", w.Index, l, err)
		}
	}
	if v, err := s.GetUint64([]byte("CurrentTerm")); err != nil || v != 2 {
		t.Errorf("term %d, %v", v, err)
	}
}

func TestStoreRefusals(t *testing.T) {
	good, err := os.ReadFile("testdata/raft-1.txt")
	if err != nil {
		t.Fatal(err)
	}
	for _, tt := range []struct {
		name string
		old  string
		new  string
		want string
	}{
		{"newer", "meta format 0000000000000001", "meta format 0000000000000002", "written by a newer release"},
		{"a flipped bit", "7469636b\n", "7469636a\n", "entry 3: its checksum does not match"},
		{"cut short", "cd963210000000000000000201187afca767ca000500000000", "cd9632", "entry 2: 3 octets are too few"},
		{"terms go down", "logs 0000000000000003 ", "logs 0000000000000000 ", "has term 1 after term 2"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			text := strings.Replace(string(good), tt.old, tt.new, 1)
			if text == string(good) {
				t.Fatal("nothing to replace")
			}
			dir := t.TempDir()
			fill(t, dir, text)
			_, err := openStore(dir)
			if err == nil || !strings.Contains(err.Error(), tt.want) {
				t.Fatalf("error %v, want %q", err, tt.want)
			}
			if (tt.name == "newer") != errors.Is(err, ErrNewer) {
				t.Fatalf("ErrNewer: %v", err)
			}
			if tt.name != "newer" && !strings.Contains(err.Error(), "move the folder "+dir+" away") {
				t.Fatalf("error %v names no mend", err)
			}
		})
	}
	t.Run("in use", func(t *testing.T) {
		dir := t.TempDir()
		openTestStore(t, dir)
		if _, err := openStore(dir); err == nil || !strings.Contains(err.Error(), "in use by another process") {
			t.Fatalf("error %v", err)
		}
	})
}

func TestIdentityRefusals(t *testing.T) {
	for _, tt := range []struct {
		id            identity
		cluster, node string
		want          string
	}{
		{identity{Node: "old-name"}, "", "new-name", ""}, // a node on its own may be renamed
		{identity{Cluster: "mx", Node: "a"}, "mx", "a", ""},
		{identity{Node: "a"}, "mx", "a", "`tarishi migrate`"},
		{identity{Cluster: "mx", Node: "a"}, "", "a", `belongs to a node of cluster "mx"`},
		{identity{Cluster: "mx", Node: "a"}, "my", "a", `belongs to cluster "mx", but the configuration says "my"`},
		{identity{Cluster: "mx", Node: "a"}, "mx", "b", `belongs to node "a", but the configuration says "b"`},
		{identity{Cluster: "mx", Node: "a", Left: true}, "mx", "a", "has left its cluster"},
	} {
		err := tt.id.check("/data/raft", tt.cluster, tt.node)
		if (err == nil) != (tt.want == "") || err != nil && !strings.Contains(err.Error(), tt.want) {
			t.Errorf("%+v as %s/%s: %v, want %q", tt.id, tt.cluster, tt.node, err, tt.want)
		}
	}
}

// A file that was large and is mostly free is small after the next start.
func TestStoreCompaction(t *testing.T) {
	dir := t.TempDir()
	s := openTestStore(t, dir)
	s.db.NoSync = true
	for i := range uint64(100) {
		if err := s.StoreLog(&raft.Log{Index: i + 1, Term: 1, Data: make([]byte, 100_000)}); err != nil {
			t.Fatal(err)
		}
	}
	size := func() int64 {
		st, err := os.Stat(s.path)
		if err != nil {
			t.Fatal(err)
		}
		return st.Size()
	}
	large := size()
	s.Close()
	s = openTestStore(t, dir)
	if size() != large {
		t.Fatalf("a full file was copied: %d octets, then %d", large, size())
	}
	if err := s.DeleteRange(1, 98); err != nil {
		t.Fatal(err)
	}
	s.Close()
	os.WriteFile(s.path+".compact", []byte("left by a start that was interrupted"), 0o600)
	s = openTestStore(t, dir)
	if size() > large/10 {
		t.Fatalf("%d octets, then %d", large, size())
	}
	var l raft.Log
	if err := s.GetLog(99, &l); err != nil || len(l.Data) != 100_000 {
		t.Fatalf("entry 99: %v", err)
	}
	if ok, err := s.follows(98); !ok || err != nil {
		t.Fatalf("follows: %v, %v", ok, err)
	}
	left, _ := filepath.Glob(filepath.Join(dir, "*"))
	if !slices.Equal(left, []string{s.path}) {
		t.Fatalf("left behind: %v", left)
	}
}

// A write that fails, or never ends, is told.
func TestStoreTrouble(t *testing.T) {
	s := openTestStore(t, t.TempDir())
	told := make(chan error, 1)
	s.trouble = func(err error) { told <- err }
	tooLarge := make([]byte, bolt.MaxKeySize+1)
	if err := s.Set(tooLarge, nil); err == nil {
		t.Fatal("no error")
	}
	if err := <-told; !strings.Contains(err.Error(), "write "+s.path) {
		t.Fatalf("told %v", err)
	}
}
