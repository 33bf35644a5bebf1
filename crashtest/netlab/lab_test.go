package netlab

import (
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/tarishi/tarishi/bench/windows"
)

// A drop takes one direction and leaves the other, on connections that were open before and on new ones; after the end of it
// what was sent meanwhile arrives.
func TestDrop(t *testing.T) {
	l := New(t)
	a, b := l.Host("a"), l.Host("b")
	ln, err := b.Listen(7)
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	atA, err := a.Dial(ln.Addr().String(), 5*time.Second)
	if err != nil {
		t.Fatal(err)
	}
	defer atA.Close()
	if from, _, _ := net.SplitHostPort(atA.LocalAddr().String()); from != a.Addr.String() {
		t.Fatalf("dialled from %s, want %s", from, a.Addr)
	}
	atB, err := ln.Accept()
	if err != nil {
		t.Fatal(err)
	}
	defer atB.Close()
	passes := func(from, to net.Conn, within time.Duration) bool {
		t.Helper()
		if _, err := from.Write([]byte{'x'}); err != nil {
			t.Fatal(err)
		}
		_ = to.SetReadDeadline(time.Now().Add(within))
		_, err := to.Read(make([]byte, 1))
		if err != nil && !errors.Is(err, os.ErrDeadlineExceeded) {
			t.Fatal(err)
		}
		return err == nil
	}
	do := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	if !passes(atA, atB, 5*time.Second) || !passes(atB, atA, 5*time.Second) {
		t.Fatal("nothing passes before the drop")
	}
	do(l.Drop(a, b))
	if passes(atA, atB, 300*time.Millisecond) {
		t.Error("a's packets arrive at b")
	}
	if !passes(atB, atA, 5*time.Second) {
		t.Error("b's packets do not arrive at a: only a's were to be dropped")
	}
	if c, err := a.Dial(ln.Addr().String(), 300*time.Millisecond); err == nil {
		c.Close()
		t.Error("a connects although its packets are dropped")
	}
	do(l.Heal(a, b))
	_ = atB.SetReadDeadline(time.Now().Add(10 * time.Second))
	if _, err := atB.Read(make([]byte, 1)); err != nil {
		t.Errorf("what was sent in the drop has not arrived after it: %v", err)
	}
	do(l.Cut(a, b))
	if passes(atB, atA, 300*time.Millisecond) {
		t.Error("packets pass a cut")
	}
	do(l.HealAll())
	if c, err := b.Dial(a.Addr.String()+":9", 5*time.Second); !errors.Is(err, syscall.ECONNREFUSED) {
		t.Errorf("after all healed: %v, %v", c, err)
	}
}

// one is a node on its own with a sink of three domains.
func one(t *testing.T, config string) (*Lab, *Node) {
	l := New(t)
	l.Sink("sink", []string{"a.test", "b.test", "c.test"}, "--delay", "20ms")
	n := l.Node("one", l.Routes()+"retry: {schedule: [1s], expire: 1d}\n"+config, "ingress", "scheduler", "deliverer")
	if err := n.Start(); err != nil {
		t.Fatal(err)
	}
	if !Until(20*time.Second, n.Ready) {
		t.Fatal("the node is not ready")
	}
	return l, n
}

