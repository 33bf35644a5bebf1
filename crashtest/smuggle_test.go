//go:build soak

package crashtest

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/tarishi/tarishi/smtp/smtptest"
)

// falseEnds are what some mail system, somewhere, has taken for the end of a
// message: all of rule B1, and more of their kind.
func falseEnds() (ends []string) {
	for _, before := range []string{"\n", "\r", "\r\n", "\n\r", "\r\n\x00", "\n\x00", "\r\n\v", "\n\n", "\r\r"} {
		for _, behind := range []string{"\n", "\r", "\r\n", "\r\r\n", "\x00\r\n", " \r\n", "\t\r\n", "\n\n", "\v\r\n"} {
			if before == "\r\n" && behind == "\r\n" {
				continue // that is the end
			}
			ends = append(ends, before+"."+behind)
		}
	}
	return append(ends, "\r\n.\n.\r\n", "\n.\r\n.\n", "\r\n..\r\n", "\r\n. \n.\r", "\r\n.\r\n"[:4]+"\x00\n")
}

// attack is one try to have a message taken for two.
type attack struct {
	id    string // names sender and smuggled sender
	end   string // between the message and the smuggled commands
	how   string // data, octets (one a segment), or bdat
	taken int    // how many messages its own next host said it had taken
}

func (a *attack) String() string { return fmt.Sprintf("%s %s %q", a.id, a.how, a.end) }

// run says the dialogue to addr. Whatever is answered, it says it to its end.
func (a *attack) run(t *testing.T, addr string) {
	c, err := net.Dial("tcp", addr)
	if err != nil {
		t.Errorf("%s: %v", a, err)
		return
	}
	defer c.Close()
	_ = c.SetDeadline(time.Now().Add(20 * time.Second))
	in := bufio.NewReader(c)
	reply := func() string {
		for {
			line, err := in.ReadString('\n')
			if err != nil {
				return ""
			}
			if len(line) > 3 && line[3] == ' ' {
				return line
			}
		}
	}
	ask := func(line string) string {
		_, _ = io.WriteString(c, line+"\r\n")
		return reply()
	}
	reply()
	ask("EHLO attacker.test")
	ask("MAIL FROM:<first-" + a.id + "@attacker.test>")
	ask("RCPT TO:<victim@sink.test>")
	message := "Subject: first " + a.id + "\r\n\r\nbody" + a.end +
		"MAIL FROM:<smuggled-" + a.id + "@attacker.test>\r\nRCPT TO:<victim@sink.test>\r\nDATA\r\nSubject: smuggled " + a.id + "\r\n\r\nevil"
	switch a.how {
	case "bdat":
		_, _ = fmt.Fprintf(c, "BDAT %d LAST\r\n%s\r\n", len(message)+2, message)
	default:
		if !strings.HasPrefix(ask("DATA"), "354") {
			return
		}
		message += "\r\n.\r\n"
		if a.how == "octets" {
			for i := range message {
				if _, err := c.Write([]byte{message[i]}); err != nil {
					break
				}
			}
		} else {
			_, _ = io.WriteString(c, message)
		}
	}
	// The one reply, and those to whatever was taken for commands.
	for r := reply(); r != ""; r = reply() {
		if queued.MatchString(r) {
			a.taken++
		}
		if strings.HasPrefix(r, "221") {
			return
		}
		if in.Buffered() == 0 && a.done(r) {
			_, _ = io.WriteString(c, "QUIT\r\n")
		}
	}
}

// queued is how Tarishi, Postfix and Exim say that they have taken a message.
var queued = regexp.MustCompile(`(?i)^250 .*(queued as|OK id=|ok: queued)`)

// done tells whether r may be the last reply: what was smuggled in gets some of its
// own, and QUIT does no harm behind them.
func (a *attack) done(r string) bool { return r[0] == '2' || r[0] == '5' || r[0] == '4' }

