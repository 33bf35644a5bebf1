package shaping

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"
)

var google = Destination{Key: "name:google"}

func remedy(s string) Remedy {
	r, err := ParseRemedy(s)
	if err != nil {
		panic(err)
	}
	return r
}

func react(at time.Time, ts ...Trigger) Change {
	return Change{Op: OpReact, Author: "tarishi", At: at, Triggers: ts}
}

func trigger(rule, do string, to Destination) Trigger {
	return Trigger{Rule: rule, Cause: "421 4.7.28 unusual rate", To: to, Source: "192.0.2.1", Tenant: "acme", Remedy: remedy(do)}
}

// bounds is what holds for a source and tenant at google, in one line.
func bounds(t *testing.T, b *Book, source, tenant string) string {
	t.Helper()
	tab, err := b.Table()
	if err != nil {
		t.Fatal(err)
	}
	x := tab.Bounds(google, source, tenant)
	var out []string
	for _, c := range x.Counters {
		out = append(out, c.Counter+"="+FormatWindows(c.Windows))
	}
	for _, c := range x.Slots {
		out = append(out, fmt.Sprintf("%s=%d", c.Counter, c.Max))
	}
	if x.Suspended != nil {
		out = append(out, "suspended until "+x.Suspended.Until.Format("15:04"))
	}
	return strings.Join(out, " | ")
}

func TestSlowCutsAndRecovers(t *testing.T) {
	b := must(t, &Book{}, file("node1", Rule{To: "google", Messages: windows("1000/1h,20/1s"), Connections: num(5)}))
	slow := trigger("gmail/rate", "slow 0.5 floor 1/1m recover 20%/10m", google)
	for _, x := range []struct {
		name   string
		change Change
		want   string // the reaction's window
	}{
		{"first", react(noon, slow), "8/58s"}, // 500/1h
		{"settling", react(noon.Add(time.Second), slow), "8/58s"},
		{"again", react(noon.Add(2*time.Minute), slow), "4/58s"},
		{"no step yet", Change{Op: OpRecover, At: noon.Add(11 * time.Minute)}, "4/58s"},
		{"a step", Change{Op: OpRecover, At: noon.Add(12 * time.Minute)}, "7/56s"}, // 45 %
		{"another", Change{Op: OpRecover, At: noon.Add(22 * time.Minute)}, "10/56s"},
		{"again", react(noon.Add(23*time.Minute), slow), "5/56s"},
		{"steps that were missed", Change{Op: OpRecover, At: noon.Add(54 * time.Minute)}, "10/39s"},
	} {
		before := b.Version
		b = must(t, b, x.change)
		want := "messages name:google=1000/1h, 20/1s, " + x.want + " | connections name:google=5"
		if got := bounds(t, b, "192.0.2.9", ""); got != want {
			t.Fatalf("%s: %s\nwant %s", x.name, got, want)
		}
		if moved := b.Version != before; moved == (x.name == "settling" || x.name == "no step yet") {
			t.Errorf("%s: version %d after %d", x.name, b.Version, before)
		}
	}
	tab, _ := b.Table()
	if c := tab.Bounds(google, "", "").Counters[0]; c.From.String() != "google (file)" || len(c.Lowered) != 1 || c.Lowered[0].From.String() != "google (reaction r1)" {
		t.Errorf("%+v", c)
	}
	b = must(t, b, Change{Op: OpRecover, At: noon.Add(2 * time.Hour)})
	if got := bounds(t, b, "", ""); len(b.Reactions) != 0 || got != "messages name:google=1000/1h, 20/1s | connections name:google=5" {
		t.Errorf("recovered: %s, %v", got, b.Reactions)
	}
	var said []string
	for _, e := range b.History {
		said = append(said, e.What)
	}
	for _, want := range []string{"google slow: 8/58s, 50% of 1000/1h (r1, rule gmail/rate)", "google slow: 4/58s, 25% of 1000/1h (r1, again)", "google (r1) is over"} {
		if !strings.Contains(strings.Join(said, "\n"), want) {
			t.Errorf("history lacks %q:\n%s", want, strings.Join(said, "\n"))
		}
	}
}

