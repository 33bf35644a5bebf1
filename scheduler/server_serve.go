package scheduler

import (
	"context"
	"errors"
	"log/slog"
	"sync"
	"time"
)

const (
	idleStream = 15 * time.Second // a session speaks once a second
	joinTime   = 4 * time.Second  // to commit a new session
	frameRate  = 1000             // frames a second from one node, before it is made to wait
)

// serve answers one stream, whoever is at the other end.
func (s *Server) serve(link leaderLink) {
	defer link.Close()
	select {
	case s.slots <- struct{}{}:
		defer func() { <-s.slots }()
	default:
		link.Send(&leaderFrame{redirect: &redirect{why: "too many streams are open"}})
		return
	}
	ended := make(chan struct{})
	defer close(ended)
	s.links.Go(func() { // Recv knows no context
		select {
		case <-s.closed:
			link.Close()
		case <-ended:
		}
	})
	f, err := link.Recv()
	if err != nil {
		s.misspoke(err)
		return
	}
	r := s.reign.Load()
	switch {
	case r == nil:
		link.Send(&leaderFrame{redirect: s.elsewhere("it does not lead")})
	case f.call != nil:
		s.operate(r, link, f.call)
	case f.open != nil:
		s.attend(r, link, f)
	default:
		s.misspoke(malformed("a stream that does not begin with open or call"))
	}
}

// misspoke logs what a stranger said; a stream that just ends is nobody's fault.
func (s *Server) misspoke(err error) {
	var p *protocolError
	if errors.As(err, &p) {
		s.o.Log.Warn("a stream to the scheduler was ended", "err", err)
	}
}

// attend serves a session.
func (s *Server) attend(r *reign, link leaderLink, f *nodeFrame) {
	id, err := f.open.session, error(nil)
	if id == 0 {
		if r.speaks(f.open.node) {
			s.doubled.warn(s.o.Log, f.open.node)
			link.Send(&leaderFrame{redirect: s.elsewhere("another process of the name " + f.open.node + " has a session and speaks: is it running twice?")})
			return
		}
		if id, err = r.join(f.open.node); err != nil {
			link.Send(&leaderFrame{redirect: s.elsewhere("no session could be begun: " + err.Error())})
			return
		}
		r.bury(f.open.former, f.open.node)
	}
	n := &sessionStream{id: id, node: f.open.node, r: r, link: link, wake: make(chan struct{}, 1), done: make(chan struct{})}
	if link.Send(&leaderFrame{term: r.term, session: id, echo: f.sent, stamp: r.now()}) != nil {
		return
	}
	s.links.Go(n.write)
	defer func() {
		n.close()
		r.post(frameFrom{n, nil})
	}()
	var rate throttle
	said := false
	for {
		f, err := link.Recv()
		if err != nil {
			s.misspoke(err)
			return
		}
		switch {
		case f.hello != nil && !said:
			said = true
			if f.hello.Term != r.term || f.hello.Session != id {
				s.misspoke(malformed("hello of session %d in term %d", f.hello.Session, f.hello.Term))
				return
			}
		case f.hello != nil || f.open != nil || f.call != nil || !said:
			s.misspoke(malformed("a frame that has no place there"))
			return
		}
		if !r.post(frameFrom{n, f}) {
			return
		}
		if d := rate.more(time.Now()); d > 0 {
			select {
			case <-time.After(d):
			case <-n.done:
				return
			}
		}
	}
}

// speaks tells whether a node of that name has a session with an open stream. One that
// has crashed has none: its system has closed it, or idleStream does.
func (r *reign) speaks(node string) bool {
	r.s.state.mu.Lock()
	defer r.s.state.mu.Unlock()
	for _, n := range r.sessions {
		if n.node == node && node != "" {
			return true
		}
	}
	return false
}

// bury ends the session of a node's last process, as the node itself says: it has what
// only one process at a time can have. One that still speaks is none of that.
func (r *reign) bury(id SessionID, node string) {
	now := r.now()
	r.s.state.mu.Lock()
	defer r.s.state.mu.Unlock()
	if seat := r.s.state.f.sessions[id]; seat == nil || seat.node != node || r.sessions[id] != nil {
		return
	}
	r.leader.Dead(now, id)
}

// doubled warns of nodes of one name, seldom.
type doubled struct {
	mu   sync.Mutex
	last time.Time
}

func (d *doubled) warn(log *slog.Logger, node string) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if time.Since(d.last) < 10*time.Second {
		return
	}
	d.last = time.Now()
	log.Warn("a second process of one node's name asks for a session and gets none: give each its own cluster.node", "node", node)
}

// post hands a frame to the reign; false: it is over.
func (r *reign) post(e frameFrom) bool {
	select {
	case r.inbox <- e:
		return true
	case <-r.ctx.Done():
		return false
	}
}

// join begins a session.
func (r *reign) join(node string) (SessionID, error) {
	ctx, cancel := context.WithTimeout(r.ctx, joinTime)
	defer cancel()
	v, err := r.s.propose(ctx, &Command{Type: Join, Node: node})
	if err != nil {
		return 0, err
	}
	id, ok := v.(SessionID)
	if !ok || id == 0 {
		return 0, errors.New("no session was given")
	}
	return id, nil
}

// throttle lets so many frames a second through and makes the rest wait.
type throttle struct {
	second time.Time
	n      int
}

func (t *throttle) more(now time.Time) time.Duration {
	if now.Sub(t.second) >= time.Second {
		t.second, t.n = now, 0
	}
	if t.n++; t.n <= frameRate {
		return 0
	}
	return t.second.Add(time.Second).Sub(now)
}
