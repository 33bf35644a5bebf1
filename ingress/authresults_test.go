package ingress

import (
	"bytes"
	"strings"
	"testing"

	"pgregory.net/rapid"
)

func TestH2_forgedAuthenticationResults(t *testing.T) {
	for _, x := range []struct {
		value  string
		forged bool
	}{
		{" mx.test; spf=pass", true},
		{" MX.Test; spf=pass", true},
		{"mx.test;none", true},
		{" mx.test 1; none", true},
		{" mx.test", true},
		{" mx.test.; none", true},
		{"\r\n mx.test;\r\n spf=pass", true},
		{" (we (really) said \\) so)\r\n\t(yes) mx.test(v1); none", true},
		{` "mx.test"; none`, true},
		{` "mx.te\st"; none`, true},
		{" other.test; spf=pass", false},
		{" mx.test.other.test; none", false},
		{" notmx.test; none", false},
		{" (mx.test) other.test; none", false},
		{` "mx.test other"; none`, false},
		{"", false},
		{" (open", false},
		{` "open`, false},
	} {
		field := "authentication-Results:" + x.value + "\r\n"
		if got := forged([]byte(field), "mx.test"); got != x.forged {
			t.Errorf("%q: %v", field, got)
		}
		for _, form := range []struct{ before, behind string }{{"A: 1\r\n", "B: 2\r\n\r\nbody\r\n"}, {"", "\r\n"}, {"A: 1\r\n", ""}, {"", field + "C: 3\r\n"}, {"", "no field\r\n"}} {
			in, want := form.before+field+form.behind, form.before+field+form.behind
			if x.forged {
				want = strings.ReplaceAll(in, field, "")
			}
			if form.behind == "no field\r\n" {
				want = strings.Replace(want, form.behind, "\r\n"+form.behind, 1)
			}
			for _, size := range []int{1 << 20, 1, 3, 25} {
				var out bytes.Buffer
				var f headerFilter
				f.reset(&out, 100, 1<<20)
				f.ours = "mx.test"
				for rest := in; rest != ""; {
					n := min(size, len(rest))
					if _, err := f.Write([]byte(rest[:n])); err != nil {
						t.Fatal(err)
					}
					rest = rest[n:]
				}
				if err := f.finish(); err != nil || out.String() != want {
					t.Errorf("%q in pieces of %d: %q, want %q, %v", in, size, out.String(), want, err)
				}
			}
		}
	}
	const script = `
		C: EHLO x
		S: 250
		C: MAIL FROM:<>
		S: 250
		C: RCPT TO:<u@local.test>
		S: 250
		C: DATA
		S: 354
		C: Authentication-Results: mx.test; dmarc=pass
		C: Authentication-Results: elsewhere.test; dmarc=fail
		C:
		C: body
		C: .
		S: 250`
	for client, want := range map[string]int{"192.0.2.7": 1, "127.0.0.1": 2} { // a host of our own may have written it
		q := &memory{}
		dialogue{queue: q, client: client}.run(t, script)
		if text := q.messages()[0].text; strings.Count(text, "dmarc=") != want || !strings.Contains(text, "elsewhere.test; dmarc=fail") {
			t.Errorf("%s: stored\n%s", client, text)
		}
	}
}

// However the field is cut, the rest of the header is what it was.
func TestH2_forgedInAnyPieces(t *testing.T) {
	line := rapid.SampledFrom([]string{"Authentication-Results: mx.test; x", "authentication-results: o.test", " folded", "Received: x", "Return-Path: <a>", "Subject: y", "", "no field"})
	rapid.Check(t, func(t *rapid.T) {
		text := strings.Join(rapid.SliceOfN(line, 0, 12).Draw(t, "lines"), "\r\n") + "\r\n"
		size := rapid.IntRange(1, 40).Draw(t, "size")
		run := func(size int) string {
			var out bytes.Buffer
			var f headerFilter
			f.reset(&out, 100, 1<<20)
			f.ours = "mx.test"
			for i := 0; i < len(text); i += size {
				if _, err := f.Write([]byte(text[i:min(i+size, len(text))])); err != nil {
					t.Fatal(err)
				}
			}
			if err := f.finish(); err != nil {
				t.Fatal(err)
			}
			return out.String()
		}
		if got, want := run(size), run(len(text)); got != want {
			t.Fatalf("%q in pieces of %d: %q, in one %q", text, size, got, want)
		}
	})
}

// FuzzStrangersHeader: no field that goes on is Authentication-Results in our name,
// however it is written and cut, and nothing else is missing.
func FuzzStrangersHeader(f *testing.F) {
	f.Add("Authentication-Results: mx.test; x\r\nA: 1\r\n\r\nbody", uint8(3))
	f.Add("A: 1\r\nauthentication-results :\r\n (c\\)(d)) \"mx.test\"\r\n 1; x\r\n", uint8(1))
	f.Add("Authentication-Results: mx.test", uint8(200))
	f.Add("Authentication-Results:\r\n\r\nAuthentication-Results: mx.test\r\n", uint8(9))
	f.Fuzz(func(t *testing.T, text string, cut uint8) {
		run := func(ours string, size int) string {
			var out bytes.Buffer
			var f headerFilter
			f.reset(&out, 1<<20, 1<<30)
			f.ours = ours
			for rest := text; rest != ""; {
				n := min(size, len(rest))
				if _, err := f.Write([]byte(rest[:n])); err != nil {
					t.Fatal(err)
				}
				rest = rest[n:]
			}
			if err := f.finish(); err != nil {
				t.Fatal(err)
			}
			return out.String()
		}
		got := run("mx.test", int(cut)+1)
		if whole := run("mx.test", 1<<20); got != whole {
			t.Fatalf("%q in pieces of %d: %q, in one %q", text, int(cut)+1, got, whole)
		}
		// What the filter passes without us in mind, minus the forged fields, is what it passes.
		var want strings.Builder
		for rest := run("", 1<<20); rest != ""; {
			field, more := cutField(rest)
			rest = more
			name, _, colon := strings.Cut(field, ":")
			if isResults := colon && strings.EqualFold(strings.TrimRight(name, " \t"), "Authentication-Results"); !isResults || !forged([]byte(field), "mx.test") {
				want.WriteString(field)
			}
			if field == "\r\n" || field == "\n" {
				want.WriteString(rest)
				break
			}
		}
		if got != want.String() {
			t.Fatalf("%q: %q, want %q", text, got, want.String())
		}
	})
}

// cutField takes the first field with its continuations off a header.
func cutField(s string) (field, rest string) {
	for i := 0; i < len(s); i++ {
		if s[i] == '\n' && (i+1 == len(s) || s[i+1] != ' ' && s[i+1] != '\t' || strings.Trim(s[:i+1], "\r\n") == "") {
			return s[:i+1], s[i+1:]
		}
	}
	return s, ""
}
