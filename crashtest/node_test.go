package crashtest

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

var seedFlag = flag.Uint64("crashtest.seed", 0, "repeat the choices of a run; 0: new ones")

// newSeed picks the run's seed and says it, so that the run can be repeated.
func newSeed(t *testing.T) uint64 {
	seed := *seedFlag
	if seed == 0 {
		seed = rand.Uint64() >> 32
	}
	t.Logf("seed %d", seed)
	return seed
}

// product builds the program under test once for all tests; a test skips where there is none to build.
var product = sync.OnceValues(func() (string, error) {
	if exe := os.Getenv("CRASHTEST_BINARY"); exe != "" {
		return filepath.Abs(exe)
	}
	if _, err := os.Stat("../cmd/tarishi/main.go"); err != nil {
		return "", errNoProduct
	}
	dir, err := os.MkdirTemp("", "crashtest")
	if err != nil {
		return "", err
	}
	builtIn = dir
	exe := filepath.Join(dir, "tarishi")
	if out, err := exec.Command("go", "build", "-o", exe, "../cmd/tarishi").CombinedOutput(); err != nil {
		return "", fmt.Errorf("go build ./cmd/tarishi: %w\n%s", err, out)
	}
	return exe, nil
})

var (
	errNoProduct = errors.New("there is no cmd/tarishi to build here")
	builtIn      string // folder of the built program
)

func buildProduct(t *testing.T) string {
	t.Helper()
	if testing.Short() {
		t.Skip("runs the whole program for some seconds")
	}
	exe, err := product()
	if errors.Is(err, errNoProduct) {
		t.Skip(err)
	}
	if err != nil {
		t.Fatal(err)
	}
	return exe
}

// fakeProgram is this very binary: started with CRASHTEST_FAKE set it is the fake (fake_test.go).
func fakeProgram(t *testing.T) string {
	t.Helper()
	if testing.Short() {
		t.Skip("runs a whole program for some seconds")
	}
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	return self
}

// TestMain makes this binary the fake program when it is started as one.
func TestMain(m *testing.M) {
	if faults, fake := os.LookupEnv("CRASHTEST_FAKE"); fake {
		fakeMain(faults)
		return
	}
	code := m.Run()
	if builtIn != "" {
		os.RemoveAll(builtIn)
	}
	os.Exit(code)
}

// node is one program with one configuration, started and killed any number of times.
type node struct {
	t     *testing.T
	exe   string
	env   []string
	wrap  []string // a command line to run the program under
	data  string   // its data folder; may change between a kill and the next start
	smtp  string
	admin string

	config string
	log    *os.File
	cmd    *exec.Cmd
	exited chan struct{}
}

// newNode prepares a program that sends all its mail to sinkAddr and retries after a second.
func newNode(t *testing.T, exe, data, sinkAddr string, env ...string) *node {
	t.Helper()
	dir := t.TempDir()
	n := &node{t: t, exe: exe, env: env, data: data, smtp: freePort(t), admin: freePort(t), config: filepath.Join(dir, "tarishi.yaml")}
	log, err := os.OpenFile(filepath.Join(dir, "log"), os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o600)
	if err != nil {
		t.Fatal(err)
	}
	n.log = log
	n.configure(sinkAddr)
	t.Cleanup(func() {
		n.kill()
		if t.Failed() {
			t.Logf("the program's log ends so:\n%s", n.logTail(6000))
		}
		log.Close()
	})
	return n
}

func (n *node) configure(sinkAddr string) {
	yaml := fmt.Sprintf(`hostname: crash.test
data: %q
smtp: {listen: [%q]}
admin: {listen: %q}
routes:
  - {to: "*", via: %q}
retry: {schedule: [1s], expire: 1d}
suppress: {bounces: off} # its receivers refuse at random, and forget it
queue: {max_bytes: 4GiB}
`, n.data, n.smtp, n.admin, sinkAddr)
	if err := os.WriteFile(n.config, []byte(yaml), 0o600); err != nil {
		n.t.Fatal(err)
	}
}

func freePort(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return l.Addr().String()
}

// start runs the program and returns when it accepts mail.
func (n *node) start() {
	n.t.Helper()
	args := append(append([]string{}, n.wrap...), n.exe, "serve", "--config", n.config)
	n.cmd = exec.Command(args[0], args[1:]...)
	n.cmd.Env = append(os.Environ(), n.env...)
	n.cmd.Stdout, n.cmd.Stderr = n.log, n.log
	n.cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL} // no program outlives its test
	if err := n.cmd.Start(); err != nil {
		n.t.Fatal(err)
	}
	cmd, exited := n.cmd, make(chan struct{})
	n.exited = exited
	go func() { cmd.Wait(); close(exited) }()
	n.await(60*time.Second, "the program accepts mail", func() bool {
		select {
		case <-exited:
			n.t.Fatalf("the program ended at start (%v)", cmd.ProcessState)
		default:
		}
		res, err := http.Get("http://" + n.admin + "/readyz")
		if err != nil {
			return false
		}
		res.Body.Close()
		return res.StatusCode == http.StatusOK
	})
}

// await asks again and again until ok, and fails the test after the patience.
func (n *node) await(patience time.Duration, what string, ok func() bool) {
	n.t.Helper()
	if !n.within(patience, ok) {
		n.t.Fatalf("%v passed before: %s", patience, what)
	}
}

