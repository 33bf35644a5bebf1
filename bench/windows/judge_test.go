package windows

import (
	"cmp"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"
)

// script makes a record of a few words: "START", "C1 OPEN 10.0.0.1 A", "C1 MAIL d.test",
// "C1 MAIL" (no recipient), "C1 RCPT 250 x@d.test", "C1 DATA 2", "C1 CLOSE", each behind
// its time in milliseconds.
func script(lines string) string {
	var b strings.Builder
	for line := range strings.Lines(lines) {
		f := strings.Fields(line)
		if len(f) == 0 {
			continue
		}
		at := f[0] + "000000"
		if f[1] == "START" {
			fmt.Fprintf(&b, "\nstart\t%s\t1\tA\n", at)
			continue
		}
		conn := f[1][1:]
		arg := func(i int) string {
			if len(f) > i {
				return f[i]
			}
			return ""
		}
		switch f[2] {
		case "OPEN":
			fmt.Fprintf(&b, "open\t%s\t%s\t%s:4711\t%s\n", at, conn, arg(3), arg(4))
		case "MAIL":
			fmt.Fprintf(&b, "mail\t%s\t%s\t%s\ts@x\n", at, conn, arg(3))
		case "RCPT":
			fmt.Fprintf(&b, "rcpt\t%s\t%s\t%s\t%s\n", at, conn, arg(3), arg(4))
		case "DATA":
			fmt.Fprintf(&b, "data\t%s\t%s\t%s\tr-1\tT1\n", at, conn, arg(3))
		case "CLOSE":
			fmt.Fprintf(&b, "close\t%s\t%s\n", at, conn)
		}
	}
	return b.String()
}

