package shaping

import (
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

var update = flag.Bool("update", false, "write testdata")

var noon = time.Date(2030, 5, 1, 12, 0, 0, 0, time.UTC)

// must applies changes one after the other.
func must(t testing.TB, b *Book, cs ...Change) *Book {
	t.Helper()
	for _, c := range cs {
		next, err := b.Apply(c)
		if err != nil {
			t.Fatalf("%s: %v", c.Op, err)
		}
		b = next
	}
	return b
}

func file(node string, rules ...Rule) Change {
	return Change{Op: OpFile, Node: node, Hash: FileHash(someGroups, rules, Shares{}), Destinations: someGroups, Rules: rules, At: noon}
}

func set(r Rule) Change { return Change{Op: OpSet, Rule: &r, Author: "ann@desk", At: noon} }

func per(p Per) *Per { return &p }

func version(v uint64) *uint64 { return &v }

func TestSetMergesFieldByField(t *testing.T) {
	b := must(t, &Book{}, file("node1", Rule{To: "google", Messages: windows("1000/1h"), Connections: num(5)}),
		set(Rule{To: "google", Messages: windows("10/1h")}),
		set(Rule{To: "google", PerConnection: num(7), Note: "they grumble"}),
		set(Rule{To: "google", Per: Source, Messages: windows("3/1s")}),
		set(Rule{To: "Example.NET.", Recipients: windows("1/1s")}),
		set(Rule{To: "google", Messages: windows("20/1h,1/1s")}))
	if b.Version != 6 || len(b.History) != 6 {
		t.Errorf("version %d, %d entries", b.Version, len(b.History))
	}
	var got []string
	for _, r := range b.Set {
		got = append(got, r.String())
	}
	want := "example.net: recipients 1/1s | google: messages 20/1h, 1/1s; per_connection 7 | google per source: messages 3/1s"
	if s := strings.Join(got, " | "); s != want {
		t.Errorf("%s\nwant %s", s, want)
	}
	if b.Set[1].Note != "they grumble" {
		t.Error("a set without a note takes the note away")
	}
	if got := show(tableOf(t, b).Bounds(Destination{Key: "name:google"}, "", "")); !strings.Contains(got, "connections name:google: 5 from google (file)") {
		t.Errorf("the file's connections are gone:\n%s", got)
	}
	if e := b.History[5]; e.What != "google: messages 20/1h, 1/1s (was 10/1h)" || e.Author != "ann@desk" || !e.At.Equal(noon) || e.Version != 6 {
		t.Errorf("%+v", e)
	}
}

func TestUnsetShowsTheFileAgain(t *testing.T) {
	b := must(t, &Book{}, file("node1", Rule{To: "google", Messages: windows("1000/1h")}),
		set(Rule{To: "google", Messages: windows("10/1h"), Connections: num(2)}),
		set(Rule{To: "google", Per: Tenant, Messages: windows("1/1h")}))
	one := must(t, b, Change{Op: OpUnset, To: "google", Per: per(0), Fields: []Field{Messages}})
	if len(one.Set) != 2 || one.Set[0].String() != "google: connections 2" {
		t.Errorf("%v", one.Set)
	}
	if got := show(tableOf(t, one).Bounds(Destination{Key: "name:google"}, "", "")); !strings.Contains(got, "messages name:google: 1000/1h from google (file)") {
		t.Error(got)
	}
	if all := must(t, b, Change{Op: OpUnset, To: "google"}); len(all.Set) != 0 {
		t.Errorf("%v", all.Set)
	}
	if field := must(t, b, Change{Op: OpUnset, To: "google", Fields: []Field{Messages}}); len(field.Set) != 1 {
		t.Errorf("a field of every scope: %v", field.Set)
	}
}

func TestAChangeOfNothingIsNone(t *testing.T) {
	f := file("node1", Rule{To: "google", Messages: windows("1000/1h")})
	b := must(t, &Book{}, f, set(Rule{To: "a.net", Connections: num(1)}))
	for _, c := range []Change{
		f, set(Rule{To: "A.NET", Connections: num(1)}),
		{Op: OpApply, Rules: []Rule{{To: "a.net", Connections: num(1)}}},
		{Op: OpRollback, Version: version(2)},
		{Op: OpExpire, At: noon},
	} {
		if next := must(t, b, c); next != b {
			t.Errorf("%s: version %d", c.Op, next.Version)
		}
	}
}

func TestApplyReplacesWhatIsSet(t *testing.T) {
	b := must(t, &Book{}, set(Rule{To: "a.net", Connections: num(1)}), set(Rule{To: "b.net", Connections: num(1)}),
		Change{Op: OpApply, Rules: []Rule{{To: "c.net", Messages: windows("1/1s")}, {To: "a.net", Connections: num(2)}}})
	if e := b.History[2]; e.What != "a.net: connections 2 (was 1) | b.net: connections gone (was 1) | c.net: messages 1/1s" {
		t.Error(e.What)
	}
	if len(b.Set) != 2 || b.Set[0].To != "a.net" || b.Set[1].To != "c.net" {
		t.Errorf("%v", b.Set)
	}
}

func TestSuspendResumeExpire(t *testing.T) {
	b := must(t, &Book{Destinations: someGroups},
		Change{Op: OpSuspend, To: "google", Reason: "blocked", Author: "ann", At: noon, Until: noon.Add(2 * time.Hour)},
		Change{Op: OpSuspend, To: "A.net", At: noon})
	if len(b.Suspensions) != 2 || b.Suspensions[0].To != "a.net" || b.NextExpiry() != noon.Add(2*time.Hour) {
		t.Errorf("%+v", b.Suspensions)
	}
	if e := b.History[0]; e.What != "google is suspended until 2030-05-01T14:00:00Z" || e.Reason != "blocked" {
		t.Errorf("%+v", e)
	}
	b = must(t, b, Change{Op: OpSuspend, To: "google", Reason: "still", At: noon.Add(time.Hour), Until: noon.Add(3 * time.Hour)})
	if len(b.Suspensions) != 2 || b.Suspensions[1].Reason != "still" {
		t.Errorf("again: %+v", b.Suspensions)
	}
	early := must(t, b, Change{Op: OpExpire, At: noon.Add(3*time.Hour - 1)})
	late := must(t, b, Change{Op: OpExpire, At: noon.Add(3 * time.Hour)})
	if early != b || len(late.Suspensions) != 1 || late.Suspensions[0].To != "a.net" || !late.NextExpiry().IsZero() {
		t.Errorf("early %+v late %+v", early.Suspensions, late.Suspensions)
	}
	if e := late.History[len(late.History)-1]; e.What != "the suspension of google is over" {
		t.Error(e.What)
	}
	if r := must(t, late, Change{Op: OpResume, To: "a.NET"}); len(r.Suspensions) != 0 {
		t.Errorf("%+v", r.Suspensions)
	}
}

func TestRefusals(t *testing.T) {
	b := must(t, &Book{}, file("node1", Rule{To: "google", Messages: windows("1000/1h")}),
		set(Rule{To: "google", Connections: num(1)}), set(Rule{To: "a.net", Connections: num(1)}),
		Change{Op: OpSuspend, To: "microsoft", At: noon})
	w := windows("1/1s")
	for _, x := range []struct {
		c    Change
		want string
	}{
		{Change{Op: "fold"}, `there is no change called "fold"`},
		{Change{Op: OpSet}, "no limit is given"},
		{set(Rule{To: "gogle", Messages: w}), `"gogle" is a destination nobody defined; did you mean "google"?`},
		{set(Rule{To: "a.net"}), "limits nothing"},
		{set(Rule{To: "a.net", Messages: []Window{{-5, time.Hour}}}), "a.net messages[0].max: -5 is negative"},
		{Change{Op: OpSet, Rule: &Rule{To: "a.net", Messages: w}, Base: 2}, "have changed since version 2; they are at 4"},
		{Change{Op: OpSet, Rule: &Rule{To: "a.net", Messages: w}, Author: "a\nb"}, "author: is not one line"},
		{Change{Op: OpSet, Rule: &Rule{To: "a.net", Messages: w}, Reason: strings.Repeat("x", 401)}, "reason: is not one line"},
		{Change{Op: OpApply, Rules: []Rule{{To: "a.net", Messages: w}, {To: "A.net", Messages: w}}}, "has a limit already"},
		{Change{Op: OpUnset, To: "gogle"}, "nobody defined"},
		{Change{Op: OpUnset, To: "b.net"}, "no limit to b.net was set at run time; see what is"},
		{Change{Op: OpUnset, To: "a.net", Fields: []Field{Messages}}, "no messages of a.net was set at run time; what is set there is a.net: connections 1"},
		{Change{Op: OpUnset, To: "a.net", Fields: []Field{"speed"}}, `there is no field "speed"; the fields are messages, recipients`},
		{Change{Op: OpUnset, To: "a.net", Per: per(Source)}, "no limit to a.net per source was set at run time; what is set there is"},
		{Change{Op: OpSuspend, To: "gogle"}, "did you mean"},
		{Change{Op: OpSuspend, To: "a.net", At: noon, Until: noon}, "until: 2030-05-01T12:00:00Z is over"},
		{Change{Op: OpResume, To: "google"}, "google is not suspended; suspended are microsoft"},
		{Change{Op: OpResume, To: "gogle"}, "did you mean"},
		{Change{Op: OpRollback}, "no version is given"},
		{Change{Op: OpRollback, Version: version(5)}, "there is no version 5 yet; the newest is 4"},
		{Change{Op: OpFile, Node: "node1", Hash: "x"}, "google is not defined, but a limit to it is set at run time; define it, or say `tarishi limits unset google` first"},
		{Change{Op: OpFile, Node: "node1", Hash: "x", Destinations: map[string]Group{"google": {MX: []string{"*.google.com"}}}}, "microsoft is not defined, but suspended"},
		{Change{Op: OpFile, Node: "node1", Hash: "x", Destinations: map[string]Group{"google": {}}}, "destinations.google: has no members"},
		{Change{Op: OpFile, Node: "node1", Hash: "x", Rules: []Rule{{To: "yahoo", Messages: w}}}, "nobody defined"},
		{Change{Op: OpFile, Hash: "x"}, "fault of the program"},
	} {
		next, err := b.Apply(x.c)
		var re *RefusedError
		if next != nil || !errors.As(err, &re) || !strings.Contains(err.Error(), x.want) {
			t.Errorf("%s: %v; want %q", x.c.Op, err, x.want)
		}
	}
	fromFile := must(t, &Book{}, file("node1", Rule{To: "b.net", Messages: w}))
	if _, err := fromFile.Apply(Change{Op: OpUnset, To: "b.net"}); err == nil || !strings.Contains(err.Error(), "the configuration file has one, which is changed there") {
		t.Error(err)
	}
}

// Three nodes get a new file one after the other, while others are restarted with
// the old one; then it is taken back.
func TestFilesOfARollingRestart(t *testing.T) {
	old, new := Rule{To: "a.net", Connections: num(1)}, Rule{To: "a.net", Connections: num(2)}
	b := &Book{}
	for i, step := range []struct {
		node string
		rule Rule
		want int
	}{
		{"node1", old, 1}, {"node2", old, 1}, {"node3", old, 1},
		{"node1", new, 2},
		{"node2", old, 2}, // restarted as it was
		{"node4", old, 2}, // a new one, made from the old file
		{"node2", new, 2}, {"node3", new, 2}, {"node4", new, 2},
		{"node3", old, 1}, // taken back
		{"node1", new, 1}, // restarted as it was
		{"node1", old, 1},
		{"node5", Rule{To: "a.net", Connections: num(3)}, 3}, // a new node with a new file
	} {
		b = must(t, b, file(step.node, step.rule))
		if got := *b.File[0].Connections; got != step.want {
			t.Errorf("step %d, %s: %d connections, want %d", i, step.node, got, step.want)
		}
	}
	if b.Version != 4 || b.History[1].What != "node1 brought its file; a.net: connections 2 (was 1)" {
		t.Errorf("version %d, %+v", b.Version, b.History)
	}
}

func TestApplyLeavesItsBookAlone(t *testing.T) {
	r := Rule{To: "a.net", Messages: windows("1/1s"), Connections: num(1)}
	b := must(t, &Book{}, set(r))
	before, _ := json.Marshal(b)
	must(t, b, set(Rule{To: "a.net", Messages: windows("2/1s")}), Change{Op: OpUnset, To: "a.net", Fields: []Field{Connections}},
		Change{Op: OpSuspend, To: "a.net", At: noon}, file("node1", r), Change{Op: OpRollback, Version: version(0)})
	r.Messages[0].Max, *r.Connections = 99, 99 // and the caller may do with his rule what he likes
	if after, _ := json.Marshal(b); string(after) != string(before) {
		t.Errorf("%s\nbecame %s", before, after)
	}
}

func TestHistoryIsBounded(t *testing.T) {
	b := &Book{}
	for i := range maxHistory + 50 {
		b = must(t, b, set(Rule{To: "a.net", Connections: num(i + 1)}))
	}
	if len(b.History) != maxHistory || b.History[0].Version != 51 {
		t.Errorf("%d entries from version %d", len(b.History), b.History[0].Version)
	}
	if back := must(t, b, Change{Op: OpRollback, Version: version(50)}); *back.Set[0].Connections != 50 {
		t.Errorf("%v", back.Set)
	}
	if _, err := b.Apply(Change{Op: OpRollback, Version: version(49)}); err == nil || !strings.Contains(err.Error(), "the oldest is 50") {
		t.Error(err)
	}
	many := func(n int) (rules []Rule) {
		for i := range MaxRules {
			rules = append(rules, Rule{To: fmt.Sprintf("d%d.test", i), Connections: num(n)})
		}
		return rules
	}
	for n := range 4 {
		b = must(t, b, Change{Op: OpApply, Rules: many(n)})
	}
	if len(b.History) != 2 {
		t.Errorf("%d entries of %d rules each", len(b.History), MaxRules)
	}
	if back := must(t, b, Change{Op: OpRollback, Version: version(b.Version - 1)}); *back.Set[0].Connections != 2 {
		t.Error("the last change cannot be undone")
	}
}

// The JSON of a Book is in logs and snapshots; what is written must be read for ever.
func TestBookGolden(t *testing.T) {
	b := must(t, &Book{},
		file("node1", Rule{To: "google", Messages: windows("1000/1h,20/1s"), Connections: num(5), PerConnection: num(50)},
			Rule{To: "*", Per: Source, NewConnections: windows("60/1m"), Note: "gently"}),
		set(Rule{To: "google", Messages: windows("10/1h"), Note: "they grumble"}),
		set(Rule{To: "example.net", Per: Source | Tenant, Recipients: windows("5/1m")}),
		Change{Op: OpUnset, To: "google", Author: "bob@desk", At: noon.Add(time.Hour), Reason: "all well again"},
		Change{Op: OpSuspend, To: "example.net", Author: "bob@desk", Reason: "moved", At: noon.Add(time.Hour), Until: noon.Add(3 * time.Hour)})
	path := filepath.Join("testdata", "book.json")
	got, err := json.MarshalIndent(b, "", "  ")
	if err != nil {
		t.Fatal(err)
	}
	if *update {
		if err := os.WriteFile(path, append(got, '\n'), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if string(got)+"\n" != string(want) {
		t.Errorf("got\n%s\nwant\n%s", got, want)
	}
	var back Book
	if err := json.Unmarshal(want, &back); err != nil {
		t.Fatal(err)
	}
	again, _ := json.MarshalIndent(&back, "", "  ")
	if string(again) != string(got) {
		t.Errorf("read back as\n%s", again)
	}
}

// Who resumes what a reaction suspends is told which one, and how it is undone.
func TestResumeNamesTheReaction(t *testing.T) {
	b := &Book{Reactions: []Reaction{{ID: 7, To: Destination{Key: "domain:d.test"}, Remedy: Remedy{Action: Suspend, For: time.Hour}}}}
	_, err := b.Apply(Change{Op: OpResume, To: "D.test", At: noon})
	if err == nil || !strings.Contains(err.Error(), "reaction r7 suspends d.test") || !strings.Contains(err.Error(), "tarishi reactions undo r7") {
		t.Error(err)
	}
}
