package netlab

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"time"
)

// Sink is a receiver on a host of its own: `tarishi bench sink`, with an address for each domain, so that a connection's
// destination is known even before it carries anything. All sinks of a machine stamp by one clock.
type Sink struct {
	*Host
	Record, IDs string            // files, see bench sink
	Via         map[string]string // by domain: host:port

	proc *Process
}

// Sink starts a receiver for domains; args are further ones of bench sink.
func (l *Lab) Sink(name string, domains []string, args ...string) *Sink {
	l.t.Helper()
	s := &Sink{Host: l.Host(name), Record: filepath.Join(l.dir, name+".record"), IDs: filepath.Join(l.dir, name+".ids"), Via: map[string]string{}}
	argv := []string{l.exe, "bench", "sink", "--record", s.Record, "--ids", s.IDs}
	if os.Geteuid() == 0 {
		// What a sink stamps late looks like a sender's fault.
		argv = append([]string{"nice", "-n", "-10"}, argv...)
	}
	for _, d := range domains {
		l.addresses++
		s.Via[d] = s.Address(l.addresses).String() + ":25"
		argv = append(argv, "--listen", s.Via[d])
		l.routes = append(l.routes, fmt.Sprintf("  - {to: %q, via: %q}\n", d, s.Via[d]))
	}
	p, err := s.run(name, nil, append(argv, args...)...)
	if err != nil {
		l.t.Fatal(err)
	}
	s.proc = p
	if !Until(20*time.Second, func() bool { return strings.Count(tail(p.log, 1<<16), "sink: listening on") == len(domains) }) {
		l.t.Fatalf("%s does not listen:\n%s", name, tail(p.log, 2000))
	}
	l.sinks = append(l.sinks, s)
	return s
}

// Routes is the part of a node's configuration that leads to all sinks there are.
func (l *Lab) Routes() string { return "routes:\n" + strings.Join(l.routes, "") }

// Close ends the sink so that its record is whole; transactions under way have a moment to end.
func (s *Sink) Close() error {
	if !s.proc.Running() {
		return nil
	}
	_ = s.proc.cmd.Process.Signal(syscall.SIGTERM)
	select {
	case <-s.proc.exited:
	case <-time.After(15 * time.Second):
		s.proc.Kill()
		return fmt.Errorf("%s did not end when it was told to", s.Name)
	}
	if code := s.proc.cmd.ProcessState.ExitCode(); code != 0 {
		return fmt.Errorf("%s ended with %v:\n%s", s.Name, s.proc.cmd.ProcessState, tail(s.proc.log, 1000))
	}
	return nil
}
