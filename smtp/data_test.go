package smtp

import (
	"errors"
	"fmt"
	"io"
	"net"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/tarishi/tarishi/mail"
	"github.com/tarishi/tarishi/smtp/smtptest"
)

// envelopeOK opens a transaction up to the 354.
const envelopeOK = `
	S: 220
	C: EHLO x
	S: 250
	C: MAIL FROM:<a@b.test>
	S: 250
	C: RCPT TO:<c@d.test>
	S: 250
	C: DATA
	S: 354
`

// After each of these false ends the client says MAIL; the true end follows.
// There must be one reply, and no second transaction.
func TestB1_smuggling(t *testing.T) {
	for _, end := range []string{`\n.\n`, `\n.\r\n`, `\r\n.\n`, `\r\n.\r`, `\r.\r\n`, `\r.\r`, `\n.\r`, `\r.\n`,
		`\r\n\0.\r\n`, `\r\n.\0\r\n`, `\r\n.\r\r\n`} {
		t.Run(end, func(t *testing.T) {
			say(t, envelopeOK+`
				C| body`+end+`MAIL FROM:<smug@x.test>\r\nRCPT TO:<v@d.test>\r\nDATA\r\nevil\r\n.\r\n
				S: 550 5.
				SILENCE
				E- MAIL smug
				C: NOOP
				S: 250
			`)
		})
	}
}

// CR LF . SP CR LF holds no bare CR or LF: by RFC 5321 §4.5.2 it is a line whose
// first period is dropped. One message, one reply, no second transaction.
func TestB1_dotSpace(t *testing.T) {
	say(t, envelopeOK+`
		C| body\r\n. \r\nMAIL FROM:<smug@x.test>\r\n.\r\n
		S: 250
		SILENCE
		M: body\r\n \r\nMAIL FROM:<smug@x.test>\r\n
		E- MAIL smug
	`)
}

func TestB2_doubleCR(t *testing.T) {
	say(t, envelopeOK+`
		C| body\r\r\n.\r\n
		S: 550 5.5.2
		C: NOOP
		S: 250
	`)
}

func TestB3_bareLF(t *testing.T) {
	for _, body := range []string{`\n`, `a\nb\r\n`, `a\r\n\nb\r\n`, `{x*100000}\n{y*100000}\r\n`, `a\rb\r\n`, `\ra\r\n`, `\r\r\n`} {
		t.Run(body, func(t *testing.T) {
			say(t, envelopeOK+`
				C| `+body+`\r\n.\r\n
				S: 550 5.5.2
				SILENCE
				C: MAIL FROM:<again@b.test>
				S: 250
			`)
		})
	}
}

func TestB4_dots(t *testing.T) {
	for _, c := range [][2]string{
		{`..x\r\n`, `.x\r\n`},
		{`.x\r\n`, `x\r\n`},
		{``, ``},
		{`\r\n`, `\r\n`},
		{`...\r\n..\r\na.b\r\n`, `..\r\n.\r\na.b\r\n`},
		{`a\r\n..\r\n`, `a\r\n.\r\n`},
		{`{a*1000}\r\n..{b*100000}\r\n`, `{a*1000}\r\n.{b*100000}\r\n`},
	} {
		t.Run(c[0], func(t *testing.T) {
			say(t, envelopeOK+`
				C| `+c[0]+`.\r\n
				S: 250
				M: `+c[1])
		})
	}
}

func TestB5_stall(t *testing.T) {
	say(t, envelopeOK+`
		C: half a message
		W: 5m1s
		C: .
		C: MAIL FROM:<smug@x.test>
		S: 421 4.4.2
		CLOSED
		E- MAIL smug
	`)
}

// trickle writes n octets every so often until the server hangs up.
func trickle(conn net.Conn, every time.Duration, piece string, times int) {
	for range times {
		time.Sleep(every) // the bubble's clock
		if _, err := io.WriteString(conn, piece); err != nil {
			return
		}
	}
}

