package cluster

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
)

func clusterCredentials(t testing.TB, dir string, nodes ...string) []*Credentials {
	t.Helper()
	if err := GenerateCA(dir, "test"); err != nil {
		t.Fatal(err)
	}
	var out []*Credentials
	for _, n := range nodes {
		if err := IssueNode(dir, n); err != nil {
			t.Fatal(err)
		}
		c, err := LoadCredentials(filepath.Join(dir, "ca.pem"), filepath.Join(dir, n+".pem"), filepath.Join(dir, n+".key"), n)
		if err != nil {
			t.Fatal(err)
		}
		out = append(out, c)
	}
	return out
}

// Three servers over mutual TLS keep a stream of three replicas; one of them stops in
// the middle of it.
func TestNATSCluster(t *testing.T) {
	t.Parallel()
	peers := freePeers(t, 3)
	cred := clusterCredentials(t, t.TempDir(), "node1", "node2", "node3", "deliverer1")
	dirs := []string{t.TempDir(), t.TempDir(), t.TempDir()}
	start := func(i int) *NATS {
		n, err := StartNATS(NATSOptions{Dir: dirs[i], Log: testLog(t).With("at", peers[i].Node), Cluster: &NATSCluster{
			Name: "test", Node: peers[i].Node, Peers: peers, Credentials: cred[i],
		}})
		if err != nil {
			t.Fatal(err)
		}
		return n
	}
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	servers := []*NATS{start(0), start(1), start(2)}
	defer func() {
		for _, s := range servers {
			s.srv.Shutdown() // without handing over: they all go
			s.srv.WaitForShutdown()
		}
	}()
	for _, s := range servers {
		if err := s.Ready(ctx); err != nil {
			t.Fatal(err)
		}
	}
	// One client through memory, and one as a deliverer without a server of its own.
	inside, err := nats.Connect("", nats.InProcessServer(servers[0]))
	if err != nil {
		t.Fatal(err)
	}
	defer inside.Close()
	outside, err := nats.Connect(strings.Join(ClientURLs(peers), ","), nats.Secure(cred[3].ClientTLS()), nats.MaxReconnects(-1), nats.ReconnectWait(20*time.Millisecond))
	if err != nil {
		t.Fatal(err)
	}
	defer outside.Close()
	ask := func(nc *nats.Conn, subject, body string) (reply map[string]any) {
		t.Helper()
		for ctx.Err() == nil {
			m, err := nc.Request(subject, []byte(body), time.Second)
			if err == nil && !bytes.Contains(m.Data, []byte(`"error"`)) {
				json.Unmarshal(m.Data, &reply)
				return reply
			}
			time.Sleep(20 * time.Millisecond) // no leader, or the answer went with the old one: repeat
		}
		t.Fatalf("%s: no answer", subject)
		return nil
	}
	ask(inside, "$JS.API.STREAM.CREATE.S", `{"name":"S","subjects":["s"],"storage":"file","retention":"limits","num_replicas":3}`)
	for range 10 {
		ask(inside, "s", "mail")
	}
	led := 0
	for i, s := range servers {
		if h := s.Health(); len(h.Streams) == 1 && h.Streams[0].Leader == h.Node {
			led = i
			if len(h.Streams[0].Replicas) != 2 {
				t.Fatalf("the leader knows %d other replicas", len(h.Streams[0].Replicas))
			}
		}
	}
	if led == 0 { // the in-process client must outlive the stop
		led = 1
	}
	began := time.Now()
	servers[led].Stop()
	t.Logf("a stop took %v", time.Since(began))
	began = time.Now()
	for range 10 {
		ask(outside, "s", "mail")
	}
	t.Logf("ten messages after it took %v", time.Since(began))
	h := servers[(led+1)%3].Health()
	if len(h.Problems) == 0 || !strings.Contains(strings.Join(h.Problems, "; "), peers[led].Node) {
		t.Errorf("health does not miss %s: %v", peers[led].Node, h.Problems)
	}
	dirs[led] = t.TempDir() // its disk is gone as well
	servers[led] = start(led)
	if err := servers[led].Ready(ctx); err != nil {
		t.Fatal(err)
	}
	eventually(t, "the replica is current again", func() bool {
		h := servers[led].Health()
		return len(h.Problems) == 0 && len(h.Streams) == 1 && h.Streams[0].Last >= 20 && h.Streams[0].Messages >= 20
	})
	// It goes for good: the other two are the cluster then, and wait for no third.
	if err := servers[led].Evict(ctx, "node9"); !errors.Is(err, ErrNoMember) {
		t.Error("one that is no member:", err)
	}
	if id := peerID(peers[led].Node); id != servers[led].srv.Node() {
		t.Errorf("JetStream does not call %s %s", peers[led].Node, id)
	}
	if _, err := outside.Request("$SYS.REQ.SERVER.PING", nil, 200*time.Millisecond); err == nil {
		t.Error("a client reads the system account")
	}
	servers[led].Stop()
	rest := servers[(led+1)%3]
	if err := rest.Evict(ctx, peers[led].Node); err != nil {
		t.Fatal(err)
	}
	eventually(t, "it is in no group any more", func() bool {
		for _, s := range servers {
			for _, st := range s.Health().Streams {
				for _, r := range st.Replicas {
					if r.Node == peers[led].Node {
						return false
					}
				}
			}
		}
		i, err := rest.srv.Jsz(nil)
		return err == nil && i.Meta != nil && i.Meta.Size == 2
	})
	ask(outside, "s", "mail")
}

