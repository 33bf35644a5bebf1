package command

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"net/smtp"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
)

// mailboxHost is an LMTP server (RFC 2033) of this test's own.
type mailboxHost struct {
	addr string
	// says is the reply to a recipient after the dot, empty: it hangs up instead of it;
	// nth counts from 1 how often the recipient was asked about.
	says func(rcpt string, nth int) string

	mu      sync.Mutex
	asked   map[string]int
	boxes   map[string][]string // messages that were answered 250, by recipient
	unknown []string            // commands that LMTP has not
}

func startMailboxHost(t *testing.T, says func(rcpt string, nth int) string) *mailboxHost {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	return mailboxHostOn(t, l, err, says)
}

func mailboxHostOn(t *testing.T, l net.Listener, err error, says func(rcpt string, nth int) string) *mailboxHost {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
	h := &mailboxHost{addr: l.Addr().String(), says: says, asked: map[string]int{}, boxes: map[string][]string{}}
	var wg sync.WaitGroup
	wg.Go(func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			wg.Go(func() { h.serve(c) })
		}
	})
	t.Cleanup(func() { l.Close(); wg.Wait() })
	return h
}

func (h *mailboxHost) serve(c net.Conn) {
	defer c.Close()
	in, out := bufio.NewReader(c), bufio.NewWriter(c)
	say := func(lines ...string) { fmt.Fprint(out, strings.Join(lines, "\r\n")+"\r\n") }
	say("220 boxes.test LMTP")
	var rcpts []string
	for {
		if out.Flush() != nil {
			return
		}
		line, err := in.ReadString('\n')
		if err != nil {
			return
		}
		line = strings.TrimRight(line, "\r\n")
		verb, arg, _ := strings.Cut(line, " ")
		switch strings.ToUpper(verb) {
		case "LHLO":
			say("250-boxes.test", "250-PIPELINING", "250 ENHANCEDSTATUSCODES")
		case "MAIL", "RSET":
			rcpts = nil
			say("250 2.1.0 OK")
		case "RCPT":
			rcpt := between(arg, "<", ">")
			if strings.HasPrefix(rcpt, "unknown@") {
				say("550 5.1.1 no such mailbox")
				continue
			}
			rcpts = append(rcpts, rcpt)
			say("250 2.1.5 OK")
		case "DATA":
			if len(rcpts) == 0 {
				say("503 5.5.1 no recipients") // RFC 2033 §4.2
				continue
			}
			say("354 go on")
			if out.Flush() != nil {
				return
			}
			text, err := dotted(in)
			if err != nil || !h.store(out, rcpts, text) {
				return
			}
			rcpts = nil
		case "QUIT":
			say("221 2.0.0 bye")
			out.Flush()
			return
		default:
			h.mu.Lock()
			h.unknown = append(h.unknown, line)
			h.mu.Unlock()
			say("500 5.5.1 this is LMTP")
		}
	}
}

// store answers for each recipient in order; false: it has hung up.
func (h *mailboxHost) store(out *bufio.Writer, rcpts []string, text string) bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	for _, rcpt := range rcpts {
		h.asked[rcpt]++
		reply := h.says(rcpt, h.asked[rcpt])
		if reply == "" {
			out.Flush()
			return false
		}
		if reply[0] == '2' {
			h.boxes[rcpt] = append(h.boxes[rcpt], text)
		}
		fmt.Fprint(out, reply+"\r\n")
	}
	return true
}

func (h *mailboxHost) box(rcpt string) []string {
	h.mu.Lock()
	defer h.mu.Unlock()
	return slices.Clone(h.boxes[rcpt])
}

func dotted(in *bufio.Reader) (string, error) {
	var b strings.Builder
	for {
		line, err := in.ReadString('\n')
		if err != nil || line == ".\r\n" {
			return b.String(), err
		}
		b.WriteString(strings.TrimPrefix(line, "."))
	}
}

func between(s, open, end string) string {
	_, s, _ = strings.Cut(s, open)
	s, _, _ = strings.Cut(s, end)
	return s
}