// TestB1_throughPostfixAndExim sends every false end through the whole program, with
// the real Postfix and the real Exim before it and behind it, and counts what comes
// out at the end.
func TestB1_throughPostfixAndExim(t *testing.T) {
	exe := buildProduct(t)
	for _, x := range []struct {
		name          string
		before, after func(t *testing.T, next string) *mta // nil: nobody
		script        string                               // of a plugin; empty: none, and messages are not looked at
	}{
		{"Postfix behind us", nil, postfix("smtpd_forbid_bare_newline = no"), ""},
		{"Postfix behind us, and a script", nil, postfix("smtpd_forbid_bare_newline = no"), lookingScript},
		{"Exim before us, and a script", exim, nil, lookingScript},
		{"Exim behind us", nil, exim, ""},
		{"Postfix before us", postfix("smtpd_forbid_bare_newline = normalize\nsmtpd_forbid_bare_newline_exclusions ="), nil, ""},
		{"Postfix before us, as it comes", postfix("smtpd_forbid_bare_newline = no"), nil, ""},
		{"Exim before us", exim, nil, ""},
		{"Postfix before us, Exim behind", postfix("smtpd_forbid_bare_newline = no"), exim, ""},
		{"Exim before us, Postfix behind", exim, postfix("smtpd_forbid_bare_newline = no"), ""},
	} {
		t.Run(x.name, func(t *testing.T) {
			sink := &smtptest.Sink{}
			next := sink.Listen(t)
			var all []interface{ waiting() int }
			if x.after != nil {
				m := x.after(t, next)
				next = m.addr
				all = append(all, m)
			}
			n := newNode(t, exe, t.TempDir(), next)
			if x.script != "" {
				n.addScript(t, x.script)
			}
			n.start()
			first := n.smtp
			if x.before != nil {
				m := x.before(t, n.smtp)
				first = m.addr
				all = append(all, m)
			}
			var attacks []*attack
			for _, how := range []string{"data", "octets", "bdat"} {
				for _, end := range falseEnds() {
					attacks = append(attacks, &attack{id: fmt.Sprintf("%s%d", how, len(attacks)), end: end, how: how})
				}
			}
			attacks = append(attacks, &attack{id: "chunk", end: "\r\n.\r\n", how: "bdat"}) // in a chunk it ends nothing
			var wg sync.WaitGroup
			todo := make(chan *attack, len(attacks))
			for range 8 {
				wg.Go(func() {
					for a := range todo {
						a.run(t, first)
					}
				})
			}
			for _, a := range attacks {
				todo <- a
			}
			close(todo)
			wg.Wait()
			last := &attack{id: "last", end: "\r\n", how: "data"}
			last.run(t, first)
			if last.taken != 1 {
				t.Fatalf("a plain message was not taken: %d", last.taken)
			}
			n.await(2*time.Minute, "nothing is queued anywhere", func() bool {
				for _, m := range all {
					if m.waiting() > 0 {
						return false
					}
				}
				d, err := n.depth()
				return err == nil && d == 0 && arrived(sink, "first-last@") == 1
			})
			// Nothing on its way between two queues: looked at again, all are still empty.
			time.Sleep(time.Second)
			for _, m := range all {
				if m.waiting() > 0 {
					t.Fatal("mail is on its way after all")
				}
			}
			for _, m := range sink.Messages() {
				if x.script != "" && strings.HasPrefix(m.From, "<first-last@") && !strings.Contains(string(m.Data), "X-Seen: first last\r\n") {
					t.Errorf("the script has not seen the message: %q", m.Data)
				}
			}
			judge(t, attacks, sink, x.before != nil)
		})
	}
}

// lookingScript reads and changes every message, which is kept aside for it.
const lookingScript = `exports.hook_data_post = function (next, connection) {
  connection.transaction.add_header('X-Seen', connection.transaction.header.get('Subject').trim())
  next()
}
`

// addScript has the program run a script as its only plugin.
func (n *node) addScript(t *testing.T, script string) {
	dir := t.TempDir()
	write(t, filepath.Join(dir, "looks.js"), script)
	f, err := os.OpenFile(n.config, os.O_APPEND|os.O_WRONLY, 0)
	if err == nil {
		_, err = fmt.Fprintf(f, "plugins: {folder: %q, run: [looks]}\n", dir)
	}
	if err = errors.Join(err, f.Close()); err != nil {
		t.Fatal(err)
	}
}

// arrived counts the messages of a sender.
func arrived(sink *smtptest.Sink, sender string) (n int) {
	for _, m := range sink.Messages() {
		if strings.HasPrefix(m.From, "<"+sender) {
			n++
		}
	}
	return n
}

// judge compares what came out with what went in.
func judge(t *testing.T, attacks []*attack, sink *smtptest.Sink, relayed bool) {
	whole, refused, split := 0, 0, 0
	for _, a := range attacks {
		first, smuggled := arrived(sink, "first-"+a.id+"@"), arrived(sink, "smuggled-"+a.id+"@")
		switch {
		case a.taken > 1 && relayed:
			// The host before us has taken it for two, which the client was told: that is
			// its own affair, as long as we add none.
			split++
			if first+smuggled > a.taken {
				t.Errorf("%s: %d messages taken by the host before us, %d and %d came out", a, a.taken, first, smuggled)
			}
			continue
		case first+smuggled > 1, smuggled > 0:
			t.Errorf("%s: %d messages and %d smuggled ones came out", a, first, smuggled)
		case a.taken > 1:
			t.Errorf("%s: %d times taken", a, a.taken)
		}
		if first == 1 {
			whole++
		} else {
			refused++
		}
	}
	t.Logf("%d attacks: %d arrived as one message, %d were refused, %d were taken for two by the host before us", len(attacks), whole, refused, split)
	for _, m := range sink.Messages() {
		if rest := strings.ReplaceAll(string(m.Wire), "\r\n", ""); m.Chunks == nil && !relayed && strings.ContainsAny(rest, "\n") {
			t.Errorf("%s: a bare LF went on: %.200q", m.From, m.Wire)
		}
	}
}