// Where nothing limits messages, a reaction begins where its remedy says, and
// recovers beyond: nobody said where the end is.
func TestSlowWithoutALimit(t *testing.T) {
	slow := trigger("r", "slow 0.5 per source from 60/1m recover 100%/10m", google)
	b := must(t, &Book{}, file("node1"), react(noon, slow))
	for _, x := range []struct {
		change Change
		want   string
	}{
		{Change{Op: OpRecover, At: noon}, "10/10s"},
		{react(noon.Add(time.Hour), slow), "10/20s"},
		{Change{Op: OpRecover, At: noon.Add(time.Hour + 10*time.Minute)}, "10/6s700ms"},
		{Change{Op: OpRecover, At: noon.Add(2 * time.Hour)}, "10/1s540ms"},
	} {
		b = must(t, b, x.change)
		if got, want := bounds(t, b, "192.0.2.1", "x"), "messages name:google source=192.0.2.1="+x.want; got != want {
			t.Errorf("%s; want %s", got, want)
		}
		if got := bounds(t, b, "192.0.2.2", "x"); got != "" {
			t.Errorf("another source: %s", got)
		}
	}
	if b = must(t, b, Change{Op: OpRecover, At: noon.Add(3 * time.Hour)}); len(b.Reactions) != 0 {
		t.Errorf("it goes on at %s", b.Reactions[0].What())
	}
}

func TestReactionsOfOtherKinds(t *testing.T) {
	b := must(t, &Book{}, file("node1", Rule{To: "google", Connections: num(5)}),
		react(noon, trigger("a", "connections 0.3 for 1h", google), trigger("b", "suspend per source for 2h", google), trigger("c", "hold for 3h", google)))
	for _, x := range []struct{ source, tenant, want string }{
		{"", "", "connections name:google=1"},
		{"192.0.2.1", "", "connections name:google=1 | suspended until 14:00"},
		{"192.0.2.1", "acme", "connections name:google=1 | suspended until 15:00"},
		{"", "acme", "connections name:google=1 | suspended until 15:00"},
	} {
		if got := bounds(t, b, x.source, x.tenant); got != x.want {
			t.Errorf("%q, %q: %s; want %s", x.source, x.tenant, got, x.want)
		}
	}
	tab, _ := b.Table()
	if x := tab.Bounds(google, "", "other"); !x.Tenants || x.Free() {
		t.Error("that one of the tenants is held plays no part for others: nobody would ask for each apart")
	}
	// A domain of it that counts by itself is at the same hosts.
	if x := tab.Bounds(Destination{Key: "domain:gmail.com", Name: "google"}, "192.0.2.1", ""); x.Suspended == nil || len(x.Slots) != 1 || x.Slots[0].Counter != "connections domain:gmail.com" {
		t.Errorf("%+v", x)
	}
	if got := b.NextReaction(); !got.Equal(noon.Add(time.Hour)) {
		t.Errorf("the next is at %v", got)
	}
	// An operator's suspension stands before a reaction's.
	op := must(t, b, Change{Op: OpSuspend, To: "google", Author: "ann", At: noon, Until: noon.Add(time.Minute)})
	if got := bounds(t, op, "192.0.2.1", "acme"); got != "connections name:google=1 | suspended until 12:01" {
		t.Error(got)
	}
	b = must(t, b, Change{Op: OpRecover, At: noon.Add(90 * time.Minute)})
	if got := bounds(t, b, "192.0.2.1", ""); got != "connections name:google=5 | suspended until 14:00" {
		t.Error(got)
	}
	if b = must(t, b, Change{Op: OpUndo, IDs: []uint64{2, 3}, Author: "ann", At: noon}); len(b.Reactions) != 0 {
		t.Errorf("undone, and there: %v", b.Reactions)
	}
	if e := b.History[len(b.History)-1]; e.Author != "ann" || !strings.Contains(e.What, "google from 192.0.2.1 (r2, rule b) is undone") {
		t.Errorf("%+v", e)
	}
}

