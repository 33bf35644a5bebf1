package scheduler

import (
	"context"
	"errors"
	"math/rand/v2"
	"net"
	"slices"
	"time"
)

// Peers says where the schedulers are.
type Peers struct {
	Local *Server  // the one in this process; nil: none
	Addrs []string // the others', or all
	Dial  func(ctx context.Context, addr string) (net.Conn, error)
}

// here stands for Peers.Local among addresses.
const here = ""

func (p Peers) open(ctx context.Context, where string, idle time.Duration) (nodeLink, error) {
	if where == here {
		return p.Local.link()
	}
	if p.Dial == nil {
		return nil, errors.New("no way to reach another node")
	}
	conn, err := p.Dial(ctx, where)
	if err != nil {
		return nil, err
	}
	return dialled(conn, idle), nil
}

// finder says which scheduler to try next: whoever is said to lead, then our own,
// then the others in any order.
type finder struct {
	peers Peers
	hint  []string // to be tried first
	round []string // what is left of this round
	fails int      // in a row
}

func (f *finder) next() string {
	if len(f.hint) > 0 {
		w := f.hint[0]
		f.hint = f.hint[1:]
		return w
	}
	if len(f.round) == 0 {
		if f.peers.Local != nil {
			f.round = append(f.round, here)
		}
		at := len(f.round)
		f.round = append(f.round, f.peers.Addrs...)
		rand.Shuffle(len(f.round)-at, func(i, j int) { f.round[at+i], f.round[at+j] = f.round[at+j], f.round[at+i] })
	}
	if len(f.round) == 0 {
		return here // there is none at all; open says so
	}
	w := f.round[0]
	f.round = f.round[1:]
	return w
}

// redirected notes who leads, by somebody else's word.
func (f *finder) redirected(addr string) {
	if addr != "" && f.fails < 10 { // two that point at each other: ask the others, too
		f.hint = append(f.hint[:0], addr)
		f.round = slices.DeleteFunc(f.round, func(w string) bool { return w == addr })
	}
}

// found notes that w leads, which is whom to try first when the stream breaks.
func (f *finder) found(w string) { f.hint, f.fails = append(f.hint[:0], w), 0 }

// lost notes that the leader's stream broke: it is tried once more, then all; or, if it
// was silent, only with all: its machine may be dead, which a dial finds out slowly.
func (f *finder) lost(silent bool) {
	f.fails, f.round = 0, nil
	if silent {
		f.hint = nil
	}
}

// moved is how long to wait after a redirection: no time at first.
func (f *finder) moved() time.Duration {
	f.fails++
	if len(f.hint) > 0 && f.fails < 3 {
		return 0
	}
	return f.pause()
}

// failed is how long to wait after a scheduler that could not be reached.
func (f *finder) failed() time.Duration {
	f.fails++
	return f.pause()
}

// pause is short within a round and grows with the rounds, up to half a second: an
// election takes one or two, and mail waits for it.
func (f *finder) pause() time.Duration {
	if len(f.hint) > 0 || len(f.round) > 0 {
		return jitter(20 * time.Millisecond)
	}
	return 50*time.Millisecond + jitter(min(time.Duration(f.fails)*50*time.Millisecond, 450*time.Millisecond))
}
