package daemon

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

const threePeers = `["node1=127.0.0.1:7001", "node2=127.0.0.1:7011", "node3=127.0.0.1:7021"]`

func TestCluster(t *testing.T) {
	if c := mustParse(t, ""); c.Clustered() || c.Cluster.Name != "tarishi" || c.Cluster.Node != "" {
		t.Errorf("%+v", c.Cluster)
	}
	c := mustParse(t, "cluster: {node: node2, peers: "+threePeers+"}")
	if !c.Clustered() || c.Cluster.Listen != "127.0.0.1:7011" || strings.Contains(strings.Join(c.Warnings, ""), "cluster") {
		t.Errorf("%+v %q", c.Cluster, c.Warnings)
	}
	named := mustParse(t, "cluster: {node: mx-1, insecure: true, peers: [\"mx-0=mx-0.mx:7001\", \"mx-1=mx-1.mx:7001\", \"mx-2=mx-2.mx:7001\"]}")
	if named.Cluster.Listen != ":7001" {
		t.Errorf("behind a name: listen %q", named.Cluster.Listen)
	}
	deliverer := mustParse(t, "roles: [deliverer]\ncluster: {peers: "+threePeers+"}")
	if deliverer.Cluster.Node == "" || strings.Contains(deliverer.Cluster.Node, ".") || deliverer.Cluster.Listen != "" {
		t.Errorf("%+v", deliverer.Cluster)
	}
	four := mustParse(t, "cluster: {node: node1, peers: [\"node1=127.0.0.1:1\", \"node2=127.0.0.1:4\", \"c=127.0.0.1:7\", \"d=127.0.0.1:10\"]}")
	if w := strings.Join(four.Warnings, "; "); !strings.Contains(w, "cluster.peers lists 4 nodes, which stand no more failures than 3 would; list an odd number") {
		t.Errorf("%q", w)
	}
	env := mustParse(t, "", "TARISHI_CLUSTER_NODE=node3", "TARISHI_CLUSTER_PEERS=node1=127.0.0.1:7001,node2=127.0.0.1:7011,node3=127.0.0.1:7021", "TARISHI_CLUSTER_NATS_URL=nats://n1.test:4222,tls://n2.test:4222")
	if env.Cluster.Listen != "127.0.0.1:7021" || len(env.Cluster.NATS.URL) != 2 {
		t.Errorf("%+v", env.Cluster)
	}
}

