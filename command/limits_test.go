package command

import (
	"errors"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/tarishi/tarishi/admin"
	"github.com/tarishi/tarishi/admin/admintest"
	"github.com/tarishi/tarishi/daemon"
)

// clusterNode is a node with the sample's limits and nodes.
func clusterNode(t *testing.T) (url string, l *admintest.Limits, c *admintest.Cluster) {
	t.Helper()
	l, c = admintest.SampleLimits(), admintest.SampleCluster()
	s := admin.New(admin.Config{
		Version: "1.2.3", Node: "node1.example.net", Started: admintest.Now.Add(-76 * time.Hour), Queue: admintest.Sample(),
		Limits: l, Cluster: c, Defaults: &admin.Defaults{Connections: 20, PerConnection: 100}, Stats: admintest.SampleStats,
		Now: func() time.Time { return admintest.Now },
	})
	srv := httptest.NewServer(s.Handler())
	t.Cleanup(srv.Close)
	return srv.URL, l, c
}

func TestLimitsCommands(t *testing.T) {
	dir := t.TempDir()
	write := func(name, text string) string {
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		return path
	}
	good := write("limits.yaml", "- {to: google, messages: [10/1h], connections: 2}\n- to: \"*.example.net\"\n  per: [tenant]\n  recipients: [{max: 3, window: 1s}]\n")
	same := write("same.json", `[{"to":"google","messages":[{"max":10,"window":"1h"}]}]`)
	bad := write("bad.yaml", "- to: google\n  mesages: [10/1h]\n- {to: a.test, messages: [10/fortnight]}\n")
	for _, c := range []struct {
		name string
		runs [][]string // one node for all of a case
	}{
		{"limits-ls", [][]string{{"ls"}, {"ls", "--max", "1"}, {"ls", "--max", "1", "--json"}}},
		{"limits-explain", [][]string{
			{"explain", "workspace.example"}, {"explain", "workspace.example", "--tenant", "acme", "--source", "192.0.2.1"},
			{"explain", "other.example"}, {"explain", "other.example", "--mx", "mx1.other.example,mx2.other.example"},
			{"explain", "example.org"}, {"explain", "google"}, {"explain", "google", "--json"}, {"explain", "gogle"},
		}},
		{"limits-history", [][]string{{"history"}, {"history", "--max", "1"}, {"history", "--max", "1", "--json"}}},
		{"limits-change", [][]string{
			{"set", "google", "--messages", "5/1h,1/1s", "--connections", "3", "--reason", "slower still"},
			{"set", "google", "--messages", "5/1h,1/1s"},
			{"set", "Example.NET", "--per", "tenant,source", "--recipients", "7/m", "--note", "a new customer"},
			{"set", "*", "--per-connection", "30", "--new-connections", "60/1m", "--json"},
			{"unset", "google", "--field", "per-connection"},
			{"unset", "google", "--field", "messages"},
			{"unset", "example.net", "--per", "cluster"},
			{"unset", "example.net", "--per", "source,tenant"},
			{"suspend", "google", "--for", "2h", "--reason", "blocked"},
			{"suspend", "*.example.org"},
			{"resume", "google"},
			{"resume", "google"},
			{"diff", "-f", good}, {"diff", "-f", good, "--json"}, {"plan", "-f", good},
			{"apply", "-f", good, "--base", "2"},
			{"apply", "-f", good},
			{"diff", "-f", good},
			{"apply", "-f", same},
			{"rollback", "3"},
			{"rollback", "2"},
			{"rollback", "99"},
			{"ls"},
		}},
		{"limits-usage", [][]string{
			{"set"}, {"set", ""}, {"set", "a.test", "b.test"}, {"set", "a.test"},
			{"set", "a.test", "--messages", "1000"}, {"set", "a.test", "--messages", "1000/fortnight"}, {"set", "a.test", "--messages", "10/1h,"},
			{"set", "a.test", "--messages", "10/10ms"}, {"set", "a.test", "--messages", "-1/1h"}, {"set", "a.test", "--messages", "10/1m,20/60s"},
			{"set", "a.test", "--connections", "many"}, {"set", "a.test", "--connections", "-1"}, {"set", "a.test", "--per-connection", "0"},
			{"set", "a.test", "--per", "sender", "--messages", "10/1h"}, {"set", "a.test", "--per", "tenant", "--connections", "1"},
			{"set", "gogle", "--messages", "10/1h"}, {"set", "a.test", "--mesages", "10/1h"},
			{"unset"}, {"unset", "a.test"}, {"unset", "google", "--field", "speed"},
			{"suspend", "a.test", "--for", "soon"}, {"suspend", "a.test", "--for", "10ms"},
			{"apply"}, {"apply", "-f", filepath.Join(dir, "none")}, {"apply", "-f", bad}, {"diff", "-f", bad},
			{"rollback", "last"}, {"rollback"}, {"explain"}, {"explain", "a.test", "b.test"}, {"history", "--max", "0"}, {"ls", "google"}, {"lst"},
		}},
	} {
		t.Run(c.name, func(t *testing.T) {
			url, _, _ := clusterNode(t)
			var all []string
			for _, args := range c.runs {
				all = append(all, dialogue(append(append([]string{"limits"}, args...), "--admin", url)...))
			}
			golden(t, c.name+".txt", strings.NewReplacer(dir, "DIR", author(), "AUTHOR").Replace(strings.Join(all, "\n")))
		})
	}
}

