package netlab

import (
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"
)

// Lab is one network: a bridge, hosts on it, and what runs on them. One lab at a time: they share the bridge's name. Its
// methods fail the test they were made for; only what runs under load (Kill, Freeze, Drop and the like) may be called from
// other goroutines than the test's.
type Lab struct {
	t      testing.TB
	dir    string
	exe    string
	hosts  []*Host
	sinks  []*Sink
	closed bool
	begun  int64 // when the lab was made, by the clock of the sinks' records

	addresses int      // given to sinks so far
	routes    []string // that lead to them

	mu     sync.Mutex // of what follows, and of the hosts' drops
	procs  []*Process
	loads  []*Load
	deaths []Death
}

const (
	bridge  = "lab0"
	network = "10.77.0.0/16"
	// The test itself stands here: it reaches every host, whatever the hosts drop of one another.
	ownAddress = "10.77.255.254/16"
)

// New makes an empty lab, or skips the test where there can be none.
func New(t testing.TB) *Lab {
	t.Helper()
	if testing.Short() {
		t.Skip("runs whole programs for some seconds")
	}
	if missing != "" {
		t.Skip(missing)
	}
	if os.Getenv(envDir) == "" {
		t.Skip("TestMain does not call netlab.Main")
	}
	dir, err := os.MkdirTemp(os.Getenv(envDir), "lab")
	if err != nil {
		t.Fatal(err)
	}
	l := &Lab{t: t, dir: dir, exe: os.Getenv(envProgram), begun: Now()}
	t.Cleanup(l.close)
	for _, args := range [][]string{
		{"link", "add", "name", bridge, "type", "bridge"},
		{"addr", "add", ownAddress, "dev", bridge},
		{"link", "set", bridge, "up"},
	} {
		if err := ip(args...); err != nil {
			t.Fatal(err)
		}
	}
	return l
}

// close ends what runs, by its process id, shows the logs of a failed test and takes the network down. Again it does nothing.
func (l *Lab) close() {
	if l.closed {
		return
	}
	l.closed = true
	for _, p := range l.procs {
		p.Kill()
	}
	if l.t.Failed() {
		l.showLogs()
	}
	for i, h := range l.hosts {
		// The interface by itself: a namespace ends some time after its name.
		for _, args := range [][]string{{"link", "del", port(i + 1)}, {"netns", "del", h.Name}} {
			if err := ip(args...); err != nil {
				l.t.Error(err)
			}
		}
	}
	if err := ip("link", "del", bridge); err != nil {
		l.t.Error(err)
	}
	if keep := os.Getenv("NETLAB_KEEP"); keep != "" && l.t.Failed() {
		name := filepath.Join(keep, strings.ReplaceAll(l.t.Name(), "/", "-")+time.Now().Format("-150405"))
		if err := os.CopyFS(name, os.DirFS(l.dir)); err != nil {
			l.t.Errorf("the lab's folder could not be kept whole: %v", err)
		}
		l.t.Logf("the lab's folder is kept as %s", name)
	}
	if err := os.RemoveAll(l.dir); err != nil {
		l.t.Error(err)
	}
}

// showLogs prints the end of each process's log, without the lines that there is one of for each message.
func (l *Lab) showLogs() {
	seen := map[string]bool{}
	for _, p := range l.procs {
		if seen[p.log] {
			continue
		}
		seen[p.log] = true
		var rare []string
		for line := range strings.Lines(tail(p.log, 1<<20)) {
			if !strings.Contains(line, "level=INFO msg=attempt ") && !strings.Contains(line, "level=INFO msg=accepted ") {
				rare = append(rare, line)
			}
		}
		l.t.Logf("the log of %s ends so, without attempts and acceptances:\n%s", p.name, strings.Join(rare[max(0, len(rare)-25):], ""))
	}
}

func tail(file string, octets int) string {
	data, err := os.ReadFile(file)
	if err != nil {
		return err.Error()
	}
	return string(data[max(0, len(data)-octets):])
}

// Host is one machine: a network namespace with one interface.
type Host struct {
	Name string
	Addr netip.Addr

	lab   *Lab
	drops map[netip.Addr]bool // whose packets do not arrive here
}

// Host adds a machine to the network.
func (l *Lab) Host(name string) *Host {
	l.t.Helper()
	n := len(l.hosts) + 1
	h := &Host{Name: name, lab: l, drops: map[netip.Addr]bool{}, Addr: netip.AddrFrom4([4]byte{10, 77, byte(n >> 8), byte(n)})}
	port := port(n)
	for _, args := range [][]string{
		{"netns", "add", name},
		{"link", "add", "name", port, "type", "veth", "peer", "name", "eth0", "netns", name},
		{"link", "set", port, "master", bridge},
		{"link", "set", port, "up"},
		{"-n", name, "link", "set", "lo", "up"},
		{"-n", name, "addr", "add", h.Addr.String() + "/16", "dev", "eth0"},
		{"-n", name, "link", "set", "eth0", "up"},
	} {
		if err := ip(args...); err != nil {
			l.t.Fatal(err)
		}
	}
	l.hosts = append(l.hosts, h)
	return h
}

// port is the bridge's end of a host's cable.
func port(n int) string { return fmt.Sprintf("lab%dv", n) }

// Address gives a host one more address, from a part of the network of its own: 10.77.100.n.
func (h *Host) Address(n int) netip.Addr {
	h.lab.t.Helper()
	a := netip.AddrFrom4([4]byte{10, 77, byte(100 + n>>8), byte(n)})
	if err := ip("-n", h.Name, "addr", "add", a.String()+"/16", "dev", "eth0"); err != nil {
		h.lab.t.Fatal(err)
	}
	return a
}

// Drop lets no packet from one host arrive at the other any more, those of open connections included. The other way stays
// open.
func (l *Lab) Drop(from, to *Host) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if to.drops[from.Addr] {
		return nil
	}
	if err := tool("ip", "netns", "exec", to.Name, "iptables", "-w", "-A", "INPUT", "-s", from.Addr.String(), "-j", "DROP"); err != nil {
		return err
	}
	to.drops[from.Addr] = true
	return nil
}

// Heal is the end of a Drop.
func (l *Lab) Heal(from, to *Host) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if !to.drops[from.Addr] {
		return nil
	}
	if err := tool("ip", "netns", "exec", to.Name, "iptables", "-w", "-D", "INPUT", "-s", from.Addr.String(), "-j", "DROP"); err != nil {
		return err
	}
	delete(to.drops, from.Addr)
	return nil
}

// Cut drops both ways.
func (l *Lab) Cut(a, b *Host) error {
	if err := l.Drop(a, b); err != nil {
		return err
	}
	return l.Drop(b, a)
}

// HealAll ends every drop.
func (l *Lab) HealAll() error {
	for _, to := range l.hosts {
		for _, from := range l.hosts {
			if err := l.Heal(from, to); err != nil {
				return err
			}
		}
	}
	return nil
}

// tarishi runs the program for something that needs no node.
func (l *Lab) tarishi(args ...string) error { return tool(l.exe, args...) }

// Until asks again and again until ok, and tells whether it was within the patience. It never fails the test.
func Until(patience time.Duration, ok func() bool) bool {
	end := time.Now().Add(patience)
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for !ok() {
		if time.Now().After(end) {
			return false
		}
		<-tick.C
	}
	return true
}