// Mail for local domains is handed over by LMTP: each recipient has a reply of his own
// behind the dot, and each is taken at its word. When the host hangs up between two
// replies, those before are settled and those behind are tried again.
func TestLocalDomains_lmtp(t *testing.T) {
	host := startMailboxHost(t, func(rcpt string, nth int) string {
		user, _, _ := strings.Cut(rcpt, "@")
		switch {
		case user == "full":
			return "552 5.2.2 mailbox is full"
		case user == "busy" && nth == 1:
			return "452 4.2.1 mailbox is locked"
		case user == "cut" && nth == 1:
			return ""
		}
		return "250 2.1.5 stored for " + user
	})
	n := startServe(t, fmt.Sprintf(`
hostname: n.example
data: %s
smtp: {listen: ["127.0.0.1:0"], relay_from: ["203.0.113.0/24"]}
admin: {listen: "127.0.0.1:0"}
local: {domains: [boxes.test, more.test], via: "lmtp:%s"}
retry: {schedule: [1s], jitter: 0}
log: {level: error}
`, filepath.Join(t.TempDir(), "data"), host.addr))
	defer n.stop(t)

	to := []string{"ann@boxes.test", "full@boxes.test", "busy@boxes.test", "unknown@boxes.test", "cut@boxes.test", "last@boxes.test", "bob@more.test"}
	err := smtp.SendMail(n.smtp, nil, "sender@boxes.test", to, []byte("Subject: to all\r\n\r\n.a line with a dot\r\n"))
	if err != nil {
		t.Fatal(err)
	}
	waitFor(t, "everybody's mail, and the notices", func() bool {
		return len(host.box("last@boxes.test")) > 0 && len(host.box("busy@boxes.test")) > 0 && len(host.box("cut@boxes.test")) > 0 &&
			len(host.box("bob@more.test")) > 0 && strings.Count(strings.Join(host.box("sender@boxes.test"), ""), "Action: failed") == 2
	})
	waitFor(t, "nothing to be left", func() bool { return n.queued(t) == 0 })
	for _, rcpt := range []string{"ann@boxes.test", "busy@boxes.test", "cut@boxes.test", "last@boxes.test", "bob@more.test"} {
		if got := host.box(rcpt); len(got) != 1 || !strings.Contains(got[0], "\r\n\r\n.a line with a dot\r\n") {
			t.Errorf("%s has %d messages: %q", rcpt, len(got), got)
		}
	}
	notices := strings.Join(host.box("sender@boxes.test"), "")
	for _, want := range []string{
		"Final-Recipient: rfc822;full@boxes.test", "Status: 5.2.2", "552 5.2.2 mailbox is full",
		"Final-Recipient: rfc822;unknown@boxes.test", "Status: 5.1.1",
	} {
		if !strings.Contains(notices, want) {
			t.Errorf("no %q in\n%s", want, notices)
		}
	}
	host.mu.Lock()
	defer host.mu.Unlock()
	if len(host.unknown) > 0 {
		t.Errorf("said to an LMTP host: %q", host.unknown)
	}
	for rcpt, want := range map[string]int{"ann@boxes.test": 1, "full@boxes.test": 1, "busy@boxes.test": 2, "cut@boxes.test": 2, "last@boxes.test": 1} {
		if host.asked[rcpt] != want {
			t.Errorf("%s was asked about %d times, want %d", rcpt, host.asked[rcpt], want)
		}
	}
}

// Strangers reach the local domains and nothing else. The host is on a socket of the
// machine, as Dovecot's is.
func TestLocalDomains_strangers(t *testing.T) {
	folder := t.TempDir()
	socket := filepath.Join(folder, "lmtp")
	l, err := net.Listen("unix", socket)
	host := mailboxHostOn(t, l, err, func(rcpt string, _ int) string {
		if strings.HasPrefix(rcpt, "full@") {
			return "552 5.2.2 mailbox is full"
		}
		return "250 2.1.5 OK"
	})
	n := startServe(t, fmt.Sprintf(`
hostname: n.example
data: %s
smtp: {listen: ["127.0.0.1:0"], relay_from: ["203.0.113.0/24"]}
admin: {listen: "127.0.0.1:0"}
local: {domains: [boxes.test], via: "lmtp:unix:%s"}
log: {level: error}
`, filepath.Join(folder, "data"), socket))
	defer n.stop(t)
	c, err := smtp.Dial(n.smtp)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	if err := c.Mail("sender@boxes.test"); err != nil {
		t.Fatal(err)
	}
	for _, rcpt := range []string{"x@away.test", "x@sub.boxes.test", "x%away.test@boxes.test"} {
		if err := c.Rcpt(rcpt); err == nil || !strings.Contains(err.Error(), "5.7.1 Relaying denied") {
			t.Errorf("%s: %v", rcpt, err)
		}
	}
	for _, rcpt := range []string{"x@BOXES.test", "postmaster", "full@boxes.test"} {
		if err := c.Rcpt(rcpt); err != nil {
			t.Errorf("%s: %v", rcpt, err)
		}
	}
	w, err := c.Data()
	if err != nil {
		t.Fatal(err)
	}
	_, _ = io.WriteString(w, "Subject: hello\r\n\r\n")
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	waitFor(t, "both, and a notice of the third", func() bool {
		return len(host.box("postmaster@boxes.test")) == 1 && len(host.box("x@BOXES.test")) == 1 && len(host.box("sender@boxes.test")) == 1
	})
	if notice := host.box("sender@boxes.test")[0]; !strings.Contains(notice, "552 5.2.2 mailbox is full") || strings.Contains(notice, socket) {
		t.Error(notice)
	}
}
