package cluster

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/nats-io/nats-server/v2/server"
)

// NATSCluster makes the embedded server one of several. A store that was opened
// standalone must never be opened so: JetStream deletes its streams as orphans.
type NATSCluster struct {
	Name  string // of the cluster
	Node  string // this node; JetStream knows replicas by it, so it never changes
	Peers []Peer // the same list on all nodes, this one included; two ports follow each port P

	Listen string // where port P is accepted, when that is not this node's address in Peers

	Credentials   *Credentials // nil: plaintext, on loopback addresses only
	AllowInsecure bool         // see TransportOptions

	// Replicated lets a majority's memory stand for its disks: an acknowledged message
	// is lost when all of them lose power at once.
	Replicated bool
}

// RouteAddr is where a peer takes routes from the other nodes' NATS: port P+1.
func (p Peer) RouteAddr() string { return p.above(1) }

// NATSAddr is where a peer takes NATS clients: port P+2.
func (p Peer) NATSAddr() string { return p.above(2) }

func (p Peer) above(n int) string {
	host, port, _ := net.SplitHostPort(p.Addr) // CheckPeers has seen it
	i, _ := strconv.Atoi(port)
	return net.JoinHostPort(host, strconv.Itoa(i+n))
}

// ClientURLs is what a process without an embedded server connects to, with
// Credentials.ClientTLS.
func ClientURLs(peers []Peer) []string {
	var out []string
	for _, p := range peers {
		out = append(out, "nats://"+p.NATSAddr())
	}
	return out
}

// apply turns a standalone server's options into a cluster's.
func (c *NATSCluster) apply(o *server.Options) error {
	if err := CheckPeers(c.Peers); err != nil {
		return err
	}
	i := slices.IndexFunc(c.Peers, func(p Peer) bool { return p.Node == c.Node })
	if i < 0 {
		return fmt.Errorf("node %q is not among the peers (%s)", c.Node, listPeers(c.Peers))
	}
	if len(c.Peers) < 3 {
		// A cluster of one cannot elect a leader, one of two stands still without either.
		return fmt.Errorf("streams that survive a node need three nodes, and %d are listed (%s): list three, or leave the cluster section out", len(c.Peers), listPeers(c.Peers))
	}
	here := c.Peers[i]
	if c.Listen != "" {
		if _, _, err := net.SplitHostPort(c.Listen); err != nil {
			return fmt.Errorf("listen address %q: want host:port", c.Listen)
		}
		here.Addr = c.Listen
	}
	addrs := []string{here.RouteAddr(), here.NATSAddr()}
	for _, p := range c.Peers {
		addrs = append(addrs, p.RouteAddr())
	}
	for _, a := range addrs {
		if err := c.plaintextAllowed(a); err != nil {
			return err
		}
	}
	o.ServerName = c.Node
	o.SyncAlways = !c.Replicated
	o.DontListen = false
	var err error
	if o.Host, o.Port, err = hostPort(here.NATSAddr()); err != nil {
		return err
	}
	o.Cluster.Name = c.Name
	if o.Cluster.Host, o.Cluster.Port, err = hostPort(here.RouteAddr()); err != nil {
		return err
	}
	// All nodes are listed; addresses learnt from others would be those of containers.
	o.Cluster.NoAdvertise = true
	// By default a frozen node stays in the routes for a minute and more, and is given its
	// share of the questions that any replica may answer.
	o.Cluster.PingInterval, o.Cluster.MaxPingsOut = time.Second, 5
	// All routes, this node's own included: the first election waits for as many nodes.
	for _, p := range c.Peers {
		o.Routes = append(o.Routes, &url.URL{Scheme: "nats", Host: p.RouteAddr()})
	}
	if c.Credentials != nil {
		o.TLSConfig, o.TLSTimeout = c.Credentials.server(nil), helloTimeout.Seconds()
		o.Cluster.TLSConfig, o.Cluster.TLSTimeout = c.routeTLS(), helloTimeout.Seconds()
	}
	return nil
}

// portsFree finds out, before JetStream opens its files, whether NATS will be able to
// listen. Two of three nodes that had broken off a start after that, for a port that was
// taken, knew READY's consumer no more: the next start took it for an orphan.
func portsFree(o *server.Options) error {
	for _, a := range []string{net.JoinHostPort(o.Host, strconv.Itoa(o.Port)), net.JoinHostPort(o.Cluster.Host, strconv.Itoa(o.Cluster.Port))} {
		l, err := net.Listen("tcp", a)
		if err != nil {
			return err
		}
		if err := l.Close(); err != nil {
			return err
		}
	}
	return nil
}

// routeTLS serves both sides of a route. A route is for nodes that keep streams: a
// deliverer's certificate does not do.
func (c *NATSCluster) routeTLS() *tls.Config {
	both := c.Credentials.server(func(names []string) error {
		if slices.ContainsFunc(c.Peers, func(p Peer) bool { return slices.Contains(names, p.Node) }) {
			return nil
		}
		return fmt.Errorf("the certificate (%q) belongs to none of cluster.peers", names)
	})
	as := c.Credentials.client(nil)
	both.InsecureSkipVerify = as.InsecureSkipVerify // VerifyConnection verifies
	both.GetClientCertificate = as.GetClientCertificate
	return both
}

