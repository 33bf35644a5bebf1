package bench

import "sync"

const idShards = 64

// idSet remembers 64-bit hashes of ids in open-addressed tables: 8 B a slot, so an
// id costs about 16 B at worst and a hundred million fit in a small machine. Two
// different ids share a hash with a chance of n²/2⁶⁵ (3 in a million for ten million
// ids); [Check] compares the ids themselves. Safe for concurrent use.
type idSet struct {
	shards [idShards]idShard
}

type idShard struct {
	mu    sync.Mutex
	slots []uint64 // 0 is empty
	used  int
	_     [24]byte // a cache line each: neighbours do not slow one another
}

// add puts h in and tells whether it was new.
func (s *idSet) add(h uint64) bool {
	if h == 0 {
		h = 1 // 0 marks an empty slot
	}
	sh := &s.shards[h>>58]
	sh.mu.Lock()
	defer sh.mu.Unlock()
	if sh.used*4 >= len(sh.slots)*3 {
		sh.grow()
	}
	if !insert(sh.slots, h) {
		return false
	}
	sh.used++
	return true
}

func (sh *idShard) grow() {
	next := make([]uint64, max(64, len(sh.slots)*2))
	for _, h := range sh.slots {
		if h != 0 {
			insert(next, h)
		}
	}
	sh.slots = next
}

func insert(slots []uint64, h uint64) bool {
	mask := uint64(len(slots) - 1)
	for i := h & mask; ; i = (i + 1) & mask {
		switch slots[i] {
		case 0:
			slots[i] = h
			return true
		case h:
			return false
		}
	}
}
