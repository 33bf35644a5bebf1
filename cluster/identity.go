package cluster

import (
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"net"
	"regexp"
	"slices"
	"strconv"
	"strings"
)

// identity says who a node is. It lies beside the log: a node that has lost its log
// must not come back under its old id, for it could vote a second time in a term.
type identity struct {
	Cluster   string `json:"cluster"`              // the cluster's name; empty: one node on its own
	ClusterID string `json:"cluster_id,omitempty"` // given when the cluster was founded
	Node      string `json:"node"`
	Server    string `json:"server"`         // the raft id: the node's name and a random suffix
	Left      bool   `json:"left,omitempty"` // it has left the cluster for good
}

// newIdentity is what a node without a log goes by.
func newIdentity(cluster, node string) identity {
	return identity{Cluster: cluster, Node: node, Server: node + "-" + randomHex(4)}
}

func randomHex(n int) string {
	b := make([]byte, n)
	rand.Read(b) // never fails
	return hex.EncodeToString(b)
}

// nodeOf returns the node's name out of a raft id.
func nodeOf(server string) string {
	if i := strings.LastIndexByte(server, '-'); i > 0 {
		return server[:i]
	}
	return server
}

// check refuses a folder that belongs to somebody else.
func (id identity) check(dir, cluster, node string) error {
	switch {
	case id.Left:
		return fmt.Errorf("this node has left its cluster (%s); to let it join anew, move %s away", id.Cluster, dir)
	case id.Cluster == "" && cluster != "":
		return fmt.Errorf("%s belongs to one node on its own, and cluster mode begins with an empty folder: `tarishi migrate` moves what one node knows into the new cluster", dir)
	case id.Cluster != "" && cluster == "":
		return fmt.Errorf("%s belongs to a node of cluster %q; start it with its cluster section, or give this node a data folder of its own", dir, id.Cluster)
	case id.Cluster != cluster:
		return fmt.Errorf("%s belongs to cluster %q, but the configuration says %q", dir, id.Cluster, cluster)
	case cluster != "" && id.Node != node:
		return fmt.Errorf("%s belongs to node %q, but the configuration says %q; a node's folder cannot be given to another", dir, id.Node, node)
	}
	return nil
}

// Peer is one node of the cluster as the configuration lists it.
type Peer struct {
	Node string
	Addr string // host:port, kept as given and resolved at every dial
}

func (p Peer) String() string { return p.Node + "=" + p.Addr }

// A node's name becomes part of file names, certificates and raft ids.
var nodeName = regexp.MustCompile(`^[A-Za-z0-9]([A-Za-z0-9._-]{0,61}[A-Za-z0-9])?$`)

// ParsePeers reads a list of node=host:port.
func ParsePeers(list []string) ([]Peer, error) {
	var out []Peer
	for _, s := range list {
		node, addr, ok := strings.Cut(s, "=")
		if !ok {
			return nil, fmt.Errorf("peer %q: want node=host:port", s)
		}
		out = append(out, Peer{strings.TrimSpace(node), strings.TrimSpace(addr)})
	}
	return out, CheckPeers(out)
}

// CheckPeers tells what is wrong with a list.
func CheckPeers(peers []Peer) error {
	nodes, addrs := map[string]bool{}, map[string]string{}
	for _, p := range peers {
		if !nodeName.MatchString(p.Node) {
			return fmt.Errorf("peer %q: a node's name is 1 to 63 letters, digits, dots, dashes or underscores and begins and ends with a letter or a digit", p)
		}
		if err := checkAddr(p.Addr); err != nil {
			return fmt.Errorf("peer %q: %w", p, err)
		}
		if nodes[p.Node] {
			return fmt.Errorf("peer %q: node %s is listed twice", p, p.Node)
		}
		if o := addrs[p.Addr]; o != "" {
			return fmt.Errorf("peer %q: node %s has the same address", p, o)
		}
		nodes[p.Node], addrs[p.Addr] = true, p.Node
	}
	return nil
}

func checkAddr(addr string) error {
	host, port, err := net.SplitHostPort(addr)
	if err != nil || host == "" {
		return errors.New("the address is host:port")
	}
	// The two ports above it belong to NATS.
	if n, err := strconv.Atoi(port); err != nil || n < 1 || n > 65533 {
		return errors.New("the port is a number from 1 to 65533 (the two above it are used as well)")
	}
	return nil
}

// samePeers compares two lists whatever their order.
func samePeers(a, b []Peer) bool {
	order := func(x, y Peer) int { return strings.Compare(x.Node, y.Node) }
	return slices.Equal(slices.SortedFunc(slices.Values(a), order), slices.SortedFunc(slices.Values(b), order))
}

// listPeers prints a list in the order of the names.
func listPeers(peers []Peer) string {
	var s []string
	for _, p := range peers {
		s = append(s, p.String())
	}
	slices.Sort(s)
	return strings.Join(s, ", ")
}
