package smtp

import (
	"bytes"
	"context"
	"errors"
	"io"
	"strings"
	"testing"
	"testing/iotest"
	"testing/synctest"

	"pgregory.net/rapid"

	"github.com/tarishi/tarishi/mail"
	"github.com/tarishi/tarishi/smtp/smtptest"
)

// drawCleanBody makes bodies of CRLF lines, many of them beginning with dots, some
// without their last line end, some larger than a block.
func drawCleanBody(t *rapid.T) []byte {
	lines := rapid.SliceOfN(rapid.OneOf(
		rapid.SampledFrom([]string{"", ".", "..", ".x", "...", "x.", "QUIT", "BDAT 3 LAST"}),
		rapid.StringMatching(`\.?[ -~]{0,120}`),
		rapid.Custom(func(t *rapid.T) string { return strings.Repeat(".y", rapid.IntRange(0, 12000).Draw(t, "n")) }),
	), 0, 60).Draw(t, "lines")
	body := strings.Join(lines, "\r\n")
	if rapid.Bool().Draw(t, "ends in CRLF") {
		body += "\r\n"
	}
	return []byte(body)
}

// B12: whatever is sent arrives octet for octet, by DATA and by BDAT, from memory
// and from a stream, however either side's reads are cut.
func TestB12_bodiesArriveUnchanged(t *testing.T) {
	sinks := make(map[string]*smtptest.Sink)
	clients := make(map[string]*Client)
	for name, sink := range map[string]*smtptest.Sink{
		"DATA":         {Extensions: []string{"PIPELINING", "8BITMIME"}},
		"DATA, octets": {Extensions: []string{"8BITMIME"}, OneByte: true},
		"BDAT":         {},
		"BDAT, octets": {OneByte: true},
	} {
		defer sink.Close()
		c, err := NewClient(t.Context(), sink.Dial(), ClientOptions{Hello: "us.test"})
		sinks[name], clients[name] = sink, mustClient(t, c, err)
	}
	rapid.Check(t, func(rt *rapid.T) {
		body := drawCleanBody(rt)
		x := clientTransaction("b@mx.test")
		x.Bytes = body
		if rapid.Bool().Draw(rt, "stream") {
			cuts := rapid.SliceOfN(rapid.IntRange(1, 40000), 1, 5).Draw(rt, "cuts")
			x.Bytes, x.Data = nil, func() (io.Reader, error) { return &cuttingReader{b: body, cuts: cuts}, nil }
		}
		want := body
		if len(body) > 0 && !bytes.HasSuffix(body, []byte("\r\n")) {
			want = append(bytes.Clone(body), "\r\n"...)
		}
		name := rapid.SampledFrom([]string{"DATA", "DATA, octets", "BDAT", "BDAT, octets"}).Draw(rt, "host")
		sink := sinks[name]
		res, err := clients[name].Send(t.Context(), x)
		if err != nil || !res.Recipients[0].Delivered() {
			rt.Fatalf("%v, %+v", err, res)
		}
		m := sink.Messages()[sink.Count()-1]
		if !bytes.Equal(m.Data, want) {
			rt.Fatalf("%s: sent %q, arrived %q", name, want, m.Data)
		}
		if chunked := m.Chunks != nil; chunked != (x.Data == nil && strings.HasPrefix(name, "BDAT")) {
			rt.Fatalf("%s, stream %v: chunks %v", name, x.Data != nil, m.Chunks)
		}
		if m.Chunks == nil && !bytes.Equal(m.Wire, naiveStuff(want)) {
			rt.Fatalf("%s: on the wire %q", name, m.Wire)
		}
	})
}

// naiveStuff is RFC 5321 §4.5.2 as one would explain it.
func naiveStuff(body []byte) []byte {
	var out []byte
	for line := range bytes.Lines(body) {
		if line[0] == '.' {
			out = append(out, '.')
		}
		out = append(out, line...)
	}
	return append(out, ".\r\n"...)
}

