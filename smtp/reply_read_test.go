package smtp

import (
	"bytes"
	"errors"
	"io"
	"strings"
	"testing"
	"testing/iotest"
	"unicode/utf8"

	"pgregory.net/rapid"

	"github.com/tarishi/tarishi/mail"
)

// readClientReplies reads all replies of a stream, and the error it ends with.
func readClientReplies(src io.Reader) (out []mail.Reply, err error) {
	var rr replyReader
	for {
		raw, ok, err := rr.next()
		if err != nil {
			return out, err
		}
		if ok {
			out = append(out, raw.reply())
			continue
		}
		if err := rr.fill(src); err != nil {
			return out, err
		}
	}
}

func TestI2_replies(t *testing.T) {
	long := strings.Repeat("x", 4090)
	for wire, want := range map[string]mail.Reply{
		"250\r\n":                                {Code: 250},
		"250 \r\n":                               {Code: 250},
		"250 OK\r\n":                             mail.R(250, "", "OK"),
		"250 OK\n":                               mail.R(250, "", "OK"),
		"550 5.1.1 No such user\r\n":             mail.R(550, "5.1.1", "No such user"),
		"550 5.1.1\r\n":                          mail.R(550, "5.1.1", ""),
		"550 4.1.1 Confused\r\n":                 mail.R(550, "", "4.1.1 Confused"),
		"550 5.1.1000 Odd\r\n":                   mail.R(550, "", "5.1.1000 Odd"),
		"550-5.7.1 One\r\n550 5.7.1 two\r\n":     mail.R(550, "5.7.1", "One\ntwo"),
		"250-One\r\n550 5.7.1 last wins\r\n":     mail.R(550, "5.7.1", "One\nlast wins"),
		"550-5.7.1 One\r\n550-\r\n550\r\n":       mail.R(550, "5.7.1", "One"),
		"250 " + long + "\r\n":                   mail.R(250, "", long),
		"550 caf\xc3\xa9 \xff \x07\tx\r\n":       mail.R(550, "", "café ? ? x"),
		"550 a\rb\r\n":                           mail.R(550, "", "a?b"),
		"250-" + long + "\r\n250 " + long + "\n": mail.R(250, "", long+"\n"+long),
	} {
		for name, src := range map[string]io.Reader{
			"whole":  strings.NewReader(wire),
			"octets": iotest.OneByteReader(strings.NewReader(wire)),
		} {
			got, err := readClientReplies(src)
			if err != io.EOF || len(got) != 1 || got[0] != want {
				t.Errorf("%.60q, %s: %.100v, %v; want %.100v", wire, name, got, err, want)
			}
		}
	}
}

func TestI2_notReplies(t *testing.T) {
	for _, wire := range []string{"\r\n", "25\r\n", "hello\r\n", "250x\r\n", "150 x\r\n", "650 x\r\n", "2x0 x\r\n", "250-a\r\nb\r\n", "\x16\x03\x01\n"} {
		_, err := readClientReplies(strings.NewReader(wire))
		var protocol *ProtocolError
		if !errors.As(err, &protocol) {
			t.Errorf("%q: %v, want a ProtocolError", wire, err)
		}
	}
}

// G5: whatever comes, a reply stays below its cap, and so does the buffer.
func TestG5_replyCaps(t *testing.T) {
	for name, wire := range map[string]io.Reader{
		"endless line":  endless("x"),
		"endless 250-":  endless("250-x\r\n"),
		"endless codes": endless("250-" + strings.Repeat("y", 8000) + "\r\n"),
		"endless start": io.MultiReader(strings.NewReader("250-a\r\n250 "), endless("b")),
	} {
		counted := &countingReader{r: wire}
		if _, err := readClientReplies(counted); !errors.Is(err, ErrReplyTooLong) {
			t.Errorf("%s: %v", name, err)
		}
		if counted.n > 2*maxRemoteReply {
			t.Errorf("%s: read %d octets before giving up", name, counted.n)
		}
	}
}

