package bench

import (
	"hash/fnv"
	"math/rand/v2"
	"sync"
)

// verdict is the sink's mind about a recipient.
type verdict int

const (
	welcome verdict = iota
	deferred
	unwanted
	greylisted
)

// policy decides who is accepted. Safe for concurrent use.
type policy struct {
	refuse, tempFail float64
	random           bool
	seed             uint64
	greylist         int

	mu    sync.Mutex
	draw  *rand.Rand
	tries map[uint64]int // attempts so far by hash of sender and recipient
}

func newPolicy(cfg SinkConfig) *policy {
	return &policy{
		refuse: cfg.Refuse, tempFail: cfg.TempFail, random: cfg.Random, seed: cfg.Seed, greylist: cfg.Greylist,
		draw: rand.New(rand.NewPCG(cfg.Seed, 550)), tries: map[uint64]int{},
	}
}

// judge decides about one RCPT.
func (p *policy) judge(sender, rcpt []byte) verdict {
	if p.refuse > 0 || p.tempFail > 0 {
		switch x := p.fraction(rcpt); {
		case x < p.refuse:
			return unwanted
		case x < p.refuse+p.tempFail:
			return deferred
		}
	}
	if p.greylist > 0 && p.attempt(sender, rcpt) <= p.greylist {
		return greylisted
	}
	return welcome
}

// fraction is a number in [0,1), evenly spread over recipients or draws.
func (p *policy) fraction(rcpt []byte) float64 {
	if p.random {
		p.mu.Lock()
		defer p.mu.Unlock()
		return p.draw.Float64()
	}
	h := fnv.New64a()
	_, _ = h.Write(rcpt)
	// FNV spreads short strings poorly over its high bits; a generator seeded with it does not.
	return rand.New(rand.NewPCG(h.Sum64(), p.seed)).Float64()
}

// attempt counts the attempts for a pair, this one included.
func (p *policy) attempt(sender, rcpt []byte) int {
	h := fnv.New64a()
	_, _ = h.Write(sender)
	_, _ = h.Write([]byte{0})
	_, _ = h.Write(rcpt)
	p.mu.Lock()
	defer p.mu.Unlock()
	key := h.Sum64()
	p.tries[key]++
	return p.tries[key]
}
