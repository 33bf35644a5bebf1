package queue

import (
	"context"
	"fmt"
	"sync"
	"time"
)

// StreamCopies is one stream as its leader sees it, for operators.
type StreamCopies struct {
	Stream   string
	Leader   string // the server that has it first; empty: NATS runs as one server
	Messages uint64 // fences, which are no mail, are not counted
	Octets   uint64
	Copies   []Copy
	Err      error // nothing is known: it has no leader, or nobody answers
}

// Copy is a stream's copy on another server than its leader's.
type Copy struct {
	Server  string
	Behind  uint64        // operations that it has not stored yet
	Seen    time.Duration // since it was last heard of
	Problem string        // empty: it does its part
}

// A copy that stores what is published now is always a little behind.
const (
	behindMost = 1000
	behindFor  = 5 * time.Second
)

// lagging remembers since when which copies have been behind.
type lagging struct {
	mu    sync.Mutex
	since map[string]time.Time // by stream and server
}

// judge says what is wrong with a stream's copies.
func (l *lagging) judge(stream string, p *streamPlaces, now time.Time) (out []Copy) {
	if p == nil {
		return nil
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.since == nil {
		l.since = map[string]time.Time{}
	}
	for _, r := range p.Replicas {
		c := Copy{Server: r.Name, Behind: r.Lag, Seen: r.Active}
		key := stream + " " + r.Name
		began, was := l.since[key]
		switch {
		case r.Lag <= behindMost:
			delete(l.since, key)
		case !was:
			l.since[key] = now
		case now.Sub(began) >= behindFor:
			c.Problem = fmt.Sprintf("stream %s: the copy on %s is %d operations behind, and has been for %s", stream, r.Name, r.Lag, now.Sub(began).Round(time.Second))
		}
		switch {
		case r.Offline:
			c.Problem = fmt.Sprintf("stream %s: the copy on %s is offline", stream, r.Name)
		case r.Active >= silentReplica:
			c.Problem = fmt.Sprintf("stream %s: the copy on %s has not been heard of for %s", stream, r.Name, r.Active.Round(time.Second))
		}
		out = append(out, c)
	}
	return out
}

// Copies asks the leader of every stream how its copies are.
func (q *Queue) Copies(ctx context.Context) []StreamCopies {
	names := []string{streamReady, streamWait, streamBody, streamEvent, streamSuppress}
	out := make([]StreamCopies, len(names))
	var wg sync.WaitGroup
	for i, name := range names {
		wg.Go(func() {
			ctx, cancel := context.WithTimeout(ctx, 2*time.Second)
			defer cancel()
			filter := ""
			if name == streamWait {
				filter = "wait.*." + fenceToken + ".>"
			}
			st, err := q.streamState(ctx, name, filter)
			c := StreamCopies{Stream: name, Messages: st.Msgs, Octets: st.Bytes, Err: err}
			for _, n := range st.Subjects {
				c.Messages -= min(n, c.Messages)
			}
			if st.places != nil {
				c.Leader = st.places.Leader
			}
			c.Copies = q.lagging.judge(name, st.places, time.Now())
			out[i] = c
		})
	}
	wg.Wait()
	return out
}
