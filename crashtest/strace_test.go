package crashtest

import (
	"bufio"
	"math/rand/v2"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"
)

// traced runs a program under strace, sends it messages over a few connections at once, and returns the faults found.
func traced(t *testing.T, exe string, env ...string) []string {
	t.Helper()
	strace, err := exec.LookPath("strace")
	if err != nil {
		t.Skip("strace is not installed")
	}
	if out, err := exec.Command(strace, "-f", "-e", "trace=fsync", "/bin/true").CombinedOutput(); err != nil {
		t.Skipf("strace may not trace here: %v: %s", err, out)
	}
	seed := newSeed(t)
	l := newLedger()
	sink := newSink(t, l, seed)
	sink.set(mood{lag: 500 * time.Millisecond}) // so that few messages are delivered, and gone from the store, before their 250
	n := newNode(t, exe, t.TempDir()+"/data", sink.addr, env...)
	log := filepath.Join(t.TempDir(), "trace")
	// -D: strace is the grandchild and the program our child, so that signals reach the program. -s: a whole chunk of a body.
	n.wrap = []string{strace, "-D", "-f", "-y", "-s", "400000", "--seccomp-bpf", "-e", "signal=none", "-o", log,
		"-e", "trace=write,pwrite64,writev,pwritev,pwritev2,sendto,sendmsg,fsync,fdatasync,syncfs,unlink,unlinkat"}
	n.start()
	src := &source{addr: n.smtp, ledger: l, large: 4, domains: 4}
	var mu sync.Mutex
	var promises []promise
	var wg sync.WaitGroup
	for i := range 4 {
		wg.Go(func() {
			conn, err := net.Dial("tcp", n.smtp)
			if err != nil {
				t.Error(err)
				return
			}
			defer conn.Close()
			c := &wire{conn: conn, r: bufio.NewReader(conn)}
			c.reply()
			c.cmd("EHLO source.test")
			rng := rand.New(rand.NewPCG(seed, uint64(i)))
			for k := range 12 {
				id := "trace-" + string(rune('a'+i)) + "-" + string(rune('a'+k)) + "-end"
				a, err := src.send(c, rng, id)
				if err != nil || a.message == "" {
					t.Errorf("%s: %v, message id %q", id, err, a.message)
					return
				}
				mu.Lock()
				promises = append(promises, promise{[]string{"X-Crash-Id: " + id, "X-Crash-End: " + id}, a.message})
				mu.Unlock()
			}
			c.cmd("QUIT")
		})
	}
	wg.Wait()
	n.stop()
	var calls []*call
	// The tracer ends a moment after the program: its log is whole when it no longer grows and the last line is the exit.
	n.await(30*time.Second, "strace ends its log", func() bool {
		text, err := os.ReadFile(log)
		return err == nil && strings.Contains(string(text[max(0, len(text)-200):]), "+++ exited with 0 +++")
	})
	f, err := os.Open(log)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if calls, err = readTrace(f); err != nil {
		t.Fatal(err)
	}
	t.Logf("%d calls, %d promises", len(calls), len(promises))
	if len(promises) == 0 {
		t.Fatal("no promise was made")
	}
	faults, gone := unjustified(calls, n.data, promises)
	if gone > len(promises)/2 {
		t.Errorf("%d of %d messages were delivered before their 250: too few are left to judge by", gone, len(promises))
	}
	return faults
}

// Every 250 after the dot is written to the socket after a sync of the file that holds the message, and that sync began
// after the message was written to it: header and end, small bodies and large ones.
func TestB11_fsyncPrecedes250(t *testing.T) {
	report(t, traced(t, buildProduct(t)))
}

