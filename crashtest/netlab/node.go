package netlab

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"github.com/tarishi/tarishi/crashtest/cutfs"
)

// Node is one Tarishi on one host: started, killed, wiped and started again any number of times. What acts on its process may
// be called from any goroutine.
type Node struct {
	*Host
	Roles []string
	Data  string // its data folder
	Disk  *cutfs.Mounted

	config string
	folder string // of all that is the node's own

	mu   sync.Mutex
	proc *Process // nil: not running
}

// SMTP and Admin are where the node listens.
func (n *Node) SMTP() string  { return n.Addr.String() + ":25" }
func (n *Node) Admin() string { return "http://" + n.Addr.String() + ":8025" }

// Has tells whether the node has a role.
func (n *Node) Has(role string) bool {
	for _, r := range n.Roles {
		if r == role {
			return true
		}
	}
	return false
}

// Node puts a Tarishi on a new host. config is YAML for it beyond what every node needs.
func (l *Lab) Node(name, config string, roles ...string) *Node {
	l.t.Helper()
	n := &Node{Host: l.Host(name), Roles: roles, folder: filepath.Join(l.dir, name)}
	n.Data, n.config = filepath.Join(n.folder, "data"), filepath.Join(n.folder, "tarishi.yaml")
	if err := os.Mkdir(n.folder, 0o700); err != nil {
		l.t.Fatal(err)
	}
	if err := n.Configure(config); err != nil {
		l.t.Fatal(err)
	}
	return n
}

// Configure writes the node's configuration, for its next start.
func (n *Node) Configure(config string) error {
	text := fmt.Sprintf("hostname: %s.lab.test\ndata: %q\nroles: [%s]\nsmtp: {listen: [%q], relay_from: [%s]}\nadmin: {listen: %q}\n%s",
		n.Name, n.Data, strings.Join(n.Roles, ", "), n.SMTP(), network, n.Addr.String()+":8025", config)
	return os.WriteFile(n.config, []byte(text), 0o600)
}

// Mount puts the node's data on a disk that can be slow, full or stalled. Before the first start.
func (n *Node) Mount() {
	t := n.lab.t
	t.Helper()
	dir := filepath.Join(n.folder, "disk")
	if err := os.Mkdir(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	disk, err := cutfs.Mount(dir, cutfs.Options{})
	if errors.Is(err, cutfs.ErrUnsupported) {
		t.Skip(err)
	}
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { // runs before the lab's own: the program must be gone when its disk goes
		n.Kill()
		if err := disk.Unmount(); err != nil {
			t.Error(err)
		}
	})
	n.Disk = disk
	old, err := os.ReadFile(n.config)
	if err != nil {
		t.Fatal(err)
	}
	data := filepath.Join(dir, "data")
	if err := os.WriteFile(n.config, bytes.Replace(old, []byte(fmt.Sprintf("data: %q\n", n.Data)), []byte(fmt.Sprintf("data: %q\n", data)), 1), 0o600); err != nil {
		t.Fatal(err)
	}
	n.Data = data
}

// Start runs the program and does not wait for it. A node that runs is left alone.
func (n *Node) Start() error {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.proc != nil && n.proc.Running() {
		return nil
	}
	p, err := n.run(n.Name, nil, n.lab.exe, "serve", "--config", n.config)
	if err == nil {
		n.proc = p
		go n.supervise(p)
	}
	return err
}

// supervise starts the program again when it has ended by itself, as the service manager of any real host would, and notes
// it: Deaths are faults unless a test expects them.
func (n *Node) supervise(p *Process) {
	<-p.exited
	if !p.endedByItself() {
		return
	}
	p.note("ended by itself")
	n.lab.mu.Lock()
	n.lab.deaths = append(n.lab.deaths, Death{n.Name, strings.TrimSpace(lastLine(p.log))})
	n.lab.mu.Unlock()
	time.Sleep(time.Second) // not at once and again and again
	n.mu.Lock()
	again := n.proc == p
	n.mu.Unlock()
	if again && p.endedByItself() {
		_ = n.Start()
	}
}

// Death is a program that ended without having been told to.
type Death struct{ Node, LastWords string }

