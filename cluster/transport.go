package cluster

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"sync"
	"time"
)

// TransportOptions says who this node is and how it may be reached.
type TransportOptions struct {
	Cluster string // the cluster's name: nodes of another are refused
	Node    string
	Listen  string // host:port to accept on; empty: this node only dials, as deliverers do

	Credentials *Credentials // nil: plaintext, on loopback addresses only
	// AllowInsecure lets plaintext travel between machines: whoever reaches the port
	// can read and change everything.
	AllowInsecure bool

	// Listener and Dial replace TCP, for a network in memory.
	Listener net.Listener
	Dial     func(ctx context.Context, addr string) (net.Conn, error)

	Log *slog.Logger // nil: silent
}

// Transport is a node's end of port P: raft, control streams and status requests share
// one listener. It knows nothing of what they carry.
type Transport struct {
	o        TransportOptions
	ln       net.Listener // nil: dials only
	log      *slog.Logger
	wg       sync.WaitGroup
	ctx      context.Context
	cancel   context.CancelFunc
	refusals refusals

	mu     sync.Mutex
	self   identity
	kinds  map[byte]*kind
	conns  map[net.Conn]byte // accepted: what each is for
	count  map[byte]int
	closed bool
}

// kind is what is done with the connections of one kind.
type kind struct {
	check func(hello) error      // nil: any node of the cluster is welcome
	serve func(net.Conn, string) // owns the connection
}

// Bounds on accepted connections. A stranger who only connects is gone after
// helloTimeout and can hold no more than the first.
var connLimits = map[byte]int{0: 128, kindRaft: 256, kindStatus: 256, kindControl: 4096}

const helloTimeout = 5 * time.Second

// NewTransport opens the listener, if there is one.
func NewTransport(o TransportOptions) (*Transport, error) {
	if o.Cluster == "" || len(o.Cluster) > 100 {
		return nil, errors.New("a cluster needs a name of at most 100 octets")
	}
	if !nodeName.MatchString(o.Node) {
		return nil, fmt.Errorf("%q is no name for a node", o.Node)
	}
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	if o.Dial == nil {
		d := &net.Dialer{KeepAliveConfig: keepAlive}
		o.Dial = func(ctx context.Context, addr string) (net.Conn, error) { return d.DialContext(ctx, "tcp", addr) }
	}
	t := &Transport{
		o: o, log: o.Log, self: identity{Cluster: o.Cluster, Node: o.Node},
		kinds: map[byte]*kind{}, conns: map[net.Conn]byte{}, count: map[byte]int{},
	}
	t.ctx, t.cancel = context.WithCancel(context.Background())
	t.ln = o.Listener
	if t.ln == nil && o.Listen != "" {
		lc := net.ListenConfig{KeepAliveConfig: keepAlive}
		ln, err := lc.Listen(t.ctx, "tcp", o.Listen)
		if err != nil {
			t.cancel()
			return nil, err
		}
		t.ln = ln
	}
	if t.ln != nil {
		if err := t.plaintextAllowed(t.ln.Addr(), "listen on"); err != nil {
			t.cancel()
			return nil, errors.Join(err, t.ln.Close())
		}
		t.wg.Go(t.accept)
	}
	return t, nil
}

// A node that has vanished without a word is noticed within 20 s.
var keepAlive = net.KeepAliveConfig{Enable: true, Idle: 8 * time.Second, Interval: 4 * time.Second, Count: 3}

// plaintextAllowed refuses to send or take plaintext beyond this machine.
func (t *Transport) plaintextAllowed(addr net.Addr, verb string) error {
	tcp, ok := addr.(*net.TCPAddr)
	if !ok || tcp.IP.IsLoopback() || t.o.Credentials != nil || t.o.AllowInsecure {
		return nil
	}
	return fmt.Errorf("will not %s %s without TLS: it is not a loopback address, and whoever reaches the port could change limits and read mail. "+
		"Make certificates (`tarishi cluster ca`, `tarishi cluster cert`) and set cluster.tls, or set cluster.insecure on a network that is yours alone", verb, addr)
}

// Addr is where the node listens; nil when it only dials.
func (t *Transport) Addr() net.Addr {
	if t.ln == nil {
		return nil
	}
	return t.ln.Addr()
}

// Handle says what to do with control streams ('C'). serve owns the connection and may
// keep it as long as it likes; peer is the node's name as its certificate confirms it.
func (t *Transport) Handle(kindOctet byte, serve func(conn net.Conn, peer string)) {
	t.handle(kindOctet, &kind{serve: serve})
}