// B12: a bare CR or LF never leaves, wherever it stands and however the body comes.
func TestB12_bareLineEndsNeverLeave(t *testing.T) {
	for _, body := range []string{
		"\n", "\r", "a\nb\r\n", "a\rb\r\n", "a\r\n.\n", "a\r\n\r", "a\r\r\n", "\n.\n", "\r\n.\r", "a\r\n.\n.\r\nMAIL FROM:<x@y>\r\n",
		strings.Repeat("x", pieceSize-1) + "\r" + "x\r\n", strings.Repeat("x", pieceSize) + "\n",
	} {
		for name, reader := range map[string]func(io.Reader) io.Reader{
			"bytes": nil, "stream": func(r io.Reader) io.Reader { return r }, "octets": iotest.OneByteReader,
		} {
			for _, extensions := range [][]string{{"8BITMIME"}, {"8BITMIME", "CHUNKING"}} {
				sink := &smtptest.Sink{Extensions: extensions}
				c, err := NewClient(t.Context(), sink.Dial(), ClientOptions{Hello: "us.test"})
				mustClient(t, c, err)
				x := clientTransaction("b@mx.test")
				x.Bytes = []byte(body)
				if reader != nil {
					x.Bytes, x.Data = nil, func() (io.Reader, error) { return reader(strings.NewReader(body)), nil }
				}
				res := mustSend(t, c, x)
				wantClientResult(t, res, "local 554 5.6.0 Message contains a bare CR or LF")
				if res.DotSent || res.Reusable != (reader == nil) { // a stream is found out in the middle of DATA
					t.Errorf("%q, %s: %+v", body, name, res)
				}
				sink.Close()
				if n := sink.Count(); n != 0 {
					t.Errorf("%q, %s: %d messages arrived", body, name, n)
				}
			}
		}
	}
}

// The stuffer, piece by piece, does what the naive one does on the whole.
func FuzzStuffer(f *testing.F) {
	f.Add([]byte(".a\r\n..\r\n\r\n.b"), uint8(2))
	f.Add([]byte("a\r\n.\n"), uint8(200))
	f.Add([]byte("a\r\r\n"), uint8(1))
	f.Fuzz(func(t *testing.T, body []byte, cut uint8) {
		stripped := bytes.ReplaceAll(body, []byte("\r\n"), nil)
		// Removing the pairs may join a CR and an LF that stood apart: look for each alone.
		clean := !bytes.ContainsAny(stripped, "\r\n")
		facts, scanClean := scanLines(body)
		if scanClean != clean {
			t.Fatalf("scanLines says %v of %q", scanClean, body)
		}
		var s stuffer
		var out []byte
		ok := true
		for r := (&cuttingReader{b: body, cuts: []int{int(cut) + 1}}); ok && len(r.b) > 0; {
			piece := make([]byte, 256)
			n, _ := r.Read(piece)
			out, ok = s.append(out, piece[:n])
		}
		if ok = ok && !s.cr; ok != clean {
			t.Fatalf("stuffer says %v of %q", ok, body)
		}
		if !clean {
			return
		}
		want := body
		if len(body) > 0 && body[len(body)-1] != '\n' {
			want = append(bytes.Clone(body), "\r\n"...)
		}
		if facts.endsInCRLF != (len(want) == len(body)) {
			t.Fatalf("ends in CRLF: %v of %q", facts.endsInCRLF, body)
		}
		stuffed := naiveStuff(want)
		if got := append(s.finish(out), ".\r\n"...); !bytes.Equal(got, stuffed) {
			t.Fatalf("%q, want %q", got, stuffed)
		}
		if facts.dots != (len(stuffed) != len(want)+3) {
			t.Fatalf("dots: %v of %q", facts.dots, body)
		}
	})
}

func TestD2_eightBitNeverRaw(t *testing.T) {
	const head8, body8 = "Subject: caf\xc3\xa9\r\n\r\nx\r\n", "Subject: x\r\n\r\ncaf\xc3\xa9\r\n"
	for name, tc := range map[string]struct {
		extensions []string
		body       string
		utf8       bool
		declared   mail.BodyType
		want, from string
	}{
		"not offered":            {[]string{"X"}, body8, false, mail.Body8BitMIME, "local 554 5.6.3 ", ""},
		"not offered, unlabeled": {[]string{"X"}, body8, false, "", "local 554 5.6.3 ", ""},
		"not offered, header":    {[]string{"X"}, head8, false, "", "local 554 5.6.3 ", ""},
		"not offered, 7 bit":     {[]string{"X"}, "Subject: x\r\n\r\nx\r\n", false, mail.Body8BitMIME, "dot 250 ", "<a@us.test>"},
		"offered":                {[]string{"8BITMIME"}, body8, false, mail.Body8BitMIME, "dot 250 ", "<a@us.test> BODY=8BITMIME"},
		"offered, unlabeled":     {[]string{"8BITMIME"}, body8, false, "", "dot 250 ", "<a@us.test> BODY=8BITMIME"},
		"utf8 header":            {[]string{"8BITMIME"}, head8, true, mail.Body8BitMIME, "local 553 5.6.7 ", ""},
		"utf8 not needed":        {[]string{"8BITMIME"}, body8, true, mail.Body8BitMIME, "dot 250 ", "<a@us.test> BODY=8BITMIME"},
		"utf8 offered":           {[]string{"8BITMIME", "SMTPUTF8"}, head8, true, mail.Body8BitMIME, "dot 250 ", "<a@us.test> BODY=8BITMIME SMTPUTF8"},
	} {
		for _, stream := range []bool{false, true} {
			t.Run(name, func(t *testing.T) {
				sink := &smtptest.Sink{Extensions: tc.extensions}
				defer sink.Close()
				c, err := NewClient(t.Context(), sink.Dial(), ClientOptions{Hello: "us.test"})
				mustClient(t, c, err)
				x := clientTransaction("b@mx.test")
				x.Bytes, x.SMTPUTF8, x.BodyType = []byte(tc.body), tc.utf8, tc.declared
				if stream {
					x.Bytes, x.Data = nil, func() (io.Reader, error) { return iotest.OneByteReader(strings.NewReader(tc.body)), nil }
				}
				res := mustSend(t, c, x)
				if got := res.Recipients[0].Stage.String() + " " + res.Recipients[0].Reply.String(); !strings.HasPrefix(got, tc.want) || !res.Reusable {
					t.Errorf("%s, want %s", got, tc.want)
				}
				if stream && tc.declared == "" {
					tc.from = strings.TrimSuffix(tc.from, " BODY=8BITMIME") // nobody has looked
				}
				if m := sink.Messages(); len(m) != 0 && (m[0].From != tc.from || string(m[0].Data) != tc.body) {
					t.Errorf("arrived %q, %q", m[0].From, m[0].Data)
				} else if (len(m) == 0) != (tc.from == "") {
					t.Errorf("%d messages", len(m))
				}
			})
		}
	}
}

