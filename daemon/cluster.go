package daemon

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"net/url"
	"regexp"
	"strconv"
	"strings"
)

// Clustering is the section that names the other nodes.
type Clustering struct {
	Name     string     `yaml:"name" default:"tarishi" check:"node" doc:"The cluster's name; nodes of another are refused."`
	Node     string     `yaml:"node" check:"node" doc:"This node's name, the same after every restart. Default: the machine's name up to its first dot."`
	Peers    []string   `yaml:"peers" check:"peer" doc:"The nodes with the scheduler role, name=host:port each, the same list on all nodes. They use port P for each other and for deliverers, P+1 and P+2 for NATS."`
	Listen   string     `yaml:"listen" check:"listen" doc:"Address (ip:port) for port P, where it is not the one in peers. Default: the one in peers, or any address with its port when that is a name."`
	TLS      ClusterTLS `yaml:"tls" doc:"Certificates by which nodes know each other (tarishi cluster ca, tarishi cluster cert)."`
	Insecure bool       `yaml:"insecure" default:"false" doc:"Let nodes on different machines speak without TLS. Whoever reaches their ports can then read all mail and change all limits."`
	NATS     NATS       `yaml:"nats" doc:"An existing NATS cluster with JetStream to keep the queue in, instead of the nodes themselves."`
}

// ClusterTLS names PEM files.
type ClusterTLS struct {
	CA   string `yaml:"ca" doc:"File with the authority that signed all nodes' certificates, PEM."`
	Cert string `yaml:"cert" doc:"File with this node's certificate, PEM."`
	Key  string `yaml:"key" doc:"File with the certificate's private key, PEM."`
}

// NATS is somebody else's NATS cluster.
type NATS struct {
	URL         []string `yaml:"url" check:"nats" doc:"Its servers, such as nats://nats1.example.net:4222 or tls://..."`
	Credentials string   `yaml:"credentials" doc:"File with our credentials there (.creds)."`
	TLS         NATSTLS  `yaml:"tls" doc:"TLS towards it."`
}

// NATSTLS names PEM files.
type NATSTLS struct {
	CA   string `yaml:"ca" doc:"File with the authority of its certificate, PEM. Empty: the system's."`
	Cert string `yaml:"cert" doc:"File with our certificate, PEM, where it asks for one."`
	Key  string `yaml:"key" doc:"File with the certificate's private key, PEM."`
}

// Clustered tells whether there are other nodes.
func (c *Config) Clustered() bool { return len(c.Cluster.Peers) > 0 }

// given tells whether anything in the section asks for a cluster.
func (c Clustering) given() bool {
	return c.Node != "" || c.Listen != "" || c.TLS != ClusterTLS{} || c.Insecure || len(c.NATS.URL) > 0 || c.NATS.Credentials != ""
}

// self is this node's address in peers; ok is false when it is not listed.
func (c Clustering) self() (addr string, ok bool) {
	for _, p := range c.Peers {
		if name, addr, _ := strings.Cut(p, "="); name == c.Node {
			return addr, true
		}
	}
	return "", false
}

// complete fills what depends on the machine and on peers.
func (c *Clustering) complete() {
	if len(c.Peers) == 0 {
		return
	}
	if c.Node == "" {
		c.Node, _, _ = strings.Cut(machineName(), ".")
	}
	addr, listed := c.self()
	if !listed || c.Listen != "" {
		return
	}
	host, port, _ := net.SplitHostPort(addr)
	if _, err := netip.ParseAddr(host); err != nil && host != "localhost" {
		host = "" // a name may lead to an address that is not this machine's own, as behind a Service
	}
	c.Listen = net.JoinHostPort(host, port)
}

var nodeName = regexp.MustCompile(`^[A-Za-z0-9]([A-Za-z0-9._-]{0,61}[A-Za-z0-9])?$`)

func checkNodeName(s string) error {
	if !nodeName.MatchString(s) {
		return errors.New("wants 1 to 63 letters, digits, dots, dashes or underscores, with a letter or digit at both ends")
	}
	return nil
}

