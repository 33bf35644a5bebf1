package dns

import (
	"container/list"
	"sync"
	"time"
)

// key is one question.
type key struct {
	name string // lower case, no trailing dot
	typ  Type
}

// entry is a remembered answer, or a remembered failure when err is set.
type entry struct {
	key     key
	answer  Answer
	err     error
	expires time.Time
	bytes   int
}

// flight is a question under way. done closes when answer and err are set.
type flight struct {
	done   chan struct{}
	answer Answer
	err    error
}

// store holds the cache and the questions under way behind one lock, so that
// between "not in the cache" and "I shall ask" nobody else can decide the same.
type store struct {
	mu         sync.Mutex
	maxEntries int
	maxBytes   int
	bytes      int
	entries    map[key]*list.Element // of *entry
	recent     *list.List            // most recently used first
	flights    map[key]*flight
}

func (s *store) init(maxEntries, maxBytes int) {
	s.maxEntries, s.maxBytes = maxEntries, maxBytes
	s.entries = make(map[key]*list.Element)
	s.recent = list.New()
	s.flights = make(map[key]*flight)
}

// begin returns a remembered entry, or else the flight to wait for; mine tells
// that the caller has to fly it, and to call end when it has landed.
func (s *store) begin(k key, now time.Time) (e *entry, f *flight, mine bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if el, ok := s.entries[k]; ok {
		e := el.Value.(*entry)
		if now.Before(e.expires) {
			s.recent.MoveToFront(el)
			return e, nil, false
		}
		s.remove(el)
	}
	if f, ok := s.flights[k]; ok {
		return nil, f, false
	}
	f = &flight{done: make(chan struct{})}
	s.flights[k] = f
	return nil, f, true
}

// end lands a flight: its result goes to all who wait and, unless it has
// expired already (TTL 0), into the cache.
func (s *store) end(k key, f *flight, answer Answer, err error, now, expires time.Time) {
	f.answer, f.err = answer, err
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.flights, k)
	close(f.done)
	if !now.Before(expires) {
		return
	}
	e := &entry{key: k, answer: answer, err: err, expires: expires, bytes: answer.bytes() + len(k.name)}
	if e.bytes > s.maxBytes {
		return
	}
	s.entries[k] = s.recent.PushFront(e)
	s.bytes += e.bytes
	for s.bytes > s.maxBytes || len(s.entries) > s.maxEntries {
		s.remove(s.recent.Back())
	}
}

// remove forgets an entry. The caller holds mu.
func (s *store) remove(el *list.Element) {
	e := s.recent.Remove(el).(*entry)
	delete(s.entries, e.key)
	s.bytes -= e.bytes
}

func (s *store) size() (entries, bytes int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.entries), s.bytes
}
