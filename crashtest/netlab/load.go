package netlab

import (
	"context"
	"fmt"
	"path/filepath"
	"sync"
	"time"

	"github.com/tarishi/tarishi/bench"
)

// Load is mail for one domain, sent to one node. It goes on through the node's deaths.
type Load struct {
	To          *Node
	Domain      string
	Messages    uint64  // altogether; 0: until it is stopped
	Rate        float64 // a second; 0: as fast as they are taken
	Connections int     // default 2
	Recipients  int     // of each message; default 1
	Size        int     // octets; default 2000
	Timeout     time.Duration

	sent   string // file of what was acknowledged
	cancel context.CancelFunc
	done   chan struct{}
	report *bench.SourceReport
	err    error
}

// longest is for how long a load may go on at all: nothing here runs for ever.
const longest = 2 * time.Hour

// Load begins to send.
func (l *Lab) Load(o Load) *Load {
	l.t.Helper()
	if o.Connections == 0 {
		o.Connections = 2
	}
	if o.Size == 0 {
		o.Size = 2000
	}
	if o.Timeout == 0 {
		o.Timeout = time.Minute
	}
	l.mu.Lock()
	n := len(l.loads) + 1
	o.sent = filepath.Join(l.dir, fmt.Sprintf("sent-%d", n))
	p := &o
	l.loads = append(l.loads, p)
	l.mu.Unlock()
	src := &bench.Source{
		To: o.To.SMTP(), Connections: o.Connections, Messages: o.Messages, Rate: o.Rate, Recipients: o.Recipients, Size: o.Size,
		Template: "user{r}@" + o.Domain, KeepIDs: o.sent, Retry: true, Timeout: o.Timeout,
		Run: fmt.Sprintf("load%d", n), Hash: true,
	}
	if o.Messages == 0 {
		src.Duration = longest
	}
	ctx, cancel := context.WithCancel(context.Background())
	p.cancel, p.done = cancel, make(chan struct{})
	go func() {
		defer close(p.done)
		p.report, p.err = src.Send(ctx)
	}()
	l.t.Cleanup(func() { p.Stop() })
	return p
}

// Stop ends the load and reports; what is under way may end. It may be called again.
func (o *Load) Stop() (*bench.SourceReport, error) {
	o.cancel()
	<-o.done
	return o.report, o.err
}

// Wait waits for the last of Messages and reports.
func (o *Load) Wait(patience time.Duration) (*bench.SourceReport, error) {
	select {
	case <-o.done:
		return o.report, o.err
	case <-time.After(patience):
		r, _ := o.Stop()
		return r, fmt.Errorf("the load for %s was not accepted within %v: %d of %d", o.Domain, patience, r.Acked, o.Messages)
	}
}

// StopLoads ends all loads at once.
func (l *Lab) StopLoads() {
	l.mu.Lock()
	loads := append([]*Load(nil), l.loads...)
	l.mu.Unlock()
	var all sync.WaitGroup
	for _, o := range loads {
		all.Go(func() { o.Stop() })
	}
	all.Wait()
}
