package ingress

import (
	"bytes"
	"errors"
	"fmt"
	"strings"
	"testing"

	"pgregory.net/rapid"
)

// filtered sends text through a headerFilter in pieces of the given sizes (the
// last size repeats).
func filtered(text string, maxReceived int, maxSize int64, sizes ...int) (string, error) {
	out, _, err := filteredFor("", text, maxReceived, maxSize, sizes...)
	return out, err
}

// filteredFor is filtered with a field that names the tenant; it also returns what
// was kept of it.
func filteredFor(tenant, text string, maxReceived int, maxSize int64, sizes ...int) (string, string, error) {
	var out bytes.Buffer
	var f headerFilter
	f.reset(&out, maxReceived, maxSize)
	var names []string
	if tenant != "" {
		names = []string{"x-other", tenant}
	}
	f.lookFor(names, true)
	rest := []byte(text)
	for i := 0; len(rest) > 0; i++ {
		n := len(rest)
		if len(sizes) > 0 {
			n = min(n, max(1, sizes[min(i, len(sizes)-1)]))
		}
		// A writer must not keep or change what it is given: a fresh copy each time.
		piece := bytes.Clone(rest[:n])
		if m, err := f.Write(piece); err != nil {
			return out.String(), "", err
		} else if m != n {
			return out.String(), "", fmt.Errorf("wrote %d of %d", m, n)
		}
		for j := range piece {
			piece[j] = '#'
		}
		rest = rest[n:]
	}
	err := f.finish()
	return out.String(), string(bytes.Join(f.kept, nil)), err
}

// naive says the same in the plainest way: the whole message in memory, line by line.
func naive(text string, maxReceived int) (string, error) {
	out, _, err := naiveFor("", text, maxReceived)
	return out, err
}

func naiveFor(tenant, text string, maxReceived int) (string, string, error) {
	var out, kept, strays strings.Builder
	keep := &kept
	fields, dropping, keeping, received := 0, false, false, 0
	for text != "" {
		line := text
		if i := strings.IndexByte(text, '\n'); i >= 0 {
			line = text[:i+1]
		}
		name, _, colon := strings.Cut(line, ":")
		trimmed := strings.TrimRight(name, " \t")
		isField := colon && trimmed != "" && len(name) < longestName && strings.IndexFunc(trimmed, func(r rune) bool { return r <= ' ' || r >= 0x7f }) < 0
		switch {
		case line == "\r\n" || line == "\n":
			return out.String() + text, kept.String() + strays.String(), nil
		case fields > 0 && (line[0] == ' ' || line[0] == '\t'):
		case isField:
			fields++
			keeping, keep = tenant != "" && strings.EqualFold(trimmed, tenant), &kept
			if lower := strings.ToLower(trimmed); tenant != "" && strings.HasPrefix(lower, ownPrefix) {
				keeping, keep = true, &strays
			}
			dropping = keeping || strings.EqualFold(trimmed, "return-path")
			if strings.EqualFold(trimmed, "received") {
				if received++; received > maxReceived {
					return "", "", looping
				}
			}
		default:
			return out.String() + "\r\n" + text, kept.String() + strays.String(), nil
		}
		if !dropping {
			out.WriteString(line)
		}
		if keeping {
			keep.WriteString(line)
		}
		text = text[len(line):]
	}
	return out.String(), kept.String() + strays.String(), nil
}