func trickleOctets(conn net.Conn, text string) {
	for i := range text {
		trickle(conn, time.Second, text[i:i+1], 1)
	}
}

func TestB6_steady(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := &recorder{}
		s := &Server{Hostname: "mx.test", Handler: h}
		ours, theirs := net.Pipe()
		go s.ServeConn(theirs, false)
		p := newPlayer(t, ours, dialogue{server: s, handler: h})
		p.play(envelopeOK)
		trickle(ours, time.Second, strings.Repeat("x", 1022)+"\r\n", 600) // 1 KB/s for 10 min
		p.play(`
			C: .
			S: 250
			C: QUIT
			S: 221`)
		_ = s.Shutdown(t.Context())
		p.sending.Wait()
	})
}

func TestB6_G1_belowMinimumRate(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := &recorder{}
		s := &Server{Hostname: "mx.test", Handler: h}
		ours, theirs := net.Pipe()
		go s.ServeConn(theirs, false)
		p := newPlayer(t, ours, dialogue{server: s, handler: h})
		p.play(envelopeOK)
		start := time.Now()
		p.sending.Go(func() { trickle(ours, 10*time.Second, "x", 1000) })
		p.play(`
			S~ 421 4.4.2
			CLOSED`)
		if d := time.Since(start); d > 4*time.Minute {
			t.Errorf("closed after %v", d)
		}
		_ = s.Shutdown(t.Context())
		p.sending.Wait()
		if len(h.messages) != 0 {
			t.Error("a part of a message was taken for one")
		}
	})
}

func TestB6_G1_totalDeadline(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := &recorder{}
		s := &Server{Hostname: "mx.test", Handler: h, Timeouts: Timeouts{Message: time.Hour}}
		ours, theirs := net.Pipe()
		go s.ServeConn(theirs, false)
		p := newPlayer(t, ours, dialogue{server: s, handler: h})
		p.play(envelopeOK)
		start := time.Now()
		p.sending.Go(func() { trickle(ours, time.Second, strings.Repeat("x", 98)+"\r\n", 10000) })
		p.play("S~ 421 4.4.2\nCLOSED")
		if d := time.Since(start); d != time.Hour {
			t.Errorf("closed after %v", d)
		}
		_ = s.Shutdown(t.Context())
		p.sending.Wait()
	})
}

func TestB7_lines(t *testing.T) {
	for _, n := range []int{998, 1000, 2 << 10, 64 << 10, 1 << 20} {
		t.Run(fmt.Sprint(n), func(t *testing.T) {
			say(t, envelopeOK+fmt.Sprintf(`
				C| {x*%d}\r\nend\r\n.\r\n
				S: 250
				M: {x*%d}\r\nend\r\n`, n, n))
		})
	}
}

func TestB7_tooLong(t *testing.T) {
	dialogue{server: &Server{Limits: Limits{BodyLine: 1000}}}.run(t, envelopeOK+`
		C| {x*998}\r\n.\r\n
		S: 250
		C: MAIL FROM:<a@b.test>
		C: RCPT TO:<c@d.test>
		C: DATA
		S: 250
		S: 250
		S: 354
		C| {x*999}\r\n.\r\n
		S: 554 5.6.0
		C: NOOP
		S: 250
	`)
}

func TestB8_nul(t *testing.T) {
	say(t, envelopeOK+`
		C| a\0b\r\n.\r\n
		S: 550 5.6.0
		C: NOOP
		S: 250
	`)
}

func TestB8_eightBit(t *testing.T) {
	say(t, envelopeOK+`
		C| Gr\xc3\xbc\xdf\xfe\xff\r\n.\r\n
		S: 250
		M: Gr\xc3\xbc\xdf\xfe\xff\r\n
	`)
}

