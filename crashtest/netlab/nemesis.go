package netlab

import (
	"fmt"
	"math"
	"math/rand/v2"
	"slices"
	"time"
)

// Nemesis does harm to a cluster, one thing after another and sometimes the next before the last is healed, as a seed has it.
// The seed decides what is done to whom and for how long; who leads at that moment, and what the harm meets, it does not.
type Nemesis struct {
	Counts map[string]int // by kind of harm

	c       *Cluster
	rng     *rand.Rand
	longest time.Duration // that a harm lasts
}

// Nemesis makes one.
func (c *Cluster) Nemesis(seed uint64) *Nemesis {
	return &Nemesis{Counts: map[string]int{}, c: c, rng: rand.New(rand.NewPCG(seed, 0x6e656d65736973)), longest: 20 * time.Second}
}

// harm is one thing to do. do says what it did and to whom, and how to undo it.
type harm struct {
	name   string
	weight int
	calm   bool // only when everything is well: it takes a copy of the mail away, and the others must be whole
	do     func(m *Nemesis) (what string, heal undo, err error)
}

type undo = func() error

// harms are all there is, in the order in which a seed chooses among them.
var harms = []harm{
	{"kill leader", 4, false, func(m *Nemesis) (string, undo, error) { return m.kill(m.leader()) }},
	{"kill follower", 3, false, func(m *Nemesis) (string, undo, error) { return m.kill(m.one(m.c.Followers())) }},
	{"kill deliverer", 4, false, func(m *Nemesis) (string, undo, error) { return m.kill(m.one(m.c.Deliverers())) }},
	{"freeze leader", 3, false, func(m *Nemesis) (string, undo, error) { return m.freeze(m.leader()) }},
	{"freeze one", 4, false, func(m *Nemesis) (string, undo, error) { return m.freeze(m.one(m.c.Nodes())) }},
	{"drop one way", 3, false, (*Nemesis).dropOneWay},
	{"cut two", 3, false, (*Nemesis).cutTwo},
	{"cut off", 3, false, (*Nemesis).cutOff},
	{"stop leader", 3, false, func(m *Nemesis) (string, undo, error) { return m.stop(m.leader()) }},
	{"scale", 3, false, (*Nemesis).scale},
	{"wipe", 1, true, (*Nemesis).wipe},
	{"rolling restart", 1, true, (*Nemesis).rollingRestart},
	{"slow disk", 2, false, (*Nemesis).slowDisk},
	{"disk stands", 1, false, (*Nemesis).stallDisk},
	{"kill two of core", 1, false, (*Nemesis).killTwo},
}

// harmsNamed are those, or all without a name.
func harmsNamed(names []string) (out []harm) {
	for _, h := range harms {
		if len(names) == 0 || slices.Contains(names, h.name) {
			out = append(out, h)
		}
	}
	return out
}

// Do does so many things of those named, or of all where none is, and leaves everything healed. The cluster must be well again
// within the patience after each one that is not overlapped by the next.
func (m *Nemesis) Do(steps int, patience time.Duration, names ...string) error {
	among := harmsNamed(names)
	if len(among) < max(1, len(names)) {
		return fmt.Errorf("not all of %q are known harms", names)
	}
	var open []undo
	heal := func() error {
		for _, h := range open {
			if err := h(); err != nil {
				return err
			}
		}
		open = nil
		return m.c.Well(patience)
	}
	for i := range steps {
		h := m.choose(among)
		if h.calm {
			if err := heal(); err != nil {
				return err
			}
			time.Sleep(5 * time.Second) // for copies to catch up that were behind
		}
		what, undone, err := h.do(m)
		if err != nil {
			return fmt.Errorf("step %d, %s: %w", i, h.name, err)
		}
		m.Counts[h.name]++
		began := time.Now()
		m.c.t.Logf("%.3f s: step %d: %s", float64(Now()-m.c.begun)/1e9, i, what)
		open = append(open, undone)
		time.Sleep(m.between(100*time.Millisecond, m.longest)) // the length of the harm
		if m.rng.IntN(4) == 0 && i < steps-1 && !h.calm {
			continue // the next one meets it unhealed
		}
		if err := heal(); err != nil {
			return fmt.Errorf("step %d, %s, %v after it: %w", i, what, time.Since(began).Round(time.Millisecond), err)
		}
		time.Sleep(m.between(100*time.Millisecond, m.longest/6)) // a breath
	}
	return heal()
}

func (m *Nemesis) choose(among []harm) harm {
	sum := 0
	for _, h := range among {
		sum += h.weight
	}
	x := m.rng.IntN(sum)
	for _, h := range among {
		if x -= h.weight; x < 0 {
			return h
		}
	}
	return among[0]
}

// between draws a duration so that short and long ones are as likely.
func (m *Nemesis) between(least, most time.Duration) time.Duration {
	return time.Duration(float64(least) * math.Exp(m.rng.Float64()*math.Log(float64(most)/float64(least))))
}

func (m *Nemesis) one(nodes []*Node) *Node { return nodes[m.rng.IntN(len(nodes))] }

