package cluster

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

func testTransport(t *testing.T, o TransportOptions) *Transport {
	t.Helper()
	if o.Cluster == "" {
		o.Cluster = "test"
	}
	if o.Node == "" {
		o.Node = "node1"
	}
	tr, err := NewTransport(o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { tr.Close() })
	return tr
}

// echo is a handler that says who is there and then repeats what it hears.
func echo(c net.Conn, peer string) {
	fmt.Fprintf(c, "hello %s\n", peer)
	io.Copy(c, c)
}

func askEcho(t *testing.T, from *Transport, addr string) error {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	c, err := from.DialControl(ctx, addr)
	if err != nil {
		return err
	}
	defer c.Close()
	want := "hello " + from.o.Node + "\nping"
	if _, err := c.Write([]byte("ping")); err != nil {
		return err
	}
	got := make([]byte, len(want))
	c.SetDeadline(time.Now().Add(10 * time.Second))
	if _, err := io.ReadFull(c, got); err != nil {
		return err
	}
	if string(got) != want {
		return fmt.Errorf("heard %q", got)
	}
	return nil
}

func TestControlStream(t *testing.T) {
	cred := clusterCredentials(t, t.TempDir(), "node1", "deliverer1")
	for _, tt := range []struct {
		name      string
		here, far *Credentials
	}{{"plaintext", nil, nil}, {"TLS", cred[0], cred[1]}} {
		t.Run(tt.name, func(t *testing.T) {
			node := testTransport(t, TransportOptions{Listen: "127.0.0.1:0", Credentials: tt.here})
			deliverer := testTransport(t, TransportOptions{Node: "deliverer1", Credentials: tt.far})
			if err := askEcho(t, deliverer, node.Addr().String()); err == nil || !strings.Contains(err.Error(), "is still starting") {
				t.Errorf("before there is a handler: %v", err)
			}
			node.Handle(kindControl, echo)
			if err := askEcho(t, deliverer, node.Addr().String()); err != nil {
				t.Error(err)
			}
			// Strangers who say nothing, or garbage, are in nobody's way.
			for i := range 20 {
				c, err := net.Dial("tcp", node.Addr().String())
				if err != nil {
					t.Fatal(err)
				}
				defer c.Close()
				c.Write(bytes.Repeat([]byte{byte(i * 13)}, i*20))
			}
			if err := askEcho(t, deliverer, node.Addr().String()); err != nil {
				t.Error(err)
			}
		})
	}
}

