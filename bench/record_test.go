package bench

import (
	"context"
	"net"
	"os"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

// lines reads a record and takes the times out.
func lines(t *testing.T, name string) (events []string, times []int64) {
	t.Helper()
	text, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(text)) {
		f := strings.Split(strings.TrimSuffix(line, "\n"), "\t")
		if len(f) < 3 {
			events, times = append(events, "torn "+strings.Join(f, "|")), append(times, 0)
			continue
		}
		at, err := strconv.ParseInt(f[1], 10, 64)
		if err != nil {
			t.Fatalf("%q: %v", line, err)
		}
		events, times = append(events, f[0]+" "+strings.Join(f[2:], "|")), append(times, at)
	}
	return events, times
}

func TestRecord(t *testing.T) {
	name := filepath.Join(t.TempDir(), "record")
	if err := os.WriteFile(name, []byte("mail\t77"), 0o600); err != nil { // of a sink that was killed
		t.Fatal(err)
	}
	synctest.Test(t, func(t *testing.T) {
		p, stop := startSink(t, SinkConfig{Record: name, MaxConnections: 1, GoAwayAfter: 1})
		conn, _ := p.dial(t.Context())
		talk(t, conn, `S: 220
			C: MAIL FROM:<early@x>
			S: 503
			C: HELO me
			S: 250
			C: MAIL FROM:<s@x>
			S: 250
			C: RCPT TO:<a@B.test>
			S: 250
			C: RCPT TO:<"t	b"@b.test>
			S: 250
			C: RSET
			S: 250
			C: MAIL FROM:<n@x>
			S: 250
			C: RSET
			S: 250
			C: MAIL FROM:<>
			S: 250
			C: RCPT TO:<c@b.test>
			S: 250
			C: DATA
			S: 354
			D: Subject: x\r\nreceived: from a by b with ESMTP\r\n id 77ABC; today\r\nX-Bench-Id: r-1\r\nReceived: by c id other\r\n\r\n.\r\n
			S: 250`)
		second, _ := p.dial(t.Context())
		talk(t, second, "S: 421\nEOF")
		talk(t, conn, "C: MAIL FROM:<late@x>\nS: 421\nEOF")
		stop()
	})
	got, times := lines(t, name)
	want := `torn mail|77
start 1|:0
open 1|pipe|:0
mail 1||early@x
mail 1|b.test|s@x
rcpt 1|250|a@B.test
rcpt 1|250|"t b"@b.test
mail 1||n@x
mail 1|b.test|
rcpt 1|250|c@b.test
data 1|1|r-1|77ABC
open 2|pipe|:0
close 2
mail 1||late@x
close 1`
	if strings.Join(got, "\n") != want {
		t.Errorf("got\n%s\nwant\n%s", strings.Join(got, "\n"), want)
	}
	for i := 2; i < len(times); i++ {
		if times[i] < times[i-1] && !strings.HasPrefix(got[i], "mail") {
			t.Errorf("%s: %d before %d", got[i], times[i], times[i-1])
		}
	}
}

func onLinux(t *testing.T) {
	if runtime.GOOS != "linux" {
		t.Skip("only Linux says when something came in")
	}
}

