package bench

import (
	"io"
	"net"
	"os"
	"sync"
	"syscall"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"
)

// rawNow is CLOCK_MONOTONIC_RAW: no daemon that keeps the time right ever touches it.
func rawNow() int64 { return clock(unix.CLOCK_MONOTONIC_RAW) }

func clock(id int32) int64 {
	var ts unix.Timespec
	if err := unix.ClockGettime(id, &ts); err != nil {
		return 0 // the two clocks asked for here exist on every Linux
	}
	return ts.Nano()
}

// stampArrivals asks the kernel to stamp what comes in on connections of ln.
func stampArrivals(ln net.Listener) {
	tcp, ok := ln.(*net.TCPListener)
	if !ok {
		return
	}
	if raw, err := tcp.SyscallConn(); err == nil {
		// Where the kernel will not, arrivals are stamped when they are read.
		_ = raw.Control(func(fd uintptr) {
			_ = unix.SetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_TIMESTAMPNS, 1)
		})
	}
}

// accepted is when a connection that has just been taken from its listener was made:
// when the last packet of its handshake came in, which the kernel knows to a tick or
// two. It matters where this process was slow to take it.
func accepted(conn net.Conn) int64 {
	now := rawNow()
	tcp, ok := conn.(*net.TCPConn)
	if !ok {
		return now
	}
	raw, err := tcp.SyscallConn()
	if err != nil {
		return now
	}
	var waited time.Duration
	_ = raw.Control(func(fd uintptr) {
		if info, err := unix.GetsockoptTCPInfo(int(fd), unix.IPPROTO_TCP, unix.TCP_INFO); err == nil {
			waited = time.Duration(info.Last_ack_recv) * time.Millisecond
		}
	})
	// The stamp may be some milliseconds late, but it is never early: two connections
	// must not look closer than they were because of the second one's.
	if waited -= tick() + time.Millisecond; waited < 0 || waited > time.Minute {
		return now
	}
	return now - int64(waited)
}

// tick is how often the kernel's coarse clock goes on: 1 to 10 ms.
var tick = sync.OnceValue(func() time.Duration {
	var ts unix.Timespec
	if err := unix.ClockGetres(unix.CLOCK_MONOTONIC_COARSE, &ts); err != nil || ts.Nano() <= 0 {
		return slowestTick
	}
	return time.Duration(ts.Nano())
})

// arrivalConn knows when the octets of its last Read came in: by the kernel's stamp and
// not by when this process got to run, so that a busy machine does not make two
// transactions look closer than they were.
type arrivalConn struct {
	*net.TCPConn
	raw syscall.RawConn
	at  int64
	oob [64]byte
}

func withArrivals(conn net.Conn) (net.Conn, func() int64) {
	if tcp, ok := conn.(*net.TCPConn); ok {
		if raw, err := tcp.SyscallConn(); err == nil {
			a := &arrivalConn{TCPConn: tcp, raw: raw}
			return a, func() int64 { return a.at }
		}
	}
	return conn, rawNow
}

func (a *arrivalConn) Read(p []byte) (int, error) {
	if len(p) == 0 {
		return 0, nil
	}
	var n, oobn int
	var failed error
	err := a.raw.Read(func(fd uintptr) bool {
		for {
			n, oobn, _, _, failed = unix.Recvmsg(int(fd), p, a.oob[:], 0)
			if failed != unix.EINTR {
				return failed != unix.EAGAIN
			}
		}
	})
	switch {
	case err != nil:
		return 0, err
	case failed != nil:
		return 0, os.NewSyscallError("recvmsg", failed)
	case n == 0:
		a.at = rawNow()
		return 0, io.EOF
	}
	a.at = rawNow() - waited(a.oob[:oobn])
	return n, nil
}

// waited is for how long octets with this control message have lain in the kernel.
func waited(oob []byte) int64 {
	header := syscall.CmsgLen(0)
	if len(oob) < header+int(unsafe.Sizeof(unix.Timespec{})) {
		return 0
	}
	h := (*unix.Cmsghdr)(unsafe.Pointer(&oob[0]))
	if h.Level != unix.SOL_SOCKET || h.Type != unix.SO_TIMESTAMPNS {
		return 0
	}
	came := (*unix.Timespec)(unsafe.Pointer(&oob[header])).Nano()
	// The kernel stamps with the wall clock, which may have been set in between.
	if d := clock(unix.CLOCK_REALTIME) - came; d > 0 && d < int64(time.Minute) {
		return d
	}
	return 0
}