// Close ends what is open, also a handler that only reads.
func TestTransportClose(t *testing.T) {
	node := testTransport(t, TransportOptions{Listen: "127.0.0.1:0"})
	in := make(chan struct{})
	node.Handle(kindControl, func(c net.Conn, _ string) { close(in); io.Copy(io.Discard, c) })
	c, err := testTransport(t, TransportOptions{Node: "d"}).DialControl(t.Context(), node.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	<-in
	if err := node.Close(); err != nil {
		t.Fatal(err)
	}
	if _, err := io.ReadAll(c); err == context.DeadlineExceeded {
		t.Fatal(err)
	}
}

// Whatever is wrong between two nodes, both are told what.
func TestTransportRefusals(t *testing.T) {
	ours, theirs := t.TempDir(), t.TempDir()
	cred := clusterCredentials(t, ours, "node1", "node2")
	foreign := clusterCredentials(t, theirs, "node2")
	for _, tt := range []struct {
		name         string
		server       TransportOptions
		client       TransportOptions
		told, logged string
	}{
		{"another cluster", TransportOptions{}, TransportOptions{Cluster: "other"},
			`node node1 belongs to cluster "test", node node2 to cluster "other"`, `to cluster \"other\"`},
		{"TLS here only", TransportOptions{Credentials: cred[0]}, TransportOptions{},
			"it wants TLS", "does not speak TLS"},
		{"TLS there only", TransportOptions{}, TransportOptions{Credentials: cred[1]},
			"TLS: ", "it speaks TLS, and this node has no certificates"},
		{"another authority", TransportOptions{Credentials: cred[0]}, TransportOptions{Credentials: foreign[0]},
			"not issued by this cluster's authority", "bad certificate"},
		{"another's certificate", TransportOptions{Credentials: cred[0]}, TransportOptions{Credentials: cred[0]},
			`does not carry the node's name "node2"`, `does not carry the node's name`},
	} {
		t.Run(tt.name, func(t *testing.T) {
			log := &testNode{}
			l := log.logged()
			tt.server.Listen, tt.server.Log, tt.client.Node = "127.0.0.1:0", log.log, "node2"
			node, from := testTransport(t, tt.server), testTransport(t, tt.client)
			node.Handle(kindControl, echo)
			err := askEcho(t, from, node.Addr().String())
			if err == nil || !strings.Contains(err.Error(), tt.told) {
				t.Errorf("the client is told %v, want %q", err, tt.told)
			}
			eventually(t, tt.logged+" in the log", func() bool { return l.has(tt.logged) })
		})
	}
}

func TestPlaintextRefused(t *testing.T) {
	_, err := NewTransport(TransportOptions{Cluster: "test", Node: "a", Listen: "0.0.0.0:0"})
	if err == nil || !strings.Contains(err.Error(), "without TLS") || !strings.Contains(err.Error(), "tarishi cluster ca") {
		t.Errorf("listen: %v", err)
	}
	far, near := net.Pipe()
	defer far.Close()
	tr := testTransport(t, TransportOptions{Dial: func(context.Context, string) (net.Conn, error) { return farConn{near}, nil }})
	if _, err := tr.DialControl(t.Context(), "192.0.2.1:7000"); err == nil || !strings.Contains(err.Error(), "will not dial 192.0.2.1:7000 without TLS") {
		t.Errorf("dial: %v", err)
	}
	open := testTransport(t, TransportOptions{Listen: "0.0.0.0:0", AllowInsecure: true})
	open.Handle(kindControl, echo)
	_, port, _ := net.SplitHostPort(open.Addr().String())
	if err := askEcho(t, testTransport(t, TransportOptions{Node: "d"}), "127.0.0.1:"+port); err != nil {
		t.Errorf("allowed: %v", err)
	}
}

// farConn pretends to lead to another machine.
type farConn struct{ net.Conn }

func (farConn) RemoteAddr() net.Addr { return &net.TCPAddr{IP: net.IPv4(192, 0, 2, 1), Port: 7000} }

// A server that has lost its log is not taken for the one it was.
func TestWantedServer(t *testing.T) {
	node := testTransport(t, TransportOptions{Listen: "127.0.0.1:0"})
	node.setSelf(identity{Cluster: "test", Node: "node1", Server: "node1-bbbbbbbb"})
	node.Handle(kindRaft, echo)
	from := testTransport(t, TransportOptions{Node: "node2"})
	if c, a, err := from.dial(t.Context(), kindRaft, node.Addr().String(), "node1-bbbbbbbb"); err != nil || a.Server != "node1-bbbbbbbb" {
		t.Errorf("%+v, %v", a, err)
	} else {
		c.Close()
	}
	if _, _, err := from.dial(t.Context(), kindRaft, node.Addr().String(), "node1-aaaaaaaa"); err == nil || !strings.Contains(err.Error(), "server node1-aaaaaaaa is no more, this is node1-bbbbbbbb") {
		t.Errorf("%v", err)
	}
}

func TestAuthority(t *testing.T) {
	dir := t.TempDir()
	if err := IssueNode(dir, "node1"); err == nil || !strings.Contains(err.Error(), "no authority") {
		t.Errorf("issue without one: %v", err)
	}
	clusterCredentials(t, dir, "node1", "node2")
	if err := GenerateCA(dir, "test"); err == nil || !strings.Contains(err.Error(), "exists already") {
		t.Errorf("a second one: %v", err)
	}
	for _, name := range []string{"", "a/b", "ca", "-x"} {
		if err := IssueNode(dir, name); err == nil {
			t.Errorf("issued for %q", name)
		}
	}
	files, _ := filepath.Glob(filepath.Join(dir, "*"))
	if len(files) != 6 {
		t.Errorf("files %v", files)
	}
	for _, f := range files {
		if st, err := os.Stat(f); err != nil || st.Mode().Perm() != 0o600 {
			t.Errorf("%s: %v, %v", f, st.Mode(), err)
		}
	}
	load := func(ca, cert, key, node string) error {
		_, err := LoadCredentials(filepath.Join(dir, ca), filepath.Join(dir, cert), filepath.Join(dir, key), node)
		return err
	}
	os.WriteFile(filepath.Join(dir, "empty.pem"), nil, 0o600)
	for _, tt := range []struct{ ca, cert, key, node, want string }{
		{"ca.pem", "node1.pem", "node2.key", "node1", "private key does not match"},
		{"ca.pem", "node1.pem", "node1.key", "node2", `does not carry the node's name "node2"`},
		{"node2.pem", "node1.pem", "node1.key", "node1", "not issued by this cluster's authority"},
		{"empty.pem", "node1.pem", "node1.key", "node1", "holds no certificate"},
		{"none.pem", "node1.pem", "node1.key", "node1", "no such file"},
	} {
		if err := load(tt.ca, tt.cert, tt.key, tt.node); err == nil || !strings.Contains(err.Error(), tt.want) {
			t.Errorf("%+v: %v", tt, err)
		}
	}
}

// A renewed certificate is used without a restart; one that cannot be read is not.
func TestCredentialsReload(t *testing.T) {
	dir := t.TempDir()
	c := clusterCredentials(t, dir, "node1")[0]
	serial := func() string {
		c.checked = time.Time{}
		_, cert := c.now()
		return cert.Leaf.SerialNumber.String()
	}
	first := serial()
	if err := IssueNode(dir, "node1"); err != nil {
		t.Fatal(err)
	}
	later := time.Now().Add(time.Minute)
	os.Chtimes(filepath.Join(dir, "node1.pem"), later, later)
	second := serial()
	if second == first {
		t.Error("the old certificate is still in use")
	}
	os.WriteFile(filepath.Join(dir, "node1.pem"), []byte("half written"), 0o600)
	if serial() != second {
		t.Error("a broken file was taken")
	}
}

func TestParsePeers(t *testing.T) {
	for _, tt := range []struct {
		in   string
		want string // a part of the error; empty: none
	}{
		{"a=127.0.0.1:7001 b=mx.example.net:7001 c=[2001:db8::1]:7001", ""},
		{"a", "want node=host:port"},
		{"=x:1", "a node's name is"},
		{"a=x", "host:port"},
		{"a=:7001", "host:port"},
		{"a=x:65534", "from 1 to 65533"},
		{"a=x:0", "from 1 to 65533"},
		{"a=x:1 a=y:1", "listed twice"},
		{"a=x:1 b=x:1", "node a has the same address"},
	} {
		_, err := ParsePeers(strings.Fields(tt.in))
		if (err == nil) != (tt.want == "") || err != nil && !strings.Contains(err.Error(), tt.want) {
			t.Errorf("%s: %v, want %q", tt.in, err, tt.want)
		}
	}
	p := Peer{"a", "[2001:db8::1]:7001"}
	if p.RouteAddr() != "[2001:db8::1]:7002" || p.NATSAddr() != "[2001:db8::1]:7003" {
		t.Errorf("%s, %s", p.RouteAddr(), p.NATSAddr())
	}
}