// A MAIL is stamped when it came in, however long the sink takes to read it.
func TestRecord_arrival(t *testing.T) {
	onLinux(t)
	name := filepath.Join(t.TempDir(), "record")
	const pause = 200 * time.Millisecond // the sink reads nothing before its greeting
	sink, err := NewSink(SinkConfig{Record: name, ConnectDelay: pause})
	if err != nil {
		t.Fatal(err)
	}
	var lns []net.Listener
	for range 2 {
		ln, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		lns = append(lns, ln)
	}
	ctx, cancel := context.WithCancel(t.Context())
	var served sync.WaitGroup
	served.Go(func() {
		if _, err := sink.Serve(ctx, lns...); err != nil {
			t.Error(err)
		}
	})
	defer func() { cancel(); served.Wait() }()
	// The kernel begins to stamp some time after it was asked to; packets before are stamped when read.
	for try := 1; ; try++ {
		conn, err := net.Dial("tcp", lns[1].Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		before := rawNow()
		if _, err := conn.Write([]byte("HELO me\r\nMAIL FROM:<s@x>\r\n")); err != nil {
			t.Fatal(err)
		}
		talk(t, conn, "S: 220\nS: 250\nS: 250\nC: RCPT TO:<a@b.test>\nS: 250\nC: QUIT\nS: 221\nEOF")
		sink.rec.lines.flush()
		events, times := lines(t, name)
		if !strings.HasSuffix(events[0], lns[0].Addr().String()+"|"+lns[1].Addr().String()) {
			t.Fatalf("%q does not name both listeners", events[0])
		}
		opened, mail := -1, -1
		for i, e := range events {
			if strings.HasPrefix(e, "open ") {
				opened = i
			} else if strings.HasPrefix(e, "mail ") {
				mail = i
			}
		}
		if e := events[opened]; !strings.HasSuffix(e, conn.LocalAddr().String()+"|"+lns[1].Addr().String()) {
			t.Fatalf("%q names the wrong ends", e)
		}
		late := time.Duration(times[mail] - before)
		if late < -time.Millisecond {
			t.Fatalf("MAIL is said to have come %v before it was written", -late)
		}
		if late < pause/2 {
			return
		}
		if try == 10 {
			t.Fatalf("MAIL was written at %d and is said to have come %v later", before, late)
		}
	}
}

// A connection is stamped when it was made, not when a busy sink came to take it.
func TestRecord_accepted(t *testing.T) {
	onLinux(t)
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	before := rawNow()
	conn, err := net.Dial("tcp", ln.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	const slow = 300 * time.Millisecond
	time.Sleep(slow) // the sink is busy elsewhere
	taken, err := ln.Accept()
	if err != nil {
		t.Fatal(err)
	}
	defer taken.Close()
	if late := time.Duration(accepted(taken) - before); late < -2*slowestTick || late > slow/2 {
		t.Errorf("a connection is said to have been made %v after it was", late)
	}
	// Without a wait there is nothing to take off.
	quick, err := net.Dial("tcp", ln.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer quick.Close()
	if taken, err = ln.Accept(); err != nil {
		t.Fatal(err)
	}
	defer taken.Close()
	if at := accepted(taken); at < before+int64(slow) {
		t.Errorf("a connection is said to have been made %v before it was", time.Duration(before+int64(slow)-at))
	}
}

func TestTrace(t *testing.T) {
	for header, want := range map[string]string{
		"": "",
		"\r\nSubject: id x\r\nReceived: by mx (v) with ESMTP id 01K9;\r\n\ttoday\r\n": "01K9",
		"\r\nReceived: by mx\r\n\twith LMTP\r\n id Q1\r\nX: y\r\n":                    "Q1",
		"\r\nReceived: by mx\r\nX: id no\r\nReceived: id second\r\n":                  "",
		"\r\nReceived: by mx id":         "",
		"\r\nX-Received: by mx id no":    "",
		"\r\nRECEIVED:id A; b\r\n":       "A",
		"\r\nReceived: idle id ; x\r\n":  "",
		"\r\nReceived: x ID Y\r\nid z":   "Y",
		"\r\nReceived: x\r\n":            "",
		"\r\nReceived":                   "",
		"\r\nA: b\r\n\r\nReceived: id c": "c", // never: the header ends before an empty line
	} {
		if got := string(trace([]byte(header))); got != want {
			t.Errorf("%q: got %q, want %q", header, got, want)
		}
	}
}

func BenchmarkRecord(b *testing.B) {
	r, err := openRecord(filepath.Join(b.TempDir(), "record"))
	if err != nil {
		b.Fatal(err)
	}
	sender, rcpt, id := []byte("bench@source.test"), []byte("user@d7.bench.test"), []byte("r1234567890-123456")
	b.RunParallel(func(pb *testing.PB) {
		for pb.Next() { // the lines of one message
			r.mail(rawNow(), 7, rcpt, sender)
			r.rcpt(rawNow(), 7, "250", rcpt)
			r.data(rawNow(), 7, 1, id, id)
		}
	})
	if err := r.lines.close(); err != nil {
		b.Error(err)
	}
}
