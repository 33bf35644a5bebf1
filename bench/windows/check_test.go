package windows

import (
	"slices"
	"testing"
	"time"

	"pgregory.net/rapid"
)

func collect(t []int64, n int, w int64) []int { return slices.Collect(breaks(t, n, w)) }

func TestBreaks(t *testing.T) {
	for _, c := range []struct {
		name string
		t    []int64
		n    int
		w    int64
		want int
	}{
		{"nothing", nil, 1, 10, 0},
		{"one", []int64{5}, 1, 10, 0},
		{"exactly a window apart", []int64{0, 10, 20}, 1, 10, 0},
		{"one too early by the least", []int64{0, 9, 20}, 1, 10, 1},
		{"three in ten", []int64{0, 0, 0, 10, 10, 10}, 3, 10, 0},
		{"a fourth at the end of it", []int64{0, 0, 0, 9, 10, 10}, 3, 10, 1},
		{"twice the number over the turn of a calendar window", []int64{8, 9, 10, 11}, 2, 10, 2},
		{"ties", []int64{7, 7, 7}, 2, 1, 1},
		{"suspended", []int64{1}, 0, 10, 1},
		{"suspended, and nothing came", nil, 0, 10, 0},
	} {
		if got := collect(c.t, c.n, c.w); len(got) != c.want {
			t.Errorf("%s: broken at %v, want %d places", c.name, got, c.want)
		}
	}
}

func sortedTimes(t *rapid.T) []int64 {
	s := rapid.SliceOfN(rapid.Int64Range(0, 200), 0, 60).Draw(t, "times")
	slices.Sort(s)
	return s
}

// The rule for starts n apart says the same as counting each window one by one.
func TestBreaks_naive(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		s, n, w := sortedTimes(t), rapid.IntRange(0, 6).Draw(t, "n"), rapid.Int64Range(1, 40).Draw(t, "w")
		broken, largest := false, 0
		for x := int64(-50); x <= 250; x++ {
			in := 0
			for _, at := range s {
				if x <= at && at < x+w {
					in++
				}
			}
			broken = broken || in > n
			largest = max(largest, in)
		}
		if got := collect(s, n, w); broken != (len(got) > 0) {
			t.Fatalf("%v of %d: broken at %v, by counting %v", s, n, got, broken)
		}
		if got, first := most(s, w); got != largest {
			t.Fatalf("most %d, by counting %d", got, largest)
		} else if got > 0 && count(s, s[first], s[first]+w) != got {
			t.Fatalf("%d starts are said to be in the window from %d on", got, s[first])
		}
		// Taking out the later start of each broken pair, one at a time, mends it in
		// exactly as many steps as there are pairs at most.
		for steps := 0; ; steps++ {
			at := collect(s, n, w)
			if len(at) == 0 {
				break
			}
			if steps > 60 {
				t.Fatal("taking starts out does not end")
			}
			s = slices.Delete(s, at[0]+n, at[0]+n+1)
		}
	})
}

// A trace that uses a limit to the full keeps it, and with any one start more, anywhere
// in the full part, it does not.
func TestBreaks_byOne(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		n, w := rapid.IntRange(1, 8).Draw(t, "n"), rapid.Int64Range(2, 1000).Draw(t, "w")
		s := make([]int64, 0, n*10)
		for i := range n * 10 {
			at := rapid.Int64Range(0, w-1).Draw(t, "at")
			if i >= n {
				at = s[i-n] + w
			}
			s = append(s, at)
			if i < n {
				slices.Sort(s)
			}
		}
		if at := collect(s, n, w); len(at) > 0 {
			t.Fatalf("%v keeps %d in %d, yet is broken at %v", s, n, w, at)
		}
		extra := rapid.Int64Range(s[n-1], s[len(s)-1]).Draw(t, "extra")
		i, _ := slices.BinarySearch(s, extra)
		s = slices.Insert(s, i, extra)
		if at := collect(s, n, w); len(at) == 0 {
			t.Fatalf("%v with one more at %d is said to keep %d in %d", s, extra, n, w)
		}
	})
}

func TestUse(t *testing.T) {
	s := []int64{0, 1, 10, 11, 20, 21}
	for _, c := range []struct {
		begin, end    int64
		used, allowed int64
	}{
		{0, 21, 4, 4}, // two whole windows; what came after them is not measured
		{0, 30, 6, 6},
		{0, 9, 0, 0},   // no whole window
		{1, 31, 5, 6},  // 1, 10, 11, 20, 21
		{50, 70, 0, 4}, // nothing
		{20, 0, 0, 0},  // backwards
	} {
		if used, allowed := use(s, 2, 10, c.begin, c.end); used != c.used || allowed != c.allowed {
			t.Errorf("[%d,%d): %d of %d, want %d of %d", c.begin, c.end, used, allowed, c.used, c.allowed)
		}
	}
}

