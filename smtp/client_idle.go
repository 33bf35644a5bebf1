package smtp

import (
	"crypto/tls"
	"errors"
	"os"
	"syscall"
	"time"
)

// Usable tells whether a connection that lay idle may be used again: it is open,
// and the remote has said nothing unasked (a 421, RFC 5321 §3.8). It does not
// wait. A host may still hang up a moment later; then Send says Stale.
// When Usable is false the connection is closed.
func (c *Client) Usable() bool {
	if c.closed {
		return false
	}
	if c.r.buffered() == 0 && c.quiet() {
		return true
	}
	c.Close()
	return false
}

// quiet tells whether nothing is waiting to be read, end of file included.
func (c *Client) quiet() bool {
	deadline := time.Unix(1, 0)
	if s, ok := c.raw.(syscall.Conn); ok {
		if !socketQuiet(c.raw.SetReadDeadline, s) {
			return false
		}
		if _, isTLS := c.conn.(*tls.Conn); !isTLS {
			return true
		}
		// TLS may hold a record it has read already; past deadlines keep it from reading more.
	} else {
		// A connection in memory cannot be asked: what its peer writes is seen only by
		// a reader. A millisecond is enough for a peer that is waiting already.
		deadline = time.Now().Add(time.Millisecond)
	}
	if err := c.conn.SetReadDeadline(deadline); err != nil {
		return false
	}
	var one [1]byte
	n, err := c.conn.Read(one[:])
	return n == 0 && errors.Is(err, os.ErrDeadlineExceeded)
}

// socketQuiet peeks at the socket without waiting.
func socketQuiet(setReadDeadline func(time.Time) error, s syscall.Conn) bool {
	if err := setReadDeadline(time.Time{}); err != nil { // an old deadline would answer for the socket
		return false
	}
	rc, err := s.SyscallConn()
	if err != nil {
		return false
	}
	quiet := false
	err = rc.Read(func(fd uintptr) bool {
		var one [1]byte
		_, _, err := syscall.Recvfrom(int(fd), one[:], syscall.MSG_PEEK|syscall.MSG_DONTWAIT)
		quiet = err == syscall.EAGAIN || err == syscall.EINTR
		return true
	})
	return err == nil && quiet
}
