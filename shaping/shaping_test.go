package shaping

import (
	"fmt"
	"math"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/tarishi/tarishi/mail"
)

func TestRetryFollowsItsSchedule(t *testing.T) {
	r := Retry{Schedule: []time.Duration{time.Minute, 5 * time.Minute, time.Hour}, Expire: 24 * time.Hour}
	for n, want := range map[int]time.Duration{0: time.Minute, 1: time.Minute, 2: 5 * time.Minute, 3: time.Hour, 4: time.Hour, 1000: time.Hour} {
		got := r.Pause("01ABC.0", n)
		if math.Abs(float64(got-want)) > 0.1*float64(want) {
			t.Errorf("pause after attempt %d: %v, want %v ± 10 %%", n, got, want)
		}
	}
	now := time.Unix(1e9, 0)
	if got := r.Next("x", 3, now, now.Add(time.Minute)); !got.Equal(now.Add(time.Minute)) {
		t.Errorf("the last attempt is at %v, want the expiry itself", got)
	}
	if got := r.Next("x", 1, now, time.Time{}); !got.After(now) {
		t.Errorf("without expiry: %v", got)
	}
}

func TestJitterIsDeterministicAndSpread(t *testing.T) {
	const d = time.Hour
	var low, high, sum float64
	buckets := map[int]int{}
	for i := range 1000 {
		key := fmt.Sprintf("01K9ZZZZZ00000000000.%d", i) // as alike as real ids
		a, b := Jitter(d, 0.1, key, 1), Jitter(d, 0.1, key, 1)
		if a != b {
			t.Fatalf("%v and %v for one key", a, b)
		}
		f := float64(a-d) / float64(d)
		low, high, sum = min(low, f), max(high, f), sum+f
		buckets[int(math.Floor(f*50))]++
	}
	if low < -0.1 || high > 0.1 || low > -0.095 || high < 0.095 || math.Abs(sum/1000) > 0.01 {
		t.Errorf("from %f to %f, mean %f", low, high, sum/1000)
	}
	for b, n := range buckets {
		if n < 50 || n > 150 { // 10 buckets, 100 each expected
			t.Errorf("bucket %d has %d of 1000", b, n)
		}
	}
	if Jitter(d, 0.1, "x", 1) == Jitter(d, 0.1, "x", 2) {
		t.Error("the attempt does not count")
	}
}

func TestRetryCheck(t *testing.T) {
	for _, bad := range []Retry{
		{Expire: time.Hour},
		{Schedule: []time.Duration{time.Minute, 0}, Expire: time.Hour},
		{Schedule: []time.Duration{time.Minute}},
	} {
		if bad.Check() == nil {
			t.Errorf("%+v passes", bad)
		}
	}
	if err := DefaultRetry().Check(); err != nil {
		t.Error(err)
	}
}

func TestBackoffGrowsToItsCap(t *testing.T) {
	b := DefaultBackoff()
	if b.Pause("x", 0) != 0 {
		t.Error("a pause without a failure")
	}
	for n := 1; n < 20; n++ {
		if p := b.Pause("x", n); p < 4*time.Second || p > 11*time.Minute {
			t.Errorf("after %d failures: %v", n, p)
		}
	}
	if b.Pause("x", 19) < 9*time.Minute {
		t.Error("does not stay at its cap")
	}
}

func TestMostSpecificRuleWins(t *testing.T) {
	r, err := NewRules([]ConnectionRule{
		{To: "*", Limit: Limit{Connections: 10}},
		{To: "*.example.net", Limit: Limit{Connections: 5, PerConnection: 7}},
		{To: "*.deep.example.net", Limit: Limit{PerConnection: 3}},
		{To: "Example.NET.", Limit: Limit{Connections: 1}},
		{To: "bücher.example", Limit: Limit{Connections: 2}},
	})
	if err != nil {
		t.Fatal(err)
	}
	for d, want := range map[mail.Domain]Limit{
		"other.test":            {10, 100},
		"example.net":           {1, 100}, // *.example.net is what lies below
		"a.example.net":         {5, 7},
		"a.b.example.net":       {5, 7},
		"a.deep.example.net":    {5, 3},
		"notexample.net":        {10, 100},
		"xn--bcher-kva.example": {2, 100},
		"":                      {10, 100},
		"[192.0.2.1]":           {10, 100},
	} {
		if got := r.For(d); got != want {
			t.Errorf("%q: %+v, want %+v", d, got, want)
		}
	}
	if got := (*Rules)(nil).For("x"); got != DefaultLimit {
		t.Errorf("without rules: %+v", got)
	}
}

func TestRulesAreRefused(t *testing.T) {
	for _, bad := range [][]ConnectionRule{
		{{To: ""}}, {{To: "*."}}, {{To: "a*.net"}}, {{To: "*.*.net"}}, {{To: "user@example.net"}}, {{To: "a b"}},
		{{To: "a.net"}, {To: "A.NET"}},
		{{To: "a.net", Limit: Limit{Connections: -1}}},
	} {
		if _, err := NewRules(bad); err == nil {
			t.Errorf("%+v passes", bad)
		}
	}
}

// A pattern's match does not depend on the order of the rules.
func TestPatternsIgnoreOrder(t *testing.T) {
	all := []string{"*", "*.net", "*.a.net", "b.a.net", "a.net", "*.b.a.net"}
	rapid.Check(t, func(t *rapid.T) {
		var p, q Patterns[string]
		for _, x := range all {
			if err := p.Add(x, x); err != nil {
				t.Fatal(err)
			}
		}
		for _, x := range rapid.Permutation(all).Draw(t, "order") {
			if err := q.Add(x, x); err != nil {
				t.Fatal(err)
			}
		}
		d := mail.Domain(rapid.SampledFrom([]string{"net", "a.net", "b.a.net", "c.b.a.net", "x.net", "org", "d.c.b.a.net"}).Draw(t, "domain"))
		a, _ := p.For(d)
		b, _ := q.For(d)
		if a != b {
			t.Fatalf("%s: %s and %s", d, a, b)
		}
	})
}