// lastPeerPort leaves room for the two ports above it.
const lastPeerPort = 65533

func checkPeer(s string) error {
	name, addr, ok := strings.Cut(s, "=")
	if !ok {
		return errors.New("wants name=host:port, such as node1=192.0.2.1:7001")
	}
	if err := checkNodeName(name); err != nil {
		return fmt.Errorf("has no name of a node: %q %w", name, err)
	}
	host, port, err := net.SplitHostPort(addr)
	if err != nil {
		return errors.New("wants name=host:port, such as node1=192.0.2.1:7001")
	}
	a, err := netip.ParseAddr(host)
	if err != nil && checkHost(host) != nil || err == nil && a.IsUnspecified() {
		return errors.New("has no host that other nodes can reach")
	}
	if n, err := strconv.ParseUint(port, 10, 16); err != nil || n < 1 || n > lastPeerPort || port != strconv.FormatUint(n, 10) {
		return fmt.Errorf("has no port between 1 and %d (the two above it are used as well)", lastPeerPort)
	}
	return nil
}

// checkNATS refuses what is no server, and secrets in a place that is printed.
func checkNATS(s string) error {
	u, err := url.Parse(s)
	if err != nil || u.Scheme != "nats" && u.Scheme != "tls" || u.Hostname() == "" || u.Path != "" || u.RawQuery != "" {
		return errors.New("wants nats://host:port or tls://host:port")
	}
	if u.User != nil {
		return errors.New("holds a name or password, which would be printed and logged; put them into a file and name it in cluster.nats.credentials")
	}
	return nil
}

// MaxPeers bounds the schedulers: each change is confirmed by a majority of them.
const MaxPeers = 7

func (l *loader) checkCluster(c *Config) {
	k := c.Cluster
	if !c.Clustered() {
		if k.given() {
			l.fault("cluster.peers", "is empty, but other keys of cluster are set", "list the nodes with the scheduler role, or remove the section")
		}
		if !c.Has("scheduler") && c.Has("deliverer") {
			l.fault("roles", "a deliverer needs a scheduler, here or in a cluster", "add scheduler, or list the nodes that have it in cluster.peers")
		}
		return
	}
	l.checkPeers(c)
	l.checkClusterTLS(c)
	l.checkNATSFiles(c)
}

func (l *loader) checkPeers(c *Config) {
	k := c.Cluster
	if err := checkNodeName(k.Node); err != nil {
		l.fault("cluster.node", fmt.Sprintf("%q, taken from the machine's name, %s", k.Node, err), "set it")
	}
	type seen struct{ name, host, port string }
	var all []seen
	for i, p := range k.Peers {
		name, addr, _ := strings.Cut(p, "=")
		host, port, _ := net.SplitHostPort(addr)
		path := fmt.Sprintf("cluster.peers[%d]", i)
		for _, o := range all {
			n, _ := strconv.Atoi(port)
			m, _ := strconv.Atoi(o.port)
			switch {
			case o.name == name:
				l.fault(path, fmt.Sprintf("node %s is listed twice", name), "give each node a name of its own")
			case strings.EqualFold(o.host, host) && n > m-3 && n < m+3:
				l.fault(path, fmt.Sprintf("its ports %d to %d overlap those of %s", n, n+2, o.name), "choose a port at least 3 away on the same host")
			}
		}
		all = append(all, seen{name, host, port})
	}
	switch n := len(k.Peers); {
	case n < 3:
		l.fault("cluster.peers", fmt.Sprintf("%d cannot make a cluster that outlives one of them: a majority of %d is %d", n, n, n/2+1), "list three nodes, or remove the section for a node on its own")
	case n > MaxPeers:
		l.fault("cluster.peers", fmt.Sprintf("%d are too many: each change waits for a majority of them", n), "list three or five; nodes that only take in or deliver mail need no place here")
	case n%2 == 0:
		c.Warnings = append(c.Warnings, fmt.Sprintf("cluster.peers lists %d nodes, which stand no more failures than %d would; list an odd number", n, n-1))
	}
	addr, listed := k.self()
	switch {
	case c.Has("scheduler") && !listed:
		l.fault("cluster.node", fmt.Sprintf("%s has the scheduler role but is not in cluster.peers", k.Node), "list it there, on all nodes, or leave scheduler out of its roles")
	case !c.Has("scheduler") && listed:
		l.fault("roles", fmt.Sprintf("cluster.peers lists %s, but it has not the scheduler role", k.Node), "add scheduler, or take it out of cluster.peers on all nodes")
	case !listed && k.Listen != "":
		l.fault("cluster.listen", "is set, but nobody connects to a node that is not in cluster.peers", "remove it")
	case listed:
		_, port, _ := net.SplitHostPort(addr)
		if _, own, _ := net.SplitHostPort(k.Listen); own == "0" {
			l.fault("cluster.listen", "a port that is chosen at each start cannot be found by the other nodes", "write "+port)
		}
	}
}

