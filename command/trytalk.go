package command

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"net/textproto"
	"slices"
	"strings"
	"sync"

	"github.com/tarishi/tarishi/daemon"
	"github.com/tarishi/tarishi/ingress"
	"github.com/tarishi/tarishi/mail"
	"github.com/tarishi/tarishi/plugin"
	"github.com/tarishi/tarishi/smtp"
)

// tryResult is what came of a trial.
type tryResult struct {
	Steps    []tryStep  `json:"steps"`
	Accepted bool       `json:"accepted"` // by all, and for all recipients
	NotAsked []string   `json:"not_asked,omitempty"`
	Stored   *tryStored `json:"stored,omitempty"` // what a node would have stored; absent: nothing

	// Results are what plugins have found out, of the connection and of the message.
	Results []tryFinding `json:"results"`
}

// tryFinding is the result of one plugin.
type tryFinding struct {
	Plugin string              `json:"plugin"`
	Of     string              `json:"of"` // connection or message
	Lists  map[string][]string `json:"lists,omitempty"`
	Values map[string]any      `json:"values,omitempty"`
}

// tryStep is one command, whom it had asked, and the reply.
type tryStep struct {
	Command   string        `json:"command"`
	Functions []tryFunction `json:"functions"`
	Reply     string        `json:"reply,omitempty"`
}

type tryFunction struct {
	Hook     string  `json:"hook"`
	Plugin   string  `json:"plugin"`
	Function string  `json:"function"`
	Verdict  string  `json:"verdict"`
	Reply    string  `json:"reply,omitempty"`
	Fault    string  `json:"fault,omitempty"`
	Seconds  float64 `json:"seconds"`
}

// tryStored is a message as it would be stored.
type tryStored struct {
	Message string          `json:"message"`
	From    string          `json:"from"`
	To      []string        `json:"to"`
	Tenant  string          `json:"tenant,omitempty"`
	Class   string          `json:"class,omitempty"`
	Notes   json.RawMessage `json:"notes,omitempty"`
	Added   []string        `json:"added"`   // lines of the header that were not there
	Removed []string        `json:"removed"` // and that are not there any more
	Text    string          `json:"-"`
}

// tryTalk is a client that talks to the policy, and the store behind that.
type tryTalk struct {
	*tryOut
	log    *slog.Logger
	result tryResult

	mu    sync.Mutex
	asked []tryFunction // since the last reply
	conn  *plugin.Connection
	tx    *plugin.Transaction
}

// watch is told of each function by the server's goroutine.
func (t *tryTalk) watch(s plugin.Step) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.conn = s.Event.Connection; s.Event.Transaction != nil {
		t.tx = s.Event.Transaction
	}
	t.asked = append(t.asked, tryFunction{
		Hook: string(s.Hook), Plugin: s.Plugin, Function: s.Function, Verdict: s.Verdict.Code.String(),
		Reply: s.Verdict.Reply.String(), Fault: s.Fault, Seconds: s.Took.Seconds(),
	})
}

// step notes a command and its reply; good tells whether it was positive.
func (t *tryTalk) step(command, reply string) (good bool) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.result.Steps = append(t.result.Steps, tryStep{command, append([]tryFunction{}, t.asked...), reply})
	t.asked = nil
	good = reply == "" || strings.HasPrefix(reply, "2") || strings.HasPrefix(reply, "3")
	t.result.Accepted = t.result.Accepted && good
	return good
}

// addressed is a connection with the address of the client that is tried.
type addressed struct {
	net.Conn
	remote net.Addr
}

func (c addressed) RemoteAddr() net.Addr { return c.remote }
func (c addressed) LocalAddr() net.Addr  { return &net.TCPAddr{IP: net.IPv4(127, 0, 0, 1), Port: 25} }

func (t *tryTalk) talk(ctx context.Context, c *daemon.Config, p ingress.Policy) error {
	p.Watch, p.Log = t.watch, t.log
	h := ingress.New(p, ingress.Store{
		NewWriter: func(string) ingress.Writer { return &tryWriter{t: t} },
		Room:      func() error { return nil },
	})
	server := &smtp.Server{
		Hostname: c.SMTP.Hostname, Handler: h, Log: t.log, LaxPaths: c.SMTP.LaxPaths,
		Limits: smtp.Limits{MessageSize: int64(c.SMTP.MaxMessageSize), Recipients: c.SMTP.MaxRecipients, BodyLine: int(c.SMTP.Limits.BodyLine)},
	}
	ours, theirs := net.Pipe()
	served := make(chan struct{})
	go func() {
		defer close(served)
		ip, _ := netip.ParseAddr(t.ip) // has been checked
		server.ServeConn(addressed{theirs, net.TCPAddrFromAddrPort(netip.AddrPortFrom(ip, 40000))}, false)
	}()
	stop := context.AfterFunc(ctx, func() { _ = ours.Close() })
	defer stop()
	t.result.Accepted = true
	conn := textproto.NewConn(ours)
	t.dialogue(conn)
	_ = conn.Close() // the server may have closed it
	<-served
	t.step("(the connection ends)", "")
	if last := &t.result.Steps[len(t.result.Steps)-1]; len(last.Functions) == 0 {
		t.result.Steps = t.result.Steps[:len(t.result.Steps)-1]
	}
	t.result.Results = []tryFinding{}
	if t.conn != nil {
		t.find("connection", &t.conn.Results)
	}
	if t.tx != nil {
		t.find("message", &t.tx.Results)
	}
	return ctx.Err()
}