func TestB9_size(t *testing.T) {
	dialogue{server: &Server{Limits: Limits{MessageSize: 1000, Discard: 2000}}}.run(t, envelopeOK+`
		C| {x*998}\r\n.\r\n
		S: 250
		C: MAIL FROM:<a@b.test>
		C: RCPT TO:<c@d.test>
		C: DATA
		S: 250
		S: 250
		S: 354
		C| {x*999}\r\n.\r\n
		S: 552 5.3.4
		C: MAIL FROM:<a@b.test>
		C: RCPT TO:<c@d.test>
		C: DATA
		S: 250
		S: 250
		S: 354
		# dots that are taken away do not count
		C| {.*501}{\r\n..*100}{x*198}\r\n.\r\n
		S: 250
		C: MAIL FROM:<a@b.test>
		C: RCPT TO:<c@d.test>
		C: DATA
		S: 250
		S: 250
		S: 354
		C| {x*500000}\r\n.\r\n
		S: 552 5.3.4
		CLOSED
	`)
}

func TestB10_cut(t *testing.T) {
	h := &recorder{}
	dialogue{handler: h}.run(t, envelopeOK+`
		C| half a message\r\n.`)
	var be *BodyError
	if len(h.messages) != 0 || len(h.failures) != 1 || !errors.As(h.failures[0], &be) || !errors.Is(be, io.ErrUnexpectedEOF) {
		t.Errorf("messages %q, failures %v", h.messages, h.failures)
	}
}

// The 250 waits for Message; what Message does first (storing) is done before it.
func TestB11_replyAfterMessage(t *testing.T) {
	stored := false
	h := &recorder{}
	h.message = func(c *Conn, r *Body) mail.Reply {
		reply := h.read(c, r)
		time.Sleep(time.Minute) // a slow disk, in the bubble's time
		stored = true
		return reply
	}
	dialogue{handler: h}.run(t, envelopeOK+`
		C: text
		C: .
		SILENCE
		W: 51s
		S: 250 2.0.0 Queued as Q1
	`)
	if !stored {
		t.Error("250 before the end of Message")
	}
}

// A Session may answer without reading; nothing of the body is run.
func TestMessageAnswersEarly(t *testing.T) {
	h := &recorder{message: func(c *Conn, r *Body) mail.Reply { return mail.R(452, "4.3.1", "Disk full") }}
	dialogue{handler: h}.run(t, envelopeOK+`
		C: MAIL FROM:<smug@x.test>
		C: .
		S: 452 4.3.1
		SILENCE
		E- MAIL smug
		C: NOOP
		S: 250
	`)
	h = &recorder{message: func(c *Conn, r *Body) mail.Reply { return mail.R(250, "2.0.0", "Blackholed") }}
	dialogue{handler: h}.run(t, envelopeOK+`
		C| bare\n\r\n.\r\n
		S: 550 5.5.2
	`)
}

// A Session that forgets to answer must not turn into a 250 or a lost message.
func TestMessageWithoutReply(t *testing.T) {
	h := &recorder{message: func(c *Conn, r *Body) mail.Reply { return mail.Reply{} }}
	dialogue{handler: h}.run(t, envelopeOK+`
		C: .
		S: 451 4.3.0
	`)
}

// Time the Session takes for itself is not the client's slowness.
func TestB6_slowDisk(t *testing.T) {
	h := &recorder{}
	h.message = func(c *Conn, r *Body) mail.Reply {
		if _, err := r.Next(); err != nil {
			t.Error(err)
		}
		time.Sleep(10 * time.Minute)
		return h.read(c, r)
	}
	dialogue{handler: h}.run(t, envelopeOK+`
		C: first
		W: 1m
		C: second
		C: .
		S~ 250
	`)
}

func TestBodyIsDeadAfterMessage(t *testing.T) {
	var kept *Body
	h := &recorder{message: func(c *Conn, r *Body) mail.Reply { kept = r; return mail.R(250, "2.0.0", "ok") }}
	dialogue{handler: h}.run(t, envelopeOK+`
		C: .
		S: 250
		C: NOOP
		S: 250
	`)
	if n, err := kept.Read(make([]byte, 10)); n != 0 || err != errBodyOver {
		t.Errorf("%d, %v", n, err)
	}
}

