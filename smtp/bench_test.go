package smtp

import (
	"bufio"
	"context"
	"io"
	"net"
	"runtime"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/tarishi/tarishi/mail"
)

// discard takes every message and forgets it.
type discard struct{}

var discarded = mail.R(250, "2.0.0", "Queued as 01K9ZZZZZZZZZZZZZZZZ")

func (discard) Connect(context.Context, *Conn) (Session, *mail.Reply)        { return discard{}, nil }
func (discard) Hello(context.Context, string, bool) *mail.Reply              { return nil }
func (discard) Keywords() []string                                           { return nil }
func (discard) Mail(context.Context, mail.Address, *MailOptions) *mail.Reply { return nil }
func (discard) Rcpt(context.Context, mail.Address, *RcptOptions) *mail.Reply { return nil }
func (discard) Data(context.Context) *mail.Reply                             { return nil }
func (discard) Command(context.Context, string, string) *mail.Reply          { return nil }
func (discard) Reset(context.Context)                                        {}
func (discard) Close(context.Context)                                        {}
func (discard) Message(_ context.Context, r *Body) mail.Reply {
	_, _ = r.WriteTo(io.Discard)
	return discarded
}

// cpuTime is what the process has used.
func cpuTime() time.Duration {
	var u syscall.Rusage
	_ = syscall.Getrusage(syscall.RUSAGE_SELF, &u)
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

// benchServe sends b.N messages of size octets over conns loopback connections,
// MAIL, RCPT and DATA in one write. The sender is as thin as it can be, but its
// system calls are in the CPU figure too.
func benchServe(b *testing.B, size, conns, idle int) {
	addr := serveOn(b, &Server{Hostname: "mx.test", Handler: discard{}, Limits: Limits{PerIP: -1}})
	buf := make([]byte, 4096)
	for range idle {
		c, err := net.Dial("tcp", addr)
		if err != nil {
			b.Fatal(err)
		}
		defer c.Close()
		for _, line := range []string{"", "EHLO x\r\n"} {
			_, _ = io.WriteString(c, line)
			if _, err := c.Read(buf); err != nil {
				b.Fatal(err)
			}
		}
	}
	body := strings.Repeat(strings.Repeat("x", 70)+"\r\n", size/72)
	message := []byte("Subject: bench\r\n\r\n" + body + ".\r\n")
	envelope := []byte("MAIL FROM:<sender@bench.test> SIZE=5120\r\nRCPT TO:<recipient@example.test>\r\nDATA\r\n")
	var wg sync.WaitGroup
	b.ReportAllocs()
	b.SetBytes(int64(len(message)))
	type client struct {
		c  net.Conn
		in *bufio.Reader
	}
	var clients []client
	for range conns {
		c, err := net.Dial("tcp", addr)
		if err != nil {
			b.Fatal(err)
		}
		defer c.Close()
		in := bufio.NewReader(c)
		line := func() { _, _ = in.ReadSlice('\n') }
		line()
		_, _ = io.WriteString(c, "EHLO x\r\n")
		for {
			l, err := in.ReadSlice('\n')
			if err != nil || l[3] == ' ' {
				break
			}
		}
		clients = append(clients, client{c, in})
	}
	b.ResetTimer()
	start := cpuTime()
	for i, cl := range clients {
		n := b.N / conns
		if i < b.N%conns {
			n++
		}
		wg.Go(func() {
			for range n {
				_, _ = cl.c.Write(envelope)
				for range 3 {
					_, _ = cl.in.ReadSlice('\n')
				}
				_, _ = cl.c.Write(message)
				if l, err := cl.in.ReadSlice('\n'); err != nil || l[0] != '2' {
					b.Errorf("%q, %v", l, err)
					return
				}
			}
		})
	}
	wg.Wait()
	b.ReportMetric(float64((cpuTime()-start).Nanoseconds())/float64(b.N), "cpu-ns/op")
}

func BenchmarkServe5K(b *testing.B)   { benchServe(b, 5<<10, 16, 0) }
func BenchmarkServe100K(b *testing.B) { benchServe(b, 100<<10, 16, 0) }

// The same from 500 connections, alone and beside 9,000 that say nothing.
func BenchmarkServeBusy(b *testing.B)       { benchServe(b, 5<<10, 500, 0) }
func BenchmarkServeBesideIdle(b *testing.B) { benchServe(b, 5<<10, 500, 9000) }

// BenchmarkConnect is a whole visit that brings no mail: what the door costs.
func BenchmarkConnect(b *testing.B) {
	addr := serveOn(b, &Server{Hostname: "mx.test", Handler: discard{}, Limits: Limits{PerIP: -1}})
	buf := make([]byte, 4096)
	b.ReportAllocs()
	b.ResetTimer()
	start := cpuTime()
	for range b.N {
		c, err := net.Dial("tcp", addr)
		if err != nil {
			b.Fatal(err)
		}
		_, _ = c.Read(buf)
		_, _ = io.WriteString(c, "QUIT\r\n")
		_, _ = io.ReadFull(c, buf[:1])
		c.Close()
	}
	b.ReportMetric(float64((cpuTime()-start).Nanoseconds())/float64(b.N), "cpu-ns/op")
}

// BenchmarkSenderAlone is the sender of benchServe against a peer that only counts
// octets: take it from BenchmarkServe5K and the server's own part is left.
func BenchmarkSenderAlone(b *testing.B) {
	ours, theirs := tcpPair(b)
	message := make([]byte, 5142)
	envelope := make([]byte, 90)
	go func() {
		buf := make([]byte, 32<<10)
		replies := make([]byte, 80)
		for {
			for _, want := range []int{len(envelope), len(message)} {
				for n := 0; n < want; {
					m, err := theirs.Read(buf)
					if err != nil {
						return
					}
					n += m
				}
				_, _ = theirs.Write(replies)
			}
		}
	}()
	buf := make([]byte, 100)
	b.ReportAllocs()
	b.ResetTimer()
	start := cpuTime()
	for range b.N {
		_, _ = ours.Write(envelope)
		_, _ = io.ReadFull(ours, buf[:80])
		_, _ = ours.Write(message)
		_, _ = io.ReadFull(ours, buf[:80])
	}
	b.ReportMetric(float64((cpuTime()-start).Nanoseconds())/float64(b.N), "cpu-ns/op")
}

func tcpPair(b *testing.B) (ours, theirs net.Conn) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		b.Fatal(err)
	}
	defer l.Close()
	ours, err = net.Dial("tcp", l.Addr().String())
	if err != nil {
		b.Fatal(err)
	}
	theirs, err = l.Accept()
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { ours.Close(); theirs.Close() })
	return ours, theirs
}