func TestD3_utf8Addresses(t *testing.T) {
	without := &smtptest.Sink{Extensions: []string{"8BITMIME"}}
	with := &smtptest.Sink{}
	defer without.Close()
	defer with.Close()
	c1, err := NewClient(t.Context(), without.Dial(), ClientOptions{Hello: "us.test"})
	mustClient(t, c1, err)
	c2, err := NewClient(t.Context(), with.Dial(), ClientOptions{Hello: "us.test"})
	mustClient(t, c2, err)
	x := clientTransaction("jörg@mx.test", "b@mx.test")
	wantClientResult(t, mustSend(t, c1, x), "local 553 5.6.7 Message needs SMTPUTF8 and the host does not offer it", "dot 250 2.0.0 Taken")
	wantClientResult(t, mustSend(t, c2, x), "dot 250 2.0.0 Taken", "dot 250 2.0.0 Taken")
	if m := with.Messages(); m[0].From != "<a@us.test> SIZE=18 SMTPUTF8" || m[0].To[0] != "<jörg@mx.test>" {
		t.Errorf("%+v", m[0])
	}
	x.Sender = mail.NewAddress("ä@us.test")
	wantClientResult(t, mustSend(t, c1, x), "local 553 5.6.7 Message needs SMTPUTF8 and the host does not offer it",
		"local 553 5.6.7 Message needs SMTPUTF8 and the host does not offer it")
}

func TestF3_pathsOctetForOctet(t *testing.T) {
	good := []string{
		`"x> NOTIFY=NEVER ORCPT"@mx.test`, `"a b"@mx.test`, `"a\"b"@mx.test`, `"a@b"@mx.test`, `"a\\"@mx.test`, `""@mx.test`,
		`u%x@mx.test`, `u!v@mx.test`, `b@[192.0.2.1]`, `b@[IPv6:2001:db8::1]`, `Postmaster`, `"<b@mx.test>,c"@mx.test`,
	}
	bad := []string{
		``, `b@mx.test> NOTIFY=NEVER`, "b@mx.test\r\nDATA", "b\n@mx.test", `b@mx.test,c@mx.test`, `a b@mx.test`, `a@b@mx.test`, `@x:b@mx.test`,
		`"open@mx.test`, `"a"b@mx.test`, "\"a\rb\"@mx.test", "b\x00@mx.test", `b@mx.test `, `b@`, `@mx.test`, `<b@mx.test>`, `"a\`, `"a\"@mx.test`, "b@mx\ttest",
	}
	sink := &smtptest.Sink{}
	defer sink.Close()
	c, err := NewClient(t.Context(), sink.Dial(), ClientOptions{Hello: "us.test"})
	mustClient(t, c, err)
	x := clientTransaction(append(good, bad...)...)
	res := mustSend(t, c, x)
	for i, r := range res.Recipients {
		if good := i < len(good); r.Delivered() != good || !good && (r.Stage != StageLocal || r.Reply.Enhanced != mail.EnhancedCode{5, 1, 3}) {
			t.Errorf("%q: %v %v", x.Recipients[i].Raw, r.Stage, r.Reply)
		}
	}
	want := "<" + strings.Join(good, ">\n<") + ">"
	if got := strings.Join(sink.Messages()[0].To, "\n"); got != want {
		t.Errorf("on the wire:\n%s\nwant:\n%s", got, want)
	}
	for _, raw := range append(bad[1:], "") {
		x := clientTransaction("b@mx.test")
		x.Sender = mail.Address{Raw: raw}
		if res := mustSend(t, c, x); res.Recipients[0].Delivered() != (raw == "") {
			t.Errorf("sender %q: %v", raw, res.Recipients[0])
		}
	}
}