func TestG5_replyLimits(t *testing.T) {
	line := func(n int) string { return "250-" + strings.Repeat("x", n-6) + "\r\n" }
	for name, tc := range map[string]struct {
		wire string
		ok   bool
	}{
		"longest line":   {line(maxRemoteLine) + "250 \r\n", true},
		"a longer line":  {line(maxRemoteLine+1) + "250 \r\n", false},
		"most lines":     {strings.Repeat(line(10), maxRemoteLines-1) + "250 \r\n", true},
		"more lines":     {strings.Repeat(line(10), maxRemoteLines) + "250 \r\n", false},
		"largest reply":  {strings.Repeat(line(1<<10), maxRemoteReply>>10-1) + "250 \r\n", true},
		"a larger reply": {strings.Repeat(line(1<<10), maxRemoteReply>>10) + "250 \r\n", false},
	} {
		got, err := readClientReplies(strings.NewReader(tc.wire))
		if ok := err == io.EOF && len(got) == 1; ok != tc.ok || !ok && !errors.Is(err, ErrReplyTooLong) {
			t.Errorf("%s: %d replies, %v", name, len(got), err)
		}
	}
	counted := &countingReader{r: endless("2")}
	if _, err := readClientReplies(counted); !errors.Is(err, ErrReplyTooLong) || counted.n > 2*maxRemoteLine {
		t.Errorf("an endless line: %v after %d octets", err, counted.n)
	}
}

type countingReader struct {
	r io.Reader
	n int
}

func (c *countingReader) Read(p []byte) (int, error) {
	n, err := c.r.Read(p)
	c.n += n
	return n, err
}

// endless repeats s for ever.
func endless(s string) io.Reader { return &endlessReader{s: s} }

type endlessReader struct {
	s string
	i int
}

func (e *endlessReader) Read(p []byte) (int, error) {
	for i := range p {
		p[i] = e.s[e.i]
		e.i = (e.i + 1) % len(e.s)
	}
	return len(p), nil
}

// However a stream of replies is cut into reads, the same replies come out.
func TestReplyReader_cuts(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		lines := rapid.SliceOfN(rapid.StringMatching(`[245][0-9][0-9]( ([245]\.[0-9]\.[0-9]{1,3} )?[a-z .]{0,600})?`), 1, 20).Draw(t, "lines")
		var wire bytes.Buffer
		for _, l := range lines {
			if rapid.Bool().Draw(t, "multi") && len(l) > 3 {
				wire.WriteString(l[:3] + "-first\r\n")
			}
			wire.WriteString(l + "\r\n")
		}
		whole, err1 := readClientReplies(bytes.NewReader(wire.Bytes()))
		cuts := rapid.SliceOfN(rapid.IntRange(1, 700), 1, 10).Draw(t, "cuts")
		pieces, err2 := readClientReplies(&cuttingReader{b: wire.Bytes(), cuts: cuts})
		if err1 != io.EOF || err2 != io.EOF || len(whole) != len(lines) || len(pieces) != len(lines) {
			t.Fatalf("%d and %d replies of %d, %v, %v", len(whole), len(pieces), len(lines), err1, err2)
		}
		for i := range whole {
			if whole[i] != pieces[i] {
				t.Fatalf("reply %d: %v and %v", i, whole[i], pieces[i])
			}
		}
	})
}

// cuttingReader gives b in pieces of the sizes of cuts, over and over.
type cuttingReader struct {
	b    []byte
	cuts []int
	i    int
}

func (c *cuttingReader) Read(p []byte) (int, error) {
	if len(c.b) == 0 {
		return 0, io.EOF
	}
	n := copy(p, c.b[:min(len(c.b), c.cuts[c.i%len(c.cuts)])])
	c.b = c.b[n:]
	c.i++
	return n, nil
}

func FuzzReplyReader(f *testing.F) {
	f.Add([]byte("250-mx\r\n250 OK\r\n550 5.1.1 no\r\n"), uint8(3))
	f.Add([]byte("250\n\r\n"), uint8(1))
	f.Add([]byte("250-\r\r\n250 \xff\x00\n"), uint8(7))
	f.Fuzz(func(t *testing.T, wire []byte, cut uint8) {
		whole, err1 := readClientReplies(bytes.NewReader(wire))
		pieces, err2 := readClientReplies(&cuttingReader{b: wire, cuts: []int{int(cut) + 1}})
		if len(whole) != len(pieces) || (err1 == io.EOF) != (err2 == io.EOF) {
			t.Fatalf("%v, %v in one; %v, %v in pieces of %d", whole, err1, pieces, err2, cut+1)
		}
		for i, r := range whole {
			if r != pieces[i] {
				t.Fatalf("%v and %v", r, pieces[i])
			}
			if r.Code < 200 || r.Code > 599 || !utf8.ValidString(r.Text) || strings.ContainsAny(r.Text, "\r\x00\x1b\x7f") {
				t.Fatalf("reply %+v", r)
			}
			if len(r.Text) > 3*maxRemoteReply {
				t.Fatalf("%d octets of text", len(r.Text))
			}
		}
	})
}