func TestClusterTLS(t *testing.T) {
	dir := t.TempDir()
	cert, key := certificate(t, dir, "node1")
	creds := filepath.Join(dir, "tarishi.creds")
	if err := os.WriteFile(creds, []byte("secret"), 0o600); err != nil {
		t.Fatal(err)
	}
	far := `["node1=192.0.2.1:7001", "node2=192.0.2.2:7001", "node3=192.0.2.3:7001"]`
	tls := "{ca: " + cert + ", cert: " + cert + ", key: " + key + "}"
	c := mustParse(t, "cluster: {node: node1, peers: "+far+", tls: "+tls+", nats: {url: [\"tls://n.test:4222\"], credentials: "+creds+", tls: {ca: "+cert+"}}}")
	if text := printed(t, c); strings.Contains(text, "secret") || !strings.Contains(text, creds) {
		t.Errorf("%s", text)
	}
	for _, x := range []struct{ name, src, want string }{
		{"no TLS between machines", "cluster:\n  node: node1\n  peers:\n  - node1=127.0.0.1:7001\n  - node2=192.0.2.2:7001\n  - node3=mx.test:7001",
			"t.yaml:5: cluster.peers[1]: 192.0.2.2 is not this machine, and there is no cluster.tls: whoever reaches the port could read mail and change limits; make certificates with `tarishi cluster ca` and `tarishi cluster cert` and set cluster.tls, or set cluster.insecure on a network that is yours alone"},
		{"TLS and none", "cluster: {node: node1, peers: " + far + ", insecure: true, tls: " + tls + "}", `t.yaml:1: cluster.insecure: is set together with cluster.tls; keep one`},
		{"half of TLS", "cluster:\n  node: node1\n  peers: " + far + "\n  tls:\n    cert: " + cert, `t.yaml:4: cluster.tls: is incomplete; set ca, cert and key`},
		{"no such authority", "cluster: {node: node1, peers: " + far + ", tls: {ca: /none, cert: " + cert + ", key: " + key + "}}", `t.yaml:1: cluster.tls.ca: cannot read /none: no such file or directory`},
		{"an authority that is a key", "cluster: {node: node1, peers: " + far + ", tls: {ca: " + key + ", cert: " + cert + ", key: " + key + "}}", `t.yaml:1: cluster.tls.ca: ` + key + ` holds no certificate (PEM)`},
		{"a certificate that is a key", "cluster: {node: node1, peers: " + far + ", tls: {ca: " + cert + ", cert: " + key + ", key: " + key + "}}", `t.yaml:1: cluster.tls.cert: ` + key + ` and ` + key + ` do not make a certificate: failed to find certificate PEM data in certificate input, but did find a private key; PEM inputs may have been switched`},
		{"no such credentials", "cluster: {node: node1, peers: " + threePeers + ", nats: {url: [\"nats://n.test\"], credentials: /none}}", `t.yaml:1: cluster.nats.credentials: cannot read /none: no such file or directory`},
		{"half of NATS' TLS", "cluster: {node: node1, peers: " + threePeers + ", nats: {url: [\"nats://n.test\"], tls: {cert: " + cert + "}}}", `t.yaml:1: cluster.nats.tls: is incomplete; set both cert and key, or none`},
		{"credentials for nobody", "cluster: {node: node1, peers: " + threePeers + ", nats: {credentials: /none}}", `cluster.nats.url: is empty, but other keys of cluster.nats are set (the default); name the servers, or remove the section to keep the queue in the nodes themselves`},
	} {
		t.Run(x.name, func(t *testing.T) {
			if _, err := Parse("t.yaml", []byte(x.src), nil); err == nil || err.Error() != x.want {
				t.Errorf("for\n%s\ngot\n%v\nwant\n%s", x.src, err, x.want)
			}
		})
	}
}

