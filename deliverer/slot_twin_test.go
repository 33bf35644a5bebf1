package deliverer

import (
	"slices"
	"time"

	"github.com/tarishi/tarishi/mail"
	"github.com/tarishi/tarishi/shaping"
)

type memSlots struct {
	s     *memScheduler
	to    shaping.Destination
	want  int
	other int // held by others
	all   []*memSlot
	rest  []time.Time // closed lately: free again a second later
}

type memSlot struct {
	x        *memSlots
	taken    bool
	ending   bool
	stale    bool // the lease leaves no time for another transaction
	deadline time.Time
}

func (x *memSlots) grant() (told bool) {
	now := time.Now()
	x.rest = slices.DeleteFunc(x.rest, func(t time.Time) bool { return !now.Before(t.Add(time.Second)) })
	for len(x.all) < x.want && len(x.all)+x.other+len(x.rest) < x.s.rule(x.to).connections {
		x.all = append(x.all, &memSlot{x: x})
		told = true
	}
	if len(x.rest) > 0 {
		time.AfterFunc(x.rest[0].Add(time.Second).Sub(now), x.s.poke)
	}
	return told
}

func (x *memSlots) Want(n int) {
	x.s.mu.Lock()
	defer x.s.mu.Unlock()
	x.want = n
	for i := len(x.all) - 1; i >= 0 && len(x.all) > n; i-- {
		if !x.all[i].taken {
			x.all = slices.Delete(x.all, i, i+1)
		}
	}
	x.s.pokeIn(x.s.rtt)
}

func (x *memSlots) Ready() (n int) {
	x.s.mu.Lock()
	defer x.s.mu.Unlock()
	for _, s := range x.all {
		if !s.taken {
			n++
		}
	}
	return n
}

func (x *memSlots) Take() Slot {
	x.s.mu.Lock()
	defer x.s.mu.Unlock()
	for _, s := range x.all {
		if !s.taken {
			s.taken = true
			return s
		}
	}
	return nil
}

func (x *memSlots) held() (n int) {
	x.s.mu.Lock()
	defer x.s.mu.Unlock()
	return len(x.all)
}

// each changes every slot in use.
func (x *memSlots) each(f func(*memSlot)) {
	x.s.mu.Lock()
	for _, s := range x.all {
		if s.taken {
			f(s)
		}
	}
	x.s.mu.Unlock()
	x.s.out().News(x.to, "", mail.Normal)
}

func (s *memSlot) MayStart() bool {
	s.x.s.mu.Lock()
	defer s.x.s.mu.Unlock()
	return !s.stale
}

func (s *memSlot) Ending() bool {
	s.x.s.mu.Lock()
	defer s.x.s.mu.Unlock()
	return s.ending
}

func (s *memSlot) Deadline() time.Time {
	s.x.s.mu.Lock()
	defer s.x.s.mu.Unlock()
	if s.deadline.IsZero() {
		return time.Now().Add(30 * time.Second) // renewed all the time
	}
	return s.deadline
}

func (s *memSlot) Close() {
	x := s.x
	x.s.mu.Lock()
	defer x.s.mu.Unlock()
	if i := slices.Index(x.all, s); i < 0 {
		x.s.t.Error("a slot is closed twice")
	} else if now := time.Now(); !s.deadline.IsZero() && now.After(s.deadline) {
		x.s.t.Errorf("a slot is closed %v after the end of its lease", now.Sub(s.deadline))
		x.all = slices.Delete(x.all, i, i+1)
	} else {
		x.all = slices.Delete(x.all, i, i+1)
	}
	x.rest = append(x.rest, time.Now())
	x.s.pokeIn(x.s.rtt)
}