func judge(t *testing.T, rules Rules, groups Groups, records ...string) *Report {
	t.Helper()
	var rs []*strings.Reader
	for _, r := range records {
		rs = append(rs, strings.NewReader(r))
	}
	tr, err := read(groups, rs)
	if err != nil {
		t.Fatal(err)
	}
	r, err := Judge(tr, rules)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

func read(groups Groups, rs []*strings.Reader) (*Trace, error) {
	switch len(rs) {
	case 1:
		return Read(groups, rs[0])
	default:
		return Read(groups, rs[0], rs[1])
	}
}

const twoConnections = `
	100 START
	1000 C1 OPEN 10.0.0.1 A
	1010 C1 MAIL d.test
	1011 C1 RCPT 250 x@d.test
	1012 C1 RCPT 451 y@D.test
	1020 C1 DATA 1
	1500 C2 OPEN 10.0.0.2 A
	1510 C2 MAIL d.test
	1511 C2 RCPT 250 x@d.test
	1600 C1 CLOSE
	2010 C2 MAIL
	2500 C2 CLOSE
	2600 C3 OPEN 10.0.0.2 A
	2700 C3 CLOSE
`

func limits(t *testing.T, unit Unit, s ...string) (out []Limit) {
	t.Helper()
	for _, s := range s {
		l, err := ParseLimit(unit, s)
		if err != nil {
			t.Fatal(err)
		}
		out = append(out, l)
	}
	return out
}

func TestJudge(t *testing.T) {
	rules := Rules{Connections: []Cap{{"d.test", 2}}, PerConnection: []Cap{{"d.test", 2}}}
	rules.Limits = append(rules.Limits, limits(t, Messages, "d.test=2/1s")...)       // 1010, 1510, 2010: exactly
	rules.Limits = append(rules.Limits, limits(t, Recipients, "d.test=3/501ms")...)  // 1011, 1012, 1511
	rules.Limits = append(rules.Limits, limits(t, NewConnections, "d.test=2/1s")...) // 1000, 1500, 2600
	r := judge(t, rules, nil, script(twoConnections))
	if err := r.Err(); err != nil {
		t.Errorf("%v\n%v", err, r)
	}
	want := `record   2.600 s, 1 destinations
limit    d.test: 2 messages in 1s: kept, 3 starts, 2 at most in a window, 100.00 % used
limit    d.test: 3 recipients in 501ms: kept, 3 starts, 3 at most in a window, no whole window to measure its use
limit    d.test: 2 new connections in 1s: kept, 3 starts, 2 at most in a window, 100.00 % used
limit    d.test: 2 connections at a time: kept, 2 at most, 50.00 % used
limit    d.test: 2 messages a connection: kept, 2 at most
to       d.test: 3 transactions, 1 messages, 1 copies, 1 recipients refused, 3 connections; longest pause 0.500 s at 0.910 s
         from 10.0.0.1: 1 transactions, 1 connections
         from 10.0.0.2: 2 transactions, 2 connections
`
	if r.String() != want {
		t.Errorf("got\n%v\nwant\n%v", r, want)
	}
}

// Each limit, one less or one nanosecond more than the trace keeps, is broken, and
// nothing but that one.
func TestJudge_byOne(t *testing.T) {
	for name, rules := range map[string]Rules{
		"messages":               {Limits: limits(t, Messages, "d.test=1/1s")},
		"messages, a longer one": {Limits: []Limit{{Destination: "d.test", Unit: Messages, Max: 2, Window: time.Second + 1}}},
		"recipients":             {Limits: limits(t, Recipients, "d.test=2/501ms")},
		"new connections":        {Limits: []Limit{{Destination: "d.test", Unit: NewConnections, Max: 1, Window: 500*time.Millisecond + 1}}},
		"connections":            {Connections: []Cap{{"d.test", 1}}},
		"per connection":         {PerConnection: []Cap{{"d.test", 1}}},
		"suspended":              {Limits: limits(t, NewConnections, "d.test=0/1ns")},
	} {
		r := judge(t, rules, nil, script(twoConnections))
		if err := r.Err(); !errors.Is(err, ErrBroken) || !strings.Contains(r.String(), "BROKEN") {
			t.Errorf("%s: %v\n%v", name, err, r)
		}
	}
	r := judge(t, Rules{Limits: []Limit{{Destination: "d.test", Unit: Messages, Max: 2, Window: time.Second + 1}}}, nil, script(twoConnections))
	l := r.Limits[0]
	if l.Violations != 1 || l.Worst != 1 || l.First[0].Conn != 2 || l.First[0].Behind != 1 || l.First[0].Client != "10.0.0.2" {
		t.Errorf("%+v", l)
	}
}

// A limit that held for part of the time judges the starts in it by all before them.
func TestJudge_part(t *testing.T) {
	l := limits(t, Messages, "d.test=1/1s")[0]
	for _, c := range []struct{ since, until, want int64 }{
		{0, 0, 2}, {1510, 0, 2}, {1511, 0, 1}, {2011, 0, 0}, {0, 1510, 0}, {0, 1511, 1},
	} {
		l.Since, l.Until = c.since*1e6, c.until*1e6
		if r := judge(t, Rules{Limits: []Limit{l}}, nil, script(twoConnections)); r.Limits[0].Violations != int(c.want) {
			t.Errorf("from %d to %d: %d violations, want %d", c.since, c.until, r.Limits[0].Violations, c.want)
		}
	}
}

// The order of lines does not matter, and two sinks' records are one trace.
func TestRead_order(t *testing.T) {
	whole := script(twoConnections)
	want := judge(t, Rules{Limits: limits(t, Messages, "d.test=2/1s"), Connections: []Cap{{"d.test", 1}}}, nil, whole).String()
	start, rest, _ := strings.Cut(whole[1:], "\n")
	lines := strings.Split(strings.TrimSuffix(rest, "\n"), "\n")
	for seed := range uint64(20) {
		rand.New(rand.NewPCG(seed, 1)).Shuffle(len(lines), func(i, j int) { lines[i], lines[j] = lines[j], lines[i] })
		mixed := start + "\n" + strings.Join(lines, "\n") + "\n"
		if got := judge(t, Rules{Limits: limits(t, Messages, "d.test=2/1s"), Connections: []Cap{{"d.test", 1}}}, nil, mixed).String(); got != want {
			t.Fatalf("seed %d: got\n%s\nwant\n%s", seed, got, want)
		}
	}
	var one, two []string
	for _, l := range lines {
		if strings.Split(l, "\t")[2] == "1" {
			one = append(one, l)
		} else {
			two = append(two, l)
		}
	}
	join := func(l []string) string { return start + "\n" + strings.Join(l, "\n") + "\n" }
	if got := judge(t, Rules{Limits: limits(t, Messages, "d.test=2/1s"), Connections: []Cap{{"d.test", 1}}}, nil, join(one), join(two)).String(); got != want {
		t.Errorf("two records: got\n%s\nwant\n%s", got, want)
	}
}

func TestRead_places(t *testing.T) {
	const record = `
		1 START
		10 C1 OPEN 10.0.0.1 A
		11 C1 MAIL a.test
		12 C2 OPEN 10.0.0.1 B
		13 C2 MAIL b.test
		14 C2 MAIL c.test
		15 C2 DATA 1
		16 C2 MAIL b.test
		17 C2 DATA 3
		20 C3 OPEN 10.0.0.1 A
		21 C3 MAIL
		22 C3 CLOSE
		30 C4 OPEN 10.0.0.1 B
		31 C4 MAIL
		32 C5 OPEN 10.0.0.1 nowhere
		40 C1 CLOSE
	`
	tr, err := Read(nil, strings.NewReader(script(record)))
	if err != nil {
		t.Fatal(err)
	}
	a, b, c := tr.Destinations["a.test"], tr.Destinations["b.test"], tr.Destinations["c.test"]
	if len(a.Mails) != 2 || len(a.Connections) != 2 || len(b.Mails) != 2 || len(b.Connections) != 1 || len(c.Connections) != 1 {
		t.Errorf("a %+v\nb %+v\nc %+v", a, b, c)
	}
	if b.Copies != 3 || c.Copies != 1 {
		t.Errorf("copies: b %d, c %d", b.Copies, c.Copies)
	}
	if tr.Unplaced != 3 { // connections 4 and 5, and the MAIL of 4
		t.Errorf("%d unplaced", tr.Unplaced)
	}
	if last := b.Connections[0]; last.Close != tr.End {
		t.Errorf("a connection without an end ends at %d", last.Close)
	}
	tr, err = Read(Groups{"b.test": "both", "c.test": "both"}, strings.NewReader(script(record)))
	if err != nil {
		t.Fatal(err)
	}
	if d := tr.Destinations["both"]; tr.Unplaced != 1 || len(d.Mails) != 4 || len(d.Connections) != 2 || d.Copies != 4 {
		t.Errorf("joined: %d unplaced, %+v", tr.Unplaced, d)
	}
}

// A sink that is started again goes on with the file: its connections are others, and
// those of the one before ended with it.
func TestRead_generations(t *testing.T) {
	before := script("1 START\n10 C1 OPEN 10.0.0.1 A\n11 C1 MAIL d.test\n12 C2 OPEN 10.0.0.1 A\n13 C2 MAIL d.test\n")
	after := script("100 START\n110 C1 OPEN 10.0.0.1 A\n120 C1 MAIL d.test\n130 C1 CLOSE\n")
	for name, c := range map[string]struct {
		text string
		torn int
	}{
		"whole":               {before + after, 0},
		"cut in a word":       {before + "mail\t14000000\t1\td.te" + after, 1},
		"cut, and looks good": {before + "mail\t14" + after, 1},
		"cut at the very end": {before + after + "close\t1300", 1},
	} {
		tr, err := Read(nil, strings.NewReader(c.text))
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		d := tr.Destinations["d.test"]
		if tr.Torn != c.torn || len(d.Mails) != 3 || len(d.Connections) != 3 || d.Connections[0].Close != 100e6 || d.Connections[2].Close != 130e6 {
			t.Errorf("%s: torn %d, %d mails, connections %+v", name, tr.Torn, len(d.Mails), d.Connections)
		}
	}
}

func TestRead_refused(t *testing.T) {
	for text, want := range map[string]string{
		"start\t1\t2\tA\n": "reads version 1",
		"start\t1\n":       "line 1: a line with fields missing",
		"start\t1\t1\tA\nmail\t2\t1\td.test\ts@x\n": "connection 1 was never opened",
		"\n\nnonsense\n":                                "line 3",
		"open\tx\t1\ta\tb\n":                            `"x" is not a number`,
		"open\t1\t1\ta\n":                               "fields missing",
		"close\t1\t1\tz\n":                              "too many",
		"open\t1\t1\ta\tb\nopen\t2\t1\ta\tb\n":          "opens twice",
		"open\t1\t1\ta\tb\ndata\t2\t1\t1\ti\tt\n":       "no MAIL",
		"open\t1\t1\ta\tb\nrcpt\t2\t1\tx\ty@z\n":        "not a number",
		"start\t1\t1\n" + strings.Repeat("x", 300<<10):  "line 2",
		"open\t99999999999999999999\t1\ta\tb\nclose\t1": "not a number",
	} {
		if _, err := Read(nil, strings.NewReader(text)); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%.60q: %v, want %q", text, err, want)
		}
	}
	tr, _ := Read(nil, strings.NewReader(script(twoConnections)))
	for _, rules := range []Rules{
		{Limits: limits(t, Messages, "e.test=1/1s")}, {Connections: []Cap{{"e.test", 1}}}, {PerConnection: []Cap{{"e.test", 1}}},
	} {
		if _, err := Judge(tr, rules); err == nil || !strings.Contains(err.Error(), "it has d.test") {
			t.Errorf("a rule about nothing: %v", err)
		}
	}
}

// Whatever a record holds, reading ends, and in an answer or an error.
func FuzzRead(f *testing.F) {
	f.Add(script(twoConnections))
	f.Add("start\t1\t1\tA\nopen\t1\t1\ta\tb\nmail\t1\t1\td\ts\ndata\t1\t1\t1\t\t\nclose\t1\t1\n")
	f.Fuzz(func(t *testing.T, text string) {
		tr, err := Read(nil, strings.NewReader(text))
		if err != nil {
			return
		}
		var rules Rules
		for name, d := range tr.Destinations {
			rules.Limits = append(rules.Limits, Limit{Destination: name, Unit: Messages, Max: 1, Window: time.Second})
			rules.Connections = append(rules.Connections, Cap{name, 1})
			if !slices.IsSortedFunc(d.Mails, func(a, b Start) int { return cmp.Compare(a.At, b.At) }) {
				t.Fatal("not in order")
			}
		}
		r, err := Judge(tr, rules)
		if err != nil {
			t.Fatal(err)
		}
		_ = r.String()
	})
}