func TestReactRefuses(t *testing.T) {
	b := must(t, &Book{}, file("node1"))
	var many []Trigger
	for i := range MaxReactions + 3 {
		many = append(many, Trigger{Rule: "x", To: Destination{Key: fmt.Sprintf("domain:d%d.test", i)}, Remedy: remedy("suspend for 1h")})
	}
	full := must(t, b, react(noon, many...))
	if e := full.History[len(full.History)-1]; !strings.HasPrefix(e.What, "3 more would be too many | d0.test suspended") || len(full.Reactions) != MaxReactions {
		t.Error(e.What)
	}
	for _, x := range []struct {
		b    *Book
		c    Change
		want string
	}{
		{b, Change{Op: OpReact}, "nothing to react to"},
		{b, react(noon, trigger("r", "reconnect", google)), "reconnect is about one attempt"},
		{b, react(noon, trigger("r", "suspend for 1h", Destination{Key: "google"})), `"google" is no destination`},
		{b, react(noon, Trigger{Rule: "a\nb", To: google, Remedy: remedy("suspend for 1h")}), "rule: is not one line"},
		{b, react(noon, Trigger{Rule: "r", To: google, Remedy: Remedy{Action: Slow}}), "factor: 0 does not lower"},
		{b, Change{Op: OpUndo}, "no reaction is named"},
		{b, Change{Op: OpUndo, IDs: []uint64{4}}, "there is no reaction r4"},
		{full, react(noon, trigger("y", "suspend for 1h", google)), "there are 2000 reactions already"},
	} {
		if _, err := x.b.Apply(x.c); err == nil || !strings.Contains(err.Error(), x.want) {
			t.Errorf("%s: %v; want %q", x.c.Op, err, x.want)
		}
	}
}

// A reaction only ever lowers: whatever comes, a slow one lets through no more than
// its share, and not much less; it never goes below the floor, nor above the limit.
func TestSlowStaysWithinItsShare(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		limit := Window{rapid.IntRange(1, 100_000).Draw(t, "max"), time.Duration(rapid.Int64Range(int64(time.Second), int64(MaxWindow)).Draw(t, "length"))}
		b, err := (&Book{}).Apply(file("node1", Rule{To: "google", Messages: []Window{limit}}))
		if err != nil {
			t.Fatal(err)
		}
		tr := Trigger{Rule: "r", To: google, Remedy: remedy("slow")}
		tr.Remedy.Factor = rapid.Float64Range(0.001, 0.999).Draw(t, "factor")
		now := noon
		for range rapid.IntRange(1, 12).Draw(t, "changes") {
			now = now.Add(time.Duration(rapid.Int64Range(0, int64(time.Hour)).Draw(t, "pause")))
			c := react(now, tr)
			if rapid.Bool().Draw(t, "recover") {
				c = Change{Op: OpRecover, At: now}
			}
			if b, err = b.Apply(c); err != nil {
				t.Fatal(err)
			}
			for i := range b.Reactions {
				r := &b.Reactions[i]
				w := r.Pace()
				if err := w.check(); err != nil {
					t.Fatalf("%s: %v", w, err)
				}
				share := float64(limit.Max) / limit.Length.Seconds() * float64(r.Left) / whole
				if got := float64(w.Max) / w.Length.Seconds(); got > share*1.0001 || got < share*0.85 && w.Length < MaxWindow {
					t.Fatalf("%s of %s, %s left: %g/s, not %g/s", w, limit, percent(r.Left), got, share)
				}
				if r.Left < whole && slower(limit, r.Remedy.Floor) {
					t.Fatalf("%s is cut, and below the floor already", limit)
				}
				if least := float64(1) / 60; share < least*0.999 && !slower(limit, r.Remedy.Floor) {
					t.Fatalf("%g/s is below the floor", share)
				}
				if r.Left > whole {
					t.Fatalf("%s of the limit", percent(r.Left))
				}
			}
		}
	})
}

// People's changes stay in the history, whatever a night of reactions brings.
func TestReactionsDoNotCrowdTheHistory(t *testing.T) {
	b := must(t, &Book{}, file("node1"), set(Rule{To: "google", Connections: num(1)}))
	for i := range maxReactionHistory + 50 {
		b = must(t, b, react(noon.Add(time.Duration(i)*time.Hour), trigger("r", "suspend for 30m", google)))
	}
	n := 0
	for _, e := range b.History {
		if e.reacts() {
			n++
		}
	}
	if n != maxReactionHistory || b.History[1].Op != OpSet {
		t.Errorf("%d entries of reactions; the second entry is %s", n, b.History[1].Op)
	}
	if b = must(t, b, Change{Op: OpRollback, Version: version(1)}); len(b.Set) != 0 {
		t.Errorf("back at version 1: %v", b.Set)
	}
}