// checkClusterTLS wants all of TLS, or nodes that never leave the machine.
func (l *loader) checkClusterTLS(c *Config) {
	t := c.Cluster.TLS
	if t == (ClusterTLS{}) {
		if c.Cluster.Insecure {
			return
		}
		for i, p := range c.Cluster.Peers {
			_, addr, _ := strings.Cut(p, "=")
			if host, _, _ := net.SplitHostPort(addr); !isLoopback(host) {
				l.fault(fmt.Sprintf("cluster.peers[%d]", i), host+" is not this machine, and there is no cluster.tls: whoever reaches the port could read mail and change limits",
					"make certificates with `tarishi cluster ca` and `tarishi cluster cert` and set cluster.tls, or set cluster.insecure on a network that is yours alone")
				return
			}
		}
		return
	}
	if c.Cluster.Insecure {
		l.fault("cluster.insecure", "is set together with cluster.tls", "keep one")
	}
	l.checkPair("cluster.tls", t.CA, t.Cert, t.Key, true)
}

func isLoopback(host string) bool {
	a, err := netip.ParseAddr(host)
	return host == "localhost" || err == nil && a.IsLoopback()
}

func (l *loader) checkNATSFiles(c *Config) {
	n := c.Cluster.NATS
	if len(n.URL) == 0 {
		if n.Credentials != "" || n.TLS != (NATSTLS{}) {
			l.fault("cluster.nats.url", "is empty, but other keys of cluster.nats are set", "name the servers, or remove the section to keep the queue in the nodes themselves")
		}
		return
	}
	if n.Credentials != "" {
		l.readPEM("cluster.nats.credentials", n.Credentials)
	}
	if n.TLS != (NATSTLS{}) {
		l.checkPair("cluster.nats.tls", n.TLS.CA, n.TLS.Cert, n.TLS.Key, false)
	}
}

// checkPair reads an authority, a certificate and its key. With all, none may be missing.
func (l *loader) checkPair(path, ca, cert, key string, all bool) {
	if all && (ca == "" || cert == "" || key == "") || (cert == "") != (key == "") {
		mend := "set ca, cert and key"
		if !all {
			mend = "set both cert and key, or none"
		}
		l.fault(path, "is incomplete", mend)
		return
	}
	if ca != "" {
		if b, ok := l.readPEM(path+".ca", ca); ok && !x509.NewCertPool().AppendCertsFromPEM(b) {
			l.fault(path+".ca", ca+" holds no certificate (PEM)", "")
		}
	}
	if cert == "" {
		return
	}
	c, certOK := l.readPEM(path+".cert", cert)
	k, keyOK := l.readPEM(path+".key", key)
	if !certOK || !keyOK {
		return
	}
	if _, err := tls.X509KeyPair(c, k); err != nil {
		l.fault(path+".cert", fmt.Sprintf("%s and %s do not make a certificate: %s", cert, key, strings.TrimPrefix(err.Error(), "tls: ")), "")
	}
}