func TestApplyFromStandardInput(t *testing.T) {
	url, l, _ := clusterNode(t)
	f, err := os.CreateTemp(t.TempDir(), "in")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := f.WriteString("limits: []"); err != nil {
		t.Fatal(err)
	}
	if _, err := f.Seek(0, 0); err != nil {
		t.Fatal(err)
	}
	if code := command(f, nil, "limits", "apply", "-f", "-", "--admin", url); code != 0 {
		t.Errorf("exit %d", code)
	}
	if b, _ := l.Book(t.Context()); len(b.Set) != 0 {
		t.Errorf("%v", b.Set)
	}
}

// A change that is made, but not known to be in force, is said so and is exit 1.
func TestAChangeNotKnownToBeInForce(t *testing.T) {
	url, l, _ := clusterNode(t)
	l.ForceErr = errors.New("the leader was lost")
	got := dialogue("limits", "resume", "example.org", "--admin", url)
	if !strings.HasSuffix(got, "(exit 1)\n") || !strings.Contains(got, "version 4 is made, but not known to be in force on every node: the leader was lost") {
		t.Error(got)
	}
	l.ForceErr, l.Err = nil, errors.New("no leader is known")
	for _, args := range [][]string{{"ls"}, {"history"}, {"explain", "a.test"}, {"suspend", "a.test"}} {
		if got := dialogue(append(append([]string{"limits"}, args...), "--admin", url)...); !strings.HasSuffix(got, "(exit 3)\n") || !strings.Contains(got, "no leader is known") {
			t.Error(got)
		}
	}
}

func TestNodesCommands(t *testing.T) {
	url, _, c := clusterNode(t)
	var all []string
	run := func(args ...string) { all = append(all, dialogue(append(args, "--admin", url)...)) }
	run("nodes")
	run("cluster", "remove", "node3")
	run("cluster", "transfer")
	run("cluster", "remove")
	all = append(all, dialogue("cluster", "join"))
	run("nodes", "node1")
	run("top", "--interval", "100ms")
	c.View.Reasons, c.View.Cluster = nil, ""
	c.View.Nodes, c.View.Streams = c.View.Nodes[:1], c.View.Streams[:0]
	run("nodes")
	run("nodes", "--json")
	c.Err = errors.New("node1 is alive; stop it first")
	run("cluster", "remove", "node1", "-y")
	golden(t, "nodes.txt", strings.Join(all, "\n"))
	if got := c.Removed(); len(got) != 1 || got[0] != "node3" || c.Transfers() != 1 {
		t.Errorf("removed %v, %d transfers", got, c.Transfers())
	}
}

// The certificates that are made fit the configuration that asks for them.
func TestClusterCertificates(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "ca")
	var all []string
	for _, args := range [][]string{
		{"cert", "node1", "--dir", dir}, {"ca", "--dir", dir}, {"ca", "--dir", dir}, {"cert", "node1", "mx1.example.net", "192.0.2.1", "--dir", dir}, {"cert", "node1", "--dir", dir}, {"cert", "node1", "--force", "--dir", dir}, {"cert", "--dir", dir}, {"cert", "no/name", "--dir", dir},
	} {
		all = append(all, dialogue(append([]string{"cluster"}, args...)...))
	}
	golden(t, "cluster-cert.txt", strings.ReplaceAll(strings.Join(all, "\n"), dir, "DIR"))
	conf := filepath.Join(dir, "t.yaml")
	text := "cluster:\n  node: node1\n  peers: [node1=192.0.2.1:7001, node2=192.0.2.2:7001, node3=192.0.2.3:7001]\n  tls: {ca: " + dir + "/ca.pem, cert: " + dir + "/node1.pem, key: " + dir + "/node1.key}\n"
	if err := os.WriteFile(conf, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	if c, err := daemon.Load(conf, nil); err != nil || !c.Clustered() {
		t.Error(err)
	}
}
