package command

import (
	"bytes"
	"fmt"
	"os"
	"strings"
	"sync"
	"syscall"
	"testing"
	"unsafe"

	"github.com/tarishi/tarishi/admin/admintest"
)

// terminalPair is a terminal and the person before it, who types with the result's
// type method once they see a text.
type terminalPair struct {
	person, terminal *os.File
	mu               sync.Mutex
	changed          *sync.Cond
	seen             bytes.Buffer
	over             bool
}

func openTerminal(t *testing.T) *terminalPair {
	t.Helper()
	m, err := os.OpenFile("/dev/ptmx", os.O_RDWR|syscall.O_NOCTTY, 0)
	if err != nil {
		t.Skipf("no pseudo-terminals here: %v", err)
	}
	var unlock, n int32
	if !ioctl(m, syscall.TIOCSPTLCK, unsafe.Pointer(&unlock)) || !ioctl(m, syscall.TIOCGPTN, unsafe.Pointer(&n)) {
		t.Skip("no pseudo-terminals here")
	}
	s, err := os.OpenFile(fmt.Sprintf("/dev/pts/%d", n), os.O_RDWR|syscall.O_NOCTTY, 0)
	if err != nil {
		t.Skipf("no pseudo-terminals here: %v", err)
	}
	sz := struct{ lines, columns, x, y uint16 }{24, 100, 0, 0}
	ioctl(s, syscall.TIOCSWINSZ, unsafe.Pointer(&sz))
	p := &terminalPair{person: m, terminal: s}
	p.changed = sync.NewCond(&p.mu)
	go func() { // ends when the terminal's last user closes it
		b := make([]byte, 4096)
		for {
			n, err := m.Read(b)
			p.mu.Lock()
			p.seen.Write(b[:n])
			p.over = err != nil
			p.changed.Broadcast()
			p.mu.Unlock()
			if err != nil {
				return
			}
		}
	}()
	return p
}

// when types keys once text has been shown.
func (p *terminalPair) when(text, keys string) {
	p.mu.Lock()
	for !strings.Contains(p.seen.String(), text) && !p.over {
		p.changed.Wait()
	}
	p.mu.Unlock()
	_, _ = p.person.WriteString(keys)
}

// all closes the terminal and returns everything it showed.
func (p *terminalPair) all() string {
	_ = p.terminal.Close()
	p.mu.Lock()
	defer p.mu.Unlock()
	for !p.over {
		p.changed.Wait()
	}
	_ = p.person.Close()
	return strings.ReplaceAll(p.seen.String(), "\r\n", "\n")
}

// rm and bounce ask a person, and only a yes is a yes.
func TestConfirmation(t *testing.T) {
	for _, c := range []struct {
		answer string
		left   int
	}{{"n\n", 6}, {"\n", 6}, {"yess\n", 6}, {"\x04", 6}, {"y\n", 3}, {" YES\n", 3}} {
		url, q := adminNode(t)
		p := openTerminal(t)
		code := make(chan int, 1)
		go func() {
			code <- command(p.terminal, p.terminal, "queue", "rm", "--destination", "gmail.example", "--admin", url)
		}()
		p.when("[y/N] ", c.answer)
		got := <-code
		shown := p.all()
		if left := len(q.Snapshot()); left != c.left || (got == 0) != (c.left == 3) {
			t.Errorf("%q: %d left, exit %d\n%s", c.answer, left, got, shown)
		}
		if !strings.Contains(shown, "Remove 3 deliveries (destination gmail.example) without telling the senders? [y/N]") {
			t.Errorf("asked: %q", shown)
		}
	}
}

// --yes, a harmless verb, and a filter that matches nothing ask nothing.
func TestNoConfirmation(t *testing.T) {
	id := admintest.SampleID
	for _, args := range [][]string{{"rm", "--yes", id(1)}, {"bounce", "-y", id(1)}, {"hold", id(1)}, {"rm", id(8)}} {
		url, _ := adminNode(t)
		p := openTerminal(t)
		command(p.terminal, p.terminal, append([]string{"queue", "--admin", url}, args...)...)
		if shown := p.all(); strings.Contains(shown, "[y/N]") {
			t.Errorf("%v asked: %s", args, shown)
		}
	}
}

// top takes the whole screen, shows rates from the second look on, ends with q and
// gives the screen back.
func TestTopOnTerminal(t *testing.T) {
	url, _ := adminNode(t)
	p := openTerminal(t)
	code := make(chan int, 1)
	go func() { code <- command(p.terminal, p.terminal, "top", "--interval", "100ms", "--admin", url) }()
	p.when("120.0", "xq")
	if got := <-code; got != 0 {
		t.Errorf("exit %d", got)
	}
	restored := func() bool {
		var a syscall.Termios
		ioctl(p.terminal, syscall.TCGETS, unsafe.Pointer(&a))
		return a.Lflag&syscall.ICANON != 0 && a.Lflag&syscall.ECHO != 0
	}()
	shown := p.all()
	if !restored || !strings.HasPrefix(shown, "\x1b[?1049h\x1b[?25l") || !strings.HasSuffix(shown, "\x1b[?25h\x1b[?1049l") {
		t.Errorf("the screen was not given back: %q", shown)
	}
	if strings.Contains(shown, "\x1b[2J<script>") {
		t.Error("a remote's reply reached the terminal as it is")
	}
}

// A message body on a terminal cannot command it; in a pipe it is octet for octet
// (see testdata/show.txt).
func TestShowBodyOnTerminal(t *testing.T) {
	url, _ := adminNode(t)
	p := openTerminal(t)
	command(p.terminal, p.terminal, "queue", "show", admintest.SampleID(0), "--body", "--admin", url)
	if shown := p.all(); strings.Contains(shown, "\x1b") || !strings.Contains(shown, "Hello") {
		t.Errorf("%q", shown)
	}
}

func TestDevNullIsNoTerminal(t *testing.T) {
	f, err := os.Open("/dev/null")
	if err != nil {
		t.Skip(err)
	}
	defer func() { _ = f.Close() }()
	if tty(f) || tty(&bytes.Buffer{}) || tty(nil) {
		t.Error("took something for a terminal")
	}
}
