package command

import (
	"bytes"
	"context"
	"fmt"
	"math/rand/v2"
	"net"
	"net/smtp"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/tarishi/tarishi/admin"
	"github.com/tarishi/tarishi/daemon"
	"github.com/tarishi/tarishi/plugin"
	"github.com/tarishi/tarishi/shaping"
	"github.com/tarishi/tarishi/smtp/smtptest"
)

// A node on its own grows into three: its mail, its limits and the history of its
// windows move into a cluster of real processes' parts, talking over loopback. The
// limited destination gets no message more than its window allows over the whole
// time, the held mail stays held, and every message arrives once.
func TestGrowIntoCluster(t *testing.T) {
	if testing.Short() {
		t.Skip("three nodes take a quarter of a minute")
	}
	sink := &smtptest.Sink{}
	via := sink.Listen(t)
	t.Cleanup(sink.Close)
	routes := fmt.Sprintf("routes: [{to: \"*.test\", via: %q}]\nlog: {level: error}\n", via)

	const most, window = 20, 10 * time.Minute
	old := filepath.Join(t.TempDir(), "old")
	one := startServe(t, fmt.Sprintf("hostname: one.example\ndata: %s\nsmtp: {listen: [\"127.0.0.1:0\"]}\nadmin: {listen: \"127.0.0.1:0\"}\n%s", old, routes))
	one.set(t, shaping.Rule{To: "limited.test", Messages: []shaping.Window{{Max: most, Length: window}}})
	one.post(t, "a", "limited.test", 30)
	waitFor(t, "the window to be used up", func() bool { return sink.Count() == most })
	one.act(t, admin.Hold, "limited.test")
	one.stop(t)

	var nodes []*served
	ports := freePorts(t)
	for i := range 3 {
		nodes = append(nodes, prepareServe(t, fmt.Sprintf(
			"hostname: n%d.example\ndata: %s\nsmtp: {listen: [\"127.0.0.1:0\"]}\nadmin: {listen: \"127.0.0.1:0\"}\ncluster: {node: n%d, peers: [%s]}\n%s",
			i+1, filepath.Join(t.TempDir(), "new"), i+1, ports, routes)))
	}
	// A cluster that is not there, or has a life of its own, leaves the folder as it was.
	notMoved := func(why string, patience time.Duration) {
		t.Helper()
		ctx, cancel := context.WithTimeout(t.Context(), patience)
		defer cancel()
		err := migrate(ctx, nodes[1].conf, old, false, false, new(bytes.Buffer))
		if err == nil || !strings.Contains(err.Error(), why) || !strings.Contains(err.Error(), "nothing was changed") {
			t.Fatalf("%v, want %q", err, why)
		}
		f, err := daemon.OpenFolder(old, daemon.Standalone)
		if err != nil {
			t.Fatal("the node cannot go on:", err)
		}
		f.Close()
	}
	notMoved("cannot be reached", time.Second)
	var wg sync.WaitGroup
	for _, n := range nodes {
		wg.Go(func() { n.start(t) })
	}
	wg.Wait()
	nodes[0].set(t, shaping.Rule{To: "other.test", Messages: []shaping.Window{{Max: most, Length: window}}})
	notMoved("limits set at run time", time.Minute)
	nodes[0].unset(t, "other.test")

	var said bytes.Buffer
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	if err := migrate(ctx, nodes[1].conf, old, false, false, &said); err != nil {
		t.Fatalf("%v\n%s", err, said.String())
	}
	if !strings.Contains(said.String(), "Moved 10 deliveries") {
		t.Error(said.String())
	}
	if _, err := daemon.OpenFolder(old, daemon.Standalone); err == nil || !strings.Contains(err.Error(), "is spent") {
		t.Error("the old folder can be opened again:", err)
	}

	nodes[0].act(t, admin.Release, "limited.test")
	nodes[2].post(t, "b", "free.test", 15)
	waitFor(t, "the mail without a limit", func() bool { return sink.Count() == most+15 })
	if n := nodes[1].queued(t); n != 10 {
		t.Errorf("%d deliveries wait, 10 were moved", n)
	}
	// A window twice as wide lets the rest go, and the twenty of before count.
	nodes[2].set(t, shaping.Rule{To: "limited.test", Messages: []shaping.Window{{Max: most + 6, Length: window}}})
	waitFor(t, "six more", func() bool { return sink.Count() == most+15+6 })
	asked(t, nodes)
	nodes[2].set(t, shaping.Rule{To: "limited.test", Messages: []shaping.Window{{Max: 1000, Length: window}}})
	waitFor(t, "the rest", func() bool { return sink.Count() == 30+15 })
	seen := map[string]int{}
	for _, m := range sink.Messages() {
		seen[header(m.Data, "Subject: ")]++
	}
	if len(seen) != 45 {
		t.Errorf("%d different messages of 45", len(seen))
	}
	for _, n := range nodes {
		wg.Go(func() { n.stop(t) })
	}
	wg.Wait()
}

