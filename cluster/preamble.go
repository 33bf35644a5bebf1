package cluster

import (
	"errors"
	"fmt"
	"io"
	"strings"
)

// Every connection to port P begins with a hello and its answer, inside TLS when there
// is any. The first octet tells what the connection is for, the second the version of
// the protocol; then come strings, each with its length in one octet before it.
//
//	hello:  kind, version, cluster, cluster id, node, wanted server
//	answer: code,  version, cluster, cluster id, node, server, reason
//
// The hello names the raft server it wants, not only an address: the node that answers
// there may have lost its log and come back under a new id, and must not vote, nor
// count as having stored anything, in the name of the old one.
const (
	kindRaft    = 'R'
	kindControl = 'C'
	kindStatus  = 'S'

	protocolVersion = 1
)

// tlsRecord is how a TLS client begins.
const tlsRecord = 0x16

type hello struct {
	Kind      byte
	Version   byte
	Cluster   string
	ClusterID string // empty: no log yet, or none at all
	Node      string
	Want      string // raft id; empty: whoever is there
}

const (
	helloOK      = 0
	helloRefused = 1
	helloForeign = 2 // of another cluster
	helloBusy    = 3
)

type helloAnswer struct {
	Code      byte
	Version   byte
	Cluster   string
	ClusterID string
	Node      string
	Server    string // raft id; empty: no scheduler here
	Reason    string
}

func (h hello) append(b []byte) []byte {
	return appendStrings(append(b, h.Kind, h.Version), h.Cluster, h.ClusterID, h.Node, h.Want)
}

func (a helloAnswer) append(b []byte) []byte {
	return appendStrings(append(b, a.Code, a.Version), a.Cluster, a.ClusterID, a.Node, a.Server, a.Reason)
}

func appendStrings(b []byte, ss ...string) []byte {
	for _, s := range ss {
		s = s[:min(len(s), 255)]
		b = append(append(b, byte(len(s))), s...)
	}
	return b
}

// readHello reads no octet beyond the hello: what follows belongs to the connection.
func readHello(r io.Reader) (h hello, err error) {
	var head [2]byte
	if _, err := io.ReadFull(r, head[:1]); err != nil {
		return h, err
	}
	switch h.Kind = head[0]; h.Kind {
	case kindRaft, kindControl, kindStatus:
	case tlsRecord:
		return h, errors.New("it speaks TLS, and this node has no certificates (cluster.tls)")
	default:
		return h, fmt.Errorf("it does not speak our protocol (first octet %#02x)", h.Kind)
	}
	if _, err := io.ReadFull(r, head[1:]); err != nil {
		return h, err
	}
	if h.Version = head[1]; h.Version != protocolVersion {
		return h, versionError(h.Version)
	}
	err = readStrings(r, &h.Cluster, &h.ClusterID, &h.Node, &h.Want)
	return h, err
}

func readAnswer(r io.Reader) (a helloAnswer, err error) {
	var head [2]byte
	if _, err := io.ReadFull(r, head[:]); err != nil {
		return a, err
	}
	a.Code, a.Version = head[0], head[1]
	if a.Version != protocolVersion {
		return a, versionError(a.Version)
	}
	err = readStrings(r, &a.Cluster, &a.ClusterID, &a.Node, &a.Server, &a.Reason)
	return a, err
}

func versionError(v byte) error {
	return fmt.Errorf("it speaks version %d of the cluster's protocol, this node %d; run releases that are next to each other", v, protocolVersion)
}

func readStrings(r io.Reader, ss ...*string) error {
	var buf [256]byte
	for _, s := range ss {
		if _, err := io.ReadFull(r, buf[:1]); err != nil {
			return err
		}
		n := int(buf[0])
		if _, err := io.ReadFull(r, buf[:n]); err != nil {
			return err
		}
		*s = printable(string(buf[:n]))
	}
	return nil
}

// printable keeps a stranger's strings from breaking our log.
func printable(s string) string {
	return strings.Map(func(r rune) rune {
		if r < ' ' || r == 0x7f || r == '\uFFFD' {
			return '?'
		}
		return r
	}, s)
}