// leader is the leader, or whoever is drawn where there is none just now. It always draws: a seed's later choices must not
// depend on it.
func (m *Nemesis) leader() *Node {
	drawn := m.one(m.c.Core)
	if l := m.c.Leader(); l != nil {
		return l
	}
	return drawn
}

func (m *Nemesis) kill(n *Node) (string, undo, error) {
	n.Kill()
	return "kill -9 " + n.Name, n.Start, nil
}

func (m *Nemesis) freeze(n *Node) (string, undo, error) {
	n.Freeze()
	return "freeze " + n.Name, func() error { n.Thaw(); return nil }, nil
}

func (m *Nemesis) stop(n *Node) (string, undo, error) {
	what := "SIGTERM to " + n.Name
	if !n.Running() {
		return what + ", which does not run", n.Start, nil
	}
	n.Thaw() // it may be frozen by the step before, and could not hear; or its disk, and could not end
	if n.Disk != nil {
		n.Disk.Thaw()
	}
	return what, n.Start, n.Stop()
}

// two are a core node and another node, of the core or a deliverer.
func (m *Nemesis) two() (a, b *Node) {
	a = m.one(m.c.Core)
	for b == nil || b == a {
		b = m.one(m.c.Nodes())
	}
	if m.rng.IntN(2) == 0 {
		a, b = b, a
	}
	return a, b
}

func (m *Nemesis) dropOneWay() (string, undo, error) {
	a, b := m.two()
	return "drop from " + a.Name + " to " + b.Name, m.c.HealAll, m.c.Drop(a.Host, b.Host)
}

func (m *Nemesis) cutTwo() (string, undo, error) {
	a, b := m.two()
	return "cut " + a.Name + " and " + b.Name, m.c.HealAll, m.c.Cut(a.Host, b.Host)
}

// cutOff parts one node from all others of the cluster, but not from sources and sinks.
func (m *Nemesis) cutOff() (string, undo, error) {
	n := m.one(m.c.Nodes())
	for _, o := range m.c.Nodes() {
		if o != n {
			if err := m.c.Cut(n.Host, o.Host); err != nil {
				return "", nil, err
			}
		}
	}
	return "cut off " + n.Name, m.c.HealAll, nil
}

func (m *Nemesis) scale() (string, undo, error) {
	was := len(m.c.Deliverers())
	n := 1 + m.rng.IntN(8)
	for _, d := range m.c.Deliverers() {
		d.Thaw()
	}
	err := m.c.Scale(n)
	return fmt.Sprintf("deliverers from %d to %d", was, n), func() error { return nil }, err
}

func (m *Nemesis) wipe() (string, undo, error) {
	n := m.one(m.c.Core)
	return "wipe " + n.Name, n.Start, n.Wipe()
}

func (m *Nemesis) rollingRestart() (string, undo, error) {
	for _, n := range m.c.Nodes() {
		if err := n.Stop(); err != nil {
			return "", nil, err
		}
		if err := n.Start(); err != nil {
			return "", nil, err
		}
		if err := m.c.Well(90 * time.Second); err != nil {
			return "", nil, fmt.Errorf("after the restart of %s: %w", n.Name, err)
		}
	}
	return "rolling restart", func() error { return nil }, nil
}

func (m *Nemesis) slowDisk() (string, undo, error) {
	n, lag := m.one(m.c.Core), m.between(5*time.Millisecond, time.Second)
	if n.Disk == nil {
		return "slow disk: there is none on " + n.Name, func() error { return nil }, nil
	}
	n.Disk.Slow(lag)
	return fmt.Sprintf("the disk of %s takes %v longer to sync", n.Name, lag.Round(time.Millisecond)), func() error { n.Disk.Slow(0); return nil }, nil
}

// stallDisk may make the program end itself: a node whose disk stands must not keep its leadership.
func (m *Nemesis) stallDisk() (string, undo, error) {
	n := m.one(m.c.Core)
	if n.Disk == nil {
		return "disk stands: there is none on " + n.Name, func() error { return nil }, nil
	}
	n.Disk.Freeze()
	return "the disk of " + n.Name + " stands", func() error {
		n.Disk.Thaw()
		Until(2*time.Second, func() bool { return !n.Running() }) // it may just be ending
		n.excuse()
		return n.Start()
	}, nil
}

// killTwo leaves one core node: nothing can be accepted or sent until they are back.
func (m *Nemesis) killTwo() (string, undo, error) {
	i := m.rng.IntN(3)
	a, b := m.c.Core[i], m.c.Core[(i+1)%3]
	a.Kill()
	b.Kill()
	return "kill -9 " + a.Name + " and " + b.Name, func() error {
		if err := a.Start(); err != nil {
			return err
		}
		return b.Start()
	}, nil
}

// excuse takes the node's deaths out of the list.
func (n *Node) excuse() {
	n.lab.mu.Lock()
	defer n.lab.mu.Unlock()
	n.lab.deaths = slices.DeleteFunc(n.lab.deaths, func(d Death) bool { return d.Node == n.Name })
}