func TestBadCluster(t *testing.T) {
	for _, x := range []struct{ name, src, want string }{
		{"a node without peers", "cluster:\n  node: node1", `cluster.peers: is empty, but other keys of cluster are set (the default); list the nodes with the scheduler role, or remove the section`},
		{"a deliverer without anybody", "roles: [deliverer]", `t.yaml:1: roles: a deliverer needs a scheduler, here or in a cluster; add scheduler, or list the nodes that have it in cluster.peers`},
		{"a colon without quotes", "cluster: {node: node1, peers: [node1=127.0.0.1:7001]}", `t.yaml:1: cluster.peers[0]: wants text, not keys and values; put quotes round text that holds a colon`},
		{"no peer", "cluster: {node: node1, peers: [\"127.0.0.1:7001\"]}", `t.yaml:1: cluster.peers[0]: "127.0.0.1:7001" wants name=host:port, such as node1=192.0.2.1:7001`},
		{"a peer without port", "cluster: {peers: [\"node1=127.0.0.1\"]}", `t.yaml:1: cluster.peers[0]: "node1=127.0.0.1" wants name=host:port, such as node1=192.0.2.1:7001`},
		{"a peer everywhere", "cluster: {peers: [\"node1=0.0.0.0:7001\"]}", `t.yaml:1: cluster.peers[0]: "node1=0.0.0.0:7001" has no host that other nodes can reach`},
		{"a peer nowhere", "cluster: {peers: [\"node1=:7001\"]}", `t.yaml:1: cluster.peers[0]: "node1=:7001" has no host that other nodes can reach`},
		{"a peer at the last port", "cluster: {peers: [\"node1=127.0.0.1:65534\"]}", `t.yaml:1: cluster.peers[0]: "node1=127.0.0.1:65534" has no port between 1 and 65533 (the two above it are used as well)`},
		{"a peer of a strange name", "cluster: {peers: [\"node 1=127.0.0.1:7001\"]}", `t.yaml:1: cluster.peers[0]: "node 1=127.0.0.1:7001" has no name of a node: "node 1" wants 1 to 63 letters, digits, dots, dashes or underscores, with a letter or digit at both ends`},
		{"one peer", "cluster: {node: node1, peers: [\"node1=127.0.0.1:7001\"]}", `t.yaml:1: cluster.peers: 1 cannot make a cluster that outlives one of them: a majority of 1 is 1; list three nodes, or remove the section for a node on its own`},
		{"two peers", "cluster: {node: node1, peers: [\"node1=127.0.0.1:7001\", \"node2=127.0.0.1:7011\"]}", `t.yaml:1: cluster.peers: 2 cannot make a cluster that outlives one of them: a majority of 2 is 2; list three nodes, or remove the section for a node on its own`},
		{"nine peers", "cluster: {node: a, peers: [\"a=127.0.0.1:10\", \"b=127.0.0.1:20\", \"c=127.0.0.1:30\", \"d=127.0.0.1:40\", \"e=127.0.0.1:50\", \"f=127.0.0.1:60\", \"g=127.0.0.1:70\", \"h=127.0.0.1:80\", \"i=127.0.0.1:90\"]}", `t.yaml:1: cluster.peers: 9 are too many: each change waits for a majority of them; list three or five; nodes that only take in or deliver mail need no place here`},
		{"one node twice", "cluster: {node: node1, peers: [\"node1=127.0.0.1:7001\", \"node2=127.0.0.1:7011\", \"node1=127.0.0.1:7021\"]}", `t.yaml:1: cluster.peers[2]: node node1 is listed twice; give each node a name of its own`},
		{"ports that overlap", "cluster: {node: node1, peers: [\"node1=127.0.0.1:7001\", \"node2=127.0.0.1:7003\", \"node3=127.0.0.1:7021\"]}", `t.yaml:1: cluster.peers[1]: its ports 7003 to 7005 overlap those of node1; choose a port at least 3 away on the same host`},
		{"a scheduler nobody knows", "cluster:\n  node: node4\n  peers: " + threePeers, `t.yaml:2: cluster.node: node4 has the scheduler role but is not in cluster.peers; list it there, on all nodes, or leave scheduler out of its roles`},
		{"a peer that is no scheduler", "roles: [ingress]\ncluster: {node: node1, peers: " + threePeers + "}", `t.yaml:1: roles: cluster.peers lists node1, but it has not the scheduler role; add scheduler, or take it out of cluster.peers on all nodes`},
		{"a listener nobody dials", "roles: [ingress]\ncluster: {node: in1, listen: \":7001\", peers: " + threePeers + "}", `t.yaml:2: cluster.listen: is set, but nobody connects to a node that is not in cluster.peers; remove it`},
		{"a listener nobody finds", "cluster: {node: node1, listen: \"127.0.0.1:0\", peers: " + threePeers + "}", `t.yaml:1: cluster.listen: a port that is chosen at each start cannot be found by the other nodes; write 7001`},
		{"a port that is taken", "admin:\n  listen: 127.0.0.1:7002\ncluster: {node: node1, listen: \":7001\", peers: " + threePeers + "}", `t.yaml:3: cluster.listen: :7002 is already taken by admin.listen (127.0.0.1:7002); choose another port`},
		{"a strange name", "cluster: {node: -x-, peers: " + threePeers + "}", `t.yaml:1: cluster.node: "-x-" wants 1 to 63 letters, digits, dots, dashes or underscores, with a letter or digit at both ends`},
		{"NATS by another protocol", "cluster: {node: node1, peers: " + threePeers + ", nats: {url: [\"http://n.test\"]}}", `t.yaml:1: cluster.nats.url[0]: "http://n.test" wants nats://host:port or tls://host:port`},
		{"a key of later", "cluster: {node: node1, peers: " + threePeers + ", join: true}", `t.yaml:1: unknown key "join" in cluster; keys here: name, node, peers, listen, tls, insecure, nats`},
	} {
		t.Run(x.name, func(t *testing.T) {
			if _, err := Parse("t.yaml", []byte(x.src), nil); err == nil || err.Error() != x.want {
				t.Errorf("for\n%s\ngot\n%v\nwant\n%s", x.src, err, x.want)
			}
		})
	}
	// A password in a URL is not repeated.
	_, err := Parse("t.yaml", []byte("cluster: {node: node1, peers: "+threePeers+", nats: {url: [\"nats://me:hunter2@n.test\"]}}"), nil)
	if err == nil || strings.Contains(err.Error(), "hunter2") || !strings.Contains(err.Error(), "cluster.nats.credentials") {
		t.Error(err)
	}
}
