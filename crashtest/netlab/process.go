package netlab

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"syscall"
	"time"
)

// Process is one program running on a host. Its methods may be called from any goroutine.
type Process struct {
	name   string
	log    string // file of its standard output and error
	cmd    *exec.Cmd
	exited chan struct{}

	mu     sync.Mutex
	frozen bool
	told   bool // to end, by us
}

// run starts a program on the host; its output is appended to the log of the given name.
func (h *Host) run(name string, env []string, argv ...string) (*Process, error) {
	p := &Process{name: name, log: filepath.Join(h.lab.dir, name+".log"), exited: make(chan struct{})}
	log, err := os.OpenFile(p.log, os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o600)
	if err != nil {
		return nil, err
	}
	defer log.Close() // the program has its own
	// ip becomes the program: one process, one id.
	p.cmd = exec.Command("ip", append([]string{"netns", "exec", h.Name}, argv...)...)
	p.cmd.Env = append(os.Environ(), env...)
	p.cmd.Stdout, p.cmd.Stderr = log, log
	p.cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	if err := p.cmd.Start(); err != nil {
		return nil, err
	}
	go func() {
		_ = p.cmd.Wait()
		close(p.exited)
	}()
	h.lab.keep(p)
	return p, nil
}

func (l *Lab) keep(p *Process) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.procs = append(l.procs, p)
}

// Running tells whether the program has not ended yet.
func (p *Process) Running() bool {
	select {
	case <-p.exited:
		return false
	default:
		return true
	}
}

// Kill is kill -9, frozen or not; it returns when the program is gone.
func (p *Process) Kill() { p.kill(func() {}) }

// kill does between the signal and the wait what lets the program die.
func (p *Process) kill(between func()) {
	p.tell()
	if p.Running() {
		_ = p.cmd.Process.Kill()
		between()
		<-p.exited
		p.note("killed")
	}
}

// Freeze is SIGSTOP, Thaw SIGCONT.
func (p *Process) Freeze() {
	p.mu.Lock()
	defer p.mu.Unlock()
	if !p.frozen && p.Running() {
		p.frozen = true
		_ = p.cmd.Process.Signal(syscall.SIGSTOP)
		p.note("frozen")
	}
}

// Thaw lets a frozen program go on.
func (p *Process) Thaw() {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.frozen && p.Running() {
		p.frozen = false
		p.note("thawed")
		_ = p.cmd.Process.Signal(syscall.SIGCONT)
	}
}

// Stop is SIGTERM: an orderly end. The error says that it was none.
func (p *Process) Stop(patience time.Duration) error {
	if !p.Running() {
		return fmt.Errorf("%s had ended before it was stopped", p.name)
	}
	p.tell()
	_ = p.cmd.Process.Signal(syscall.SIGTERM)
	select {
	case <-p.exited:
	case <-time.After(patience):
		// Where its goroutines stand, for whoever must find out why.
		_ = p.cmd.Process.Signal(syscall.SIGQUIT)
		select {
		case <-p.exited:
		case <-time.After(5 * time.Second):
			p.Kill()
		}
		return fmt.Errorf("%s did not end within %v of SIGTERM", p.name, patience)
	}
	p.note("stopped")
	if code := p.cmd.ProcessState.ExitCode(); code != 0 {
		return fmt.Errorf("%s ended on SIGTERM with %v, not with 0", p.name, p.cmd.ProcessState)
	}
	return nil
}

func (p *Process) tell() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.told = true
}

// endedByItself tells whether it has, now that it has ended.
func (p *Process) endedByItself() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return !p.told
}

// note writes into the program's log what was done to it.
func (p *Process) note(what string) {
	if f, err := os.OpenFile(p.log, os.O_WRONLY|os.O_APPEND, 0); err == nil {
		fmt.Fprintf(f, "--- %s %s\n", what, time.Now().UTC().Format(time.RFC3339Nano))
		f.Close()
	}
}