func (n *node) within(patience time.Duration, ok func() bool) bool {
	n.t.Helper()
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

// signalKill sends SIGKILL and does not wait.
func (n *node) signalKill() {
	if n.cmd != nil {
		n.cmd.Process.Kill()
	}
}

// kill is kill -9; it returns when the process is gone.
func (n *node) kill() {
	if n.cmd == nil {
		return
	}
	n.signalKill()
	<-n.exited
	fmt.Fprintf(n.log, "--- killed %s\n", time.Now().UTC().Format(time.RFC3339Nano))
	n.cmd = nil
}

// stop is an orderly end: SIGTERM, and exit code 0.
func (n *node) stop() {
	n.t.Helper()
	n.cmd.Process.Signal(syscall.SIGTERM)
	select {
	case <-n.exited:
	case <-time.After(60 * time.Second):
		n.t.Fatal("the program did not end within a minute of SIGTERM")
	}
	fmt.Fprintf(n.log, "--- stopped %s\n", time.Now().UTC().Format(time.RFC3339Nano))
	if code := n.cmd.ProcessState.ExitCode(); code != 0 {
		n.t.Errorf("SIGTERM: exit code %d (%v), want 0", code, n.cmd.ProcessState)
	}
	n.cmd = nil
}

func (n *node) logTail(octets int64) string {
	data, _ := os.ReadFile(n.log.Name())
	return string(data[max(0, int64(len(data))-octets):])
}

// logLines returns what the program logged with id in it, and where it was started and killed in between.
func (n *node) logLines(id string) string {
	data, _ := os.ReadFile(n.log.Name())
	var out []string
	for line := range strings.Lines(string(data)) {
		if strings.Contains(line, id) || strings.HasPrefix(line, "--- ") {
			out = append(out, line)
		}
	}
	return strings.Join(out, "")
}

// get reads one of the admin port's answers.
func (n *node) get(path string, into any) error {
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+n.admin+path, nil)
	if err != nil {
		return err
	}
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		return err
	}
	defer res.Body.Close()
	body, err := io.ReadAll(res.Body)
	if err != nil {
		return err
	}
	if res.StatusCode != http.StatusOK {
		return fmt.Errorf("%s: %s: %s", path, res.Status, body)
	}
	return json.Unmarshal(body, into)
}

// depth is how much is queued in all.
func (n *node) depth() (int64, error) {
	var v struct{ Ready, Waiting, Held, Active int64 }
	err := n.get("/v1/queue", &v)
	return v.Ready + v.Waiting + v.Held + v.Active, err
}

// queued lists what is queued. It cannot list more than a thousand deliveries; more is an error.
func (n *node) queued() ([]queuedDelivery, error) {
	var v struct {
		Messages []queuedDelivery
		More     bool
	}
	if err := n.get("/v1/queue/messages?max=1000&sender="+url.QueryEscape(sender), &v); err != nil {
		return nil, err
	}
	if v.More {
		return nil, errors.New("more than 1000 deliveries are queued; they cannot be listed")
	}
	return v.Messages, nil
}

// queuedDelivery is a line of the program's own listing.
type queuedDelivery struct {
	ID, Message, State string
	Attempts           int
	Due                time.Time
	Recipients         []struct{ Address string }
}

// openRecipients sorts a listing by message.
func openRecipients(list []queuedDelivery) map[string][]string {
	open := map[string][]string{}
	for _, d := range list {
		for _, r := range d.Recipients {
			open[d.Message] = append(open[d.Message], r.Address)
		}
	}
	return open
}

// doubts runs `queue doubts --json`, as an operator would.
func (n *node) doubts() []doubt {
	n.t.Helper()
	out, err := n.run("queue", "doubts", "--json")
	if err != nil {
		n.t.Fatalf("queue doubts --json: %v", err)
	}
	var v struct {
		Doubts []struct{ Delivery, Destination string }
	}
	if err := json.Unmarshal(out, &v); err != nil {
		n.t.Fatalf("queue doubts --json: %v in %q", err, out)
	}
	var list []doubt
	for _, d := range v.Doubts {
		list = append(list, doubtOf(d.Delivery, d.Destination))
	}
	return list
}

// run runs the program's command line against the running node. Exit code 1 (nothing matched, or some were busy) is no error.
func (n *node) run(args ...string) ([]byte, error) {
	ctx, cancel := context.WithTimeout(context.Background(), 60*time.Second)
	defer cancel()
	cmd := exec.CommandContext(ctx, n.exe, append(args, "--admin", "http://"+n.admin)...)
	cmd.Env = append(os.Environ(), n.env...)
	out, err := cmd.Output()
	var exit *exec.ExitError
	if errors.As(err, &exit) {
		if exit.ExitCode() == 1 {
			return out, nil
		}
		err = fmt.Errorf("%w: %s", err, bytes.TrimSpace(exit.Stderr))
	}
	return out, err
}

// drain waits until nothing is queued, or, when the patience is over, returns what still is.
func (n *node) drain(patience time.Duration) []queuedDelivery {
	n.t.Helper()
	empty := n.within(patience, func() bool {
		d, err := n.depth()
		return err == nil && d == 0
	})
	if empty {
		return nil
	}
	open, err := n.queued()
	if err != nil {
		n.t.Fatalf("the queue did not drain within %v: %v", patience, err)
	}
	return open
}
