package queue

import (
	"math/bits"
	"sync"
	"sync/atomic"
)

// hashSet is a set of 64-bit hashes: 10 to 15 octets an entry. Two entries of a million
// share a hash with a chance of one in forty million; then removing one would hide
// the other until the next start. Safe for concurrent use.
type hashSet struct {
	n      atomic.Int64
	shards [64]hashShard // by the highest bits: growing one holds up few
}

// hashShard is an open-addressed table with linear probing; 0 is an empty place.
type hashShard struct {
	mu    sync.RWMutex
	n     int
	slots []uint64
}

// Full at four fifths, a table grows by half.
const (
	leastSlots        = 16
	fullOf, fullParts = 4, 5
)

func (s *hashSet) shard(h uint64) *hashShard { return &s.shards[h>>58] }

// usable keeps 0 free.
func usable(h uint64) uint64 {
	if h == 0 {
		return 1
	}
	return h
}

func (s *hashSet) has(h uint64) bool {
	h = usable(h)
	t := s.shard(h)
	t.mu.RLock()
	defer t.mu.RUnlock()
	if t.n == 0 {
		return false
	}
	_, found := t.find(h)
	return found
}

func (s *hashSet) add(h uint64) {
	h = usable(h)
	t := s.shard(h)
	t.mu.Lock()
	defer t.mu.Unlock()
	if (t.n+1)*fullParts > len(t.slots)*fullOf {
		t.grow()
	}
	if i, found := t.find(h); !found {
		t.slots[i] = h
		t.n++
		s.n.Add(1)
	}
}

func (s *hashSet) remove(h uint64) {
	h = usable(h)
	t := s.shard(h)
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.n == 0 {
		return
	}
	i, found := t.find(h)
	if !found {
		return
	}
	t.n--
	s.n.Add(-1)
	// What lies behind it moves up, or looking for it would end at the gap.
	for j := i; ; {
		if j++; j == len(t.slots) {
			j = 0
		}
		if t.slots[j] == 0 {
			break
		}
		if home := t.home(t.slots[j]); between(i, home, j) {
			continue // it is not further from home than the gap
		}
		t.slots[i] = t.slots[j]
		i = j
	}
	t.slots[i] = 0
}

// between tells whether home lies behind gap and not behind at, going round.
func between(gap, home, at int) bool {
	if gap <= at {
		return gap < home && home <= at
	}
	return gap < home || home <= at
}

func (s *hashSet) len() int { return int(s.n.Load()) }

// home is where a hash belongs. Its lower bits are as good as chance.
func (t *hashShard) home(h uint64) int {
	hi, _ := bits.Mul64(h<<6, uint64(len(t.slots)))
	return int(hi)
}

// find returns where h lies, or the empty place where it would. There is one.
func (t *hashShard) find(h uint64) (int, bool) {
	for i := t.home(h); ; {
		switch t.slots[i] {
		case h:
			return i, true
		case 0:
			return i, false
		}
		if i++; i == len(t.slots) {
			i = 0
		}
	}
}

func (t *hashShard) grow() {
	old := t.slots
	t.slots = make([]uint64, max(len(old)*3/2, leastSlots))
	for _, h := range old {
		if h != 0 {
			i, _ := t.find(h)
			t.slots[i] = h
		}
	}
}
