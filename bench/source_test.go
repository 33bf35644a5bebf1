package bench

import (
	"bufio"
	"bytes"
	"context"
	"io"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

// runBoth sends src into a sink of cfg over the loopback.
func runBoth(t *testing.T, src *Source, cfg SinkConfig) (*SourceReport, *SinkReport) {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	sink, err := NewSink(cfg)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	var got *SinkReport
	done := make(chan error, 1)
	go func() {
		r, err := sink.Serve(ctx, ln)
		got = r
		done <- err
	}()
	src.To = ln.Addr().String()
	sent, err := src.Send(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	cancel()
	if err := <-done; err != nil {
		t.Fatal(err)
	}
	return sent, got
}

// Whatever the way, every message arrives whole and once, and both files agree.
func TestSourceIntoSink(t *testing.T) {
	for name, tc := range map[string]struct {
		src Source
		cfg SinkConfig
	}{
		"plain":                   {Source{}, SinkConfig{}},
		"no pipelining":           {Source{NoPipelining: true}, SinkConfig{}},
		"no extensions":           {Source{}, SinkConfig{NoExtensions: true}},
		"starttls":                {Source{TLS: TLSStart}, SinkConfig{TLS: TLSStart}},
		"implicit tls":            {Source{TLS: TLSImplicit}, SinkConfig{TLS: TLSImplicit}},
		"large":                   {Source{Size: 700_000, Messages: 4}, SinkConfig{}},
		"many recipients":         {Source{Recipients: 7, Destinations: 5}, SinkConfig{}},
		"few per connection":      {Source{MessagesPerConnection: 3}, SinkConfig{}},
		"421 after some":          {Source{Retry: true}, SinkConfig{GoAwayAfter: 4}},
		"closed after some":       {Source{Retry: true}, SinkConfig{CloseAfter: 4}},
		"fewer connections taken": {Source{Retry: true, MessagesPerConnection: 10}, SinkConfig{MaxConnections: 2}},
	} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			src, cfg := tc.src, tc.cfg
			src.Connections, src.Hash, src.KeepIDs = 4, true, filepath.Join(dir, "sent")
			if src.Messages == 0 {
				src.Messages = 100
			}
			cfg.Hash, cfg.IDs = true, filepath.Join(dir, "got")
			sent, got := runBoth(t, &src, cfg)
			copies := src.Messages * uint64(src.Recipients)
			if sent.Acked != src.Messages || got.Distinct != src.Messages || got.Copies != copies ||
				got.Duplicates+got.BadHash+got.NoHash+got.NoID != 0 || sent.Unknown+sent.Refused+sent.Unsent != 0 {
				t.Errorf("%v%v", sent, got)
			}
			if want := src.Messages * uint64(src.Size); got.Bytes != want {
				t.Errorf("%d octets, want %d", got.Bytes, want)
			}
			checkFiles(t, src.KeepIDs, cfg.IDs, int(copies))
		})
	}
}

func checkFiles(t *testing.T, sent, got string, copies int) {
	t.Helper()
	a, err := os.Open(sent)
	if err != nil {
		t.Fatal(err)
	}
	defer a.Close()
	b, err := os.Open(got)
	if err != nil {
		t.Fatal(err)
	}
	defer b.Close()
	text, err := os.ReadFile(sent)
	if err != nil {
		t.Fatal(err)
	}
	if n := strings.Count(string(text), "\t250 2.0.0 taken\n"); n != copies {
		t.Errorf("%d of %d lines end with the reply", n, copies)
	}
	r, err := Check(a, b)
	if err != nil || r.Sent != copies || r.Received != copies || r.Lost+r.Duplicates+r.Unasked != 0 {
		t.Errorf("%v%v", r, err)
	}
}

func TestSource_refusals(t *testing.T) {
	src := Source{Messages: 400, Connections: 3, Destinations: 400}
	sent, got := runBoth(t, &src, SinkConfig{Refuse: 0.25, TempFail: 0.25, Seed: 7})
	if sent.Acked+sent.Refused != 400 || sent.Acked != got.Messages || got.RcptRefused+got.RcptDeferred != sent.Refused {
		t.Errorf("%v%v", sent, got)
	}
	// By the hash of the address: 400 of them, so a quarter each give or take five sigma.
	if n := got.RcptRefused; n < 57 || n > 143 {
		t.Errorf("%d of 400 refused", n)
	}
	if sent.Replies[atRcpt][550] != got.RcptRefused || sent.Replies[atRcpt][451] != got.RcptDeferred || sent.Samples[550] == "" {
		t.Errorf("%v", sent)
	}
}

// played runs a source against a server that plays one script for each connection in turn.
func played(t *testing.T, src Source, scripts ...string) (r *SourceReport, err error) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		next := 0
		src.Dial = func(context.Context) (net.Conn, error) {
			if next == len(scripts) {
				return nil, io.ErrUnexpectedEOF
			}
			script := scripts[next]
			next++
			ours, theirs := net.Pipe()
			go func() {
				defer theirs.Close()
				serve(theirs, script)
			}()
			return ours, nil
		}
		src.Connections = 1
		src.Run = "run"
		r, err = src.Send(t.Context())
	})
	return r, err
}