func TestNATSClusterRefusals(t *testing.T) {
	three := []Peer{{"a", "127.0.0.1:7001"}, {"b", "127.0.0.1:7011"}, {"c", "127.0.0.1:7021"}}
	far := []Peer{{"a", "127.0.0.1:7001"}, {"b", "mx2.example.net:7011"}, {"c", "127.0.0.1:7021"}}
	for _, tt := range []struct {
		name string
		c    NATSCluster
		want string
	}{
		{"two nodes", NATSCluster{Node: "a", Peers: three[:2]}, "list three"},
		{"not listed", NATSCluster{Node: "d", Peers: three}, `node "d" is not among the peers`},
		{"plaintext", NATSCluster{Node: "a", Peers: far}, "mx2.example.net:7012 without TLS"},
		{"plaintext here", NATSCluster{Node: "a", Peers: three, Listen: ":7001"}, "without TLS"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			_, err := StartNATS(NATSOptions{Dir: t.TempDir(), Cluster: &tt.c})
			if err == nil || !strings.Contains(err.Error(), tt.want) {
				t.Fatalf("got %v, want %q in it", err, tt.want)
			}
		})
	}
	// A port that is taken is said at once.
	peers := freePeers(t, 3)
	ln, err := net.Listen("tcp", peers[0].RouteAddr())
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	_, err = StartNATS(NATSOptions{Dir: t.TempDir(), Cluster: &NATSCluster{Name: "x", Node: "node1", Peers: peers}})
	if err == nil || !strings.Contains(err.Error(), "address already in use") {
		t.Fatalf("got %v", err)
	}
}

// A node whose port is another's does not touch its files.
func TestNATSPortTaken(t *testing.T) {
	peers := freePeers(t, 3)
	for _, taken := range []string{peers[0].NATSAddr(), peers[0].RouteAddr()} {
		l, err := net.Listen("tcp", taken)
		if err != nil {
			t.Fatal(err)
		}
		dir := filepath.Join(t.TempDir(), "queue")
		n, err := StartNATS(NATSOptions{Dir: dir, Cluster: &NATSCluster{Name: "test", Node: "node1", Peers: peers}})
		if err == nil {
			n.Stop()
			t.Error("it started")
		} else if !strings.Contains(err.Error(), "address already in use") {
			t.Error(err)
		}
		if _, err := os.Stat(dir); err == nil {
			t.Error("the folder was made")
		}
		l.Close()
	}
}
