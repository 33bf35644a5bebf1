//go:build unix

package worker

import (
	"encoding/binary"
	"os"
	"sync/atomic"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"
)

// slate is eight octets that the node can read even when this process is dead: the
// number of the call that JavaScript runs for.
type slate struct{ word *atomic.Uint64 }

// slateFile is the descriptor of the shared file, the first behind standard error.
const slateFile = 3

func (s *slate) open() {
	b, err := unix.Mmap(slateFile, 0, 8, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_SHARED)
	if err != nil {
		return // then the node does not know of which call it died
	}
	s.word = (*atomic.Uint64)(unsafe.Pointer(&b[0]))
}

func (s *slate) write(seq uint64) {
	if s.word == nil {
		return
	}
	// In the order of octets in which the node reads it.
	var b [8]byte
	binary.LittleEndian.PutUint64(b[:], seq)
	s.word.Store(binary.NativeEndian.Uint64(b[:]))
}

// polled is f for the runtime's poller: a goroutine that waits for it then keeps no
// thread, nor has the others wait until somebody notices.
func polled(f *os.File) *os.File {
	fd := f.Fd()
	if err := unix.SetNonblock(int(fd), true); err != nil {
		return f
	}
	return os.NewFile(fd, f.Name())
}

// cpuTime is how long this process has computed.
func cpuTime() (time.Duration, bool) {
	var u unix.Rusage
	if err := unix.Getrusage(unix.RUSAGE_SELF, &u); err != nil {
		return 0, false
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano()), true
}

// restrict has the kernel refuse what the watch does not catch in time: one huge
// allocation. Go's runtime keeps more than its heap, so there is room beyond the
// bound.
func restrict(memory int64) {
	limit := uint64(memory) + 1<<30
	unix.Setrlimit(unix.RLIMIT_DATA, &unix.Rlimit{Cur: limit, Max: limit})
	unix.Setrlimit(unix.RLIMIT_CORE, &unix.Rlimit{})
}