// serve plays a server: "S:" lines are said, "C:" lines read (whatever they are),
// "TEXT" reads up to the final dot.
func serve(conn net.Conn, script string) {
	in := bufio.NewReader(conn)
	for line := range strings.Lines(script) {
		line = strings.TrimSpace(line)
		switch {
		case strings.HasPrefix(line, "S: "):
			if _, err := io.WriteString(conn, line[3:]+"\r\n"); err != nil {
				return
			}
		case line == "TEXT":
			for text := ""; text != ".\r\n"; {
				var err error
				if text, err = in.ReadString('\n'); err != nil {
					return
				}
			}
		case line == "STALL":
			_, _ = io.Copy(io.Discard, in)
		case line != "":
			if _, err := in.ReadString('\n'); err != nil {
				return
			}
		}
	}
}

const (
	greet = "S: 220 x\nC: EHLO\nS: 250 x\n"
	upTo  = greet + "C: MAIL\nS: 250 x\nC: RCPT\nS: 250 x\nC: DATA\nS: 354 x\n"
	taken = upTo + "TEXT\nS: 250 x\n"
	bye   = "C: QUIT\nS: 221 x\n"
)

// What became of a message is told apart by where the connection broke.
func TestSource_fates(t *testing.T) {
	for name, tc := range map[string]struct {
		retry                          bool
		scripts                        []string
		acked, refused, unsent, unkown uint64
		fails                          bool
	}{
		"acknowledged":                   {false, []string{taken + bye}, 1, 0, 0, 0, false},
		"lost before the dot":            {false, []string{greet + "C: MAIL\n"}, 0, 0, 1, 0, true},
		"lost after the dot":             {false, []string{upTo + "TEXT\n"}, 0, 0, 0, 1, true},
		"lost before the dot, again":     {true, []string{greet + "C: MAIL\n", taken + bye}, 1, 0, 0, 0, false},
		"not sent twice after the dot":   {true, []string{upTo + "TEXT\n", taken + bye}, 0, 0, 0, 1, true},
		"421 to the dot, again":          {true, []string{upTo + "TEXT\nS: 421 x\n", taken + bye}, 1, 0, 0, 0, false},
		"421 as a greeting, again":       {true, []string{"S: 421 x\n", taken + bye}, 1, 0, 0, 0, false},
		"421 without retry":              {false, []string{upTo + "TEXT\nS: 421 x\n"}, 0, 0, 1, 0, true},
		"452 to the dot":                 {true, []string{upTo + "TEXT\nS: 452 x\n" + bye}, 0, 1, 0, 0, true},
		"MAIL refused":                   {true, []string{greet + "C: MAIL\nS: 550 x\nC: RSET\nS: 250 x\n" + bye}, 0, 1, 0, 0, true},
		"354 though nobody was accepted": {false, []string{"S: 220 x\nC: EHLO\nS: 250-x\nS: 250 PIPELINING\nC: MAIL\nC: RCPT\nC: DATA\nS: 250 x\nS: 550 x\nS: 354 x\nC: .\nS: 554 x\nC: RSET\nS: 250 x\n" + bye}, 0, 1, 0, 0, true},
		"gibberish":                      {false, []string{"S: hello?\n"}, 0, 0, 1, 0, true},
		"endless reply":                  {false, []string{strings.Repeat("S: 220-x\n", maxReplyLines+1)}, 0, 0, 1, 0, true},
		"silence":                        {false, []string{upTo + "TEXT\nSTALL\n"}, 0, 0, 0, 1, true},
	} {
		t.Run(name, func(t *testing.T) {
			r, err := played(t, Source{Messages: 1, Retry: tc.retry, Duration: time.Hour}, tc.scripts...)
			if r.Acked != tc.acked || r.Refused != tc.refused || r.Unsent != tc.unsent || r.Unknown != tc.unkown || (err != nil) != tc.fails {
				t.Errorf("%v\n%v", r, err)
			}
		})
	}
}

// At a rate of ten a second, the last of 101 messages starts after ten seconds; a
// duration ends a run that would go on.
func TestSource_rateAndDuration(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p, stop := startSink(t, SinkConfig{})
		begin := time.Now()
		src := Source{Dial: p.dial, Messages: 101, Connections: 3, Rate: 10}
		if r, err := src.Send(t.Context()); err != nil || r.Acked != 101 || time.Since(begin) != 10*time.Second {
			t.Errorf("%v after %v: %v", r, time.Since(begin), err)
		}
		begin = time.Now()
		src = Source{Dial: p.dial, Duration: 4950 * time.Millisecond, Connections: 3, Rate: 10}
		if r, err := src.Send(t.Context()); err != nil || r.Acked != 50 || time.Since(begin) != 4950*time.Millisecond {
			t.Errorf("%v after %v: %v", r, time.Since(begin), err)
		}
		stop()
	})
}