func (c *NATSCluster) plaintextAllowed(addr string) error {
	host, _, err := net.SplitHostPort(addr)
	if err != nil {
		return fmt.Errorf("address %q: %w", addr, err)
	}
	ip := net.ParseIP(host)
	if c.Credentials != nil || c.AllowInsecure || host == "localhost" || ip != nil && ip.IsLoopback() {
		return nil
	}
	return fmt.Errorf("will not use %s without TLS: it is not a loopback address, and whoever reaches the port could read and delete mail; see cluster.tls and cluster.insecure", addr)
}

func hostPort(addr string) (string, int, error) {
	host, port, err := net.SplitHostPort(addr)
	if err != nil {
		return "", 0, err
	}
	n, err := strconv.Atoi(port)
	return host, n, err
}

// Ready waits until JetStream answers here: it has a leader, and this node has caught up
// with what streams there are. It says every few seconds who is missing.
func (n *NATS) Ready(ctx context.Context) error {
	if n.cluster == nil {
		return nil
	}
	tick := time.NewTicker(50 * time.Millisecond)
	defer tick.Stop()
	reported := time.Now()
	for {
		why := n.notReady()
		if why == "" {
			return nil
		}
		if n.lines.doubled(time.Now()) {
			return fmt.Errorf("another node that calls itself %s is part of the cluster: give each its own cluster.node", n.cluster.Node)
		}
		if time.Since(reported) > 5*time.Second {
			n.log.Warn("the queue is not ready", "reason", why)
			reported = time.Now()
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return fmt.Errorf("the queue is not ready: %s: %w", why, context.Cause(ctx))
		}
	}
}

func (n *NATS) notReady() string {
	if !n.srv.JetStreamEnabled() {
		return "JetStream has stopped here (see the log)"
	}
	if i, err := n.srv.Jsz(nil); err != nil || i.Meta == nil || i.Meta.Leader == "" {
		if missing := n.missing(); len(missing) > 0 {
			return "JetStream has no leader yet; not connected: " + strings.Join(missing, ", ")
		}
		return "JetStream has no leader yet; an election is under way"
	}
	if !n.srv.JetStreamIsCurrent() {
		return "this node is catching up with the list of streams"
	}
	return ""
}

// missing lists the peers that no route leads to.
func (n *NATS) missing() (out []string) {
	there := n.connected()
	for _, p := range n.cluster.Peers {
		if p.Node != n.cluster.Node && !slices.Contains(there, p.Node) {
			out = append(out, p.Node+" at "+p.RouteAddr())
		}
	}
	return out
}

// connected lists the nodes that a route leads to.
func (n *NATS) connected() (out []string) {
	routes, err := n.srv.Routez(nil)
	if err != nil {
		return nil
	}
	for _, r := range routes.Routes {
		if !slices.Contains(out, r.RemoteName) {
			out = append(out, r.RemoteName)
		}
	}
	slices.Sort(out)
	return out
}

// handOver steps down from what this node leads and waits a little for others to take
// over, so that publishers wait milliseconds for a planned stop and not the seconds
// that an election takes.
func (n *NATS) handOver() {
	for range 60 {
		led := n.led()
		if len(led) == 0 {
			return
		}
		for _, l := range led {
			if err := l.stepDown(); err != nil && !errors.Is(err, server.NewJSClusterNotActiveError()) {
				n.log.Debug("step down", "what", l.name, "error", err)
			}
		}
		time.Sleep(50 * time.Millisecond) // JetStream tells nobody when another leads
	}
	n.log.Warn("not all of the queue's streams found another leader before this node stopped")
}

type ledGroup struct {
	name     string
	stepDown func() error
}

// led lists the streams and consumers with several replicas that this node leads.
func (n *NATS) led() (out []ledGroup) {
	i, err := n.srv.Jsz(&server.JSzOptions{Streams: true, Consumer: true})
	if err != nil {
		return nil
	}
	for _, a := range i.AccountDetails {
		for _, s := range a.Streams {
			if n.leads(s.Cluster) {
				out = append(out, ledGroup{s.Name, func() error { return n.srv.JetStreamStepdownStream(a.Name, s.Name) }})
			}
			for _, c := range s.Consumer {
				if n.leads(c.Cluster) {
					out = append(out, ledGroup{s.Name + " " + c.Name, func() error { return n.srv.JetStreamStepdownConsumer(a.Name, s.Name, c.Name) }})
				}
			}
		}
	}
	return out
}

// leads tells whether this node leads a group that somebody else could lead.
func (n *NATS) leads(c *server.ClusterInfo) bool {
	return c != nil && c.Leader == n.cluster.Node &&
		slices.ContainsFunc(c.Replicas, func(p *server.PeerInfo) bool { return p.Current && !p.Offline })
}
