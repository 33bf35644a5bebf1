package command

import (
	"bytes"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"pgregory.net/rapid"

	"github.com/tarishi/tarishi/admin"
)

func TestWords(t *testing.T) {
	now := time.Date(2026, 11, 21, 22, 0, 0, 0, time.UTC)
	for _, c := range []struct{ got, want string }{
		{ago(now, now.Add(-500*time.Millisecond)), "now"},
		{ago(now, now.Add(time.Minute)), "now"}, // another clock
		{ago(now, now.Add(-59*time.Second)), "59s ago"},
		{ago(now, now.Add(-3*time.Minute-59*time.Second)), "3m ago"},
		{ago(now, now.Add(-47*time.Hour)), "47h ago"},
		{ago(now, now.Add(-48*time.Hour)), "2d ago"},
		{ago(now, time.Time{}), ""},
		{until(now, now.Add(2*time.Hour)), "in 2h"},
		{until(now, now.Add(-time.Hour)), "now"},
		{until(now, time.Time{}), ""},
		{count(0), "0"}, {count(999), "999"}, {count(1000), "1,000"}, {count(1204112), "1,204,112"}, {count(int64(-1000)), "-1,000"},
		{size(int64(0)), "0 B"}, {size(int64(1023)), "1023 B"}, {size(int64(5322)), "5.2 KiB"}, {size(int64(150 << 20)), "150 MiB"}, {size(uint64(3 << 40)), "3.0 TiB"},
		{plural(1, "delivery", "deliveries"), "1 delivery"}, {plural(2000, "delivery", "deliveries"), "2,000 deliveries"},
		{clean("a\x1b[2Jb\u202ec\nd\x80e"), "a\uFFFD[2Jb\uFFFDc d\uFFFDe"},
		{cut("abcdef", 4), "abc…"}, {cut("abcd", 4), "abcd"}, {cut("abcd", 0), "abcd"}, {cut("äöü", 2), "ä…"},
	} {
		if c.got != c.want {
			t.Errorf("got %q, want %q", c.got, c.want)
		}
	}
}

// Whatever strangers wrote, a table has one line per row, no control characters,
// and no line wider than the terminal.
func TestTableProperty(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		tb := table{head: []string{"~A", ">B", "C"}}
		rows := rapid.IntRange(0, 5).Draw(t, "rows")
		for range rows {
			tb.add(rapid.String().Draw(t, "a"), string(rapid.SliceOf(rapid.Byte()).Draw(t, "b")), rapid.String().Draw(t, "c"))
		}
		width := rapid.IntRange(1, 60).Draw(t, "width")
		var b bytes.Buffer
		tb.write(&b, width)
		lines := strings.Split(strings.TrimSuffix(b.String(), "\n"), "\n")
		if len(lines) != rows+1 {
			t.Fatalf("%d lines for %d rows", len(lines), rows)
		}
		for _, l := range lines {
			if utf8.RuneCountInString(l) > width || strings.ContainsFunc(l, func(r rune) bool { return r < ' ' || r == 0x7f || r >= 0x80 && r < 0xa0 }) {
				t.Fatalf("line %q at width %d", l, width)
			}
		}
	})
}

// On a narrow terminal a long name gives way to the last reply; ids never do.
func TestTableShrinks(t *testing.T) {
	tb := table{head: []string{"ID", "~DESTINATION", ">N", "LAST REPLY"}}
	tb.add("01K9ABCDEFGH00000000.0", strings.Repeat("long.", 12)+"example", "5", strings.Repeat("451 try later ", 9))
	tb.add("01K9ABCDEFGH00000001.0", "example.org", "12", "")
	var b bytes.Buffer
	tb.write(&b, 90)
	const want = `ID                      DESTINATION                N  LAST REPLY
01K9ABCDEFGH00000000.0  long.long.long.long.lon…   5  451 try later 451 try later 451 try…
01K9ABCDEFGH00000001.0  example.org               12
`
	if got := b.String(); got != want {
		t.Errorf("got\n%swant\n%s", got, want)
	}
}

func FuzzCopyClean(f *testing.F) {
	f.Add("Subject: \x1b]0;x\x07\r\n\r\nhi\x9b2J\n")
	f.Fuzz(func(t *testing.T, s string) {
		var b bytes.Buffer
		if err := copyClean(&b, strings.NewReader(s)); err != nil {
			t.Fatal(err)
		}
		if strings.ContainsFunc(b.String(), func(r rune) bool { return r != '\n' && (r < ' ' || r == 0x7f || r >= 0x80 && r < 0xa0) }) {
			t.Errorf("%q came out as %q", s, b.String())
		}
	})
}

// Rates need two looks at the same run of a node, with time between them.
func TestRates(t *testing.T) {
	look := func(started, now, accepted int) admin.Status {
		return admin.Status{
			Started: time.Unix(int64(started), 0), Now: time.Unix(int64(now), 0),
			Stats: admin.Stats{SMTP: &admin.SMTPStats{Accepted: uint64(accepted)}},
		}
	}
	if r := ratesOf(look(0, 10, 100), look(0, 14, 300)); r == nil || r.Accepted != 50 || r.Delivered != 0 {
		t.Errorf("got %+v", r)
	}
	if r := ratesOf(look(0, 10, 100), look(12, 14, 300)); r != nil {
		t.Errorf("over a restart: %+v", r)
	}
	if r := ratesOf(look(0, 10, 100), look(0, 10, 300)); r != nil {
		t.Errorf("over no time: %+v", r)
	}
	if r := ratesOf(look(0, 10, 100), look(0, 11, 90)); r == nil || r.Accepted != 0 {
		t.Errorf("a counter that fell: %+v", r)
	}
}
