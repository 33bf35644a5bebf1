package cluster

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"
	"pgregory.net/rapid"
)

// realBlock has the real server write a block: 20 records, with and without
// headers, some of them removed and erased again. It returns the store's folder
// too. If a new nats-server writes its records in another way, this is where it shows.
func realBlock(t *testing.T) (dir string, block []byte) {
	t.Helper()
	dir = t.TempDir()
	n, err := StartNATS(NATSOptions{Dir: dir})
	if err != nil {
		t.Fatal(err)
	}
	nc, err := nats.Connect("", nats.InProcessServer(n))
	if err != nil {
		t.Fatal(err)
	}
	ask := func(subject, body string) {
		t.Helper()
		m, err := nc.Request("$JS.API.STREAM."+subject, []byte(body), 5*time.Second)
		if err != nil || bytes.Contains(m.Data, []byte(`"error"`)) {
			t.Fatalf("%s: %s %v", subject, m.Data, err)
		}
	}
	ask("CREATE.S", `{"name":"S","subjects":["s.>"],"storage":"file","retention":"limits","num_replicas":1}`)
	for i := range 20 {
		m := &nats.Msg{Subject: fmt.Sprint("s.", i), Data: bytes.Repeat([]byte{byte(i)}, i*50)}
		if i%2 == 0 {
			m.Header = nats.Header{"Nats-Msg-Id": {fmt.Sprint(i)}}
		}
		if _, err := nc.RequestMsg(m, 5*time.Second); err != nil {
			t.Fatal(err)
		}
	}
	ask("MSG.DELETE.S", `{"seq":5,"no_erase":true}`)
	ask("MSG.DELETE.S", `{"seq":7}`)
	nc.Close()
	n.Stop()
	block, err = os.ReadFile(filepath.Join(StreamsDir(dir), "S", "msgs", "1.blk"))
	if err != nil {
		t.Fatal(err)
	}
	return dir, block
}

func TestReadsWhatTheServerWrites(t *testing.T) {
	dir, b := realBlock(t)
	s := scanBlock(b, blockHash("S", 1))
	if s.bad >= 0 || s.records < 20 || s.last == 0 {
		t.Errorf("nats-server %s writes records that the check does not understand: %+v", server.VERSION, s)
	}
	rest, err := Prepare(t.Context(), PrepareOptions{Dir: dir})
	if err != nil || rest != nil {
		t.Errorf("a sound store: %v, %v", rest, err)
	}
	if scanBlock(b, blockHash("S", 2)).bad != 0 {
		t.Error("another block's content passes")
	}
}

// There is nothing to check before the first start, nor after one that was killed
// while it made its streams.
func TestPrepareNewStore(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "queue")
	if _, err := Prepare(t.Context(), PrepareOptions{Dir: dir}); err != nil {
		t.Error(err)
	}
	msgs := filepath.Join(StreamsDir(dir), "WAIT", "msgs")
	if err := errors.Join(os.MkdirAll(msgs, 0o750), os.WriteFile(filepath.Join(msgs, "1.blk"), nil, 0o640)); err != nil {
		t.Fatal(err)
	}
	if _, err := Prepare(t.Context(), PrepareOptions{Dir: dir}); err != nil {
		t.Error(err)
	}
}

// Any change of any octet is noticed, and salvage gives only records that were
// there, in their order. One thing JetStream's checksum cannot tell: where the subject
// ends and the payload begins in a record without headers.
func TestScanFindsEveryChange(t *testing.T) {
	_, b := realBlock(t)
	h := blockHash("S", 1)
	whole, unprotected := map[string]bool{}, map[int]bool{}
	for off := 0; off < len(b); {
		r := readRecord(b[off:], h)
		whole[string(b[off:off+r.size])] = true
		if binary.LittleEndian.Uint32(b[off:])&bitHeaders == 0 {
			unprotected[off+20], unprotected[off+21] = true, true
		}
		off += r.size
	}
	rapid.Check(t, func(t *rapid.T) {
		c := bytes.Clone(b)
		at := rapid.IntRange(0, len(b)-1).Draw(t, "at")
		for i := at; i < min(len(c), at+rapid.IntRange(1, 200).Draw(t, "octets")); i++ {
			if !unprotected[i] {
				c[i] ^= byte(rapid.IntRange(1, 255).Draw(t, "change"))
			}
		}
		if bytes.Equal(c, b) {
			t.Skip("nothing changed")
		}
		s := scanBlock(c, h)
		if s.bad < 0 || s.bad > at {
			t.Fatalf("changed at %d, found %+v", at, s)
		}
		out, _, _ := salvage(c, h)
		for off := 0; off < len(out); {
			r := readRecord(out[off:], h)
			if r.why != "" || !whole[string(out[off:off+r.size])] {
				t.Fatalf("salvaged at %d what was not there: %+v", off, r)
			}
			off += r.size
		}
	})
}

