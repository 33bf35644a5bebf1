package smtp

import (
	"bytes"
	"context"
	"io"
	"net"
	"strings"
	"syscall"
	"testing"

	"github.com/tarishi/tarishi/mail"
)

// benchSink answers as a host would and looks at nothing: what is measured beside
// the client is the kernel and two reads and writes a message.
func benchSink(conn net.Conn, extensions string, bodySize int) {
	defer conn.Close()
	buf := make([]byte, 256<<10)
	say := func(s string) { _, _ = io.WriteString(conn, s) }
	until := func(end string) bool {
		for n := 0; ; {
			m, err := conn.Read(buf[n:])
			if err != nil {
				return false
			}
			if n += m; bytes.HasSuffix(buf[:n], []byte(end)) {
				return true
			}
		}
	}
	say("220 mx.test ESMTP\r\n")
	until("\r\n")
	say("250-mx.test\r\n" + extensions + "250 PIPELINING\r\n")
	for {
		if strings.Contains(extensions, "CHUNKING") {
			if !until("\r\n") {
				return
			}
			say("250 2.1.0 OK\r\n250 2.1.5 OK\r\n")
			n, header := 0, len("BDAT 5120 LAST\r\n")
			for n < bodySize+header {
				m, err := conn.Read(buf[n:])
				if err != nil {
					return
				}
				n += m
			}
			say("250 2.0.0 Taken as 01K9ABCDEFGH\r\n")
			continue
		}
		if !until("DATA\r\n") {
			return
		}
		say("250 2.1.0 OK\r\n250 2.1.5 OK\r\n354 Go ahead\r\n")
		if !until("\r\n.\r\n") {
			return
		}
		say("250 2.0.0 Taken as 01K9ABCDEFGH\r\n")
	}
}

// BenchmarkSend5K sends 5 KiB messages over one loopback connection to a sink in
// the same process: ns/op is both sides with one at work at a time, cpu-µs/op the
// whole process, allocs/op the client alone (the sink makes none).
func BenchmarkSend5K(b *testing.B) {
	body := []byte("From: <a@us.test>\r\nTo: <b@mx.test>\r\nSubject: benchmark\r\n\r\n")
	for len(body)+78 <= 5120 {
		body = append(body, strings.Repeat("0123456789", 7)+"abcdef\r\n"...)
	}
	body = append(body, bytes.Repeat([]byte("z"), 5120-len(body)-2)...)
	body = append(body, "\r\n"...)
	cancelable, cancel := context.WithCancel(context.Background())
	defer cancel()
	for _, bc := range []struct {
		name, extensions string
		ctx              context.Context
		stream           bool
	}{
		{"DATA", "250-SIZE 10000000\r\n250-8BITMIME\r\n", context.Background(), false},
		{"DATA/cancelable", "250-SIZE 10000000\r\n250-8BITMIME\r\n", cancelable, false},
		{"DATA/stream", "250-SIZE 10000000\r\n250-8BITMIME\r\n", context.Background(), true},
		{"BDAT", "250-SIZE 10000000\r\n250-8BITMIME\r\n250-CHUNKING\r\n", context.Background(), false},
	} {
		b.Run(bc.name, func(b *testing.B) {
			l, err := net.Listen("tcp", "127.0.0.1:0")
			if err != nil {
				b.Fatal(err)
			}
			defer l.Close()
			done := make(chan struct{})
			go func() {
				defer close(done)
				if conn, err := l.Accept(); err == nil {
					benchSink(conn, bc.extensions, len(body))
				}
			}()
			conn, err := net.Dial("tcp", l.Addr().String())
			if err != nil {
				b.Fatal(err)
			}
			c, err := NewClient(context.Background(), conn, ClientOptions{Hello: "us.test"})
			if err != nil {
				b.Fatal(err)
			}
			x := &Transaction{
				Sender:     mail.NewAddress("a@us.test"),
				Recipients: []mail.Recipient{{Address: mail.NewAddress("b@mx.test")}},
				Bytes:      body,
				BeforeDot:  func(context.Context) error { return nil },
			}
			if bc.stream {
				r := bytes.NewReader(body)
				x.Bytes, x.Data = nil, func() (io.Reader, error) { r.Reset(body); return r, nil }
			}
			b.ReportAllocs()
			b.SetBytes(int64(len(body)))
			before := benchCPU()
			for b.Loop() {
				res, err := c.Send(bc.ctx, x)
				if err != nil || !res.Recipients[0].Delivered() || !res.Reusable {
					b.Fatalf("%+v, %v", res, err)
				}
			}
			b.ReportMetric(float64(benchCPU()-before)/1e3/float64(b.N), "cpu-µs/op")
			c.Close()
			<-done
		})
	}
}

// benchCPU returns the CPU time of the process, user and system, in nanoseconds.
func benchCPU() int64 {
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		return 0
	}
	return u.Utime.Nano() + u.Stime.Nano()
}
