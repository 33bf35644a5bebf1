package ingress

import (
	"bytes"
	"context"
	"net"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/tarishi/tarishi/mail"
	"github.com/tarishi/tarishi/plugin"
	"github.com/tarishi/tarishi/smtp"
)

type discard struct{}

func (discard) Write(p []byte) (int, error)                                  { return len(p), nil }
func (discard) Commit(context.Context, *mail.Message, []mail.Delivery) error { return nil }
func (discard) Abort()                                                       {}

const benchMessage = "Received: from a.test (a.test [192.0.2.1]) by b.test with ESMTP id 1\r\n\tfor <u@local.test>; Sat, 7 Mar 2026 09:05:01 +0100\r\n" +
	"DKIM-Signature: v=1; a=rsa-sha256; c=relaxed/relaxed; d=a.test; s=s1;\r\n\th=from:to:subject; bh=xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx=;\r\n\tb=yyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyy\r\n" +
	"From: A <a@a.test>\r\nTo: U <u@local.test>\r\nSubject: a message of five kilobytes\r\nDate: Sat, 7 Mar 2026 09:05:00 +0100\r\nMessage-ID: <1@a.test>\r\nMIME-Version: 1.0\r\nContent-Type: text/plain\r\n\r\n"

// BenchmarkPolicy is ingress's own part of one message: trace header, header
// filter over 5 KiB, split. The engine's part is measured in package smtp.
func BenchmarkPolicy(b *testing.B) {
	text := []byte(benchMessage + strings.Repeat(strings.Repeat("x", 76)+"\r\n", 55))
	rcpt := mail.Recipient{Address: mail.NewAddress("u@local.test")}
	ip := netip.MustParseAddr("192.0.2.7")
	now := time.Now()
	var f headerFilter
	var scratch []byte
	b.ReportAllocs()
	for b.Loop() {
		m := &mail.Message{ID: mail.NewID(now)}
		ds := split(m, []mail.Recipient{rcpt})
		t := trace{Helo: "client.test", IP: ip, By: "mx.test", Protocol: "ESMTP", ID: m.ID, For: ds[0].Recipients[0].Raw, Time: now}
		scratch = t.append(scratch[:0])
		f.reset(discard{}, 100, 1<<20)
		_, _ = f.Write(text)
		_ = f.finish()
	}
}

// BenchmarkIngress5K is the whole way over loopback, client included: 100
// messages of 5 KiB pipelined on one connection per iteration.
func BenchmarkIngress5K(b *testing.B) { benchIngress(b, defaults()) }

func benchIngress(b *testing.B, p Policy) {
	const batch = 100
	h := New(p, Store{NewWriter: func(string) Writer { return discard{} }, Room: func() error { return nil }})
	h.relay.from = append(h.relay.from, netip.MustParsePrefix("127.0.0.0/8"))
	srv := &smtp.Server{Hostname: "mx.test", Handler: h}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		b.Fatal(err)
	}
	done := make(chan error, 1)
	go func() { done <- srv.Serve(l) }()
	c, err := net.Dial("tcp", l.Addr().String())
	if err != nil {
		b.Fatal(err)
	}
	one := "MAIL FROM:<a@a.test>\r\nRCPT TO:<u@local.test>\r\nDATA\r\n" + benchMessage + strings.Repeat(strings.Repeat("x", 76)+"\r\n", 55) + ".\r\n"
	sent := []byte(strings.Repeat(one, batch))
	replies := func(n int) {
		buf := make([]byte, 32<<10)
		for n > 0 {
			k, err := c.Read(buf)
			if err != nil {
				b.Error(err)
				return
			}
			n -= bytes.Count(buf[:k], []byte("\n"))
		}
	}
	replies(1)
	_, _ = c.Write([]byte("HELO x\r\n"))
	replies(1)
	b.ReportAllocs()
	b.ResetTimer()
	for range b.N {
		go func() { _, _ = c.Write(sent) }()
		replies(4 * batch)
	}
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N*batch), "ns/message")
	b.StopTimer()
	_ = c.Close()
	_ = srv.Shutdown(context.Background())
	<-done
}

// BenchmarkIngressPlugins is BenchmarkIngress5K with four plugins that have two
// functions each and say nothing, spooling among it.
func BenchmarkIngressPlugins(b *testing.B) {
	var ps []plugin.Plugin
	for _, name := range []string{"a", "b", "c", "d"} {
		ps = append(ps, scripted{name, at{plugin.Mail: says(plugin.Verdict{}), plugin.DataPost: says(plugin.Verdict{})}})
	}
	ch, err := plugin.New(plugin.Options{}, ps...)
	if err != nil {
		b.Fatal(err)
	}
	p := defaults()
	p.Plugins = &plugin.Current{}
	p.Plugins.Swap(ch)
	benchIngress(b, p)
}
