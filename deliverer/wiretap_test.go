package deliverer

import (
	"bytes"
	"net"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"
)

// wiretap records what leaves to a host, and when connections stand.
type wiretap struct {
	mu    sync.Mutex
	mails []tapped
	dials []tapped
	open  int
	peak  int
}

type tapped struct {
	at         time.Time
	addr       string
	from       string
	recipients int
}

type tappedConn struct {
	net.Conn
	w      *wiretap
	addr   string
	last   int // its last MAIL FROM, in w.mails
	closed bool
}

func (c *tappedConn) Write(b []byte) (int, error) {
	c.w.mu.Lock()
	for line := range bytes.Lines(b) {
		if from, ok := strings.CutPrefix(string(line), "MAIL FROM:<"); ok {
			from, _, _ = strings.Cut(from, ">")
			c.last = len(c.w.mails)
			c.w.mails = append(c.w.mails, tapped{at: time.Now(), addr: c.addr, from: from})
		}
		if bytes.HasPrefix(line, []byte("RCPT TO:")) {
			c.w.mails[c.last].recipients++
		}
	}
	c.w.mu.Unlock()
	return c.Conn.Write(b)
}

func (c *tappedConn) Close() error {
	c.w.mu.Lock()
	if !c.closed {
		c.closed = true
		c.w.open--
	}
	c.w.mu.Unlock()
	return c.Conn.Close()
}

// tap has all connections of the world written down.
func (w *world) tap() *wiretap {
	w.taps = &wiretap{}
	return w.taps
}

func (w *wiretap) wrap(c net.Conn, addr string) net.Conn {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.open++
	w.peak = max(w.peak, w.open)
	return &tappedConn{Conn: c, w: w, addr: addr}
}

func (w *wiretap) starts() []tapped {
	w.mu.Lock()
	defer w.mu.Unlock()
	return slices.Clone(w.mails)
}

func (w *wiretap) connections() (open, peak int) {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.open, w.peak
}

// level is how many connections stand; the peak is counted from here.
func (w *wiretap) level() int {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.peak = w.open
	return w.open
}

// exact fails the test when more than max starts lie within any window.
func exact(t testing.TB, what string, ms []tapped, w memWindow, size func(tapped) int) {
	t.Helper()
	for i := range ms {
		n := 0
		for _, m := range ms[i:] {
			if m.at.Sub(ms[i].at) < w.length {
				n += size(m)
			}
		}
		if n > w.max {
			t.Errorf("%s: %d within %v, allowed are %d", what, n, w.length, w.max)
			return
		}
	}
}

func each(tapped) int { return 1 }