func (t *Transport) handle(k byte, h *kind) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.kinds[k] = h
}

// DialControl opens a control stream to the node at addr.
func (t *Transport) DialControl(ctx context.Context, addr string) (net.Conn, error) {
	c, _, err := t.dial(ctx, kindControl, addr, "")
	return c, err
}

// setSelf tells the transport which raft server it speaks for.
func (t *Transport) setSelf(id identity) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.self = id
}

func (t *Transport) identity() identity {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.self
}

func (t *Transport) accept() {
	delay := time.Duration(0)
	for {
		c, err := t.ln.Accept()
		if err != nil {
			if t.ctx.Err() != nil {
				return
			}
			// As with file descriptors run out: it passes.
			delay = min(max(2*delay, 5*time.Millisecond), time.Second)
			t.refusals.log(t.log, "accept", "connections cannot be accepted", "error", err)
			select {
			case <-time.After(delay):
			case <-t.ctx.Done():
				return
			}
			continue
		}
		delay = 0
		if !t.admit(c, 0) {
			c.Close()
			continue
		}
		t.wg.Go(func() { t.welcome(c) })
	}
}

// admit counts a connection among those of a kind; false when there are too many.
func (t *Transport) admit(c net.Conn, k byte) bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.closed || t.count[k] >= connLimits[k] {
		return false
	}
	if old, ok := t.conns[c]; ok {
		t.count[old]--
	}
	t.conns[c] = k
	t.count[k]++
	return true
}

// forget closes an accepted connection.
func (t *Transport) forget(c net.Conn) {
	c.Close()
	t.mu.Lock()
	defer t.mu.Unlock()
	if k, ok := t.conns[c]; ok {
		t.count[k]--
		delete(t.conns, c)
	}
}

// welcome shakes hands and hands the connection to whom it is for.
func (t *Transport) welcome(raw net.Conn) {
	defer t.forget(raw)
	raw.SetDeadline(time.Now().Add(helloTimeout))
	conn, names, err := t.secure(raw)
	if err != nil {
		var plain tls.RecordHeaderError
		if errors.As(err, &plain) && plain.Conn != nil { // it can read our answer, if it is a node
			a := helloAnswer{Code: helloRefused, Version: protocolVersion, Node: t.o.Node, Reason: "it wants TLS, and this node has no certificates (cluster.tls)"}
			raw.Write(a.append(nil))
		}
		t.refusals.log(t.log, "tls "+host(raw.RemoteAddr()), "a connection was refused", "from", raw.RemoteAddr().String(), "reason", tlsWords(err))
		return
	}
	h, err := readHello(conn)
	if err != nil {
		t.refusals.log(t.log, "hello "+host(raw.RemoteAddr()), "a connection was refused", "from", raw.RemoteAddr().String(), "reason", err)
		return
	}
	t.mu.Lock()
	k, self := t.kinds[h.Kind], t.self
	t.mu.Unlock()
	a := judgeHello(self, h, names, k)
	if a.Code == helloOK && !t.admit(raw, h.Kind) {
		a.Code, a.Reason = helloBusy, "too many connections of this kind"
	}
	if _, err := conn.Write(a.append(nil)); err != nil {
		return
	}
	if a.Code != helloOK {
		if h.Kind != kindStatus || a.Code == helloForeign { // a node that starts is asked before it can answer
			t.refusals.log(t.log, "node "+h.Node, "a node was refused", "node", h.Node, "from", raw.RemoteAddr().String(), "reason", a.Reason)
		}
		return
	}
	raw.SetDeadline(time.Time{})
	k.serve(&acceptedConn{Conn: conn, done: make(chan struct{})}, h.Node)
}

