package smtptest_test

import (
	"bufio"
	"io"
	"net"
	"net/textproto"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/tarishi/tarishi/smtp/smtptest"
)

func TestScript_playsAndChecks(t *testing.T) {
	for _, tc := range []struct{ name, script, client, wrong string }{
		{"as written", "S: 220 hi\nC: QUIT\nS: 221 bye", "QUIT\r\n", ""},
		{"another line", "S: 220 hi\nC: QUIT\nS: 221 bye", "NOOP\r\n", `line 2: C: QUIT: got "NOOP\r\n"`},
		{"bare LF", "S: 220 hi\nC: QUIT", "QUIT\n", `got "QUIT\n"`},
		{"pipelined", "S: 220 hi\nC! NOOP\nC: QUIT", "NOOP\r\nQUIT\r\n", `"QUIT\r\n" came with it`},
		{"no eof", "S: 220 hi\neof", "QUIT\r\n", `got "QUIT\r\n"`},
		{"body", "S: 220 hi\nbody\nC: NOOP", "x\r\n..\r\n.\r\nNOOP\r\n", ""},
	} {
		t.Run(tc.name, func(t *testing.T) {
			client, server := net.Pipe()
			played := make(chan error, 1)
			go func() { played <- smtptest.Play(server, tc.script, nil) }()
			if line, err := bufio.NewReader(client).ReadString('\n'); err != nil || line != "220 hi\r\n" {
				t.Fatalf("greeting %q, %v", line, err)
			}
			if _, err := io.WriteString(client, tc.client); err != nil {
				t.Fatal(err)
			}
			go io.Copy(io.Discard, client)
			if strings.HasPrefix(tc.name, "no eof") {
				client.Close()
			}
			err := <-played
			client.Close()
			if tc.wrong == "" && err != nil || tc.wrong != "" && (err == nil || !strings.Contains(err.Error(), tc.wrong)) {
				t.Errorf("played: %v, want %q", err, tc.wrong)
			}
		})
	}
}

func TestSink_recordsAndObeys(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		sink := &smtptest.Sink{}
		sink.On("RCPT", "<no@", smtptest.Answer{Reply: "550 5.1.1 No"})
		sink.On("DOT", "<slow@", smtptest.Answer{Wait: time.Minute, Times: 1})
		defer sink.Close()
		c := textproto.NewConn(sink.Dial())
		defer c.Close()
		say := func(line string, code int) {
			t.Helper()
			if line != "" {
				if err := c.PrintfLine("%s", line); err != nil {
					t.Fatal(err)
				}
			}
			if _, msg, err := c.ReadResponse(code); err != nil {
				t.Fatalf("%s: %v %s", line, err, msg)
			}
		}
		say("", 220)
		say("EHLO a.test", 250)
		say("MAIL FROM:<a@a.test> SIZE=3", 250)
		say("RCPT TO:<no@b.test>", 550)
		say("DATA", 503)
		say("RCPT TO:<slow@b.test>", 250)
		say("DATA", 354)
		start := time.Now()
		say("..dot\r\nx\r\n.", 250)
		if d := time.Since(start); d != time.Minute {
			t.Errorf("the dot took %v, want 1m", d)
		}
		say("MAIL FROM:<>", 250)
		say("RCPT TO:<slow@b.test>", 250)
		if _, err := c.W.WriteString("BDAT 2\r\nab"); err != nil {
			t.Fatal(err)
		}
		c.W.Flush()
		say("", 250)
		say("BDAT 4 LAST\r\nhi", 250)
		say("QUIT", 221)
		m := sink.Messages()
		if len(m) != 2 {
			t.Fatalf("%d messages", len(m))
		}
		if string(m[0].Data) != ".dot\r\nx\r\n" || string(m[0].Wire) != "..dot\r\nx\r\n.\r\n" || m[0].From != "<a@a.test> SIZE=3" || len(m[0].To) != 1 {
			t.Errorf("first message: %+v", m[0])
		}
		if string(m[1].Data) != "abhi\r\n" || len(m[1].Chunks) != 2 || m[1].From != "<>" {
			t.Errorf("second message: %+v", m[1])
		}
	})
}