// asked asks one node about all, and another why the mail waits that the window holds.
func asked(t *testing.T, nodes []*served) {
	t.Helper()
	v, err := nodes[1].admin.Nodes(t.Context())
	if err != nil || len(v.Nodes) != len(nodes) {
		t.Fatalf("%+v, %v", v, err)
	}
	for _, n := range v.Nodes {
		if len(n.Roles) != 3 || n.Connections == nil || n.Release == "" {
			t.Errorf("of %s is shown: %+v", n.Node, n)
		}
	}
	m, err := nodes[0].admin.Messages(t.Context(), admin.Selection{Destination: "limited.test"}, 10, "")
	if err != nil || len(m.Messages) != 4 {
		t.Fatalf("%+v, %v", m, err)
	}
	y, err := nodes[2].admin.Why(t.Context(), m.Messages[0].ID)
	if err != nil || len(y.Deliveries) != 1 || y.Deliveries[0].Cause != admin.WhyWindow || !strings.Contains(y.Deliveries[0].Says, "26 of 26") {
		t.Errorf("%+v, %v", y, err)
	}
}

// served is serve, running.
type served struct {
	conf  *daemon.Config
	kinds []plugin.Kind // beside the built-in ones
	smtp  string
	admin *admin.Client
	end   context.CancelFunc
	ended chan error
}

func prepareServe(t *testing.T, yaml string) *served {
	t.Helper()
	c, err := daemon.Parse("serve.yaml", []byte(yaml), nil)
	if err != nil {
		t.Fatal(err)
	}
	return &served{conf: c, ended: make(chan error, 1)}
}

func startServe(t *testing.T, yaml string) *served {
	t.Helper()
	s := prepareServe(t, yaml)
	s.start(t)
	return s
}

// start returns when the node accepts mail.
func (s *served) start(t *testing.T) {
	ctx, cancel := context.WithCancel(context.Background())
	s.end = cancel
	t.Cleanup(cancel)
	lines := make(chan string, 1)
	go func() {
		s.ended <- serve(ctx, s.conf, append(builtinKinds(), s.kinds...), false, func(l string) { lines <- l })
	}()
	select {
	case l := <-lines:
		_, rest, _ := strings.Cut(l, "SMTP on ")
		s.smtp, rest, _ = strings.Cut(rest, ", admin on ")
		at, _, _ := strings.Cut(rest, ",")
		s.admin, _ = admin.NewClient("http://" + at)
	case err := <-s.ended:
		t.Errorf("it did not start: %v", err)
		s.ended <- err
	case <-time.After(time.Minute):
		t.Error("it did not start within a minute")
	}
}

func (s *served) stop(t *testing.T) {
	s.end()
	select {
	case err := <-s.ended:
		if err != nil {
			t.Error("stopping:", err)
		}
	case <-time.After(time.Minute):
		t.Error("it did not stop within a minute")
	}
}

func (s *served) set(t *testing.T, r shaping.Rule) {
	t.Helper()
	p, err := s.admin.ChangeLimits(t.Context(), admin.SetLimit, admin.LimitOrder{Rule: &r, Author: "test"}, func(admin.LimitProgress) {})
	if err != nil || p.Error != "" {
		t.Fatal(p, err)
	}
}

func (s *served) unset(t *testing.T, to string) {
	t.Helper()
	p, err := s.admin.ChangeLimits(t.Context(), admin.UnsetLimit, admin.LimitOrder{To: to, Author: "test"}, func(admin.LimitProgress) {})
	if err != nil || p.Error != "" {
		t.Fatal(p, err)
	}
}

func (s *served) act(t *testing.T, a admin.Verb, destination string) {
	t.Helper()
	waitFor(t, string(a), func() bool { // partitions may be on their way from node to node
		p, err := s.admin.Act(t.Context(), a, admin.Order{Selection: admin.Selection{Destination: destination}, Author: "test"}, func(admin.Progress) {})
		return err == nil && p.Error == "" && p.Changed > 0
	})
}

func (s *served) queued(t *testing.T) int64 {
	t.Helper()
	v, err := s.admin.Lanes(t.Context(), 10)
	if err != nil {
		t.Fatal(err)
	}
	return v.Waiting + v.Held
}

func (s *served) post(t *testing.T, name, to string, n int) {
	t.Helper()
	for i := range n {
		msg := fmt.Appendf(nil, "Subject: %s-%d\r\n\r\nbody\r\n", name, i)
		if err := smtp.SendMail(s.smtp, nil, "s@sender.example", []string{"r@" + to}, msg); err != nil {
			t.Fatal(err)
		}
	}
}

func waitFor(t *testing.T, what string, ok func() bool) {
	t.Helper()
	for end := time.Now().Add(time.Minute); !ok(); time.Sleep(20 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatal("still waiting for " + what)
		}
	}
}

// freePorts is a list of peers on ports that nobody uses just now.
func freePorts(t *testing.T) string {
	t.Helper()
	var list []string
	for base := 20000 + rand.IntN(30000); len(list) < 3; base += 3 {
		if !allFree(base, base+1, base+2) {
			continue
		}
		list = append(list, fmt.Sprintf("\"n%d=127.0.0.1:%d\"", len(list)+1, base))
	}
	return strings.Join(list, ", ")
}

func allFree(ports ...int) bool {
	for _, p := range ports {
		l, err := net.Listen("tcp", fmt.Sprintf("127.0.0.1:%d", p))
		if err != nil {
			return false
		}
		_ = l.Close()
	}
	return true
}