func TestD4_dsnOptions(t *testing.T) {
	x := clientTransaction("b@mx.test", "c@mx.test")
	x.Ret, x.EnvelopeID = "HDRS", "QQ+2B1"
	x.Recipients[0].Notify, x.Recipients[0].ORcpt = "SUCCESS,FAILURE", "rfc822;b+2Bx@mx.test"
	for _, offered := range []bool{true, false} {
		sink := &smtptest.Sink{Extensions: []string{"8BITMIME", "X"}}
		want := []string{"EHLO us.test", "MAIL FROM:<a@us.test>", "RCPT TO:<b@mx.test>", "RCPT TO:<c@mx.test>", "DATA"}
		if offered {
			sink.Extensions[1] = "DSN"
			want[1] += " RET=HDRS ENVID=QQ+2B1"
			want[2] += " NOTIFY=SUCCESS,FAILURE ORCPT=rfc822;b+2Bx@mx.test"
		}
		c, err := NewClient(t.Context(), sink.Dial(), ClientOptions{Hello: "us.test"})
		mustClient(t, c, err)
		mustSend(t, c, x)
		sink.Close()
		if got := strings.Join(sink.Commands(), "\n"); got != strings.Join(want, "\n") {
			t.Errorf("said:\n%s", got)
		}
	}
	x.Recipients[1].ORcpt = "rfc822;x NOTIFY=NEVER"
	clientSends(t, helloWith("DSN")+"C: *\nS: 250 ok\nC: *\nS: 550 no\neof", x, func(t *testing.T, _ *Client, res Result, _ error) {
		wantClientResult(t, res, "rcpt 550 no", "local 501 5.5.4 Delivery status option cannot be sent")
	})
}

func TestB10_beforeDot(t *testing.T) {
	for _, extensions := range [][]string{{"8BITMIME"}, {"8BITMIME", "PIPELINING"}, {"8BITMIME", "PIPELINING", "CHUNKING"}} {
		for _, size := range []int{10, 200_000} {
			synctest.Test(t, func(t *testing.T) {
				sink := &smtptest.Sink{Extensions: extensions}
				defer sink.Close()
				no := errors.New("journal is full")
				for _, fail := range []error{nil, no} {
					c, err := NewClient(t.Context(), sink.Dial(), ClientOptions{Hello: "us.test"})
					mustClient(t, c, err)
					x := clientTransaction("b@mx.test")
					x.Bytes = bytes.Repeat([]byte("0123456\r\n"), size/9)
					calls := 0
					x.BeforeDot = func(context.Context) error {
						calls++
						synctest.Wait() // the host has taken in all that was sent
						if n := sink.Count(); n != 0 && fail == nil {
							t.Errorf("%v: complete before BeforeDot", extensions)
						}
						return fail
					}
					res, err := c.Send(t.Context(), x)
					if calls != 1 || res.DotSent != (fail == nil) || !errors.Is(err, fail) || res.Recipients[0].Delivered() != (fail == nil) || res.Reusable != (fail == nil) {
						t.Errorf("%v: %d calls, %+v, %v", extensions, calls, res, err)
					}
					synctest.Wait()
					if n := sink.Count(); n != 1 {
						t.Errorf("%v: %d messages", extensions, n)
					}
				}
			})
		}
	}
}

// A message that cannot be read to its end is not sent as if it had ended.
func TestB10_sourceFails(t *testing.T) {
	broken := errors.New("disk on fire")
	sink := &smtptest.Sink{}
	defer sink.Close()
	for _, length := range []int64{0, 10, 100_000} {
		c, err := NewClient(t.Context(), sink.Dial(), ClientOptions{Hello: "us.test"})
		mustClient(t, c, err)
		x := clientTransaction("b@mx.test")
		x.Bytes, x.Data = nil, func() (io.Reader, error) {
			return io.MultiReader(io.LimitReader(endless("hi there\r\n"), length), iotest.ErrReader(broken)), nil
		}
		res, err := c.Send(t.Context(), x)
		var source *SourceError
		if !errors.As(err, &source) || !errors.Is(err, broken) || res.DotSent || res.Reusable {
			t.Errorf("%+v, %v", res, err)
		}
	}
	if sink.Count() != 0 {
		t.Error("half a message arrived")
	}
}