func TestH2_header(t *testing.T) {
	for _, x := range []struct{ name, in, want string }{
		{"untouched", "Subject: x\r\nX-Y:\r\n z\r\n\r\nbody\r\n", "Subject: x\r\nX-Y:\r\n z\r\n\r\nbody\r\n"},
		{"Return-Path removed", "Return-Path: <a@b>\r\nSubject: x\r\n\r\nbody\r\n", "Subject: x\r\n\r\nbody\r\n"},
		{"in the middle, any case, folded", "A: 1\r\nrETURN-pATH:\r\n\t<a@b>\r\n more\r\nB: 2\r\n\r\n", "A: 1\r\nB: 2\r\n\r\n"},
		{"with blanks before the colon", "Return-Path \t: <a@b>\r\nB: 2\r\n\r\n", "B: 2\r\n\r\n"},
		{"twice", "Return-Path: <a@b>\r\nReturn-Path: <c@d>\r\n\r\nbody\r\n", "\r\nbody\r\n"},
		{"last, without body", "A: 1\r\nReturn-Path: <a@b>\r\n", "A: 1\r\n"},
		{"in the body it stays", "A: 1\r\n\r\nReturn-Path: <a@b>\r\n", "A: 1\r\n\r\nReturn-Path: <a@b>\r\n"},
		{"similar names stay", "Return-Paths: x\r\nXReturn-Path: y\r\n\r\n", "Return-Paths: x\r\nXReturn-Path: y\r\n\r\n"},
		{"no header: the body is not ours", "hello\r\nworld\r\n", "\r\nhello\r\nworld\r\n"},
		{"body that looks like one after all", "hello\r\nBcc: x\r\n", "\r\nhello\r\nBcc: x\r\n"},
		{"first line a continuation", " by evil.test\r\nA: 1\r\n\r\n", "\r\n by evil.test\r\nA: 1\r\n\r\n"},
		{"first line a continuation, tab", "\tx: y\r\n", "\r\n\tx: y\r\n"},
		{"name with a blank", "A: 1\r\nBad Name: x\r\nB: 2\r\n\r\nbody\r\n", "A: 1\r\n\r\nBad Name: x\r\nB: 2\r\n\r\nbody\r\n"},
		{"missing colon", "A: 1\r\nnonsense\r\n\r\nbody\r\n", "A: 1\r\n\r\nnonsense\r\n\r\nbody\r\n"},
		{"no name", "A: 1\r\n: x\r\n", "A: 1\r\n\r\n: x\r\n"},
		{"8-bit name", "A: 1\r\n\xc3\xbc: x\r\n", "A: 1\r\n\r\n\xc3\xbc: x\r\n"},
		{"8-bit value", "A: \xc3\xbc\r\n\r\n", "A: \xc3\xbc\r\n\r\n"},
		{"mbox line", "From a@b Sat Mar 7\r\nA: 1\r\n\r\n", "\r\nFrom a@b Sat Mar 7\r\nA: 1\r\n\r\n"},
		{"no blank line", "A: 1\r\nB: 2\r\n", "A: 1\r\nB: 2\r\n"},
		{"empty", "", ""},
		{"empty line first", "\r\nbody: x\r\n", "\r\nbody: x\r\n"},
		{"ends in a name (BDAT)", "A: 1\r\nSubj", "A: 1\r\n\r\nSubj"},
		{"endless name", strings.Repeat("x", 400) + ": y\r\n", "\r\n" + strings.Repeat("x", 400) + ": y\r\n"},
		{"long name", strings.Repeat("x", 200) + ": y\r\n", strings.Repeat("x", 200) + ": y\r\n"},
	} {
		t.Run(x.name, func(t *testing.T) {
			for _, size := range []int{1 << 20, 1, 2, 3, 7, 64} {
				if got, err := filtered(x.in, 100, 1<<20, size); err != nil || got != x.want {
					t.Errorf("in pieces of %d: %v\ngot  %q\nwant %q", size, err, got, x.want)
				}
			}
		})
	}
}

// H2 on the wire.
func TestH2_dialogue(t *testing.T) {
	q := &memory{}
	dialogue{queue: q}.run(t, `
		C: EHLO x
		S: 250
		C: MAIL FROM:<>
		S: 250
		C: RCPT TO:<u@local.test>
		S: 250
		C: DATA
		S: 354
		C: Return-Path: <forged@local.test>
		C: Subject: x
		C: broken header line
		C: X-Late: y
		C: .
		S: 250`)
	if text := q.messages()[0].text; !strings.HasSuffix(text, "\r\nSubject: x\r\n\r\nbroken header line\r\nX-Late: y\r\n") || strings.Contains(text, "forged") {
		t.Errorf("stored\n%s", text)
	}
}

