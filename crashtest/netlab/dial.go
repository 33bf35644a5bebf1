package netlab

import (
	"net"
	"path/filepath"
	"runtime"
	"time"

	"golang.org/x/sys/unix"
)

// Dial connects from the host, as a program on it would. What it returns may be used from anywhere.
func (h *Host) Dial(addr string, patience time.Duration) (conn net.Conn, err error) {
	err = h.within(func() error {
		// One address and no name: everything happens on this thread, which stands in the host.
		conn, err = (&net.Dialer{Timeout: patience, FallbackDelay: -1}).Dial("tcp4", addr)
		return err
	})
	return conn, err
}

// Listen listens on the host.
func (h *Host) Listen(port int) (ln net.Listener, err error) {
	err = h.within(func() error {
		ln, err = net.Listen("tcp4", net.JoinHostPort(h.Addr.String(), itoa(port)))
		return err
	})
	return ln, err
}

// within does something with the calling thread moved to the host.
func (h *Host) within(do func() error) error {
	runtime.LockOSThread()
	here, err := unix.Open("/proc/thread-self/ns/net", unix.O_RDONLY|unix.O_CLOEXEC, 0)
	if err != nil {
		runtime.UnlockOSThread()
		return err
	}
	defer unix.Close(here)
	there, err := unix.Open(filepath.Join("/run/netns", h.Name), unix.O_RDONLY|unix.O_CLOEXEC, 0)
	if err == nil {
		defer unix.Close(there)
		err = unix.Setns(there, unix.CLONE_NEWNET)
	}
	if err != nil {
		runtime.UnlockOSThread()
		return err
	}
	err = do()
	if back := unix.Setns(here, unix.CLONE_NEWNET); back != nil {
		return back // the thread is lost to the host: it stays locked and ends with its goroutine
	}
	runtime.UnlockOSThread()
	return err
}
