package api

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"strconv"
	"sync"
	"syscall"
	"time"

	"github.com/dop251/goja"
)

// Bounds of a script's sockets. Whatever the script does, none waits for ever.
const (
	maxSockets     = 256              // of one runtime
	connectTimeout = 30 * time.Second // for all addresses of a host together
	idleTimeout    = 5 * time.Minute  // nothing came in, and nothing went out
	readSize       = 64 << 10
	maxQueued      = 64 << 20 // octets that wait to be written
)

// socket is a connection that a script has made. Two goroutines work it, one for what
// comes in and one for what goes out; both end with it.
type socket struct {
	r     *Runtime
	owner Owner
	on    goja.Callable // (event, ...) in the script
	conn  net.Conn
	stop  context.CancelFunc
	idle  *time.Timer

	ack chan struct{} // the script has taken what came in, and wants more

	mu     sync.Mutex
	queue  []outgoing
	queued int
	more   *sync.Cond
	ending bool
	shut   bool
}

type outgoing struct {
	b    []byte
	done goja.Value
}

// nativeNet is what js/net.js leaves to Go.
func nativeNet(r *Runtime) any {
	vm := r.vm
	o := vm.NewObject()
	o.Set("isIP", func(s string) int {
		ip, err := netip.ParseAddr(s)
		switch {
		case err != nil:
			return 0
		case ip.Is4():
			return 4
		}
		return 6
	})
	o.Set("connect", func(c goja.FunctionCall) goja.Value {
		host, port, unix := c.Argument(0).String(), c.Argument(1).ToInteger(), c.Argument(2)
		on, ok := goja.AssertFunction(c.Argument(3))
		if !ok {
			panic(vm.NewTypeError("no function for events"))
		}
		if len(r.sockets) >= maxSockets {
			r.throw("EMFILE", "connect EMFILE: more than %d sockets", maxSockets)
		}
		target := target{host: host, port: int(port)}
		if truthy(unix) {
			target.unix = unix.String()
		}
		if l := c.Argument(4); truthy(l) {
			ip, err := netip.ParseAddr(l.String())
			if err != nil {
				r.throw("ERR_INVALID_IP_ADDRESS", "Invalid IP address: %s", l.String())
			}
			target.local = ip
		}
		return r.connect(target, on).object()
	})
	return o
}

func (r *Runtime) connect(t target, on goja.Callable) *socket {
	ctx, stop := context.WithCancel(r.life)
	s := &socket{r: r, owner: r.owner, on: on, stop: stop, ack: make(chan struct{}, 1)}
	s.more = sync.NewCond(&s.mu)
	r.sockets[s] = true
	go s.dial(ctx, t)
	return s
}

// tell calls the script's function for events in a turn.
func (s *socket) tell(event string, args func() []goja.Value) {
	s.r.Do(s.owner, func() error {
		if event == "closed" {
			delete(s.r.sockets, s)
		}
		values := []goja.Value{s.r.vm.ToValue(event)}
		if args != nil {
			values = append(values, args()...)
		}
		_, err := s.on(goja.Undefined(), values...)
		return err
	})
}

func (s *socket) dial(ctx context.Context, t target) {
	dialing, cancel := context.WithTimeout(ctx, connectTimeout)
	defer cancel()
	conn, err := s.r.dial(dialing, t, func(ip netip.Addr) {
		s.tell("lookup", func() []goja.Value { return []goja.Value{s.r.vm.ToValue(ip.String())} })
	})
	if err == nil {
		s.mu.Lock()
		if s.shut {
			conn.Close()
			err = net.ErrClosed
		} else {
			s.conn = conn
		}
		s.mu.Unlock()
	}
	if err != nil {
		if ctx.Err() == nil {
			s.fault("connect", err, t)
		}
		s.close()
		return
	}
	s.idle = time.AfterFunc(s.r.idle, func() {
		s.fault("read", context.DeadlineExceeded, t)
		s.kill()
	})
	defer s.idle.Stop()
	s.tell("connect", func() []goja.Value {
		return []goja.Value{endpoint(s.r, conn.RemoteAddr()), endpoint(s.r, conn.LocalAddr())}
	})
	done := make(chan struct{})
	go func() { defer close(done); s.writing(t) }()
	s.reading(ctx, t)
	<-done
	s.close()
}

// fault tells the script of an error, with Node's code.
func (s *socket) fault(call string, err error, t target) {
	code := "EIO"
	var look *lookupFault
	switch {
	case errors.As(err, &look):
		code, call = dnsCode(look.err), "getaddrinfo"
	case errors.Is(err, syscall.ECONNREFUSED):
		code = "ECONNREFUSED"
	case errors.Is(err, syscall.ECONNRESET):
		code = "ECONNRESET"
	case errors.Is(err, syscall.EPIPE):
		code = "EPIPE"
	case errors.Is(err, syscall.EHOSTUNREACH):
		code = "EHOSTUNREACH"
	case errors.Is(err, syscall.ENETUNREACH):
		code = "ENETUNREACH"
	case errors.Is(err, syscall.EADDRNOTAVAIL):
		code = "EADDRNOTAVAIL"
	case errors.Is(err, syscall.ENOENT):
		code = "ENOENT"
	case errors.Is(err, syscall.EACCES):
		code = "EACCES"
	case isTimeout(err):
		code = "ETIMEDOUT"
	}
	where := net.JoinHostPort(t.host, strconv.Itoa(t.port))
	if t.unix != "" {
		where = t.unix
	}
	text := fmt.Sprintf("%s %s", call, code)
	switch call {
	case "connect":
		text += " " + where
	case "getaddrinfo":
		text += " " + t.host
	}
	s.tell("error", func() []goja.Value {
		e := s.r.fail(code, "%s", text)
		e.Set("syscall", call)
		if call == "connect" && t.unix == "" {
			e.Set("address", t.host)
			e.Set("port", t.port)
		}
		return []goja.Value{e}
	})
}

