package bench

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"net"
	"strings"
	"sync"
	"time"
)

// Idle opens connections that say hello and then nothing: what the clients of a busy
// server mostly do. Whether it serves others meanwhile is for a [Source] to find out.
type Idle struct {
	To          string
	Connections int
	From        []string      // our addresses, taken in turn; empty: whichever the system takes. A server's port takes some 28,000 from each
	Helo        string        // default idle.test
	Hold        time.Duration // how long, once all are open; 0: until ctx ends
	Timeout     time.Duration // of each step; default 1m
	Opened      func(n int)   // called once, when all are open or have failed
}

// IdleReport says what became of them.
type IdleReport struct {
	Opened  int           `json:"opened"`
	Refused int           `json:"refused"` // by a reply other than 220
	Failed  int           `json:"failed"`  // not connected, or cut
	Alive   int           `json:"alive"`   // of those opened: answered NOOP at the end
	Opening time.Duration `json:"opening_ns"`
	Slowest time.Duration `json:"slowest_ns"` // from connecting to the answer to EHLO
	Example string        `json:"example,omitempty"`
}

func (r *IdleReport) String() string {
	s := fmt.Sprintf("%d connections opened in %.1f s (the slowest took %.0f ms), %d refused, %d failed; %d alive at the end\n",
		r.Opened, r.Opening.Seconds(), float64(r.Slowest.Microseconds())/1000, r.Refused, r.Failed, r.Alive)
	if r.Example != "" {
		s += "for example: " + r.Example + "\n"
	}
	return s
}

var errRefused = errors.New("refused")

// Run opens them, holds them, and asks each at the end whether it is still there. The
// error is about Idle itself, not about the server.
func (i Idle) Run(ctx context.Context) (*IdleReport, error) {
	if i.Connections < 1 {
		return nil, errors.New("connections: at least 1")
	}
	if i.Helo == "" {
		i.Helo = "idle.test"
	}
	if i.Timeout <= 0 {
		i.Timeout = time.Minute
	}
	for _, a := range i.From {
		if net.ParseIP(a) == nil {
			return nil, fmt.Errorf("from: %q is no address", a)
		}
	}
	var r IdleReport
	var mu sync.Mutex
	conns := make([]net.Conn, 0, i.Connections)
	began := time.Now()
	inParallel(50, i.Connections, func(n int) {
		if ctx.Err() != nil {
			return
		}
		t := time.Now()
		c, err := i.open(ctx, n)
		took := time.Since(t)
		mu.Lock()
		defer mu.Unlock()
		switch {
		case err == nil:
			conns = append(conns, c)
			r.Opened++
			r.Slowest = max(r.Slowest, took)
			return
		case errors.Is(err, errRefused):
			r.Refused++
		default:
			r.Failed++
		}
		r.Example = err.Error()
	})
	r.Opening = time.Since(began)
	if i.Opened != nil {
		i.Opened(r.Opened)
	}
	var held <-chan time.Time
	if i.Hold > 0 {
		t := time.NewTimer(i.Hold)
		defer t.Stop()
		held = t.C
	}
	select {
	case <-held:
	case <-ctx.Done():
	}
	inParallel(50, len(conns), func(n int) {
		c := conns[n]
		defer c.Close()
		_ = c.SetDeadline(time.Now().Add(i.Timeout))
		if _, err := c.Write([]byte("NOOP\r\n")); err != nil {
			return
		}
		var b [128]byte
		if m, err := c.Read(b[:]); err == nil && strings.HasPrefix(string(b[:m]), "250") {
			mu.Lock()
			r.Alive++
			mu.Unlock()
		}
	})
	return &r, nil
}

// open connects and says hello.
func (i *Idle) open(ctx context.Context, n int) (net.Conn, error) {
	d := net.Dialer{Timeout: i.Timeout, KeepAlive: -1} // they are to be silent
	if len(i.From) > 0 {
		d.LocalAddr = &net.TCPAddr{IP: net.ParseIP(i.From[n%len(i.From)])}
	}
	c, err := d.DialContext(ctx, "tcp", i.To)
	if err != nil {
		return nil, err
	}
	_ = c.SetDeadline(time.Now().Add(i.Timeout))
	in := bufio.NewReaderSize(c, 512) // what is left in it is nothing: we ask for nothing more
	for _, step := range []string{"", "EHLO " + i.Helo + "\r\n"} {
		if _, err := c.Write([]byte(step)); err != nil {
			c.Close()
			return nil, err
		}
		for {
			line, err := in.ReadString('\n')
			if err != nil {
				c.Close()
				return nil, err
			}
			if line[0] != '2' {
				c.Close()
				return nil, fmt.Errorf("%w: %s", errRefused, strings.TrimSpace(line))
			}
			if len(line) > 3 && line[3] == ' ' {
				break
			}
		}
	}
	return c, nil
}

// inParallel calls do for 0 to n-1, at most width at a time.
func inParallel(width, n int, do func(i int)) {
	next := make(chan int)
	var wg sync.WaitGroup
	for range min(width, n) {
		wg.Go(func() {
			for i := range next {
				do(i)
			}
		})
	}
	for i := range n {
		next <- i
	}
	close(next)
	wg.Wait()
}
