package script

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/tarishi/tarishi/plugin"
	"github.com/tarishi/tarishi/script/api"
	"github.com/tarishi/tarishi/script/frame"
)

// process is one worker.
type process struct {
	pool  *Pool
	cmd   *exec.Cmd
	pid   int
	w     *frame.Writer
	r     *frame.Reader
	stdin io.Closer
	out   io.Closer
	slate *slate
	errs  tail

	under atomic.Int64 // calls
	bonds atomic.Int64 // connections
	alive atomic.Int64 // nanoseconds since 1970, of its last frame
	heard atomic.Int64 // of its last answer or question
	busy  atomic.Int64 // and when it was last given something to do while it had nothing
	ended atomic.Bool  // on purpose

	mu    sync.Mutex
	calls map[uint64]*call
	dead  bool
	last  frame.Dying
	wait  error
}

// call is one call under way. Its channel is given an Answer, Asks before it, or a
// death.
type call struct {
	seq uint64
	ch  chan any
}

// death is why there is no answer: the worker died. Of is whether of this very call.
type death struct {
	of  bool
	why string
}

// launch starts a worker and has it load the scripts.
func (p *Pool) launch() (*process, *frame.Loaded, error) {
	pr := &process{pool: p, calls: map[uint64]*call{}}
	pr.cmd = exec.Command(p.o.Command[0], p.o.Command[1:]...)
	// Scripts see none of the node's secrets.
	pr.cmd.Env = environment()
	pr.cmd.Dir = p.o.Folder
	pr.cmd.Stderr = &pr.errs
	slate, err := newSlate()
	if err != nil {
		return nil, nil, fmt.Errorf("start a script worker: %w", err)
	}
	pr.slate = slate
	pr.cmd.ExtraFiles = []*os.File{slate.file}
	stdin, err := pr.cmd.StdinPipe()
	if err != nil {
		return nil, nil, fmt.Errorf("start a script worker: %w", err)
	}
	out, err := pr.cmd.StdoutPipe()
	if err != nil {
		return nil, nil, fmt.Errorf("start a script worker: %w", err)
	}
	if err := pr.cmd.Start(); err != nil {
		slate.close()
		return nil, nil, fmt.Errorf("start a script worker: %w", err)
	}
	pr.pid = pr.cmd.Process.Pid
	pr.stdin, pr.out = stdin, out
	pr.w, pr.r = frame.NewWriter(stdin), frame.NewReader(out)
	pr.alive.Store(time.Now().UnixNano())
	pr.heard.Store(pr.alive.Load())
	timer := time.AfterFunc(startPatience, pr.kill)
	defer timer.Stop()
	p.mu.Lock()
	scripts := p.scripts
	p.mu.Unlock()
	err = pr.w.Send(&frame.Load{
		Folder: p.o.Folder, Level: p.level(), Turn: uint64(p.o.Turn.Milliseconds()), Memory: uint64(p.o.Memory),
		Me: p.o.Me, Servers: p.o.Servers, Append: p.o.Append, Scripts: scripts,
	})
	for err == nil {
		var f frame.Frame
		if f, err = pr.r.Next(); err != nil {
			break
		}
		switch f := f.(type) {
		case *frame.Loaded:
			return pr, f, nil
		case *frame.Line:
			p.line(f)
		case *frame.Dying:
			pr.last = *f
		}
	}
	pr.kill()
	pr.bury()
	return nil, nil, fmt.Errorf("a script worker ended before it had loaded its scripts: %s", pr.obituary())
}

// environment is what a worker sees of the node's.
func environment() []string {
	var out []string
	for _, kv := range os.Environ() {
		switch name, _, _ := strings.Cut(kv, "="); name {
		case "PATH", "LANG", "LC_ALL", "TZ", "TMPDIR", "GOCOVERDIR", "SSL_CERT_FILE", "SSL_CERT_DIR":
			out = append(out, kv)
		}
	}
	return out
}

// read takes frames until the worker is gone, and then tells everybody who waits.
func (pr *process) read() {
	gone := make(chan struct{})
	defer close(gone)
	go pr.guard(gone)
	for {
		f, err := pr.r.Next()
		if err != nil {
			break
		}
		now := time.Now().UnixNano()
		pr.alive.Store(now)
		switch f := f.(type) {
		case *frame.Answer:
			pr.heard.Store(now)
			pr.take(f.Seq, f, true)
		case *frame.Ask:
			pr.heard.Store(now)
			if !pr.take(f.Seq, f, false) {
				pr.w.Send(&frame.Piece{Seq: f.Seq, Fault: "nobody waits for this call any more"})
			}
		case *frame.Line:
			pr.pool.line(f)
		case *frame.Dying:
			pr.mu.Lock()
			pr.last = *f
			pr.mu.Unlock()
		}
	}
	pr.kill()
	pr.bury()
	pr.mu.Lock()
	pr.dead = true
	calls := pr.calls
	pr.calls = nil
	culprit, why := pr.last.Seq, pr.last.Why
	pr.mu.Unlock()
	if culprit == 0 {
		culprit = pr.slate.read()
	}
	if why == "" {
		why = "its worker died"
	}
	for _, c := range calls {
		c.ch <- death{c.seq == culprit, why}
	}
	pr.slate.close()
}

// take hands a frame to the call that waits for it; false: nobody does.
func (pr *process) take(seq uint64, f any, final bool) bool {
	pr.mu.Lock()
	c := pr.calls[seq]
	if final {
		delete(pr.calls, seq)
	}
	pr.mu.Unlock()
	if c != nil {
		c.ch <- f
	}
	return c != nil
}

var errDead = errors.New("the worker is dead")

