package shaping

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/tarishi/tarishi/mail"
)

var (
	tos     = []string{"google", "microsoft", "family", "*", "*.net", "*.a.net", "a.net", "b.a.net", "gmail.com", "x.family.test"}
	domains = []mail.Domain{"a.net", "b.a.net", "c.b.a.net", "other.test", "gmail.com", "x.family.test", "net"}
	mxs     = [][]string{nil, {"mx.hoster.test"}, {"aspmx.l.google.com", "alt.aspmx.l.google.com"}, {"mx.hoster.test", "a.mail.protection.outlook.com"}}
)

func anyWindows(t *rapid.T) []Window {
	ws := []Window{{rapid.IntRange(0, 50).Draw(t, "max"), time.Hour}, {rapid.IntRange(0, 5).Draw(t, "max"), time.Second}}
	return ws[:rapid.IntRange(0, 2).Draw(t, "windows")]
}

func anyRule(t *rapid.T) Rule {
	some := func(least int) *int {
		if n := rapid.IntRange(least-1, 9).Draw(t, "n"); n >= least {
			return &n
		}
		return nil
	}
	list := func() []Window {
		if ws := anyWindows(t); len(ws) > 0 {
			return ws
		}
		return nil
	}
	r := Rule{To: rapid.SampledFrom(tos).Draw(t, "to"), Per: Per(rapid.IntRange(0, 3).Draw(t, "per")), Messages: list(), Recipients: list()}
	if r.Per&Tenant == 0 {
		r.NewConnections, r.Connections, r.PerConnection = list(), some(0), some(1)
	}
	if r.Empty() {
		r.Messages = windows("1/1s")
	}
	return r
}

func anyRules(t *rapid.T) []Rule {
	rules := rapid.SliceOfN(rapid.Custom(anyRule), 0, 12).Draw(t, "rules")
	seen := map[rulePlace]bool{}
	return slices.DeleteFunc(rules, func(r Rule) bool {
		twice := seen[r.place()]
		seen[r.place()] = true
		return twice
	})
}

func anyChange(t *rapid.T, b *Book) Change {
	c := Change{Author: "ann@desk", At: noon.Add(time.Duration(b.Version) * time.Minute)}
	c.Op = rapid.SampledFrom([]Op{OpSet, OpSet, OpSet, OpUnset, OpApply, OpSuspend, OpResume, OpExpire, OpRollback, OpFile}).Draw(t, "op")
	switch c.Op {
	case OpSet:
		r := anyRule(t)
		c.Rule = &r
	case OpApply:
		c.Rules = anyRules(t)
	case OpFile:
		f := file(rapid.SampledFrom([]string{"node1", "node2"}).Draw(t, "node"), anyRules(t)...)
		c.Node, c.Hash, c.Rules, c.Destinations = f.Node, f.Hash, f.Rules, f.Destinations
	case OpRollback:
		c.Version = version(rapid.Uint64Range(0, b.Version+1).Draw(t, "version"))
	default:
		c.To = rapid.SampledFrom(tos).Draw(t, "to")
		if c.Op == OpSuspend && rapid.Bool().Draw(t, "ends") {
			c.Until = c.At.Add(5 * time.Minute)
		}
	}
	return c
}

// anyBook is what a random life leaves.
func anyBook(t *rapid.T) *Book {
	b, err := (&Book{}).Apply(file("node1", anyRules(t)...))
	if err != nil {
		t.Fatal(err)
	}
	for range rapid.IntRange(0, 8).Draw(t, "changes") {
		if next, err := b.Apply(anyChange(t, b)); err == nil {
			b = next
		}
	}
	return b
}

// rank is how specific a rule's To is for a destination; below zero: not at all.
// It is written from the documentation and not from the code.
func rank(to string, d Destination) int {
	domain, isDomain := strings.CutPrefix(d.Key, "domain:")
	named, isNamed := strings.CutPrefix(d.Key, "name:")
	switch {
	case isDomain && to == domain:
		return 3000
	case isNamed && to == named, isDomain && to == d.Name:
		return 2000
	case isDomain && strings.HasPrefix(to, "*.") && strings.HasSuffix(domain, to[1:]):
		return 1000 + len(to)
	case to == "*":
		return 0
	}
	return -1
}

// oracle finds the winner of one field and scope by looking at every rule.
func oracle(b *Book, d Destination, p Per, f Field) (best *Rule, layer Layer) {
	top := -1
	for _, l := range []struct {
		layer Layer
		rules []Rule
	}{{LayerSet, b.Set}, {LayerFile, b.File}} {
		for i := range l.rules {
			r := &l.rules[i]
			if k := rank(r.To, d); r.Per == p && r.Gives(f) && k > top {
				best, layer, top = r, l.layer, k
			}
		}
	}
	return best, layer
}

// The most specific rule that gives a field decides it, in every scope apart.
func TestPrecedenceIsFieldByField(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		b := anyBook(t)
		tab, err := b.Table()
		if err != nil {
			t.Fatal(err)
		}
		d := tab.Destination(rapid.SampledFrom(domains).Draw(t, "domain"), rapid.SampledFrom(mxs).Draw(t, "mx"))
		bounds := tab.Bounds(d, "192.0.2.1", "acme")
		want, least := map[string]bool{}, 0
		for p := range Per(4) {
			for _, f := range Fields {
				r, layer := oracle(b, d, p, f)
				switch {
				case r == nil:
				case f == PerConnection:
					if least == 0 || *r.PerConnection < least {
						least = *r.PerConnection
					}
				default:
					want[fmt.Sprintf("%s=%s from %s", counter(f, d, p, "192.0.2.1", "acme"), r.value(f), RuleRef{Layer: layer, To: r.To, Per: p})] = true
				}
			}
		}
		got := map[string]bool{}
		for _, c := range bounds.Counters {
			got[fmt.Sprintf("%s=%s from %s", c.Counter, FormatWindows(c.Windows), c.From)] = true
		}
		for _, c := range bounds.Slots {
			got[fmt.Sprintf("%s=%d from %s", c.Counter, c.Max, c.From)] = true
		}
		if fmt.Sprint(got) != fmt.Sprint(want) || bounds.PerConnection != least {
			t.Fatalf("%+v: got %v and %d\nwant %v and %d\nof %v and %v", d, got, bounds.PerConnection, want, least, b.Set, b.File)
		}
	})
}