// What keeps a limit never uses more than all of it.
func TestUse_never_more(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		s, n, w := sortedTimes(t), rapid.IntRange(1, 6).Draw(t, "n"), rapid.Int64Range(1, 40).Draw(t, "w")
		if len(collect(s, n, w)) > 0 {
			t.Skip("broken")
		}
		begin, end := rapid.Int64Range(0, 200).Draw(t, "begin"), rapid.Int64Range(0, 200).Draw(t, "end")
		if used, allowed := use(s, n, w, begin, end); used > allowed {
			t.Fatalf("%d used of %d", used, allowed)
		}
	})
}

func TestPause(t *testing.T) {
	s := []int64{10, 12, 30, 35}
	for _, c := range []struct{ begin, end, longest, from int64 }{
		{10, 35, 18, 12},
		{0, 100, 65, 35},
		{0, 13, 10, 0},
		{13, 29, 16, 13}, // nothing in it
		{30, 31, 1, 30},
	} {
		if longest, from := pause(s, c.begin, c.end); longest != c.longest || from != c.from {
			t.Errorf("[%d,%d): %d from %d, want %d from %d", c.begin, c.end, longest, from, c.longest, c.from)
		}
	}
}

func TestSweep(t *testing.T) {
	for _, c := range []struct {
		name  string
		lives []life
		want  []int
	}{
		{"one after the other", []life{{0, 10}, {10, 20}}, []int{1, 1}},
		{"over by the least", []life{{0, 11}, {10, 20}}, []int{1, 2}},
		{"all at once", []life{{5, 9}, {5, 9}, {5, 9}}, []int{1, 2, 3}},
		{"one of no length", []life{{0, 9}, {5, 5}, {5, 9}, {6, 7}}, []int{1, 2, 3, 3}},
		{"a long one beside short ones", []life{{0, 100}, {1, 2}, {2, 3}, {3, 4}}, []int{1, 2, 2, 2}},
	} {
		var got []int
		sweep(c.lives, func(_, open int) { got = append(got, open) })
		if !slices.Equal(got, c.want) {
			t.Errorf("%s: %v, want %v", c.name, got, c.want)
		}
	}
}

func TestSweep_naive(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		lives := rapid.SliceOfN(rapid.Custom(func(t *rapid.T) life {
			open := rapid.Int64Range(0, 50).Draw(t, "open")
			return life{open, open + rapid.Int64Range(0, 20).Draw(t, "length")}
		}), 0, 30).Draw(t, "lives")
		slices.SortStableFunc(lives, func(a, b life) int { return int(a.open - b.open) })
		sweep(lives, func(i, open int) {
			want := 0
			for _, l := range lives[:i+1] {
				if x := lives[i].open; l.open <= x && x < max(l.end, l.open+1) {
					want++
				}
			}
			if open != want {
				t.Fatalf("%v: %d open at %d, want %d", lives, open, lives[i].open, want)
			}
		})
	})
}

func TestBusy(t *testing.T) {
	lives := []life{{0, 10}, {5, 15}, {20, 30}}
	if got := busy(lives, 5, 22); got != 5+10+2 {
		t.Errorf("got %d", got)
	}
}

func TestParse(t *testing.T) {
	l, err := ParseLimit(Recipients, "D.test=1000/1h")
	if want := (Limit{Destination: "d.test", Unit: Recipients, Max: 1000, Window: time.Hour}); err != nil || l != want {
		t.Errorf("got %+v, %v", l, err)
	}
	if l, err := ParseLimit(Messages, "d=0/2d"); err != nil || l.Window != 48*time.Hour {
		t.Errorf("days: %+v, %v", l, err)
	}
	for _, s := range []string{"", "d", "d=", "d=5", "d=5/", "=5/1s", "d=-1/1s", "d=x/1s", "d=5/0s", "d=5/-1s", "d=5/1", "d=5/0d"} {
		if l, err := ParseLimit(Messages, s); err == nil {
			t.Errorf("%q is read as %v", s, l)
		}
	}
	if c, err := ParseCap("D=3"); err != nil || c != (Cap{"d", 3}) {
		t.Errorf("got %+v, %v", c, err)
	}
	for _, s := range []string{"", "d", "d=", "=3", "d=-1"} {
		if c, err := ParseCap(s); err == nil {
			t.Errorf("%q is read as %v", s, c)
		}
	}
	g := Groups{}
	if err := g.Add("google=Gmail.com,googlemail.com"); err != nil || g.name("gmail.com") != "google" || g.name("x") != "x" {
		t.Errorf("%v, %v", g, err)
	}
	for _, s := range []string{"", "a", "a=", "=b", "other=gmail.com"} {
		if err := g.Add(s); err == nil {
			t.Errorf("%q: no error", s)
		}
	}
}
