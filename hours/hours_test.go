package hours

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"
)

func parse(t testing.TB, text string) *Hours {
	t.Helper()
	h, err := Parse(text)
	if err != nil {
		t.Fatalf("%q: %v", text, err)
	}
	return h
}

// at reads an instant as the clocks of Berlin show it, with the offset that says
// which of two it is.
func at(t testing.TB, s string) time.Time {
	t.Helper()
	x, err := time.Parse("2006-01-02 15:04:05 -0700", s)
	if err != nil {
		t.Fatal(err)
	}
	return x
}

func TestNext(t *testing.T) {
	const never = ""
	for _, x := range []struct{ hours, from, opens, shuts string }{
		{"Mon-Fri 09:00-18:00 Europe/Berlin", "2026-11-25 12:00:00 +0100", "2026-11-25 12:00:00 +0100", "2026-11-25 18:00:00 +0100"},
		{"Mon-Fri 09:00-18:00 Europe/Berlin", "2026-11-25 08:59:59 +0100", "2026-11-25 09:00:00 +0100", "2026-11-25 18:00:00 +0100"},
		{"Mon-Fri 09:00-18:00 Europe/Berlin", "2026-11-25 18:00:00 +0100", "2026-11-26 09:00:00 +0100", "2026-11-26 18:00:00 +0100"},
		{"Mon-Fri 09:00-18:00 Europe/Berlin", "2026-11-27 18:00:00 +0100", "2026-11-30 09:00:00 +0100", "2026-11-30 18:00:00 +0100"}, // over the weekend
		{"Mon-Fri 09:00-18:00 Europe/Berlin", "2026-11-25 23:00:00 +1100", "2026-11-25 13:00:00 +0100", "2026-11-25 18:00:00 +0100"}, // the place's clocks count
		{"09:00-12:00 13:00-18:00 UTC", "2026-11-25 12:30:00 +0000", "2026-11-25 13:00:00 +0000", "2026-11-25 18:00:00 +0000"},
		{"09:00-12:00,12:00-18:00 UTC", "2026-11-25 10:00:00 +0000", "2026-11-25 10:00:00 +0000", "2026-11-25 18:00:00 +0000"}, // they touch
		{"Sat 10:00-14:00; Mon 08:00-09:00 UTC", "2026-11-25 10:00:00 +0000", "2026-11-28 10:00:00 +0000", "2026-11-28 14:00:00 +0000"},
		{"Sat Sun 10:00-14:00 UTC", "2026-11-28 15:00:00 +0000", "2026-11-29 10:00:00 +0000", "2026-11-29 14:00:00 +0000"},
		{"22:00-06:00 UTC", "2026-11-25 23:30:00 +0000", "2026-11-25 23:30:00 +0000", "2026-11-26 06:00:00 +0000"},
		{"22:00-06:00 UTC", "2026-11-25 05:59:59 +0000", "2026-11-25 05:59:59 +0000", "2026-11-25 06:00:00 +0000"},
		{"Fri 22:00-06:00 UTC", "2026-11-28 03:00:00 +0000", "2026-11-28 03:00:00 +0000", "2026-11-28 06:00:00 +0000"}, // Saturday night is Friday's
		{"Fri 22:00-06:00 UTC", "2026-11-27 03:00:00 +0000", "2026-11-27 22:00:00 +0000", "2026-11-28 06:00:00 +0000"},
		{"Sun 20:00-08:00 UTC", "2026-11-29 21:00:00 +0000", "2026-11-29 21:00:00 +0000", "2026-11-30 08:00:00 +0000"}, // round the week's end
		{"Fri-Mon 09:00-10:00 UTC", "2026-11-29 12:00:00 +0000", "2026-11-30 09:00:00 +0000", "2026-11-30 10:00:00 +0000"},
		{"00:00-24:00 UTC", "2026-11-25 12:00:00 +0000", "2026-11-25 12:00:00 +0000", never},
		{"Mon-Sun 12:00-12:00:00 UTC", "", "", ""},

		// Berlin, 29 March 2026: after 01:59:59 the clocks show 03:00:00.
		{"02:15-02:45 Europe/Berlin", "2026-03-29 01:00:00 +0100", "2026-03-30 02:15:00 +0200", "2026-03-30 02:45:00 +0200"},
		{"01:30-02:30 Europe/Berlin", "2026-03-29 00:00:00 +0100", "2026-03-29 01:30:00 +0100", "2026-03-29 03:00:00 +0200"},
		{"02:30-04:00 Europe/Berlin", "2026-03-29 00:00:00 +0100", "2026-03-29 03:00:00 +0200", "2026-03-29 04:00:00 +0200"},
		{"Sun 02:15-02:45 Europe/Berlin", "2026-03-29 00:00:00 +0100", "2026-04-05 02:15:00 +0200", "2026-04-05 02:45:00 +0200"},
		{"22:00-06:00 Europe/Berlin", "2026-03-28 22:00:00 +0100", "2026-03-28 22:00:00 +0100", "2026-03-29 06:00:00 +0200"},
		// 25 October 2026: after 02:59:59 they show 02:00:00 once more.
		{"02:00-02:30 Europe/Berlin", "2026-10-25 02:30:00 +0200", "2026-10-25 02:00:00 +0100", "2026-10-25 02:30:00 +0100"},
		{"02:00-02:30 Europe/Berlin", "2026-10-25 02:30:00 +0100", "2026-10-26 02:00:00 +0100", "2026-10-26 02:30:00 +0100"},
		{"01:00-02:30 Europe/Berlin", "2026-10-25 01:00:00 +0200", "2026-10-25 01:00:00 +0200", "2026-10-25 02:30:00 +0200"},
		{"01:00-03:00 Europe/Berlin", "2026-10-25 01:00:00 +0200", "2026-10-25 01:00:00 +0200", "2026-10-25 03:00:00 +0100"}, // three hours
		// Lord Howe: half an hour is skipped.
		{"02:05-02:25 Australia/Lord_Howe", "2026-10-04 00:00:00 +1030", "2026-10-05 02:05:00 +1100", "2026-10-05 02:25:00 +1100"},
	} {
		if x.from == "" {
			if _, err := Parse(x.hours); err == nil {
				t.Errorf("%q was read", x.hours)
			}
			continue
		}
		h, from := parse(t, x.hours), at(t, x.from)
		opens, shuts := h.Next(from)
		shutsAsWanted := x.shuts == never && shuts.IsZero() || x.shuts != never && shuts.Equal(at(t, x.shuts))
		if !opens.Equal(at(t, x.opens)) || !shutsAsWanted {
			t.Errorf("%s from %s: %s to %s; want %s to %s", x.hours, x.from, opens, shuts, x.opens, x.shuts)
		}
		if h.Open(from) != opens.Equal(from) {
			t.Errorf("%s: open at %s: %v", x.hours, x.from, h.Open(from))
		}
	}
}

