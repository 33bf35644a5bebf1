package netlab

import (
	"errors"
	"fmt"
	"path/filepath"
	"strings"
	"sync"
	"time"
)

// Plan says what a cluster is made of. Sinks come first: the nodes' routes lead to those there are.
type Plan struct {
	CoreRoles  []string // of the three nodes with the scheduler; default ingress, scheduler
	Deliverers int      // nodes that only deliver
	Config     string   // YAML for every node: limits, retry and the like
	NATS       *NATS    // the queue is kept there; nil: in the core nodes
	Insecure   bool     // nodes speak without TLS
	Disks      bool     // core nodes on disks that can be slow, full or stalled
	Apart      bool     // the core nodes know nothing of each other: no cluster at all, which a judge must notice
}

// Cluster is three core nodes and any number of deliverers.
type Cluster struct {
	*Lab
	plan Plan
	Core []*Node

	mu         sync.Mutex
	deliverers []*Node // all there ever were; the first so many run
	running    int
}

// ports of a core node: raft and control; NATS has the two above it.
const clusterPort = 7000

// Cluster makes the nodes and starts none.
func (l *Lab) Cluster(p Plan) *Cluster {
	l.t.Helper()
	if len(p.CoreRoles) == 0 {
		p.CoreRoles = []string{"ingress", "scheduler"}
	}
	c := &Cluster{Lab: l, plan: p, running: p.Deliverers}
	if !p.Insecure && !p.Apart {
		if err := l.tarishi("cluster", "ca", "--dir", c.authority()); err != nil {
			l.t.Fatal(err)
		}
	}
	for i := range 3 {
		c.Core = append(c.Core, l.Node(fmt.Sprintf("core%d", i+1), "", p.CoreRoles...))
	}
	for _, n := range c.Core {
		c.configure(n)
		if p.Disks {
			n.Mount()
		}
	}
	for range p.Deliverers {
		c.deliverer()
	}
	return c
}

// authority is the folder of the certificates that the nodes know each other by.
func (c *Cluster) authority() string { return filepath.Join(c.dir, "authority") }

// deliverer makes one more.
func (c *Cluster) deliverer() *Node {
	n := c.Node(fmt.Sprintf("deliverer%d", len(c.deliverers)+1), "", "deliverer")
	c.configure(n)
	c.deliverers = append(c.deliverers, n)
	return n
}

func (c *Cluster) configure(n *Node) {
	if !c.plan.Insecure && !c.plan.Apart {
		if err := c.tarishi("cluster", "cert", n.Name, n.Addr.String(), "--dir", c.authority()); err != nil {
			c.t.Fatal(err)
		}
	}
	if err := n.Configure(c.config(n)); err != nil {
		c.t.Fatal(err)
	}
}

// config is everything in a node's configuration that is not about its host.
func (c *Cluster) config(n *Node) string {
	var peers []string
	for _, p := range c.Core {
		peers = append(peers, fmt.Sprintf("%s=%s:%d", p.Name, p.Addr, clusterPort))
	}
	var b strings.Builder
	if c.plan.Apart {
		return "queue: {max_bytes: 2GiB}\n" + c.Routes() + c.plan.Config
	}
	fmt.Fprintf(&b, "cluster:\n  node: %s\n  peers: [%s]\n", n.Name, strings.Join(peers, ", "))
	if c.plan.Insecure {
		b.WriteString("  insecure: true\n")
	} else {
		file := func(name string) string { return filepath.Join(c.authority(), name) }
		fmt.Fprintf(&b, "  tls: {ca: %q, cert: %q, key: %q}\n", file("ca.pem"), file(n.Name+".pem"), file(n.Name+".key"))
	}
	if c.plan.NATS != nil {
		fmt.Fprintf(&b, "  %s\n", c.plan.NATS.Config())
	}
	b.WriteString("queue: {max_bytes: 2GiB}\n")
	b.WriteString(c.Routes())
	b.WriteString(c.plan.Config)
	return b.String()
}

// Nodes are all that should run: the core nodes and the deliverers in use.
func (c *Cluster) Nodes() []*Node {
	c.mu.Lock()
	defer c.mu.Unlock()
	return append(append([]*Node(nil), c.Core...), c.deliverers[:c.running]...)
}

// alive are those of them that run.
func (c *Cluster) alive() (out []*Node) {
	for _, n := range c.Nodes() {
		if n.Running() {
			out = append(out, n)
		}
	}
	return out
}

// Deliverers are those in use.
func (c *Cluster) Deliverers() []*Node {
	c.mu.Lock()
	defer c.mu.Unlock()
	return append([]*Node(nil), c.deliverers[:c.running]...)
}

// Start starts everything at once and waits until all is ready.
func (c *Cluster) Start() {
	c.t.Helper()
	for _, n := range c.Nodes() {
		if err := n.Start(); err != nil {
			c.t.Fatal(err)
		}
	}
	c.Await(60 * time.Second)
}

// Await fails the test unless all nodes become ready.
func (c *Cluster) Await(patience time.Duration) {
	c.t.Helper()
	if err := c.Well(patience); err != nil {
		c.t.Fatal(err)
	}
}

// Well waits until every node that should run is ready, and says which are not.
func (c *Cluster) Well(patience time.Duration) error {
	var ill []string
	if Until(patience, func() bool {
		ill = nil
		for _, n := range c.Nodes() {
			switch {
			case !n.Running():
				ill = append(ill, n.Name+" does not run")
			case !n.Ready():
				ill = append(ill, n.Name+" is not ready")
			}
		}
		return ill == nil
	}) {
		return nil
	}
	return fmt.Errorf("after %v %s", patience, strings.Join(ill, ", "))
}

// Scale starts or stops deliverers until so many run. What stops is stopped in order, all at once.
func (c *Cluster) Scale(n int) error {
	c.mu.Lock()
	for len(c.deliverers) < n {
		c.deliverer()
	}
	start := c.deliverers[:n]
	var stop []*Node
	if n < c.running {
		stop = c.deliverers[n:c.running]
	}
	c.running = n
	c.mu.Unlock()
	errs := make([]error, len(stop))
	var all sync.WaitGroup
	for i, d := range stop {
		all.Go(func() { errs[i] = d.Stop() })
	}
	all.Wait()
	for _, d := range start {
		errs = append(errs, d.Start())
	}
	return errors.Join(errs...)
}

// AwaitLeader waits for a leader.
func (c *Cluster) AwaitLeader(patience time.Duration) (*Node, error) {
	var l *Node
	if !Until(patience, func() bool { l = c.Leader(); return l != nil }) {
		return nil, fmt.Errorf("no leader of the scheduler within %v", patience)
	}
	return l, nil
}

// Followers are the core nodes that do not lead.
func (c *Cluster) Followers() (out []*Node) {
	l := c.Leader()
	for _, n := range c.Core {
		if n != l {
			out = append(out, n)
		}
	}
	return out
}