func isTimeout(err error) bool {
	var n net.Error
	return errors.As(err, &n) && n.Timeout() || errors.Is(err, context.DeadlineExceeded)
}

// reading hands over what comes in, one piece at a time, each when the script has
// taken the one before.
func (s *socket) reading(ctx context.Context, t target) {
	b := make([]byte, readSize)
	for {
		n, err := s.conn.Read(b)
		if n > 0 {
			s.idle.Reset(s.r.idle)
			piece := append([]byte(nil), b[:n]...)
			s.tell("data", func() []goja.Value { return []goja.Value{s.r.Buffer(piece)} })
			select {
			case <-s.ack:
			case <-ctx.Done():
				return
			}
		}
		switch {
		case err == nil:
		case errors.Is(err, io.EOF):
			s.tell("end", nil)
			return
		case errors.Is(err, net.ErrClosed):
			return
		default:
			if ctx.Err() == nil {
				s.fault("read", err, t)
			}
			s.kill()
			return
		}
	}
}

// writing sends what waits, and ends when the script has ended or the socket is shut.
func (s *socket) writing(t target) {
	for {
		s.mu.Lock()
		for len(s.queue) == 0 && !s.ending && !s.shut {
			s.more.Wait()
		}
		if s.shut {
			s.mu.Unlock()
			return
		}
		if len(s.queue) == 0 {
			s.mu.Unlock()
			if c, ok := s.conn.(interface{ CloseWrite() error }); ok {
				c.CloseWrite()
			}
			s.tell("finish", nil)
			return
		}
		next := s.queue[0]
		s.queue = s.queue[1:]
		s.mu.Unlock()
		_, err := s.conn.Write(next.b)
		s.idle.Reset(s.r.idle)
		s.mu.Lock()
		s.queued -= len(next.b)
		left := s.queued
		s.mu.Unlock()
		if err != nil {
			if !errors.Is(err, net.ErrClosed) {
				s.fault("write", err, t)
			}
			s.kill()
			return
		}
		s.tell("written", func() []goja.Value {
			return []goja.Value{s.r.vm.ToValue(len(next.b)), s.r.vm.ToValue(left), next.done}
		})
	}
}

// kill ends the socket at once. Safe for all goroutines, and more than once.
func (s *socket) kill() {
	s.stop()
	s.mu.Lock()
	s.shut = true
	s.more.Broadcast()
	if s.conn != nil {
		s.conn.Close()
	}
	s.mu.Unlock()
}

// close ends it, and tells the script that it has ended.
func (s *socket) close() {
	s.kill()
	s.tell("closed", nil)
}

// object is what the script has of the socket.
func (s *socket) object() goja.Value {
	o := s.r.vm.NewObject()
	o.Set("write", func(c goja.FunctionCall) goja.Value {
		b, _ := s.r.Octets(c.Argument(0))
		s.mu.Lock()
		full := s.queued+len(b) > maxQueued
		if !full {
			s.queue = append(s.queue, outgoing{append([]byte(nil), b...), c.Argument(1)})
			s.queued += len(b)
			s.more.Signal()
		}
		n := s.queued
		s.mu.Unlock()
		if full {
			s.r.throw("ENOBUFS", "write ENOBUFS: more than %d octets wait to be written", maxQueued)
		}
		return s.r.vm.ToValue(n)
	})
	o.Set("end", func() {
		s.mu.Lock()
		s.ending = true
		s.more.Signal()
		s.mu.Unlock()
	})
	o.Set("kill", s.kill)
	o.Set("more", func() {
		select {
		case s.ack <- struct{}{}:
		default:
		}
	})
	o.Set("noDelay", func(on bool) {
		if c, ok := s.conn.(*net.TCPConn); ok {
			c.SetNoDelay(on)
		}
	})
	o.Set("keepAlive", func(on bool, ms float64) {
		if c, ok := s.conn.(*net.TCPConn); ok {
			c.SetKeepAlive(on)
			if on && ms >= 1000 {
				c.SetKeepAlivePeriod(time.Duration(ms) * time.Millisecond)
			}
		}
	})
	return o
}

// endpoint is an address as the properties of a socket have it.
func endpoint(r *Runtime, a net.Addr) goja.Value {
	o := r.vm.NewObject()
	if t, ok := a.(*net.TCPAddr); ok {
		ip := t.AddrPort().Addr().Unmap()
		o.Set("address", ip.String())
		o.Set("port", t.Port)
		family := "IPv6"
		if ip.Is4() {
			family = "IPv4"
		}
		o.Set("family", family)
	}
	return o
}