// BenchmarkScan is the scanner alone on 32 KiB of 72-octet lines.
func BenchmarkScan(b *testing.B) {
	in := []byte(strings.Repeat(strings.Repeat("x", 70)+"\r\n", 455))
	s := scanner{dots: true, maxLine: 1000, maxSize: 1 << 60}
	b.SetBytes(int64(len(in)))
	for range b.N {
		s.scan(in)
	}
}

// BenchmarkIdle reports what an idle connection costs the server: heap, stacks
// and the socket's Go side, after EHLO and one message, 10,000 connections or as
// many as the descriptors allow.
func BenchmarkIdle(b *testing.B) {
	var lim syscall.Rlimit
	_ = syscall.Getrlimit(syscall.RLIMIT_NOFILE, &lim)
	n := min(10000, int(lim.Cur)/2-100)
	addr := serveOn(b, &Server{Hostname: "mx.test", Handler: discard{}, Limits: Limits{PerIP: -1}})
	memory := func() uint64 {
		runtime.GC()
		runtime.GC()
		var m runtime.MemStats
		runtime.ReadMemStats(&m)
		return m.HeapInuse + m.StackInuse
	}
	for range b.N {
		conns := make([]*net.TCPConn, 0, n)
		before := memory()
		buf := make([]byte, 4096)
		for range n {
			c, err := net.Dial("tcp", addr)
			if err != nil {
				b.Fatal(err)
			}
			conns = append(conns, c.(*net.TCPConn))
			for _, line := range []string{"", "EHLO x\r\n", "MAIL FROM:<a@b.test>\r\nRCPT TO:<c@d.test>\r\nDATA\r\n", "text\r\n.\r\n"} {
				_, _ = io.WriteString(c, line)
				if _, err := c.Read(buf); err != nil {
					b.Fatal(err)
				}
			}
		}
		// The dialling side's descriptors (about 300 octets each) are counted too.
		b.ReportMetric(float64(memory()-before)/float64(n), "B/conn")
		b.ReportMetric(float64(n), "conns")
		for _, c := range conns {
			c.Close()
		}
	}
}