// One node under load is frozen, thawed, killed, started and stopped: the books are even, and at the sink its limit of
// connections was used and kept.
func TestOneNode(t *testing.T) {
	l, n := one(t, "limits: [{to: a.test, connections: 3, per_connection: 50}]\n")
	for _, d := range []string{"a.test", "b.test"} {
		l.Load(Load{To: n, Domain: d, Messages: 300, Rate: 150, Recipients: 2})
	}
	some := func(n int) {
		t.Helper()
		if !Until(30*time.Second, func() bool { r, _ := l.Arrived(); return r.Received >= n }) {
			t.Fatalf("%d copies have not arrived", n)
		}
	}
	some(100)
	n.Freeze()
	before, _ := l.Arrived()
	time.Sleep(500 * time.Millisecond) // the length of the freeze
	if after, _ := l.Arrived(); after.Received > before.Received+100 {
		t.Errorf("a frozen node went on: %d and then %d copies", before.Received, after.Received)
	}
	n.Thaw()
	some(300)
	n.Kill()
	if n.Running() || n.Ready() {
		t.Error("a killed node runs")
	}
	if err := n.Start(); err != nil {
		t.Fatal(err)
	}
	for _, o := range l.loads {
		if r, err := o.Wait(60 * time.Second); err != nil || r.Acked < 250 {
			t.Errorf("%s: %v, %+v", o.Domain, err, r)
		}
	}
	r, even := l.Drained(60 * time.Second)
	if !even {
		t.Errorf("mail is missing: %v", r)
	}
	doubts, err := (&Cluster{Lab: l, Core: []*Node{n}}).Doubts()
	if err != nil {
		t.Error(err)
	}
	if err := n.Stop(); err != nil {
		t.Error(err)
	}
	if err := l.CloseSinks(); err != nil {
		t.Fatal(err)
	}
	if again, err := l.Repeated(doubts); err != nil || len(again) > 0 {
		t.Errorf("%v %v", err, again)
	}
	trace, err := l.Trace()
	if err != nil {
		t.Fatal(err)
	}
	rules := windows.Rules{Connections: []windows.Cap{{Destination: "a.test", Max: 3}}, PerConnection: []windows.Cap{{Destination: "a.test", Max: 50}}}
	judged, err := windows.Judge(trace, rules)
	if err != nil {
		t.Fatal(err)
	}
	if err := judged.Err(); err != nil {
		t.Error(err)
	}
	if judged.Connections[0].Most != 3 || judged.PerConnection[0].Most != 50 {
		t.Errorf("the limits were not used to the full")
	}
	for _, d := range judged.Destinations {
		if len(d.Clients) != 1 || d.Clients[0].Address != n.Addr.String() {
			t.Errorf("%s had mail from %+v, want %s only", d.Name, d.Clients, n.Addr)
		}
	}
	if t.Failed() {
		t.Logf("\n%v", judged)
	}
	for _, o := range l.loads {
		if _, err := os.Stat(o.sent); err != nil {
			t.Error(err)
		}
	}
}

// A node on a disk of its own feels a slow, a full and a stalled disk, and loses its data when it is wiped.
func TestDisk(t *testing.T) {
	l := New(t)
	l.Sink("sink", []string{"a.test"})
	n := l.Node("one", l.Routes(), "ingress", "scheduler", "deliverer")
	n.Mount()
	if err := n.Start(); err != nil {
		t.Fatal(err)
	}
	if !Until(20*time.Second, n.Ready) {
		t.Fatal("the node is not ready")
	}
	send := func() time.Duration {
		begin := time.Now()
		if _, err := l.Load(Load{To: n, Domain: "a.test", Messages: 1, Connections: 1}).Wait(30 * time.Second); err != nil {
			t.Error(err)
		}
		return time.Since(begin)
	}
	send()
	n.Disk.Slow(500 * time.Millisecond)
	if d := send(); d < 500*time.Millisecond {
		t.Errorf("accepted in %v on a disk that takes 500ms to sync", d)
	}
	n.Disk.Slow(0)
	n.Disk.Freeze()
	o := l.Load(Load{To: n, Domain: "a.test", Messages: 1, Connections: 1})
	if Until(500*time.Millisecond, func() bool { r, err := os.ReadFile(o.sent); return err == nil && len(r) > 0 }) {
		t.Error("accepted on a disk that stands still")
	}
	n.Disk.Thaw()
	if _, err := o.Wait(30 * time.Second); err != nil {
		t.Error(err)
	}
	if r, even := l.Drained(20 * time.Second); !even {
		t.Errorf("mail is missing: %v", r)
	}
	n.Disk.Fill(n.Disk.Used() + 1<<20)
	if !Until(10*time.Second, func() bool {
		c, err := net.Dial("tcp", n.SMTP())
		if err != nil {
			return false
		}
		defer c.Close()
		_ = c.SetDeadline(time.Now().Add(2 * time.Second))
		_, _ = io.WriteString(c, "EHLO me\r\nMAIL FROM:<a@b>\r\nRCPT TO:<x@a.test>\r\nQUIT\r\n")
		text, _ := io.ReadAll(c)
		return strings.Contains(string(text), "\r\n452 ")
	}) {
		t.Error("no 452 on a disk with a megabyte left")
	}
	n.Disk.Fill(0)
	if err := n.Wipe(); err != nil {
		t.Error(err)
	}
	if _, err := os.Stat(n.Data); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("after a wipe: %v", err)
	}
}

