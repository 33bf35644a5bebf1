package cluster

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/hashicorp/raft"
)

// Leadership is the beginning or the end of this node's leadership in a term.
type Leadership struct {
	Leading bool
	Term    uint64
}

// Leadership tells of every change, in order; a term that has come and gone unread is
// left out. The channel is for one reader and is closed when raft ends. What is read
// may be over already: what counts is the term in which an entry is applied.
func (r *Raft) Leadership() <-chan Leadership { return r.events }

// Leading returns the term this node leads in; 0: it does not.
func (r *Raft) Leading() uint64 {
	term := r.leads.Load()
	if term != 0 && r.raft.State() != raft.Leader { // the notice is still under way
		return 0
	}
	return term
}

// pump turns raft's bare notices into events with a term. The notice channel has no
// buffer, so raft waits in its main loop until we have read: when the state is still
// Leader after the term was read, that term is the one we lead in, for raft leaves the
// state before it takes another term and cannot lead again before we read "no more".
func (r *Raft) pump() {
	select {
	case <-r.started: // raft may lead before NewRaft has returned
	case <-r.ctx.Done():
		close(r.events)
		return
	}
	var queue []Leadership
	push := func(e Leadership) {
		if n := len(queue); n > 0 && queue[n-1].Leading && queue[n-1].Term == e.Term {
			queue = queue[:n-1] // begun and ended unread
			return
		}
		queue = append(queue, e)
	}
	lost := func() {
		if t := r.leads.Swap(0); t != 0 {
			push(Leadership{false, t})
		}
	}
	for {
		var out chan Leadership
		var head Leadership
		if len(queue) > 0 {
			out, head = r.events, queue[0]
		}
		select {
		case leading := <-r.notify:
			lost()
			if !leading {
				continue
			}
			term := r.raft.CurrentTerm()
			if r.raft.State() == raft.Leader {
				r.leads.Store(term)
				push(Leadership{true, term})
			}
		case out <- head:
			queue = queue[1:]
		case <-r.ctx.Done():
			r.leads.Store(0)
			close(r.events)
			return
		}
	}
}

// Leader returns who leads as far as this node knows; empty: nobody.
func (r *Raft) Leader() (node, addr string) {
	if !r.running.Load() {
		return "", ""
	}
	a, id := r.raft.LeaderWithID()
	if id == "" {
		return "", ""
	}
	if !r.clustered() {
		return r.o.Node, ""
	}
	return nodeOf(string(id)), plainAddr(a)
}

// Leaderless is for how long this node has known of no leader, to within Timing.Probe; 0:
// it knows one, or it is one node on its own.
func (r *Raft) Leaderless() time.Duration {
	if node, _ := r.Leader(); node != "" || !r.clustered() {
		return 0
	}
	return max(time.Since(*r.led.Load()), 1)
}

func (r *Raft) sawLeader() {
	now := time.Now()
	r.led.Store(&now)
}

// Transfer hands leadership to another node, as before a stop. It is nothing to do for
// a node that does not lead, or has nobody to hand it to.
func (r *Raft) Transfer(ctx context.Context) error {
	var last error
	for {
		if !r.running.Load() || r.raft.State() != raft.Leader || r.voters() < 2 {
			return nil
		}
		done := make(chan error, 1)
		go func() { done <- r.raft.LeadershipTransfer().Error() }()
		select {
		case err := <-done:
			if err == nil {
				return nil
			}
			if !errors.Is(err, raft.ErrNotLeader) {
				last = err
			}
		case <-ctx.Done():
		case <-r.ctx.Done():
			return nil
		}
		select {
		case <-time.After(r.o.Timing.Heartbeat / 10):
		case <-r.ctx.Done():
			return nil
		case <-ctx.Done():
			if last == nil {
				last = context.Cause(ctx)
			}
			return fmt.Errorf("leadership could not be handed over: %w", last)
		}
	}
}

// servers returns raft's latest configuration.
func (r *Raft) servers() []raft.Server {
	if !r.running.Load() {
		return nil
	}
	return r.raft.GetConfiguration().Configuration().Servers // from memory, cannot fail
}

func (r *Raft) voters() int {
	n := 0
	for _, s := range r.servers() {
		if s.Suffrage == raft.Voter {
			n++
		}
	}
	return n
}
