package netlab

import (
	"errors"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"
)

// What the outer process tells the inner one.
const (
	envDir     = "NETLAB_DIR"       // the run's folder; set: this is the inner process
	envProgram = "NETLAB_PROGRAM"   // the built program
	envNATS    = "NETLAB_NATS"      // be a NATS server by this configuration file, see nats.go
	envBinary  = "CRASHTEST_BINARY" // a program to test instead of cmd/tarishi
	dirPrefix  = "tarishi-netlab-"
)

// missing says why this machine can have no lab; empty: it can.
var missing string

// Main is m.Run inside namespaces of its own. It returns the exit code.
func Main(m *testing.M) int {
	if conf := os.Getenv(envNATS); conf != "" {
		return serveNATS(conf)
	}
	if os.Getenv(envDir) != "" {
		if err := furnish(); err != nil {
			missing = err.Error()
		}
		return m.Run()
	}
	flag.Parse()
	if testing.Short() || flag.Lookup("test.list").Value.String() != "" {
		missing = "runs a whole cluster for some seconds"
		return m.Run()
	}
	code, err := enter()
	if err != nil {
		missing = err.Error()
		return m.Run()
	}
	return code
}

// enter builds the program and runs this binary again, as the first process of new namespaces.
func enter() (code int, err error) {
	for _, tool := range []string{"ip", "iptables"} {
		if _, err := exec.LookPath(tool); err != nil {
			return 0, fmt.Errorf("%s is not installed (Debian: iproute2, iptables)", tool)
		}
	}
	if err := try(); err != nil {
		return 0, fmt.Errorf("no namespaces here (root, or a kernel that allows user namespaces): %w", err)
	}
	removeLeftovers()
	dir, err := os.MkdirTemp("", dirPrefix)
	if err != nil {
		return 0, err
	}
	defer os.RemoveAll(dir)
	lock, err := lockDir(dir)
	if err != nil {
		return 0, err
	}
	defer lock.Close()
	program, err := build(dir)
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1, nil
	}
	self, err := os.Executable()
	if err != nil {
		return 0, err
	}
	// The parent-death signal comes when the thread that started the child ends.
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	// An interrupt reaches both; the inner one decides, and dies with us at the latest.
	signals := make(chan os.Signal, 4)
	signal.Notify(signals, syscall.SIGINT, syscall.SIGTERM, syscall.SIGQUIT)
	cmd := exec.Command(self, os.Args[1:]...)
	cmd.Stdin, cmd.Stdout, cmd.Stderr = os.Stdin, os.Stdout, os.Stderr
	cmd.Env = append(os.Environ(), envDir+"="+dir, envProgram+"="+program)
	cmd.SysProcAttr = namespaces()
	if err := cmd.Start(); err != nil {
		return 0, err
	}
	done := make(chan struct{})
	defer close(done)
	go func() {
		for {
			select {
			case s := <-signals:
				_ = cmd.Process.Signal(s)
			case <-done:
				return
			}
		}
	}()
	err = cmd.Wait()
	if exit := (*exec.ExitError)(nil); errors.As(err, &exit) {
		if exit.ExitCode() < 0 {
			return 2, nil // killed
		}
		return exit.ExitCode(), nil
	}
	return 0, err
}

func namespaces() *syscall.SysProcAttr {
	a := &syscall.SysProcAttr{
		Cloneflags: unix.CLONE_NEWNET | unix.CLONE_NEWPID | unix.CLONE_NEWNS,
		Pdeathsig:  syscall.SIGKILL,
	}
	if os.Geteuid() != 0 {
		a.Cloneflags |= unix.CLONE_NEWUSER
		a.UidMappings = []syscall.SysProcIDMap{{ContainerID: 0, HostID: os.Geteuid(), Size: 1}}
		a.GidMappings = []syscall.SysProcIDMap{{ContainerID: 0, HostID: os.Getegid(), Size: 1}}
	}
	return a
}

// try makes the namespaces once, for nothing, and does in them what a lab must be able to do.
func try() error {
	cmd := exec.Command("/bin/sh", "-ec", "mount --make-rprivate / && mount -t proc proc /proc && mount -t tmpfs tmpfs /run && mkdir /run/netns && ip link add name br0 type bridge && iptables -w -A INPUT -s 192.0.2.1 -j DROP")
	cmd.SysProcAttr = namespaces()
	out, err := cmd.CombinedOutput()
	if err != nil {
		return fmt.Errorf("%w %s", err, strings.TrimSpace(string(out)))
	}
	return nil
}

// furnish makes the new namespaces usable: mounts of our own, a process table that shows them, a place for ip's names.
func furnish() error {
	if err := unix.Mount("", "/", "", unix.MS_REC|unix.MS_PRIVATE, ""); err != nil {
		return fmt.Errorf("private mounts: %w", err)
	}
	// Shared among ourselves: ip gives each program a copy of the mounts, and a disk that
	// is taken away must go from all of them.
	if err := unix.Mount("", "/", "", unix.MS_REC|unix.MS_SHARED, ""); err != nil {
		return fmt.Errorf("shared mounts: %w", err)
	}
	if err := unix.Mount("proc", "/proc", "proc", 0, ""); err != nil {
		return fmt.Errorf("mount /proc: %w", err)
	}
	if err := unix.Mount("tmpfs", "/run", "tmpfs", 0, ""); err != nil {
		return fmt.Errorf("mount /run: %w", err)
	}
	if err := os.Mkdir("/run/netns", 0o755); err != nil {
		return err
	}
	return ip("link", "set", "lo", "up")
}

// build makes the program under test, outside, where the module cache can be filled.
func build(dir string) (string, error) {
	if exe := os.Getenv(envBinary); exe != "" {
		return filepath.Abs(exe)
	}
	exe := filepath.Join(dir, "tarishi")
	out, err := exec.Command("go", "build", "-o", exe, "github.com/tarishi/tarishi/cmd/tarishi").CombinedOutput()
	if err != nil {
		return "", fmt.Errorf("go build ./cmd/tarishi: %w\n%s", err, out)
	}
	return exe, nil
}

// lockDir marks a run's folder as in use; the mark goes with the last process that holds it.
func lockDir(dir string) (*os.File, error) {
	f, err := os.Open(dir)
	if err != nil {
		return nil, err
	}
	if err := unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB); err != nil {
		f.Close()
		return nil, err
	}
	return f, nil
}

// removeLeftovers removes the folders of runs that were killed: those that nobody holds.
func removeLeftovers() {
	old, _ := filepath.Glob(filepath.Join(os.TempDir(), dirPrefix+"*"))
	for _, dir := range old {
		if f, err := lockDir(dir); err == nil {
			_ = os.RemoveAll(dir)
			f.Close()
		}
	}
}

// ip runs ip(8).
func ip(args ...string) error { return tool("ip", args...) }

func tool(name string, args ...string) error {
	out, err := exec.Command(name, args...).CombinedOutput()
	if err != nil {
		return fmt.Errorf("%s %s: %w: %s", name, strings.Join(args, " "), err, strings.TrimSpace(string(out)))
	}
	return nil
}

func itoa(n int) string { return strconv.Itoa(n) }