// A test binary that is killed takes everything with it: no process of its lab lives on.
func TestNothingLivesOn(t *testing.T) {
	l := New(t)
	const marker = "outlives-its-test"
	if os.Getenv("NETLAB_HANG") != "" {
		l.Sink(marker, []string{"a.test"})
		fmt.Fprintln(os.Stderr, "hanging")
		select {}
	}
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(self, "-test.run", "^TestNothingLivesOn$", "-test.timeout", "60s")
	for _, e := range os.Environ() {
		if !strings.HasPrefix(e, envDir+"=") {
			cmd.Env = append(cmd.Env, e)
		}
	}
	cmd.Env = append(cmd.Env, "NETLAB_HANG=1", envBinary+"="+l.exe)
	out, err := cmd.StderrPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	defer func() { _ = cmd.Process.Kill(); _ = cmd.Wait() }()
	text := make([]byte, 4096)
	n, _ := out.Read(text)
	if !strings.Contains(string(text[:n]), "hanging") {
		t.Fatalf("the other test binary says %q", text[:n])
	}
	running := func() (count int) {
		procs, _ := filepath.Glob("/proc/[0-9]*/cmdline")
		for _, p := range procs {
			if line, err := os.ReadFile(p); err == nil && strings.Contains(string(line), marker+".record") {
				count++
			}
		}
		return count
	}
	if running() == 0 {
		t.Fatal("its sink does not run")
	}
	_ = cmd.Process.Kill()
	if !Until(10*time.Second, func() bool { return running() == 0 }) {
		t.Error("its sink lives on")
	}
}

// Folders of runs that were killed are removed; those of runs under way are not.
func TestRemoveLeftovers(t *testing.T) {
	tmp := t.TempDir()
	t.Setenv("TMPDIR", tmp)
	for _, name := range []string{"dead", "alive"} {
		if err := os.MkdirAll(filepath.Join(tmp, dirPrefix+name, "lab"), 0o700); err != nil {
			t.Fatal(err)
		}
	}
	lock, err := lockDir(filepath.Join(tmp, dirPrefix+"alive"))
	if err != nil {
		t.Fatal(err)
	}
	defer lock.Close()
	removeLeftovers()
	left, _ := filepath.Glob(filepath.Join(tmp, "*"))
	if len(left) != 1 || !strings.HasSuffix(left[0], "alive") {
		t.Errorf("left: %v", left)
	}
}

// A program that ends by itself is started again, and that is noted.
func TestSupervised(t *testing.T) {
	_, n := one(t, "")
	p := n.process()
	if err := p.cmd.Process.Signal(syscall.SIGABRT); err != nil {
		t.Fatal(err)
	}
	if !Until(20*time.Second, func() bool { return n.process() != p && n.Ready() }) {
		t.Fatal("it does not run again")
	}
	if d := n.lab.Deaths(); len(d) != 1 || d[0].Node != "one" || d[0].LastWords == "" {
		t.Errorf("deaths: %q", d)
	}
	n.Kill()
	if d := n.lab.Deaths(); len(d) != 0 {
		t.Errorf("a kill is no death by itself: %q", d)
	}
}