func TestBadHours(t *testing.T) {
	for _, x := range []struct{ hours, says string }{
		{"", "no hours"},
		{" ;, ", "no hours"},
		{"09:00-18:00", "must end with whose time"},
		{"Mon-Fri", "must end with whose time"},
		{"09:00-18:00 Local", "must end with whose time"},
		{"09:00-18:00 Europe/Bonn", `"Europe/Bonn" is no time zone`},
		{"09:00-18:00 ../../etc/passwd", "is no time zone"},
		{"Europe/Berlin", "without a range"},
		{"Mon-Fri Europe/Berlin", "without a range"},
		{"09:00-10:00 Mon Europe/Berlin", "goes with the last day"},
		{"Mon-Frei 09:00-18:00 UTC", `"Mon-Frei" is neither a day nor`},
		{"9-18 UTC", `"9-18" is neither`},
		{"09:00-18:60 UTC", "is neither"},
		{"09:00-24:01 UTC", "is neither"},
		{"24:00-02:00 UTC", "is neither"},
		{"-1:00-02:00 UTC", "is neither"},
		{"+1:00-02:00 UTC", "is neither"},
		{"09:00–18:00 UTC", "is neither"}, // a dash of typography
		{"09:00-09:00 UTC", "begins when it ends"},
		{"09:00-09:04 UTC", "shorter than 5 minutes"},
		{"09:00-18:00 " + strings.Repeat("x", 300), "are the most"},
	} {
		if _, err := Parse(x.hours); err == nil || !strings.Contains(err.Error(), x.says) {
			t.Errorf("%q: %v; want %q", x.hours, err, x.says)
		}
	}
}

