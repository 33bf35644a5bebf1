package smtp

import (
	"context"
	"net"
	"strings"
	"testing"
	"time"

	"github.com/tarishi/tarishi/mail"
)

// asider is a Session that has a say in everything; its words are taken by verb.
type asider struct {
	recordSession
	say map[string]*mail.Reply
	do  map[string]func()
}

func (s *asider) word(verb, args string) *mail.Reply {
	s.h.note("%s %s", verb, args)
	if f := s.do[verb]; f != nil {
		f()
	}
	return s.say[verb]
}

func (s *asider) Rset(context.Context) *mail.Reply                { return s.word("RSET", "") }
func (s *asider) Noop(_ context.Context, a string) *mail.Reply    { return s.word("NOOP", a) }
func (s *asider) Vrfy(_ context.Context, a string) *mail.Reply    { return s.word("VRFY", a) }
func (s *asider) Quit(context.Context) *mail.Reply                { return s.word("QUIT", "") }
func (s *asider) DataExceeded(context.Context, int64) *mail.Reply { return s.word("EXCEEDED", "") }

// withAsides runs a dialogue with such a Session; setup says what it does.
func withAsides(t *testing.T, setup func(s *asider), script string) {
	t.Helper()
	h := &recorder{}
	h.session = func(c *Conn) Session {
		s := &asider{recordSession: recordSession{h: h, c: c}, say: map[string]*mail.Reply{}, do: map[string]func(){}}
		setup(s)
		return s
	}
	dialogue{handler: h, server: &Server{Limits: Limits{MessageSize: 1000}}}.run(t, script)
}

func reply(code int, enhanced, text string) *mail.Reply {
	r := mail.R(code, enhanced, text)
	return &r
}

func TestAsides_usual(t *testing.T) {
	withAsides(t, func(*asider) {}, chunksOK+`
		C: NOOP x y
		S: 250 2.0.0
		E: NOOP x y
		C: VRFY a@b.test
		S: 252 2.5.0
		E: VRFY a@b.test
		C: RSET
		S: 250 2.0.0
		E: RSET
		C: RCPT TO:<c@d.test>
		S: 503
		C: RSET x
		S: 501
		C: QUIT
		S: 221 2.0.0 mx.test
		E: QUIT
		CLOSED
	`)
}

// A refused RSET has happened all the same, and a refused QUIT is the end.
func TestAsides_refused(t *testing.T) {
	withAsides(t, func(s *asider) {
		s.say["NOOP"] = reply(500, "5.7.1", "Stop wasting my time")
		s.say["VRFY"] = reply(550, "5.7.1", "No")
		s.say["RSET"] = reply(550, "5.7.1", "No")
		s.say["QUIT"] = reply(550, "5.7.1", "No")
	}, chunksOK+`
		C: NOOP
		S: 500 5.7.1 Stop
		C: VRFY x
		S: 550 5.7.1
		C: RSET
		S: 550 5.7.1
		C: RCPT TO:<c@d.test>
		S: 503
		C: QUIT
		S: 550
		CLOSED
	`)
}

// While a message comes in by BDAT the Session is in Message and is not asked.
func TestAsides_notBetweenChunks(t *testing.T) {
	withAsides(t, func(s *asider) { s.say["NOOP"] = reply(500, "5.7.1", "No") }, chunksOK+`
		C| BDAT 4\r\nabc
		C| x
		S: 250
		C: NOOP
		S: 250
		E- NOOP
		C: VRFY a
		S: 252
		C: QUIT
		S: 221
		E: QUIT
		CLOSED
	`)
}