// begin sends a call. The channel of each of its functions takes an answer, one
// question at a time, and a death without waiting for its reader.
func (pr *process) begin(f *frame.Call) ([]*call, error) {
	calls := make([]*call, len(f.Functions))
	pr.mu.Lock()
	if pr.dead {
		pr.mu.Unlock()
		return nil, errDead
	}
	for i := range calls {
		c := &call{seq: f.Seq + uint64(i), ch: make(chan any, 3)}
		calls[i], pr.calls[c.seq] = c, c
	}
	pr.mu.Unlock()
	if pr.under.Add(int64(len(calls))) == int64(len(calls)) {
		pr.busy.Store(time.Now().UnixNano())
	}
	if err := pr.w.Send(f); err != nil {
		for _, c := range calls {
			pr.finish(c)
		}
		return nil, err
	}
	return calls, nil
}

func (pr *process) finish(c *call) {
	pr.under.Add(-1)
	pr.mu.Lock()
	delete(pr.calls, c.seq)
	pr.mu.Unlock()
}

// giveUp says that nobody waits for a call any more. The worker goes on: that nothing
// comes of a call says no more than that its script waits for something.
func (pr *process) giveUp(c *call) {
	pr.mu.Lock()
	delete(pr.calls, c.seq) // first: a question that comes now is answered by read
	pr.mu.Unlock()
	pr.w.Send(&frame.Cancel{Seq: c.seq})
}

// beat is how often the guard looks.
const beat = 100 * time.Millisecond

// guard has a worker that owes answers say now and then that it lives, and kills one
// that does not. A worker looks after its scripts itself, but cannot when one of them
// keeps its whole process: inside one huge allocation, or in too little memory.
func (pr *process) guard(gone <-chan struct{}) {
	ticker := time.NewTicker(beat)
	defer ticker.Stop()
	// Beats are counted, and not the time: on a machine that gives the node no time to
	// run there are fewer, and the worker has had no more of it.
	most := int((pr.pool.o.Turn+frame.Grace)/beat) + 1
	for silent := 0; ; {
		select {
		case <-gone:
			return
		case <-ticker.C:
		}
		quiet := time.Since(time.Unix(0, max(pr.alive.Load(), pr.busy.Load()))) > beat
		if pr.under.Load() == 0 || !quiet {
			silent = 0
			continue
		}
		switch silent++; {
		case silent == 1:
			go pr.w.Send(&frame.Ping{}) // a pipe that is full keeps nobody
		case silent > most:
			pr.mu.Lock()
			if pr.last.Why == "" {
				pr.last.Why = "a script kept its worker from answering"
			}
			pr.mu.Unlock()
			pr.kill()
			return
		}
	}
}

// stuckAfter is how long a worker may be silent at work before connections go to
// another one.
const stuckAfter = 100 * time.Millisecond

// stuck tells whether JavaScript has been running there for a while. Who comes then
// need not wait for it to be stopped: what the node does not know of a connection is
// lost on the way to another worker, but that is little.
func (pr *process) stuck() bool {
	since := time.Unix(0, max(pr.heard.Load(), pr.busy.Load()))
	return pr.under.Load() > 0 && time.Since(since) > stuckAfter && pr.slate.read() != 0
}

func (pr *process) isDead() bool {
	pr.mu.Lock()
	defer pr.mu.Unlock()
	return pr.dead
}

// end has the worker end by itself: its input ends. One that does not is killed.
func (pr *process) end() {
	if pr.ended.Swap(true) {
		return
	}
	pr.stdin.Close()
	timer := time.AfterFunc(2*time.Second, pr.kill)
	if pr.pool.loaded != nil && pr.pool.loaded.Fault != "" { // nobody reads it
		go func() { io.Copy(io.Discard, pr.out.(io.Reader)); pr.bury(); timer.Stop(); pr.slate.close() }()
	}
}

func (pr *process) kill() { pr.cmd.Process.Kill() }

// bury reaps the process.
func (pr *process) bury() {
	pr.stdin.Close()
	err := pr.cmd.Wait()
	pr.mu.Lock()
	pr.wait = err
	pr.mu.Unlock()
}

func (pr *process) obituary() string {
	pr.mu.Lock()
	defer pr.mu.Unlock()
	var parts []string
	if pr.last.Why != "" {
		parts = append(parts, pr.last.Why)
	}
	if pr.wait != nil {
		parts = append(parts, pr.wait.Error())
	}
	if s := pr.errs.String(); s != "" {
		parts = append(parts, s)
	}
	if len(parts) == 0 {
		return "it ended"
	}
	return strings.Join(parts, "; ")
}

// level is what of the scripts' lines is wanted.
func (p *Pool) level() byte {
	wanted := api.Emerg
	for l := api.Emerg; l <= api.Data; l++ {
		if p.log.Enabled(context.Background(), l.Slog()) {
			wanted = l
		}
	}
	return byte(wanted)
}

func (p *Pool) line(l *frame.Line) {
	args := []any{"plugin", l.Plugin}
	if l.ID != "" {
		args = append(args, "connection", l.ID)
	}
	p.log.Log(context.Background(), api.Level(l.Level).Slog(), l.Text, args...)
}

// tail keeps the beginning of what a process says on its standard error: of a crash
// that is the reason.
type tail struct {
	mu sync.Mutex
	b  bytes.Buffer
}

const maxTail = 2 << 10

func (t *tail) Write(p []byte) (int, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if room := maxTail - t.b.Len(); room > 0 {
		t.b.Write(p[:min(room, len(p))])
	}
	return len(p), nil
}

func (t *tail) String() string {
	t.mu.Lock()
	defer t.mu.Unlock()
	line, _, _ := strings.Cut(t.b.String(), "\n\n")
	return strings.ReplaceAll(strings.TrimSpace(line), "\n", " / ")
}

var _ plugin.Closer = (*script)(nil)
