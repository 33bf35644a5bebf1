package bench

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"net/mail"
	"slices"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"
)

// A percentile is never below the true one, and at most one bucket above it.
func TestHistogram_quantile(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		values := rapid.SliceOfN(rapid.Int64Range(0, int64(time.Hour)), 1, 300).Draw(t, "values")
		var h, half histogram
		for i, v := range values {
			if i%2 == 0 {
				h.add(time.Duration(v))
			} else {
				half.add(time.Duration(v))
			}
		}
		h.merge(&half)
		slices.Sort(values)
		for _, q := range []float64{.5, .9, .99, .999, 1} {
			rank := max(1, int(q*float64(len(values))+0.999999))
			want, got := values[rank-1], int64(h.quantile(q))
			if got < want || float64(got) > float64(want)*(1+1.0/subBuckets)+1 {
				t.Fatalf("q %v: got %d, want %d", q, got, want)
			}
		}
		if int64(h.max) != values[len(values)-1] || h.total != uint64(len(values)) {
			t.Fatalf("max %v, total %d", h.max, h.total)
		}
	})
}

func TestHistogram_bucketsMeet(t *testing.T) {
	for i := range numBuckets - 1 {
		if top := bucketTop(i); bucketOf(top) != i || bucketOf(top+1) != i+1 {
			t.Fatalf("bucket %d ends at %d, which falls in %d; the next in %d", i, top, bucketOf(top), bucketOf(top+1))
		}
	}
}

// The set behaves as a map does.
func TestIDSet_model(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		var s idSet
		model := map[uint64]bool{}
		// Few low bits, so that slots collide and tables grow.
		for _, v := range rapid.SliceOfN(rapid.Uint64Range(0, 1500), 0, 2000).Draw(t, "values") {
			h := v << 20
			if h == 0 {
				h = 1
			}
			if s.add(h) == model[h] {
				t.Fatalf("%#x: new is %v", h, model[h])
			}
			model[h] = true
		}
	})
}

// A message has exactly the size asked, whole lines of at most 76 characters, a
// header that parses, and the hash of its body.
func TestComposer_message(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		size := rapid.OneOf(rapid.IntRange(600, 900), rapid.IntRange(600, 40_000)).Draw(t, "size")
		n := rapid.Uint64Range(0, 1<<40).Draw(t, "n")
		hashed := rapid.Bool().Draw(t, "hash")
		s := Source{To: "x", Messages: 1, Size: size, Hash: hashed}
		if err := s.defaults(); err != nil {
			t.Fatal(err)
		}
		c, err := newComposer(&s, "run", time.Unix(1e9, 0))
		if err != nil {
			t.Fatal(err)
		}
		text, length := c.appendHeader(nil, n)
		header := len(text)
		if err := c.body(n, length, func(p []byte) error { text = append(text, p...); return nil }); err != nil {
			t.Fatal(err)
		}
		// One octet is no line, so a body of one is none.
		if len(text) != size && !(length == 1 && len(text) == size-1) {
			t.Fatalf("%d octets, want %d", len(text), size)
		}
		for i, line := range strings.SplitAfter(string(text), "\r\n") {
			if len(line) > lineLen && !strings.HasPrefix(line, hashHeader) || strings.ContainsAny(strings.TrimSuffix(line, "\r\n"), "\r\n") {
				t.Fatalf("line %d: %q", i, line)
			}
		}
		m, err := mail.ReadMessage(bytes.NewReader(text))
		if err != nil {
			t.Fatal(err)
		}
		if got, want := m.Header.Get(idHeader), fmt.Sprintf("run-%d", n); got != want {
			t.Fatalf("id %q, want %q", got, want)
		}
		for _, f := range []string{"From", "To", "Subject", "Date", "Message-ID"} {
			if m.Header.Get(f) == "" {
				t.Fatalf("no %s", f)
			}
		}
		if sum := sha256.Sum256(text[header:]); hashed && m.Header.Get(hashHeader) != hex.EncodeToString(sum[:]) {
			t.Fatal("wrong hash")
		}
		again, _ := c.appendHeader(nil, n)
		if !bytes.Equal(again, text[:header]) {
			t.Fatal("another header the second time")
		}
	})
}