// judgeHello decides on a hello. names are the certificate's; nil without TLS.
func judgeHello(self identity, h hello, names []string, k *kind) helloAnswer {
	a := helloAnswer{Version: protocolVersion, Cluster: self.Cluster, ClusterID: self.ClusterID, Node: self.Node, Server: self.Server}
	refuse := func(code byte, f string, v ...any) helloAnswer {
		a.Code, a.Reason = code, fmt.Sprintf(f, v...)
		return a
	}
	if h.Cluster != self.Cluster {
		return refuse(helloForeign, "node %s belongs to cluster %q, node %s to cluster %q", self.Node, self.Cluster, h.Node, h.Cluster)
	}
	if h.ClusterID != "" && self.ClusterID != "" && h.ClusterID != self.ClusterID {
		return refuse(helloForeign, "node %s and node %s belong to two different clusters that are both called %q (%s and %s)",
			self.Node, h.Node, self.Cluster, self.ClusterID, h.ClusterID)
	}
	if names != nil {
		if err := carries(names, h.Node); err != nil {
			return refuse(helloRefused, "%v", err)
		}
	}
	if k == nil {
		return refuse(helloRefused, "node %s is still starting, or about to stop", self.Node)
	}
	if h.Want != "" && h.Want != self.Server {
		return refuse(helloRefused, "server %s is no more, this is %s", h.Want, self.Server)
	}
	if k.check != nil {
		if err := k.check(h); err != nil {
			return refuse(helloRefused, "%v", err)
		}
	}
	return a
}

// secure does the accepting side's TLS handshake. names is nil without TLS.
func (t *Transport) secure(raw net.Conn) (conn net.Conn, names []string, err error) {
	if t.o.Credentials == nil {
		return raw, nil, nil
	}
	c := tls.Server(raw, t.o.Credentials.server(nil))
	if err := c.HandshakeContext(t.ctx); err != nil {
		return nil, nil, err
	}
	return c, c.ConnectionState().PeerCertificates[0].DNSNames, nil
}

// dial connects, shakes hands and returns what the other side is. want is the raft
// server that must answer; empty: whoever is there.
func (t *Transport) dial(ctx context.Context, k byte, addr, want string) (net.Conn, helloAnswer, error) {
	ctx, cancel := context.WithTimeout(ctx, helloTimeout)
	defer cancel()
	raw, err := t.o.Dial(ctx, addr)
	if err != nil {
		return nil, helloAnswer{}, err
	}
	// The handshake ends when ctx does.
	stop := context.AfterFunc(ctx, func() { raw.SetDeadline(time.Now()) })
	conn, a, err := t.greet(ctx, raw, k, want)
	if !stop() && err == nil {
		err = context.Cause(ctx)
	}
	if err != nil {
		raw.Close()
		return nil, a, err
	}
	raw.SetDeadline(time.Time{})
	return conn, a, nil
}

func (t *Transport) greet(ctx context.Context, raw net.Conn, k byte, want string) (net.Conn, helloAnswer, error) {
	var a helloAnswer
	if err := t.plaintextAllowed(raw.RemoteAddr(), "dial"); err != nil {
		return nil, a, err
	}
	conn := raw
	var names []string
	if t.o.Credentials != nil {
		c := tls.Client(raw, t.o.Credentials.client(nil))
		if err := c.HandshakeContext(ctx); err != nil {
			return nil, a, fmt.Errorf("TLS: %w", tlsWords(err))
		}
		conn, names = c, c.ConnectionState().PeerCertificates[0].DNSNames
	}
	self := t.identity()
	h := hello{Kind: k, Version: protocolVersion, Cluster: self.Cluster, ClusterID: self.ClusterID, Node: self.Node, Want: want}
	if _, err := conn.Write(h.append(nil)); err != nil {
		return nil, a, tlsWords(err)
	}
	a, err := readAnswer(conn)
	if err != nil {
		return nil, a, fmt.Errorf("no answer to the hello: %w", tlsWords(err))
	}
	if a.Code != helloOK {
		return nil, a, &RefusedError{Node: a.Node, Reason: a.Reason, Foreign: a.Code == helloForeign}
	}
	if names != nil {
		if err := carries(names, a.Node); err != nil {
			return nil, a, err
		}
	}
	if want != "" && a.Server != want {
		return nil, a, fmt.Errorf("server %s is no more, %s answers", want, a.Server)
	}
	return conn, a, nil
}

// RefusedError is a node's answer that it will not talk to us.
type RefusedError struct {
	Node    string
	Reason  string
	Foreign bool // it belongs to another cluster
}

func (e *RefusedError) Error() string { return "refused by node " + e.Node + ": " + e.Reason }

// Close ends the listener and every accepted connection, and waits for their handlers.
func (t *Transport) Close() error {
	t.mu.Lock()
	if t.closed {
		t.mu.Unlock()
		return nil
	}
	t.closed = true
	for c := range t.conns {
		c.Close()
	}
	t.mu.Unlock()
	t.cancel()
	var err error
	if t.ln != nil {
		err = t.ln.Close()
	}
	t.wg.Wait()
	return err
}