// Deaths are all there were, and forgets them.
func (l *Lab) Deaths() []Death {
	l.mu.Lock()
	defer l.mu.Unlock()
	d := l.deaths
	l.deaths = nil
	return d
}

// lastLine is what the program said last.
func lastLine(log string) string {
	lines := strings.Split(strings.TrimSpace(tail(log, 4000)), "\n")
	for i := len(lines) - 1; i >= 0; i-- {
		if !strings.HasPrefix(lines[i], "--- ") {
			return lines[i]
		}
	}
	return ""
}

// process is what runs now, or a process that has ended.
func (n *Node) process() *Process {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.proc == nil {
		return ended
	}
	return n.proc
}

// Running tells whether the program runs, frozen or not.
func (n *Node) Running() bool { return n.process().Running() }

// Kill is kill -9. A disk that stands is let go, but only after the signal: what waits for it cannot die before.
func (n *Node) Kill() {
	n.process().kill(func() {
		if n.Disk != nil {
			n.Disk.Thaw()
		}
	})
}

// Freeze and Thaw are SIGSTOP and SIGCONT.
func (n *Node) Freeze() { n.process().Freeze() }
func (n *Node) Thaw()   { n.process().Thaw() }

// Stop is SIGTERM; the error says that the end was not an orderly one.
func (n *Node) Stop() error { return n.process().Stop(60 * time.Second) }

// Wipe kills the program and removes everything it had on its disk.
func (n *Node) Wipe() error {
	n.Kill()
	return os.RemoveAll(n.Data)
}

// Ready tells whether the node says that it is.
func (n *Node) Ready() bool {
	ctx, cancel := context.WithTimeout(context.Background(), 2*time.Second)
	defer cancel()
	res, err := n.ask(ctx, "/readyz")
	if err != nil {
		return false
	}
	res.Body.Close()
	return res.StatusCode == http.StatusOK
}

func (n *Node) ask(ctx context.Context, path string) (*http.Response, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, n.Admin()+path, nil)
	if err != nil {
		return nil, err
	}
	return client.Do(req)
}

// client keeps no connections: a node that was cut off must not be asked over one that hangs.
var client = &http.Client{Transport: &http.Transport{DisableKeepAlives: true}}

// Get reads one of the admin port's answers.
func (n *Node) Get(path string, into any) error { return n.getWithin(path, into, 10*time.Second) }

func (n *Node) getWithin(path string, into any, patience time.Duration) error {
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	res, err := n.ask(ctx, path)
	if err != nil {
		return err
	}
	defer res.Body.Close()
	body, err := io.ReadAll(res.Body)
	if err != nil {
		return err
	}
	if res.StatusCode != http.StatusOK {
		return fmt.Errorf("%s%s: %s: %s", n.Name, path, res.Status, bytes.TrimSpace(body))
	}
	if text, ok := into.(*string); ok {
		*text = string(body)
		return nil
	}
	return json.Unmarshal(body, into)
}

// Command runs the program's command line against the node, as an operator would, and returns what it printed. The error of
// one that ends with another exit code than 0 has its words; ExitCode tells the code.
func (n *Node) Command(args ...string) ([]byte, error) {
	ctx, cancel := context.WithTimeout(context.Background(), 90*time.Second)
	defer cancel()
	cmd := exec.CommandContext(ctx, n.lab.exe, append(args, "--admin", n.Admin())...)
	out, err := cmd.Output()
	if exit := (*exec.ExitError)(nil); errors.As(err, &exit) {
		err = fmt.Errorf("tarishi %s: %w: %s", strings.Join(args, " "), err, bytes.TrimSpace(exit.Stderr))
	}
	return out, err
}

// ExitCode is the exit code behind an error of Command; -1: there is none.
func ExitCode(err error) int {
	if exit := (*exec.ExitError)(nil); errors.As(err, &exit) {
		return exit.ExitCode()
	}
	return -1
}

// Log is all the node has logged.
func (n *Node) Log() string {
	data, err := os.ReadFile(filepath.Join(n.lab.dir, n.Name+".log"))
	if err != nil {
		return ""
	}
	return string(data)
}

// ended stands for the process of a node that was never started.
var ended = func() *Process {
	p := &Process{name: "nothing", exited: make(chan struct{})}
	close(p.exited)
	return p
}()
