package plugin

import (
	"encoding/json"
	"fmt"
	"sync"
)

// Notes are what plugins remember from one hook to the next. Those of a transaction
// travel with its deliveries, so their values are what JSON can say. Safe for
// concurrent use; the zero Notes are empty.
type Notes struct {
	mu      sync.Mutex
	m       map[string]note
	version uint64
	gone    int // entries that say no more than that they are gone
}

// note is what is remembered under a key, and since which version. A nil v: nothing
// any more.
type note struct {
	v  any
	at uint64
}

// Set remembers v; nil forgets.
func (n *Notes) Set(key string, v any) {
	n.mu.Lock()
	defer n.mu.Unlock()
	old, there := n.m[key]
	if v == nil {
		if !there || old.v == nil {
			return
		}
		n.gone++
	} else if there && old.v == nil {
		n.gone--
	}
	if n.m == nil {
		n.m = map[string]note{}
	}
	n.version++
	n.m[key] = note{v, n.version}
}

// Get returns what is remembered under key; nil: nothing.
func (n *Notes) Get(key string) any {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.m[key].v
}

// Version counts the changes; Changes tells what changed behind a version, and which
// one it is now. Who keeps a copy elsewhere keeps it up with these. A nil value: the
// key is forgotten.
func (n *Notes) Version() uint64 {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.version
}

// Changes: see Version.
func (n *Notes) Changes(since uint64) (changed map[string]any, now uint64) {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.version == since {
		return nil, since
	}
	changed = map[string]any{}
	for k, x := range n.m {
		if x.at > since {
			changed[k] = x.v
		}
	}
	return changed, n.version
}

// Text is Get for a string; "" for anything else.
func (n *Notes) Text(key string) string {
	s, _ := n.Get(key).(string)
	return s
}

// All copies what is remembered.
func (n *Notes) All() map[string]any {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.m == nil {
		return nil
	}
	all := make(map[string]any, len(n.m))
	for k, x := range n.m {
		if x.v != nil {
			all[k] = x.v
		}
	}
	return all
}

// Len is how many are remembered.
func (n *Notes) Len() int {
	n.mu.Lock()
	defer n.mu.Unlock()
	return len(n.m) - n.gone
}

// MaxNotes bounds the notes that travel with a delivery, in octets of JSON.
const MaxNotes = 64 << 10

// Pack writes the notes as they travel; nil when there are none. It is an error if
// they say what JSON cannot, or too much.
func (n *Notes) Pack() ([]byte, error) {
	if n.Len() == 0 {
		return nil, nil
	}
	b, err := json.Marshal(n.All())
	if err != nil {
		return nil, fmt.Errorf("notes: %w", err)
	}
	if len(b) > MaxNotes {
		return nil, fmt.Errorf("notes: %d octets; at most %d travel with a delivery", len(b), MaxNotes)
	}
	return b, nil
}

// Unpack reads what Pack wrote.
func (n *Notes) Unpack(b []byte) error {
	m := map[string]any{}
	if len(b) > 0 {
		if err := json.Unmarshal(b, &m); err != nil {
			return fmt.Errorf("notes: %w", err)
		}
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	n.version++
	n.gone = 0
	for k := range n.m {
		if _, stays := m[k]; !stays {
			m[k] = nil
		}
	}
	n.m = make(map[string]note, len(m))
	for k, v := range m {
		n.m[k] = note{v, n.version}
		if v == nil {
			n.gone++
		}
	}
	return nil
}