// H3: the 101st Received is one too many; those in the body, and the lines they
// are folded into, do not count.
func TestH3_loop(t *testing.T) {
	for _, x := range []struct {
		received, body int
		limit          int
		reply          string
	}{
		{100, 0, 0, "250"}, {101, 0, 0, "554 5.4.6"}, {300, 0, 0, "554 5.4.6"}, {1, 300, 0, "250"},
		{51, 0, 50, "250"}, {101, 0, 50, "554 5.4.6"}, // never below 100
		{101, 0, 200, "250"}, {201, 0, 200, "554 5.4.6"},
	} {
		t.Run(fmt.Sprint(x), func(t *testing.T) {
			q, p := &memory{}, defaults()
			p.MaxReceived = x.limit
			h := dialogue{queue: q, policy: p}.run(t, `
				C: EHLO x
				S: 250
				C: MAIL FROM:<>
				S: 250
				C: RCPT TO:<u@local.test>
				S: 250
				C: DATA
				S: 354
				`+strings.Repeat("C: received: from a by b\nC:  Received: folded\n", x.received)+`
				C:
				`+strings.Repeat("C: Received: from a by b\n", x.body)+`
				C: .
				S: `+x.reply+`
				C: NOOP
				S: 250`)
			if refused := x.reply != "250"; refused != (len(q.messages()) == 0) || refused != (h.Stats().Loops == 1) {
				t.Errorf("stored %d, counts %+v", len(q.messages()), h.Stats())
			}
		})
	}
}

// G4: a header block over the limit is refused, one at the limit is not; the body does not count.
func TestG4_headerSize(t *testing.T) {
	for _, x := range []struct {
		pad  int
		want error
	}{{0, nil}, {1, longHeader}} {
		for _, size := range []int{1 << 20, 1, 100} {
			text := "A: " + strings.Repeat("x", 995-2+x.pad) + "\r\n" // 998 octets and pad
			_, err := filtered(text+"\r\n"+strings.Repeat("body\r\n", 1000), 100, 998, size)
			if !errors.Is(err, x.want) {
				t.Errorf("pad %d in pieces of %d: %v", x.pad, size, err)
			}
		}
	}
	p := defaults()
	p.MaxHeader = 1000
	dialogue{policy: p}.run(t, `
		C: EHLO x
		S: 250
		C: MAIL FROM:<>
		S: 250
		C: RCPT TO:<u@local.test>
		S: 250
		C: DATA
		S: 354
		`+strings.Repeat("C: X: y\n", 300)+`
		C: .
		S: 552 5.3.4
		C: NOOP
		S: 250`)
}

func TestFilterPieces(t *testing.T) {
	line := rapid.OneOf(
		rapid.SampledFrom([]string{"X-Tenant: a", "x-tenant:", "X-Tenant \t: b", "X-Tenant", "X-Tenants: c", "X-Tarishi-Later: d", "x-tarishi-: e", "Received: x", "Return-Path: <a>", "return-path :", "Subject: y", " folded", "\tfolded", "", "no field", ":", "\r", "A", "Received", "Return-Path"}),
		rapid.StringN(0, 300, 400))
	rapid.Check(t, func(t *rapid.T) {
		text := strings.Join(rapid.SliceOfN(line, 0, 12).Draw(t, "lines"), "\r\n")
		if rapid.Bool().Draw(t, "end") {
			text += "\r\n"
		}
		sizes := rapid.SliceOfN(rapid.IntRange(1, 40), 1, 20).Draw(t, "sizes")
		want, wantKept, wantErr := naiveFor("X-Tenant", text, 2)
		got, kept, err := filteredFor("x-tenant", text, 2, 1<<20, sizes...)
		if wantErr != err || err == nil && (got != want || kept != wantKept) {
			t.Fatalf("%q in %v: %v\ngot  %q, %q\nwant %q, %q, %v", text, sizes, err, got, kept, want, wantKept, wantErr)
		}
	})
}

func FuzzHeaderFilter(f *testing.F) {
	for _, s := range []string{"Received: a\r\nReturn-Path: b\r\n c\r\n\r\nbody", "x", "\r\n", " a\r\n", "a b: c\r\n", "Return-Path:\r\n\tReceived: x\r\nReceived :\r\n", "\r\r\n"} {
		f.Add(s, uint8(3), uint8(200))
	}
	f.Fuzz(func(t *testing.T, text string, a, b uint8) {
		want, wantErr := naive(text, 3)
		got, err := filtered(text, 3, 1<<30, int(a), int(b))
		if wantErr != err || err == nil && got != want {
			t.Fatalf("%q: %v\ngot  %q\nwant %q, %v", text, err, got, want, wantErr)
		}
	})
}
