package plugin

import (
	"encoding/json"
	"fmt"
	"maps"
	"sync"
)

// Notes are what plugins remember from one hook to the next. Those of a transaction
// travel with its deliveries, so their values are what JSON can say. Safe for
// concurrent use; the zero Notes are empty.
type Notes struct {
	mu sync.Mutex
	m  map[string]any
}

// Set remembers v; nil forgets.
func (n *Notes) Set(key string, v any) {
	n.mu.Lock()
	defer n.mu.Unlock()
	if v == nil {
		delete(n.m, key)
		return
	}
	if n.m == nil {
		n.m = map[string]any{}
	}
	n.m[key] = v
}

// Get returns what is remembered under key; nil: nothing.
func (n *Notes) Get(key string) any {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.m[key]
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
	return maps.Clone(n.m)
}

// Len is how many are remembered.
func (n *Notes) Len() int {
	n.mu.Lock()
	defer n.mu.Unlock()
	return len(n.m)
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
	n.m = m
	return nil
}