// Next against looking at the clock minute by minute.
func TestNextAgainstTheClock(t *testing.T) {
	zones := []string{"UTC", "Europe/Berlin", "America/St_Johns", "Australia/Lord_Howe", "Africa/Casablanca", "Pacific/Apia", "Asia/Kathmandu"}
	rapid.Check(t, func(t *rapid.T) {
		text := ""
		for range rapid.IntRange(1, 3).Draw(t, "ranges") {
			if rapid.Bool().Draw(t, "days") {
				text += dayNames[rapid.IntRange(0, 6).Draw(t, "first")] + "-" + dayNames[rapid.IntRange(0, 6).Draw(t, "last")] + " "
			}
			from := rapid.IntRange(0, day-1).Draw(t, "from")
			to := (from + rapid.IntRange(shortest, day-1).Draw(t, "for")) % day
			text += fmt.Sprintf("%d:%02d-%02d:%02d ", from/60, from%60, to/60, to%60)
		}
		zone := rapid.SampledFrom(zones).Draw(t, "zone")
		h, err := Parse(text + zone)
		if err != nil {
			t.Fatalf("%q: %v", text+zone, err)
		}
		// About the days on which clocks are changed somewhere.
		began := rapid.SampledFrom([]string{"2026-03-28", "2026-10-24", "2026-11-01", "2026-03-07", "2026-10-03", "2026-04-04", "2026-02-14", "2011-12-29"}).Draw(t, "about")
		from, _ := time.Parse(time.DateOnly, began)
		from = from.Add(time.Duration(rapid.Int64Range(0, int64(48*time.Hour)).Draw(t, "at")))
		opens, shuts := h.Next(from)
		if opens.Before(from) || !h.Open(opens) || !shuts.IsZero() && (h.Open(shuts) || !shuts.After(opens)) {
			t.Fatalf("%s from %s: %s to %s", text+zone, from, opens, shuts)
		}
		edge := func(from, to time.Time, want bool) {
			for at := from; at.Before(to) && at.Before(from.Add(72*time.Hour)); at = at.Add(time.Minute).Truncate(time.Minute) {
				if h.Open(at) != want {
					t.Fatalf("%s: from %s it opens at %s and shuts at %s; but at %s: open %v", text+zone, from, opens, shuts, at, !want)
				}
			}
		}
		edge(from, opens, false)
		if shuts.IsZero() {
			shuts = opens.Add(72 * time.Hour)
		}
		edge(opens, shuts, true)
	})
}

func BenchmarkNext(b *testing.B) {
	h := parse(b, "Mon-Fri 09:00-18:00 Europe/Berlin")
	from := at(b, "2026-11-25 18:00:00 +0100")
	for b.Loop() {
		h.Next(from)
	}
}

func FuzzParse(f *testing.F) {
	for _, s := range []string{Example, "22:00-06:00 UTC", "Sat,Sun 1:00-2:00;3:00-24:00 Asia/Tokyo", "Mon 00:00-24:00 UTC"} {
		f.Add(s)
	}
	now := time.Date(2026, 11, 25, 12, 0, 0, 0, time.UTC)
	f.Fuzz(func(t *testing.T, text string) {
		h, err := Parse(text)
		if err != nil {
			return
		}
		opens, shuts := h.Next(now)
		if opens.IsZero() || opens.Before(now) || !shuts.IsZero() && !shuts.After(opens) {
			t.Fatalf("%q: %s to %s", text, opens, shuts)
		}
	})
}