// A message may carry what looks like a record. When its own record is damaged,
// that must not become one.
func TestSalvageTakesNoForgedRecord(t *testing.T) {
	h := blockHash("S", 1)
	make := func(seq uint64, body []byte) []byte {
		b := binary.LittleEndian.AppendUint32(nil, uint32(recordLeast+1+len(body)))
		b = binary.LittleEndian.AppendUint64(b, seq)
		b = binary.LittleEndian.AppendUint64(b, 1)
		b = append(binary.LittleEndian.AppendUint16(b, 1), 's')
		b = append(b, body...)
		h.Reset()
		h.Write(b[4:20])
		h.Write(b[recordHead:])
		return h.Sum(b)
	}
	first, forged, last := make(1, []byte("one")), make(2, []byte("forged")), make(3, []byte("three"))
	middle := make(2, append(append([]byte("before "), forged...), " after"...))
	block := append(append(bytes.Clone(first), middle...), last...)
	block[len(first)] ^= 0xff // its length: no way to hop over it
	out, records, lost := salvage(block, h)
	if want := append(bytes.Clone(first), last...); !bytes.Equal(out, want) || records != 2 || lost != 1 {
		t.Errorf("salvaged %d records, %d lost: %q", records, lost, out)
	}
}

// What a power cut leaves of writes that were never synced is not damage; the same
// in older records is.
func TestUnsyncedEnds(t *testing.T) {
	for _, x := range []struct {
		name    string
		edit    func(b []byte) []byte
		window  time.Duration
		refused bool
	}{
		{"a torn record", func(b []byte) []byte { return b[:len(b)-5] }, 1, false},
		{"zeros at the end", func(b []byte) []byte { return append(b, make([]byte, 5000)...) }, 1, false},
		{"a page that was not written", func(b []byte) []byte { clear(b[4096:8192]); return b }, time.Hour, false},
		{"a page lost long after", func(b []byte) []byte { clear(b[4096:8192]); return b }, -1, true},
		{"a piece of other octets", func(b []byte) []byte { copy(b[4096:], "something else"); return b }, time.Hour, true},
	} {
		t.Run(x.name, func(t *testing.T) {
			dir, b := realBlock(t)
			path := filepath.Join(StreamsDir(dir), "S", "msgs", "1.blk")
			if err := errors.Join(removeClean(dir), os.WriteFile(path, x.edit(b), 0o640)); err != nil {
				t.Fatal(err)
			}
			_, err := Prepare(t.Context(), PrepareOptions{Dir: dir, Unsynced: x.window})
			var damage *Damage
			if x.refused != errors.As(err, &damage) {
				t.Errorf("got %v", err)
			}
		})
	}
}

// The list of a clean stop is void when it cannot be read or something has written
// since; it never speaks of a store that has moved on.
func TestCleanList(t *testing.T) {
	dir, b := realBlock(t)
	list := readClean(dir)
	if list == nil || list.Streams["S"].Blocks[1] != int64(len(b)) || !list.trusts(dir, "S") {
		t.Fatalf("%+v", list)
	}
	path := filepath.Join(dir, cleanName)
	good, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, bytes.Replace(good, []byte(`"1":`), []byte(`"2":`), 1), 0o640); err != nil {
		t.Fatal(err)
	}
	if readClean(dir) != nil {
		t.Error("a list that does not match its checksum is believed")
	}
	if err := os.WriteFile(path, good, 0o640); err != nil {
		t.Fatal(err)
	}
	n, err := StartNATS(NATSOptions{Dir: dir})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(path); !errors.Is(err, os.ErrNotExist) {
		t.Error("the list stands while the server writes")
	}
	n.Stop()
	grown := append(bytes.Clone(b), b[:readRecord(b, blockHash("S", 1)).size]...)
	if err := os.WriteFile(filepath.Join(StreamsDir(dir), "S", "msgs", "1.blk"), grown, 0o640); err != nil {
		t.Fatal(err)
	}
	if _, err := Prepare(t.Context(), PrepareOptions{Dir: dir}); err != nil {
		t.Errorf("a store that an older release has written to since: %v", err)
	}
}

// With no time at all only the newest block is read at the start; the rest is, too, afterwards.
func TestRest(t *testing.T) {
	dir, b := realBlock(t)
	msgs := filepath.Join(StreamsDir(dir), "S", "msgs")
	if err := os.WriteFile(filepath.Join(msgs, "2.blk"), b, 0o640); err != nil { // its checksums are 1.blk's
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(msgs, "3.blk"), nil, 0o640); err != nil {
		t.Fatal(err)
	}
	if err := writeClean(dir); err != nil {
		t.Fatal(err)
	}
	var log strings.Builder
	rest, err := Prepare(t.Context(), PrepareOptions{Dir: dir, Budget: -1, Log: textLog(&log)})
	if err != nil {
		t.Fatal(err)
	}
	rest.Run(t.Context())
	if got := log.String(); strings.Count(got, "level=ERROR") != 1 || !strings.Contains(got, "2.blk") {
		t.Errorf("log: %s", got)
	}
}

func FuzzScan(f *testing.F) {
	f.Add([]byte{}, uint64(1))
	f.Add(bytes.Repeat([]byte{30, 0, 0, 0}, 40), uint64(2))
	f.Fuzz(func(t *testing.T, b []byte, block uint64) {
		h := blockHash("S", block)
		s := scanBlock(b, h)
		out, _, _ := salvage(b, h)
		if (s.bad < 0) != bytes.Equal(out, b) {
			t.Fatalf("%+v, but salvage gives %d of %d octets", s, len(out), len(b))
		}
		if again := scanBlock(out, h); again.bad >= 0 {
			t.Fatalf("what was salvaged is damaged: %+v", again)
		}
	})
}

func textLog(w io.Writer) *slog.Logger { return slog.New(slog.NewTextHandler(w, nil)) }