// The same on fakes: one that syncs, one that does not, one that says 250 first.
func TestFsyncPrecedes250_harness(t *testing.T) {
	self := fakeProgram(t)
	for _, c := range []struct {
		faults string
		found  bool
	}{{"", false}, {"nosync", true}, {"early", true}} {
		t.Run("fake "+c.faults, func(t *testing.T) {
			t.Parallel()
			faults := traced(t, self, "CRASHTEST_FAKE="+c.faults)
			if !c.found {
				report(t, faults)
			} else if len(faults) == 0 {
				t.Error("the fault was not found")
			}
		})
	}
}

// A made-up trace, to the letter: what justifies a 250 and what does not.
func TestTrace(t *testing.T) {
	const write = `7 pwrite64(12</d/READY/1.blk>, "..X-Crash-Id: c1\r\n..", 20, 0) = 20`
	const said = `9 write(8<socket:[55]>, "250 2.0.0 stored as M1\r\n", 24) = 24`
	for _, c := range []struct {
		name  string
		trace []string
		good  bool
	}{
		{"write, sync, 250", []string{write, `8 fsync(12</d/READY/1.blk>) = 0`, said}, true},
		{"syncfs of the folder", []string{write, `8 syncfs(4</d>) = 0`, said}, true},
		{"no sync", []string{write, said}, false},
		{"sync after the 250", []string{write, said, `8 fsync(12</d/READY/1.blk>) = 0`}, false},
		{"sync before the write", []string{`8 fsync(12</d/READY/1.blk>) = 0`, write, said}, false},
		{"sync of another file", []string{write, `8 fsync(13</d/WAIT/1.blk>) = 0`, said}, false},
		{"the sync fails", []string{write, `8 fsync(12</d/READY/1.blk>) = -1 EIO (Input/output error)`, said}, false},
		{"250 before the write", []string{said, write, `8 fsync(12</d/READY/1.blk>) = 0`}, false},
		{"the sync begins within the write", []string{
			`7 pwrite64(12</d/READY/1.blk>, "X-Crash-Id: c1\r\n", 20, 0 <unfinished ...>`, `8 fsync(12</d/READY/1.blk> <unfinished ...>`,
			`7 <... pwrite64 resumed>) = 20`, `8 <... fsync resumed>) = 0`, said}, false},
		{"the sync ends after the 250 began", []string{write, `8 fsync(12</d/READY/1.blk> <unfinished ...>`, said, `8 <... fsync resumed>) = 0`}, false},
		{"all of it interrupted, and in order", []string{
			`7 pwrite64(12</d/READY/1.blk>, "X-Crash-Id: c1\r\n", 20, 0 <unfinished ...>`, `7 <... pwrite64 resumed>) = 20`,
			`8 fsync(12</d/READY/1.blk> <unfinished ...>`, `8 <... fsync resumed>) = 0`, said}, true},
		{"delivered and removed before the 250", []string{write, `7 unlinkat(AT_FDCWD</x>, "/d/READY/1.blk", 0) = 0`, said}, true},
		{"another file removed", []string{write, `7 unlinkat(AT_FDCWD</x>, "/d/READY/2.blk", 0) = 0`, said}, false},
		{"the 250 is not in the trace", []string{write, `8 fsync(12</d/READY/1.blk>) = 0`}, false},
		{"the message on its way out is no 250", []string{write, `9 write(8<socket:[55]>, "Received: id M1; 250 ", 24) = 24`}, false},
		{"with addresses in the descriptor", []string{write, `8 fsync(12</d/READY/1.blk>) = 0`,
			`9 write(8<TCP:[127.0.0.1:25->127.0.0.1:40]>, "250 2.0.0 stored as M1\r\n", 24) = 24`}, true},
	} {
		calls, err := readTrace(strings.NewReader(strings.Join(c.trace, "\n") + "\n"))
		if err != nil {
			t.Fatal(err)
		}
		faults, _ := unjustified(calls, "/d", []promise{{[]string{"X-Crash-Id: c1"}, "M1"}})
		if (len(faults) == 0) != c.good {
			t.Errorf("%s: %v, want justified: %v", c.name, faults, c.good)
		}
	}
}
