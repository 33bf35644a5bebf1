package command

import (
	"bytes"
	"context"
	"crypto/sha256"
	"flag"
	"fmt"
	"io"
	"log/slog"
	"math/rand/v2"
	"net/textproto"
	"os"
	"strings"
	"sync"
	"time"
)

// letter is one message of the story, from the client's first try to its fate.
type letter struct {
	name string
	from string // "" is <>
	to   []string
	data []byte
	at   time.Duration // of the day, at which the client comes with it

	id       string    // the queue's, from the 250
	accepted time.Time // when the 250 came
}

// compose writes a letter of about size octets, with lines that begin with dots.
func compose(r *rand.Rand, name string, size int) []byte {
	b := make([]byte, 0, size+128)
	b = fmt.Appendf(b, "From: story\r\nSubject: %s\r\nStory: %s\r\n\r\n", name, name)
	for len(b) < size {
		switch r.IntN(12) {
		case 0:
			b = append(b, ".\r\n"...)
		case 1:
			b = append(b, "..dots\r\n"...)
		default:
			b = fmt.Appendf(b, "%016x%016x%016x%016x\r\n", r.Uint64(), r.Uint64(), r.Uint64(), r.Uint64())
		}
	}
	return b
}

// client is one SMTP session with the node.
type client struct{ *textproto.Conn }

func connect(n *storyNode) (*client, error) {
	conn, err := n.door.dial()
	if err != nil {
		return nil, err
	}
	c := &client{textproto.NewConn(conn)}
	if _, _, err = c.ReadResponse(220); err == nil {
		_, err = c.say(250, "EHLO client.test")
	}
	if err != nil {
		_ = c.Close()
		return nil, err
	}
	return c, nil
}

func (c *client) say(expect int, format string, args ...any) (string, error) {
	if _, err := c.Cmd(format, args...); err != nil {
		return "", err
	}
	_, text, err := c.ReadResponse(expect)
	return text, err
}

// envelope goes as far as the 354.
func (c *client) envelope(l *letter) error {
	if _, err := c.say(250, "MAIL FROM:<%s>", l.from); err != nil {
		return err
	}
	for _, to := range l.to {
		if _, err := c.say(250, "RCPT TO:<%s>", to); err != nil {
			return err
		}
	}
	_, err := c.say(354, "DATA")
	return err
}

// post has the node take the letter; nil means that it answered 250.
func (l *letter) post(n *storyNode) error {
	c, err := connect(n)
	if err != nil {
		return err
	}
	defer c.Close()
	if err := c.envelope(l); err != nil {
		return err
	}
	w := c.DotWriter()
	if _, err := w.Write(l.data); err != nil {
		return err
	}
	if err := w.Close(); err != nil {
		return err
	}
	_, text, err := c.ReadResponse(250)
	if err != nil {
		return err
	}
	l.id, l.accepted = text[strings.LastIndexByte(text, ' ')+1:], time.Now()
	return nil
}

// begin posts half of the letter and leaves the transaction open.
func (l *letter) begin(n *storyNode) (*client, error) {
	c, err := connect(n)
	if err != nil {
		return nil, err
	}
	if err := c.envelope(l); err != nil {
		return nil, err
	}
	if _, err := c.W.Write(bytes.ReplaceAll(l.data[:len(l.data)/2], []byte("\r\n."), []byte("\r\n.."))); err != nil {
		return nil, err
	}
	return c, c.W.Flush()
}

// destinations are the domains of the letter's recipients, in the order of its deliveries.
func (l *letter) destinations() []string {
	var ds []string
	for _, to := range l.to {
		d := domainOf(to)
		if len(ds) == 0 || !strings.Contains(" "+strings.Join(ds, " ")+" ", " "+d+" ") {
			ds = append(ds, d)
		}
	}
	return ds
}

func domainOf(addr string) string { return addr[strings.LastIndexByte(addr, '@')+1:] }

// fingerprint is the hash of a message without the Received field on top.
func fingerprint(data []byte) [sha256.Size]byte {
	if bytes.HasPrefix(data, []byte("Received:")) {
		for {
			i := bytes.Index(data, []byte("\r\n"))
			if i < 0 {
				break
			}
			data = data[i+2:]
			if len(data) == 0 || data[0] != '\t' {
				break
			}
		}
	}
	return sha256.Sum256(data)
}

// tried is one attempt, as the log tells it.
type tried struct {
	delivery, destination, status, reply string
	number                               int
	began, ended, next                   time.Time
}

// told is a failure nobody is told of.
type told struct{ delivery, recipient string }

// storyLog reads what an operator would: one line an attempt, one a failure that
// nobody is told of, and whatever is wrong.
type storyLog struct {
	mu       sync.Mutex
	attempts []tried
	silent   []told
	troubles []string
	out      io.Writer // every line; nil: none
}

var storyLines = flag.Bool("story.log", false, "print what the nodes of the story tests log")

func newStoryLog() *storyLog {
	l := &storyLog{}
	if *storyLines {
		l.out = os.Stderr
	}
	return l
}

// nodeLog is a storyLog as one node writes it. After the node's death nobody reads it.
type nodeLog struct {
	n    *storyNode
	with []slog.Attr
}

func (h *nodeLog) Enabled(_ context.Context, l slog.Level) bool { return l >= slog.LevelInfo }
func (h *nodeLog) WithGroup(string) slog.Handler                { return h }
func (h *nodeLog) WithAttrs(as []slog.Attr) slog.Handler {
	return &nodeLog{h.n, append(h.with[:len(h.with):len(h.with)], as...)}
}

func (h *nodeLog) Handle(ctx context.Context, r slog.Record) error {
	if h.n.isDead() {
		return nil
	}
	at := map[string]slog.Value{}
	r.Attrs(func(a slog.Attr) bool { at[a.Key] = a.Value; return true })
	l := h.n.log
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.out != nil {
		_ = slog.NewTextHandler(l.out, nil).Handle(ctx, r)
	}
	switch {
	case r.Message == "attempt":
		x := tried{delivery: at["delivery"].String(), destination: at["destination"].String(), status: at["status"].String(),
			reply: at["reply"].String(), number: int(at["attempt"].Int64()), ended: r.Time, began: r.Time.Add(-at["duration"].Duration())}
		if next, ok := at["next"]; ok {
			x.next = next.Time()
		}
		l.attempts = append(l.attempts, x)
	case r.Message == "delivery failed and nobody is told":
		l.silent = append(l.silent, told{at["delivery"].String(), at["recipient"].String()})
	case r.Level >= slog.LevelError:
		var b strings.Builder
		_ = slog.NewTextHandler(&b, nil).Handle(ctx, r)
		l.troubles = append(l.troubles, strings.TrimSpace(b.String()))
	}
	return nil
}