// A cancelled run reports what it has, and waits five seconds for the rest at most.
func TestSource_cancel(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p, stop := startSink(t, SinkConfig{Delay: time.Hour})
		ctx, cancel := context.WithCancel(t.Context())
		time.AfterFunc(10*time.Second, cancel)
		begin := time.Now()
		src := Source{Dial: p.dial, Messages: 10, Connections: 2, Timeout: 2 * time.Hour}
		r, err := src.Send(ctx)
		if err != nil || r.Acked != 0 || r.Unknown != 2 || r.Attempted != 2 {
			t.Errorf("%v%v", r, err)
		}
		// One more second: the QUIT that nobody answers.
		if d := time.Since(begin); d < 15*time.Second || d > 16*time.Second {
			t.Errorf("ended after %v", d)
		}
		stop()
	})
}

// Accept latency is from MAIL to the 250 to the dot.
func TestSource_latency(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p, stop := startSink(t, SinkConfig{ConnectDelay: time.Minute, Delay: 250 * time.Millisecond})
		src := Source{Dial: p.dial, Messages: 10, Timeout: time.Hour}
		r, err := src.Send(t.Context())
		if err != nil || r.Latency.P50 != 250 || r.Latency.Max != 250 || r.Seconds != 2.5 {
			t.Errorf("%v%v", r, err)
		}
		stop()
	})
}

func TestSource_badConfig(t *testing.T) {
	for _, s := range []Source{
		{}, {To: "x"}, {To: "x", Messages: 1, TLS: "maybe"}, {To: "x", Messages: 1, Rate: -1}, {To: "x", Messages: 1, Template: "x"},
	} {
		if _, err := s.Send(t.Context()); err == nil {
			t.Errorf("%+v: no error", s)
		}
	}
	for _, c := range []SinkConfig{{Stall: "quit"}, {Refuse: .7, TempFail: .7}, {TLS: "x"}, {IDs: "/nonexistent/x"}} {
		if _, err := NewSink(c); err == nil {
			t.Errorf("%+v: no error", c)
		}
	}
}

// Whatever a client sends and however it is cut, the sink neither breaks nor goes on
// for ever, and the text between DATA and the dot comes out unstuffed.
func FuzzSink(f *testing.F) {
	f.Add([]byte("HELO x\r\nMAIL FROM:<>\r\nRCPT TO:<a@b>\r\nDATA\r\nX-Bench-Id: 1\r\n\r\n..x\r\n.\r\nQUIT\r\n"), uint8(3))
	f.Add([]byte("EHLO x\r\nMAIL FROM:<\"a>b\\\"\"@c>\r\nRCPT TO:<a@b>\r\nBDAT 5\r\nabcdeBDAT 0 LAST\r\n"), uint8(7))
	f.Add([]byte("BDAT 99999999999 LAST\r\nSTARTTLS\r\n"), uint8(1))
	f.Fuzz(func(t *testing.T, input []byte, cut uint8) {
		sink, err := NewSink(SinkConfig{Hash: true})
		if err != nil {
			t.Fatal(err)
		}
		newSession(sink, &tape{in: input, cut: int(cut) + 1}, 1).run(false)
	})
}

// The text received is the text sent, however the network cuts it.
func FuzzDotted(f *testing.F) {
	f.Add([]byte("X-Bench-Id: 1\r\n\r\n.\r\n..\r\n\r\r\n.x\n.\r\n\r\n"), uint8(1))
	f.Fuzz(func(t *testing.T, text []byte, cut uint8) {
		text = append(bytes.TrimSuffix(text, crlf), crlf...)
		var wire bytes.Buffer
		wire.WriteString("HELO x\r\nMAIL FROM:<>\r\nRCPT TO:<a@b>\r\nDATA\r\n")
		stuffed := bytes.ReplaceAll(text, lineDot, []byte("\r\n.."))
		if text[0] == '.' {
			stuffed = append([]byte{'.'}, stuffed...)
		}
		wire.Write(stuffed)
		wire.WriteString(".\r\nQUIT\r\n")
		sink, err := NewSink(SinkConfig{})
		if err != nil {
			t.Fatal(err)
		}
		newSession(sink, &tape{in: wire.Bytes(), cut: int(cut) + 1}, 1).run(false)
		if sink.count.messages.Load() != 1 || sink.count.bytes.Load() != uint64(len(text)) {
			t.Fatalf("%q: %d messages, %d octets", text, sink.count.messages.Load(), sink.count.bytes.Load())
		}
	})
}

// tape is a connection that hands out fixed octets a few at a time.
type tape struct {
	net.Conn
	in  []byte
	cut int
}

func (c *tape) Read(p []byte) (int, error) {
	if len(c.in) == 0 {
		return 0, io.EOF
	}
	n := copy(p, c.in[:min(c.cut, len(c.in))])
	c.in = c.in[n:]
	return n, nil
}
func (c *tape) Write(p []byte) (int, error)     { return len(p), nil }
func (c *tape) Close() error                    { return nil }
func (c *tape) SetDeadline(time.Time) error     { return nil }
func (c *tape) SetReadDeadline(time.Time) error { return nil }
func (c *tape) RemoteAddr() net.Addr            { return &net.TCPAddr{} }