// The history that can be gone back to ends where one of people's changes is
// forgotten, whatever of reactions is older.
func TestRollbackEndsWithTheHistory(t *testing.T) {
	b := must(t, &Book{}, file("node1"), react(noon, trigger("r", "suspend for 30m", google)))
	for i := range maxHistory + 1 {
		b = must(t, b, set(Rule{To: "google", Connections: num(i + 1)}))
	}
	if _, err := b.Apply(Change{Op: OpRollback, Version: version(2)}); err == nil {
		t.Error("back beyond what is remembered")
	}
	if b = must(t, b, Change{Op: OpRollback, Version: version(3)}); *b.Set[0].Connections != 1 {
		t.Errorf("at version 3: %v", b.Set)
	}
}

func TestCause(t *testing.T) {
	for _, x := range []struct{ in, want string }{
		{"421 4.7.28\r\n\tunusual  rate\x00", "421 4.7.28 unusual rate"},
		{strings.Repeat("ä", 200), strings.Repeat("ä", 78) + "…"},
		{"a\xffb", "a?b"},
	} {
		if got := Cause(x.in); got != x.want || len(got) > MaxCause {
			t.Errorf("%q: %q", x.in, got)
		}
	}
}

func TestExplainNamesReactions(t *testing.T) {
	b := must(t, &Book{}, file("node1", Rule{To: "google", Messages: windows("1000/1h")}),
		react(noon, trigger("gmail/rate", "slow per source", google), trigger("gmail/auth", "hold for 1h", google)))
	tab, err := b.Table()
	if err != nil {
		t.Fatal(err)
	}
	e, err := tab.Explain("gmail.com", nil, "192.0.2.1", "")
	if err != nil || len(e.Reactions) != 2 || len(e.Values) != 2 || e.Suspended != nil {
		t.Fatalf("%+v, %v", e, err)
	}
	if v := e.Values[1]; v.String() != "8/58s" || v.From.String() != "google per source (reaction r1)" || v.Note != "rule gmail/rate: 421 4.7.28 unusual rate" {
		t.Errorf("%s from %s: %s", v, v.From, v.Note)
	}
	if e, _ = tab.Explain("gmail.com", nil, "", "acme"); len(e.Values) != 1 || e.Suspended == nil || !strings.Contains(e.Suspended.Reason, "r2, rule gmail/auth: 421 4.7.28") {
		t.Errorf("%+v", e)
	}
}

// The JSON of reactions is in logs and snapshots, as all of a Book.
func TestReactionsGolden(t *testing.T) {
	c := react(noon, trigger("gmail/rate", "slow 0.5 per source from 100/1m floor 1/1m recover 5%/5m for 6h", google),
		trigger("yahoo/tss", "suspend per source,tenant for 2h", Destination{Key: "domain:yahoo.test", Name: "yahoo"}), trigger("x", "connections 0.5 for 1h", google))
	b := must(t, &Book{}, file("node1"), c, Change{Op: OpRecover, At: noon.Add(6 * time.Minute)}, Change{Op: OpUndo, Author: "ann", At: noon, IDs: []uint64{3}})
	for name, v := range map[string]any{"reactions.json": b, "react.json": c} {
		path := filepath.Join("testdata", name)
		got, err := json.MarshalIndent(v, "", "  ")
		if err != nil {
			t.Fatal(err)
		}
		if *update {
			if err := os.WriteFile(path, append(got, '\n'), 0o644); err != nil {
				t.Fatal(err)
			}
		}
		want, err := os.ReadFile(path)
		if err != nil || string(got)+"\n" != string(want) {
			t.Fatalf("%s, %v: got\n%s", name, err, got)
		}
	}
	var back Book
	text, _ := os.ReadFile(filepath.Join("testdata", "reactions.json"))
	if err := json.Unmarshal(text, &back); err != nil {
		t.Fatal(err)
	}
	again, _ := json.MarshalIndent(&back, "", "  ")
	if string(again)+"\n" != string(text) {
		t.Errorf("read back as\n%s", again)
	}
}