// What explain prints is what binds.
func TestExplainAgreesWithBounds(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		tab, err := anyBook(t).Table()
		if err != nil {
			t.Fatal(err)
		}
		d := rapid.SampledFrom(domains[:len(domains)-1]).Draw(t, "domain")
		mx := rapid.SampledFrom(mxs).Draw(t, "mx")
		e, err := tab.Explain(string(d), mx, "", "acme")
		if err != nil {
			t.Fatal(err)
		}
		b := tab.Bounds(tab.Destination(d, mx), "", "acme")
		var said, least = map[string]string{}, 0
		for _, v := range e.Values {
			if v.Field == PerConnection {
				if least == 0 || *v.Number < least {
					least = *v.Number
				}
				continue
			}
			said[v.Counter] = v.String() + " " + v.From.String()
		}
		binds := map[string]string{}
		for _, c := range b.Counters {
			binds[c.Counter] = FormatWindows(c.Windows) + " " + c.From.String()
		}
		for _, c := range b.Slots {
			binds[c.Counter] = fmt.Sprintf("%d %s", c.Max, c.From)
		}
		if e.Destination != tab.Destination(d, mx) || fmt.Sprint(said) != fmt.Sprint(binds) || least != b.PerConnection || (e.Suspended == nil) != (b.Suspended == nil) {
			t.Fatalf("said %v, %d\nbinds %v, %d", said, least, binds, b.PerConnection)
		}
	})
}

// Whatever is done, going back to a version sets again what was set then, and the
// way back can be gone back as well.
func TestRollbackUndoes(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		b := &Book{Destinations: someGroups}
		was := map[uint64][]Rule{0: nil}
		for range rapid.IntRange(1, 15).Draw(t, "changes") {
			next, err := b.Apply(anyChange(t, b))
			if err != nil {
				continue
			}
			b = next
			was[b.Version] = b.Set
		}
		v := rapid.Uint64Range(0, b.Version).Draw(t, "version")
		back, err := b.Apply(Change{Op: OpRollback, Version: &v})
		if err != nil {
			t.Fatal(err)
		}
		if d := Diff(was[v], back.Set); len(d) != 0 {
			t.Fatalf("back at %d: %v", v, d)
		}
		again, err := back.Apply(Change{Op: OpRollback, Version: &b.Version})
		if err != nil || len(Diff(b.Set, again.Set)) != 0 {
			t.Fatalf("and back again: %v, %v", again, err)
		}
	})
}

// A node that reads the Book from a snapshot goes on exactly as one that made it.
func TestABookFromASnapshotGoesOnAlike(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		b := anyBook(t)
		text, err := json.Marshal(b)
		if err != nil {
			t.Fatal(err)
		}
		var copied Book
		if err := json.Unmarshal(text, &copied); err != nil {
			t.Fatal(err)
		}
		c := anyChange(t, b)
		var sent Change
		if line, err := json.Marshal(c); err != nil || json.Unmarshal(line, &sent) != nil {
			t.Fatalf("%s: %v", line, err)
		}
		one, err1 := b.Apply(c)
		two, err2 := copied.Apply(sent)
		if fmt.Sprint(err1) != fmt.Sprint(err2) {
			t.Fatalf("%v and %v", err1, err2)
		}
		x, _ := json.Marshal(one)
		y, _ := json.Marshal(two)
		if string(x) != string(y) {
			t.Fatalf("%s\nand\n%s", x, y)
		}
	})
}

func TestDiffOfEqualIsEmpty(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		old, new := anyRules(t), anyRules(t)
		mixed := rapid.Permutation(old).Draw(t, "order")
		if d := Diff(old, mixed); len(d) != 0 {
			t.Fatal(d)
		}
		// And what it names leads from one to the other.
		m := byPlace(old)
		for _, d := range Diff(old, new) {
			if d.After == nil {
				delete(m, d.Before.place())
			} else {
				m[d.After.place()] = d.After
			}
		}
		var made []Rule
		for _, r := range m {
			made = append(made, *r)
		}
		if d := Diff(made, new); len(d) != 0 {
			t.Fatal(d)
		}
	})
}

func TestTheOrderOfMXPlaysNoPart(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		tab, err := anyBook(t).Table()
		if err != nil {
			t.Fatal(err)
		}
		all := []string{"mx1.hoster.test", "mx2.hoster.test", "a.google.com", "b.googlemail.com", "c.mail.protection.outlook.com"}
		mx := all[rapid.IntRange(0, 3).Draw(t, "from"):rapid.IntRange(4, 5).Draw(t, "to")]
		d := rapid.SampledFrom(domains).Draw(t, "domain")
		if a, b := tab.Destination(d, mx), tab.Destination(d, rapid.Permutation(mx).Draw(t, "order")); a != b {
			t.Fatalf("%+v and %+v", a, b)
		}
	})
}