// find notes what plugins have found out.
func (t *tryTalk) find(of string, rs *plugin.Results) {
	for _, name := range rs.Plugins() {
		r, _ := rs.Get(name)
		f := tryFinding{Plugin: name, Of: of, Lists: map[string][]string{}, Values: r.Values}
		for l, xs := range map[plugin.List][]string{plugin.Pass: r.Pass, plugin.Fail: r.Fail, plugin.Msg: r.Msg, plugin.Err: r.Err, plugin.Skip: r.Skip} {
			if len(xs) > 0 {
				f.Lists[string(l)] = xs
			}
		}
		t.result.Results = append(t.result.Results, f)
	}
}

// dialogue is that of a client that gives up at the first refusal, but for a
// recipient's.
func (t *tryTalk) dialogue(c *textproto.Conn) {
	if !t.reply(c, "(connect from "+t.ip+")") || !t.say(c, "EHLO "+t.hello) {
		return
	}
	if t.transaction(c) {
		t.say(c, "QUIT")
	}
}

// transaction tells whether the connection is still there.
func (t *tryTalk) transaction(c *textproto.Conn) bool {
	mailFrom := "MAIL FROM:<" + t.from + ">"
	if slices.ContainsFunc(t.message, func(b byte) bool { return b >= 0x80 }) {
		mailFrom += " BODY=8BITMIME"
	}
	if strings.ContainsFunc(t.from+strings.Join(t.to, ""), func(r rune) bool { return r >= 0x80 }) {
		mailFrom += " SMTPUTF8"
	}
	if !t.say(c, mailFrom) {
		return true
	}
	taken := false
	for _, to := range t.to {
		taken = t.say(c, "RCPT TO:<"+to+">") || taken
	}
	if !taken || !t.say(c, "DATA") {
		return true
	}
	w := c.DotWriter()
	if _, err := w.Write(t.message); err != nil {
		return false
	}
	if err := w.Close(); err != nil {
		return false
	}
	t.reply(c, "(the message)")
	return true
}

func (t *tryTalk) say(c *textproto.Conn, line string) bool {
	if err := c.PrintfLine("%s", line); err != nil {
		return t.step(line, "(the connection is closed)")
	}
	return t.reply(c, line)
}

func (t *tryTalk) reply(c *textproto.Conn, command string) bool {
	code, text, err := c.ReadResponse(0)
	if err != nil && code == 0 {
		return t.step(command, "(the connection is closed)")
	}
	return t.step(command, fmt.Sprintf("%d %s", code, text))
}

// tryWriter is the store: it keeps what a node would have stored, for show.
type tryWriter struct {
	t *tryTalk
	b bytes.Buffer
}

func (w *tryWriter) Write(p []byte) (int, error) { return w.b.Write(p) }
func (w *tryWriter) Abort()                      {}

func (w *tryWriter) Commit(_ context.Context, m *mail.Message, ds []mail.Delivery) error {
	m.Size = int64(w.b.Len())
	s := &tryStored{Message: m.ID, From: m.Sender.Raw, Tenant: m.Tenant, Notes: m.Notes, Text: w.b.String()}
	if m.Class != mail.Normal {
		s.Class = m.Class.String()
	}
	for i := range ds {
		for _, r := range ds[i].Recipients {
			s.To = append(s.To, r.Raw)
		}
	}
	s.Added, s.Removed = difference(headerLines(string(w.t.message)), headerLines(s.Text))
	w.t.result.Stored = s
	return nil
}

// headerLines are the lines of a message's header.
func headerLines(text string) []string {
	text = strings.ReplaceAll(text, "\r\n", "\n")
	head, _, _ := strings.Cut(text, "\n\n")
	return strings.Split(strings.TrimSuffix(head, "\n"), "\n")
}

// difference are the lines that only after, and only before, has.
func difference(before, after []string) (added, removed []string) {
	only := func(a, b []string) []string {
		left := map[string]int{}
		for _, l := range b {
			left[l]++
		}
		out := []string{}
		for _, l := range a {
			if left[l]--; left[l] < 0 {
				out = append(out, l)
			}
		}
		return out
	}
	return only(after, before), only(before, after)
}