func TestAsides_exceeded(t *testing.T) {
	tooMuch := func(s *asider) { s.say["EXCEEDED"] = reply(450, "4.3.4", "Not today") }
	withAsides(t, tooMuch, chunksOK+`
		C: DATA
		S: 354
		C: {x*998}
		C: x
		C: .
		S: 450 4.3.4 Not today
		E: EXCEEDED
		C: NOOP
		S: 250
	`)
	withAsides(t, tooMuch, chunksOK+`
		C| BDAT 1001 LAST\r\n{x*1001}
		S: 450 4.3.4 Not today
		E: EXCEEDED
		C: NOOP
		S: 250
	`)
	// A fault of another kind is not asked about; a positive word takes nothing that is too big.
	withAsides(t, func(s *asider) { s.say["EXCEEDED"] = reply(250, "2.0.0", "Yes") }, chunksOK+`
		C: DATA
		S: 354
		C| a\nb\r\n.\r\n
		S: 550 5.5.2
		E- EXCEEDED
		C: MAIL FROM:<a@b.test>
		S: 250
		C: RCPT TO:<c@d.test>
		S: 250
		C: DATA
		S: 354
		C: {x*1000}
		C: .
		S: 552 5.3.4
	`)
}

// Hangup says nothing, not even to what was pipelined behind; what was answered
// before it is sent.
func TestHangup(t *testing.T) {
	withAsides(t, func(s *asider) { s.do["NOOP"] = s.c.Hangup }, `
		S: 220
		C: EHLO x
		S: 250
		C: MAIL FROM:<a@b.test>
		C: NOOP
		C: MAIL FROM:<c@d.test>
		S: 250 2.1.0
		CLOSED
		E- MAIL c
	`)
}

func TestEarlyTalker(t *testing.T) {
	for script, early := range map[string]bool{
		"S: 220\nC: EHLO x\nS: 250\nC: MAIL FROM:<a@b.test>\nC: RCPT TO:<c@d.test>\nC: DATA\nS: 250\nS: 250\nS: 354\n":             false,
		"S: 220\nC: EHLO x\nC: MAIL FROM:<a@b.test>\nS: 250\nS: 250\n":                                                             true,
		"S: 220\nC: EHLO x\nS: 250\nC: MAIL FROM:<a@b.test>\nC: RCPT TO:<c@d.test>\nC: DATA\nC: .\nS: 250\nS: 250\nS: 503\nCLOSED": true,
	} {
		h := &recorder{}
		var conn *Conn
		h.setup = func(c *Conn) { conn = c }
		dialogue{handler: h}.run(t, script)
		if conn.EarlyTalker() != early {
			t.Errorf("early talker %v after\n%s", !early, script)
		}
	}
}

// What is said before the banner is noticed, and run after it unless the Session
// thinks better of it.
func TestA13_spokeWithin(t *testing.T) {
	for _, x := range []struct {
		script string
		within time.Duration
		spoke  bool
	}{
		{"C: EHLO x\nS: 220\nS: 250", 5 * time.Second, true},
		{"W: 3s\nC: EHLO x\nS: 220\nS: 250", 5 * time.Second, true},
		{"W: 6s\nS: 220\nC: EHLO x\nS: 250", 5 * time.Second, false},
		{"S: 220\nC: EHLO x\nS: 250", 0, false},
	} {
		h := &recorder{}
		spoke := false
		h.setup = func(c *Conn) { spoke = c.SpokeWithin(x.within) }
		dialogue{handler: h}.run(t, x.script)
		if spoke != x.spoke {
			t.Errorf("spoke %v after\n%s", spoke, x.script)
		}
	}
}

func TestA13_spoke(t *testing.T) {
	h := &recorder{}
	said := make(chan struct{})
	var before, after bool
	h.setup = func(c *Conn) {
		before = c.Spoke()
		said <- struct{}{}
		<-said
		for end := time.Now().Add(5 * time.Second); !after && time.Now().Before(end); {
			after = c.Spoke()
		}
	}
	addr := serveOn(t, &Server{Hostname: "mx.test", Handler: h})
	c, err := net.Dial("tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	<-said
	_, _ = c.Write([]byte("EHLO x\r\n"))
	said <- struct{}{}
	b := make([]byte, 1000)
	n, _ := c.Read(b)
	if before || !after || !strings.HasPrefix(string(b[:n]), "220") {
		t.Errorf("spoke %v, then %v; %q", before, after, b[:n])
	}
}
