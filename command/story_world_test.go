package command

import (
	"context"
	"fmt"
	"net"
	"net/netip"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/tarishi/tarishi/deliverer"
	"github.com/tarishi/tarishi/mail"
	"github.com/tarishi/tarishi/smtp/smtptest"
)

// world is everything outside the node: one receiver for each domain, and the
// table that leads to it.
type world struct {
	mu        sync.Mutex
	receivers map[mail.Domain]*receiver
	byAddr    map[string]*receiver
	stats     deliverer.Snapshot // of all nodes that have ended
}

// receiver is the host of one domain.
type receiver struct {
	*smtptest.Sink
	domain  mail.Domain
	addr    netip.Addr
	refuses func() bool // connections; nil: never

	mu            sync.Mutex
	open, maxOpen int
	dials         int
}

func newWorld() *world {
	return &world{receivers: map[mail.Domain]*receiver{}, byAddr: map[string]*receiver{}}
}

// host adds the receiver of a domain; its sink is set up before mail is sent.
func (w *world) host(domain mail.Domain) *receiver {
	n := len(w.receivers) + 1
	r := &receiver{Sink: &smtptest.Sink{Hostname: "mx." + string(domain)}, domain: domain,
		addr: netip.AddrFrom4([4]byte{192, 0, 2, byte(n)})}
	w.receivers[domain] = r
	w.byAddr[net.JoinHostPort(r.addr.String(), "25")] = r
	return r
}

// MailHosts is the DNS of the world.
func (w *world) MailHosts(_ context.Context, d mail.Domain) (string, []deliverer.Host, error) {
	r := w.receivers[d]
	if r == nil {
		return "", nil, &deliverer.NoHosts{Reply: mail.R(550, "5.1.2", "no such domain")}
	}
	return r.Hostname, []deliverer.Host{{Name: r.Hostname, Addrs: []netip.Addr{r.addr}}}, nil
}

func (w *world) dial(addr string) (net.Conn, error) {
	r := w.byAddr[addr]
	if r == nil {
		return nil, fmt.Errorf("nobody lives at %s", addr)
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.dials++
	if r.refuses != nil && r.refuses() {
		return nil, &net.OpError{Op: "dial", Net: "tcp", Err: syscall.ECONNREFUSED}
	}
	r.open++
	r.maxOpen = max(r.maxOpen, r.open)
	return &countedConn{Conn: r.Dial(), r: r}, nil
}

// close hangs up everywhere.
func (w *world) close() {
	for _, r := range w.receivers {
		r.Close()
	}
}

// add keeps the counts of a node that has ended.
func (w *world) add(s deliverer.Snapshot) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.stats.Attempts += s.Attempts
	w.stats.Delivered += s.Delivered
	w.stats.Swallowed += s.Swallowed
	w.stats.Notices += s.Notices
	w.stats.DelayNotices += s.DelayNotices
	w.stats.Reused += s.Reused
	w.stats.Parked += s.Parked
}

type countedConn struct {
	net.Conn
	r    *receiver
	once sync.Once
}

func (c *countedConn) Close() error {
	c.once.Do(func() {
		c.r.mu.Lock()
		c.r.open--
		c.r.mu.Unlock()
	})
	return c.Conn.Close()
}

// greylist answers 451 to a pair of sender and recipient until it has been known for so long.
func (r *receiver) greylist(wait time.Duration) {
	var mu sync.Mutex
	first := map[string]time.Time{}
	r.Decide = func(s smtptest.Step) (smtptest.Answer, bool) {
		if s.Verb != "RCPT" {
			return smtptest.Answer{}, false
		}
		mu.Lock()
		defer mu.Unlock()
		pair := s.From + " " + s.Arg
		if _, known := first[pair]; !known {
			first[pair] = time.Now()
		}
		return smtptest.Answer{Reply: "451 4.7.1 Greylisted"}, time.Since(first[pair]) < wait
	}
}

// slow takes so long to answer to every final dot.
func (r *receiver) slow(d time.Duration) {
	r.On("DOT", "", smtptest.Answer{Wait: d})
}

// tarpit is a receiver that defers each recipient once and thinks long about each recipient.
func (r *receiver) tarpit(d time.Duration) {
	r.On("RCPT", "", smtptest.Answer{Wait: d})
	var mu sync.Mutex
	seen := map[string]bool{}
	r.Decide = func(s smtptest.Step) (smtptest.Answer, bool) {
		mu.Lock()
		defer mu.Unlock()
		if s.Verb != "RCPT" || seen[s.From+s.Arg] {
			return smtptest.Answer{}, false
		}
		seen[s.From+s.Arg] = true
		return smtptest.Answer{Reply: "451 4.7.1 Come back", Wait: d}, true
	}
}

// mixed refuses recipients named bad for good, and each one named later once.
func (r *receiver) mixed() {
	var mu sync.Mutex
	seen := map[string]bool{}
	r.Decide = func(s smtptest.Step) (smtptest.Answer, bool) {
		mu.Lock()
		defer mu.Unlock()
		switch {
		case s.Verb != "RCPT":
		case strings.Contains(s.Arg, "<bad"):
			return smtptest.Answer{Reply: "550 5.1.1 No such user"}, true
		case strings.Contains(s.Arg, "<later") && !seen[s.From+s.Arg]:
			seen[s.From+s.Arg] = true
			return smtptest.Answer{Reply: "450 4.2.0 Mailbox busy"}, true
		}
		return smtptest.Answer{}, false
	}
}