// Reader and WriterTo give the same octets.
func TestBodyReadInPieces(t *testing.T) {
	h := &recorder{}
	h.message = func(c *Conn, r *Body) mail.Reply {
		var got strings.Builder
		one := make([]byte, 1)
		for range 3 { // begin octet by octet
			n, err := r.Read(one)
			if err != nil {
				t.Error(err)
			}
			got.Write(one[:n])
		}
		if _, err := r.WriteTo(&got); err != nil { // and take the rest at once
			t.Error(err)
		}
		if got.String() != "abcdef\r\n.gh\r\n" || r.Size() != 13 {
			t.Errorf("%q, size %d", got.String(), r.Size())
		}
		return mail.R(250, "2.0.0", "ok")
	}
	dialogue{handler: h}.run(t, envelopeOK+`
		C: abcdef
		C: ..gh
		C: .
		S: 250
	`)
}

// B12: what came in by any of the ways above goes out as RFC 5321 writes it: line
// ends of CRLF only, dots doubled, CRLF . CRLF behind it, and nothing else changed.
func TestB12_fromClientToSink(t *testing.T) {
	var taken []string
	take := func(script string) {
		h := &recorder{}
		dialogue{handler: h}.run(t, script)
		taken = append(taken, h.messages...)
	}
	for _, in := range []string{
		`body\r\n. \r\nMAIL FROM:<smug@x.test>\r\n`, // B1
		`..x\r\n`, `.x\r\n`, ``, `\r\n`, `...\r\n..\r\na.b\r\n`, `a\r\n..\r\n`, // B4
		`{a*1000}\r\n..{b*100000}\r\n`,
		`{x*998}\r\n`, `{x*1000000}\r\nend\r\n`, // B7
		`Gr\xc3\xbc\xdf\xfe\xff\r\n`, // B8
		`QUIT\r\nDATA\r\n..\r\n..\r\n`,
	} {
		take(envelopeOK + `
			C| ` + in + `.\r\n
			S: 250`)
	}
	chunks := func(sizes ...string) {
		take(chunksOK + `
			C| ` + strings.Join(sizes, "") + `
			S~ 250
			` + strings.Repeat("S: 250\n", len(sizes)-1))
	}
	chunks(`BDAT 11 LAST\r\na\r\n.\r\nb\r\n..`) // C5: ends without CRLF
	chunks(`BDAT 1\r\n\r`, `BDAT 1\r\n\n`, `BDAT 1\r\n.`, `BDAT 1\r\n\r`, `BDAT 1 LAST\r\n\n`)
	chunks(`BDAT 3\r\n.\r\n`, `BDAT 0 LAST\r\n`)
	if len(taken) != 15 {
		t.Fatalf("%d messages were taken", len(taken))
	}
	for _, extensions := range [][]string{{"8BITMIME"}, {"8BITMIME", "CHUNKING"}} {
		sink := &smtptest.Sink{Extensions: extensions}
		c, err := NewClient(t.Context(), sink.Dial(), ClientOptions{Hello: "us.test"})
		mustClient(t, c, err)
		for _, m := range taken {
			x := clientTransaction("b@mx.test")
			x.Bytes, x.BodyType = []byte(m), mail.Body8BitMIME
			if res := mustSend(t, c, x); !res.Recipients[0].Delivered() {
				t.Errorf("%.60q: %v", m, res.Recipients[0])
			}
			want := m
			if want != "" && !strings.HasSuffix(want, "\r\n") {
				want += "\r\n"
			}
			got := sink.Messages()[sink.Count()-1]
			if string(got.Data) != want {
				t.Errorf("sent %.60q, arrived %.60q", want, got.Data)
			}
			if got.Chunks != nil {
				continue
			}
			if wire := string(got.Wire); wire != string(naiveStuff([]byte(want))) || strings.ContainsAny(strings.ReplaceAll(wire, "\r\n", ""), "\r\n") ||
				!strings.HasSuffix("\r\n"+wire, "\r\n.\r\n") {
				t.Errorf("on the wire %.80q", wire)
			}
		}
		sink.Close()
	}
}
