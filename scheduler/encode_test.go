package scheduler

import (
	"bytes"
	"encoding/hex"
	"errors"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/tarishi/tarishi/shaping"
)

// golden compares b with a file, in hex. With UPDATE_GOLDEN=1 it writes the file: only
// for a format that no release has written yet.
func golden(t *testing.T, name string, b []byte) {
	t.Helper()
	path := filepath.Join("testdata", name)
	dump := hex.Dump(b)
	if os.Getenv("UPDATE_GOLDEN") == "1" {
		if err := os.WriteFile(path, []byte(dump), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if dump != string(want) {
		t.Errorf("%s: it is written otherwise than it was:\n%swant:\n%s", name, dump, want)
	}
}

// readGolden is what a golden file holds.
func readGolden(t testing.TB, name string) []byte {
	text, err := os.ReadFile(filepath.Join("testdata", name))
	if err != nil {
		t.Fatal(err)
	}
	var b []byte
	for line := range strings.Lines(string(text)) {
		if len(line) < 60 {
			continue // the length, or nothing
		}
		x, err := hex.DecodeString(strings.ReplaceAll(strings.TrimSpace(line[10:58]), " ", ""))
		if err != nil {
			t.Fatal(err)
		}
		b = append(b, x...)
	}
	return b
}

// examples has every command, and every part of a Tick.
func examples() map[string]*Command {
	return map[string]*Command{
		"termstart": {Type: TermStart, Clock: 123_456_789 * Microsecond, RaftTerm: 42},
		"tick": {
			Type: Tick, Clock: 1_000_000*Second + 17*Microsecond, Term: 3, Seq: 77,
			Horizon: 1_000_001*Second + 500*Millisecond, Lease: 1_000_030 * Second,
			Recs: []Rec{
				{ID: 4, Name: "messages domain:example.net", Keep: 2 * Hour, Add: 16},
				{ID: 5, Add: -3, Close: []Start{{999_999 * Second, 2}, {1_000_000*Second + Millisecond, 1}}},
				{ID: 900, Forget: true},
				{ID: 901, Close: make20()},
			},
			Slots:  []SlotRec{{6, "connections domain:example.net", 12, 3}, {7, "", 12, 0}},
			Absent: []SessionID{9},
			Leaves: []SessionID{10, 11},
		},
		"join":        {Type: Join, Node: "mx1.example.net"},
		"change":      {Type: Change, Change: examplesChange()},
		"clusterinit": {Type: ClusterInit, Cluster: "blue"},
		"import":      {Type: Import, Clock: 5 * Second, Snapshot: []byte("not one")},
	}
}

func make20() (out []Start) {
	for i := range 20 {
		out = append(out, Start{999_000*Second + Time(i)*Second, int64(i + 1)})
	}
	return out
}

func examplesChange() *shaping.Change {
	n := 5
	return &shaping.Change{
		Op: shaping.OpSet, Author: "ann", At: time.Unix(1_700_000_000, 0).UTC(), Reason: "as agreed",
		Rule: &shaping.Rule{To: "example.net", Messages: windows("1000/1h,20/1s"), Connections: &n},
	}
}

func TestCommandsAreWrittenAsEver(t *testing.T) {
	for name, c := range examples() {
		b := c.Append(nil)
		golden(t, "command-1-"+name+".hex", b)
		got, err := ParseCommand(readGolden(t, "command-1-"+name+".hex"))
		if err != nil {
			t.Errorf("%s: %v", name, err)
		} else if !reflect.DeepEqual(got, c) {
			t.Errorf("%s: %+v, want %+v", name, got, c)
		}
	}
}

func TestNewerAndDamagedCommandsAreRefused(t *testing.T) {
	for name, c := range examples() {
		b := c.Append(nil)
		for _, newer := range [][]byte{append([]byte{format + 1}, b[1:]...), append([]byte{format, 99}, b[2:]...)} {
			if _, err := ParseCommand(newer); !errors.Is(err, ErrNewer) {
				t.Errorf("%s of a newer version: %v", name, err)
			}
		}
		for i := range b {
			// A shorter one is damaged, or all that was meant.
			if got, err := ParseCommand(b[:i]); err == nil && !bytes.Equal(got.Append(nil), b[:i]) {
				t.Errorf("%s cut to %d octets reads as %+v", name, i, got)
			}
		}
	}
	if _, err := ParseCommand(nil); err == nil {
		t.Error("nothing is a command")
	}
}

// What is written is read again; what rounding does, it does to the safe side.
func TestTickIsReadAsWritten(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		at := rapid.Custom(func(t *rapid.T) Time { return Time(rapid.Int64Range(-1<<50, 1<<58).Draw(t, "ns")) })
		c := &Command{
			Type: Tick, Clock: at.Draw(t, "clock"), Term: rapid.Uint64().Draw(t, "term"), Seq: rapid.Uint64().Draw(t, "seq"),
			Horizon: at.Draw(t, "horizon"), Lease: at.Draw(t, "lease"),
		}
		id := uint64(0)
		for range rapid.IntRange(0, 4).Draw(t, "recs") {
			id += uint64(rapid.IntRange(1, 1<<40).Draw(t, "id"))
			r := Rec{ID: id, Name: rapid.String().Draw(t, "name"), Add: rapid.Int64().Draw(t, "add"), Forget: rapid.Bool().Draw(t, "forget")}
			for range rapid.IntRange(0, 40).Draw(t, "closes") {
				r.Close = append(r.Close, Start{at.Draw(t, "at"), rapid.Int64Range(0, 1<<39).Draw(t, "n")})
			}
			c.Recs = append(c.Recs, r)
		}
		got, err := ParseCommand(c.Append(nil))
		if err != nil {
			t.Fatal(err)
		}
		if d := c.Clock - got.Clock; d < 0 || d >= Microsecond {
			t.Fatalf("the clock is %d, was %d", got.Clock, c.Clock)
		}
		if d := c.Horizon - got.Horizon; d < 0 || d >= Microsecond {
			t.Fatalf("the horizon is %d, was %d", got.Horizon, c.Horizon)
		}
		if d := c.Lease - got.Lease; d < 0 || d >= Microsecond {
			t.Fatalf("the lease is %d, was %d", got.Lease, c.Lease)
		}
		for i, r := range c.Recs {
			for k, s := range r.Close {
				x := got.Recs[i].Close[k]
				if d := x.At - s.At; d < 0 || d >= Millisecond || x.N != s.N {
					t.Fatalf("a start at %d is written as %d", s.At, x.At)
				}
				got.Recs[i].Close[k] = s
			}
		}
		got.Clock, got.Horizon, got.Lease = c.Clock, c.Horizon, c.Lease
		if !reflect.DeepEqual(got, c) {
			t.Fatalf("%+v\nwas %+v", got, c)
		}
	})
}

func FuzzParseCommand(f *testing.F) {
	for _, c := range examples() {
		f.Add(c.Append(nil))
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		c, err := ParseCommand(b)
		if err != nil {
			return
		}
		// Whatever it says, the state survives it, and its own words are read again.
		_, _ = NewFSM(DefaultParams()).Apply(1, c)
		if _, err := ParseCommand(c.Append(nil)); err != nil {
			t.Fatalf("%+v: %v", c, err)
		}
	})
}