func TestTemplate(t *testing.T) {
	for _, tc := range []struct {
		template     string
		n            uint64
		r            int
		recipients   int
		destinations int
		want         string
	}{
		{"", 0, 0, 1, 1, "user@d0.bench.test"},
		{"", 7, 0, 1, 5, "user@d2.bench.test"},
		{"", 1, 2, 3, 100, "user2@d5.bench.test"},
		{"a{r}b@x{n}y{n}.z", 3, 1, 2, 10, "a1b@x7y7.z"},
		{"fixed@example.net", 9, 0, 1, 3, "fixed@example.net"},
		{"no-address", 0, 0, 1, 1, ""},
		{"a{x}@b", 0, 0, 1, 1, ""},
		{"a@b>\r\nDATA", 0, 0, 1, 1, ""},
		{"a@b{n", 0, 0, 1, 1, ""},
	} {
		s := Source{To: "x", Messages: 1, Template: tc.template, Recipients: tc.recipients, Destinations: tc.destinations}
		_ = s.defaults()
		c, err := newComposer(&s, "run", time.Now())
		got := ""
		if err == nil {
			got = string(c.appendRecipient(nil, tc.n, tc.r))
		}
		if got != tc.want {
			t.Errorf("%q: %q (%v), want %q", tc.template, got, err, tc.want)
		}
	}
}

func TestCheck(t *testing.T) {
	for name, tc := range map[string]struct {
		sent     string
		received []string
		want     CheckReport
	}{
		"all there":                       {"a\t1\tx@d\nb\t2\tx@d\n", []string{"b\t3\tx@d\n", "a\t4\tX@D\n"}, CheckReport{Sent: 2, Received: 2}},
		"lost":                            {"a\t1\tx@d\nb\t2\tx@d\n", []string{"b\t3\tx@d\n"}, CheckReport{Sent: 2, Received: 1, Lost: 1, LostIDs: []string{"a\tx@d"}}},
		"lost for one of two":             {"a\t1\tx@d\na\t1\ty@d\n", []string{"a\t3\tx@d\n"}, CheckReport{Sent: 2, Received: 1, Lost: 1, LostIDs: []string{"a\ty@d"}}},
		"twice, in two files":             {"a\t1\tx@d\n", []string{"a\t3\tx@d\n", "a\t4\tx@d\na\t5\tx@d\n"}, CheckReport{Sent: 1, Received: 1, Duplicates: 2, Repeated: 1, RepeatIDs: []string{"a\tx@d"}}},
		"two recipients are no duplicate": {"a\t1\tx@d\na\t1\ty@d\n", []string{"a\t3\tx@d\na\t3\ty@d\n"}, CheckReport{Sent: 2, Received: 2}},
		"arrived unacknowledged":          {"a\t1\tx@d\n", []string{"a\t3\tx@d\nb\t3\tx@d\n"}, CheckReport{Sent: 1, Received: 2, Unasked: 1}},
		"ids alone":                       {"a\nb\n", []string{"a\t3\tx@d\n"}, CheckReport{Sent: 2, Received: 1, Lost: 1, LostIDs: []string{"b"}}},
		"cut off by a crash":              {"a\t1\tx@d\nb\t2\tx", []string{"a\t3\tx@d\n"}, CheckReport{Sent: 1, Received: 1}},
		"nothing":                         {"", nil, CheckReport{}},
	} {
		t.Run(name, func(t *testing.T) {
			var outs []io.Reader
			for _, r := range tc.received {
				outs = append(outs, strings.NewReader(r))
			}
			got, err := Check(strings.NewReader(tc.sent), outs...)
			if err != nil {
				t.Fatal(err)
			}
			if fmt.Sprint(*got) != fmt.Sprint(tc.want) {
				t.Errorf("got  %+v\nwant %+v", *got, tc.want)
			}
			if lost := errors.Is(got.Err(), ErrLost); lost != (tc.want.Lost > 0) {
				t.Errorf("Err: %v", got.Err())
			}
		})
	}
}
