package bench

import (
	"bufio"
	"context"
	"errors"
	"net"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

// pipes is a listener whose connections are net.Pipes, for bubbles of fake time.
type pipes struct {
	conns chan net.Conn
	done  chan struct{}
	once  sync.Once
}

func newPipes() *pipes { return &pipes{conns: make(chan net.Conn), done: make(chan struct{})} }

func (p *pipes) Accept() (net.Conn, error) {
	select {
	case c := <-p.conns:
		return c, nil
	case <-p.done:
		return nil, net.ErrClosed
	}
}

func (p *pipes) Close() error   { p.once.Do(func() { close(p.done) }); return nil }
func (p *pipes) Addr() net.Addr { return &net.TCPAddr{} }

func (p *pipes) dial(ctx context.Context) (net.Conn, error) {
	ours, theirs := net.Pipe()
	select {
	case p.conns <- theirs:
		return ours, nil
	case <-p.done:
		return nil, net.ErrClosed
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

// startSink serves on pipes inside a bubble; stop ends it and returns the report.
func startSink(t *testing.T, cfg SinkConfig) (p *pipes, stop func() *SinkReport) {
	t.Helper()
	sink, err := NewSink(cfg)
	if err != nil {
		t.Fatal(err)
	}
	p = newPipes()
	ctx, cancel := context.WithCancel(context.Background())
	var r *SinkReport
	done := make(chan struct{})
	go func() {
		defer close(done)
		r, err = sink.Serve(ctx, p)
	}()
	stop = func() *SinkReport {
		cancel()
		<-done
		if err != nil {
			t.Error(err)
		}
		return r
	}
	t.Cleanup(func() { stop() })
	return p, stop
}

// talk plays a dialogue: "C: " lines are sent, "S: " lines are awaited, "S: ..." is
// any line, "EOF" the end of the connection, "D: x" octets as they are (\r \n written out).
func talk(t *testing.T, conn net.Conn, script string) {
	t.Helper()
	in := bufio.NewReader(conn)
	for line := range strings.Lines(script) {
		line = strings.TrimSpace(line)
		switch {
		case line == "":
		case line == "EOF":
			if got, err := in.ReadString('\n'); err == nil {
				t.Fatalf("want EOF, got %q", got)
			}
		case strings.HasPrefix(line, "S: "):
			got, err := in.ReadString('\n')
			want := line[3:]
			if err != nil || want != "..." && !strings.HasPrefix(got, want) {
				t.Fatalf("want %q, got %q, %v", want, got, err)
			}
		case strings.HasPrefix(line, "C: "):
			if _, err := conn.Write([]byte(line[3:] + "\r\n")); err != nil {
				t.Fatal(err)
			}
		case strings.HasPrefix(line, "D: "):
			text := strings.NewReplacer(`\r`, "\r", `\n`, "\n").Replace(line[3:])
			if _, err := conn.Write([]byte(text)); err != nil {
				t.Fatal(err)
			}
		default:
			t.Fatalf("script: %q", line)
		}
	}
}

const hello = "S: 220 sink.test\nC: HELO me\nS: 250 sink.test\n"

func TestSink_dialogues(t *testing.T) {
	for name, tc := range map[string]struct {
		cfg    SinkConfig
		script string
		want   SinkReport
	}{
		"a message": {SinkConfig{}, `S: 220
			C: EHLO me
			S: 250-sink.test
			S: 250-PIPELINING
			S: 250-CHUNKING
			S: 250-8BITMIME
			S: 250-ENHANCEDSTATUSCODES
			S: 250 SIZE 0
			C: mail from:<a@b> SIZE=99 BODY=8BITMIME
			S: 250
			C: RCPT TO:<"x>y"@d>
			S: 250
			C: DATA
			S: 354
			D: X-Bench-Id: r-1\r\n\r\n..dot\r\n..\r\nlone\n.\nand\r.\r\r\n.\r\n
			S: 250
			C: QUIT
			S: 221
			EOF`, SinkReport{Messages: 1, Distinct: 1, Copies: 1, Bytes: 43}},
		"extensions off": {SinkConfig{NoExtensions: true}, "S: 220\nC: EHLO me\nS: 250 sink.test", SinkReport{}},
		"order": {SinkConfig{}, `S: 220
			C: MAIL FROM:<>
			S: 503
			C: HELO me
			S: 250
			C: RCPT TO:<a@b>
			S: 503
			C: DATA
			S: 503
			C: MAIL FROM:<>
			S: 250
			C: MAIL FROM:<>
			S: 503
			C: DATA
			S: 554
			C: RCPT TO:<>
			S: 501
			C: RSET
			S: 250
			C: NONSENSE
			S: 500`, SinkReport{}},
		"empty text": {SinkConfig{}, hello + `C: MAIL FROM:<>
			S: 250
			C: RCPT TO:<a@b>
			S: 250
			C: DATA
			S: 354
			C: .
			S: 250
			C: NOOP
			S: 250`, SinkReport{Messages: 1, Copies: 1, NoID: 1}},
		"the same twice, and for another": {SinkConfig{}, hello + strings.Repeat(`C: MAIL FROM:<>
			S: 250
			C: RCPT TO:<a@b>
			S: 250
			C: DATA
			S: 354
			D: Received: x\r\nX-Bench-Id: r-1\r\n\r\nX-Bench-Id: r-2\r\n.\r\n
			S: 250
			`, 2) + `C: MAIL FROM:<>
			S: 250
			C: RCPT TO:<c@b>
			S: 250
			C: DATA
			S: 354
			D: X-Bench-Id: r-1\r\n\r\n.\r\n
			S: 250`, SinkReport{Messages: 3, Distinct: 1, Copies: 3, Duplicates: 1, Bytes: 2*49 + 19}},
		"chunks": {SinkConfig{Hash: true}, hello + `C: MAIL FROM:<>
			S: 250
			C: RCPT TO:<a@b>
			S: 250
			D: BDAT 19\r\nX-Bench-Id: r-9\r\n\r\nBDAT 4 LAST\r\n.\r\n.
			S: 250
			S: 250
			C: BDAT 0 LAST
			S: 503
			C: BDAT x
			S: 501
			EOF`, SinkReport{Messages: 1, Distinct: 1, Copies: 1, NoHash: 1, Bytes: 23}},
		"a spoilt body": {SinkConfig{Hash: true}, hello + `C: MAIL FROM:<>
			S: 250
			C: RCPT TO:<a@b>
			S: 250
			C: DATA
			S: 354
			D: X-Bench-Id: r-1\r\nX-Bench-Sha256: e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855\r\n\r\nx\r\n.\r\n
			S: 250`, SinkReport{Messages: 1, Distinct: 1, Copies: 1, BadHash: 1, Bytes: 104}},
		"greylist": {SinkConfig{Greylist: 1}, hello + `C: MAIL FROM:<a@b>
			S: 250
			C: RCPT TO:<c@d>
			S: 451
			C: RCPT TO:<c@d>
			S: 250
			C: RCPT TO:<e@d>
			S: 451`, SinkReport{RcptDeferred: 2}},
		"all refused":  {SinkConfig{Refuse: 1}, hello + "C: MAIL FROM:<>\nS: 250\nC: RCPT TO:<c@d>\nS: 550 5.1.1", SinkReport{RcptRefused: 1}},
		"all deferred": {SinkConfig{TempFail: 1, Random: true}, hello + "C: MAIL FROM:<>\nS: 250\nC: RCPT TO:<c@d>\nS: 451 4.3.0", SinkReport{RcptDeferred: 1}},
		"a long line":  {SinkConfig{}, hello + "C: NOOP " + strings.Repeat("x", maxLine) + "\nS: 500\nEOF", SinkReport{}},
		"go away":      {SinkConfig{GoAwayAfter: 1}, hello + aMessage("250") + "C: MAIL FROM:<>\nS: 421\nEOF", SinkReport{Messages: 1, Distinct: 1, Copies: 1, Bytes: 19}},
		"closes":       {SinkConfig{CloseAfter: 1}, hello + aMessage("250") + "EOF", SinkReport{Messages: 1, Distinct: 1, Copies: 1, Bytes: 19}},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				p, stop := startSink(t, tc.cfg)
				conn, err := p.dial(t.Context())
				if err != nil {
					t.Fatal(err)
				}
				talk(t, conn, tc.script)
				_ = conn.Close()
				synctest.Wait()
				got := stop()
				tc.want.Connections, tc.want.Peak = 1, 1
				got.FirstNanos, got.LastNanos, got.CPUMicros, got.EachSecond, got.Ran = 0, 0, 0, nil, 0
				if got.String() != tc.want.String() || got.Bytes != tc.want.Bytes {
					t.Errorf("got\n%v%d\nwant\n%v%d", got, got.Bytes, &tc.want, tc.want.Bytes)
				}
			})
		})
	}
}

// aMessage is the dialogue of one message, id r-1.
func aMessage(last string) string {
	return "C: MAIL FROM:<>\nS: 250\nC: RCPT TO:<a@b>\nS: 250\nC: DATA\nS: 354\nD: X-Bench-Id: r-1\\r\\n\\r\\n.\\r\\n\nS: " + last + "\n"
}

func TestSink_delays(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p, stop := startSink(t, SinkConfig{ConnectDelay: 3 * time.Second, Delay: 7 * time.Second})
		begin := time.Now()
		conn, _ := p.dial(t.Context())
		talk(t, conn, "S: 220")
		if d := time.Since(begin); d != 3*time.Second {
			t.Errorf("greeted after %v", d)
		}
		talk(t, conn, "C: HELO x\nS: 250\n"+aMessage("250"))
		if d := time.Since(begin); d != 10*time.Second {
			t.Errorf("accepted after %v", d)
		}
		_ = conn.Close()
		stop()
	})
}

func TestSink_tooManyConnections(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p, stop := startSink(t, SinkConfig{MaxConnections: 1})
		first, _ := p.dial(t.Context())
		talk(t, first, "S: 220")
		second, _ := p.dial(t.Context())
		talk(t, second, "S: 421\nEOF")
		talk(t, first, "C: QUIT\nS: 221\nEOF")
		synctest.Wait()
		third, _ := p.dial(t.Context())
		talk(t, third, "S: 220\nC: QUIT\nS: 221\nEOF")
		if r := stop(); r.TurnedAway != 1 || r.Peak != 1 || r.Connections != 3 {
			t.Errorf("%v", r)
		}
	})
}

// A stalled connection says nothing for as long as its client waits, and does not
// keep the sink from ending.
func TestSink_stalls(t *testing.T) {
	for _, at := range []string{"connect", "ehlo", "mail", "rcpt", "data", "dot"} {
		synctest.Test(t, func(t *testing.T) {
			p, stop := startSink(t, SinkConfig{Stall: at})
			conn, _ := p.dial(t.Context())
			defer conn.Close()
			steps := []struct{ name, send string }{
				{"connect", ""}, {"ehlo", "HELO x\r\n"}, {"mail", "MAIL FROM:<>\r\n"},
				{"rcpt", "RCPT TO:<a@b>\r\n"}, {"data", "DATA\r\n"}, {"dot", ".\r\n"},
			}
			in := bufio.NewReader(conn)
			for _, s := range steps {
				if s.send != "" {
					if _, err := conn.Write([]byte(s.send)); err != nil {
						t.Fatal(err)
					}
				}
				_ = conn.SetReadDeadline(time.Now().Add(24 * time.Hour))
				got, err := in.ReadString('\n')
				if s.name == at {
					if ne, ok := err.(net.Error); !ok || !ne.Timeout() {
						t.Errorf("%s: %q, %v", at, got, err)
					}
					break
				}
				if err != nil {
					t.Fatal(at, s.name, err)
				}
			}
			stop()
		})
	}
}

// A transaction under way when the sink stops is finished; the idle get 421.
func TestSink_stopsPolitely(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p, stop := startSink(t, SinkConfig{})
		busy, _ := p.dial(t.Context())
		idle, _ := p.dial(t.Context())
		talk(t, busy, hello+"C: MAIL FROM:<>\nS: 250\nC: RCPT TO:<a@b>\nS: 250\nC: DATA\nS: 354\nC: X-Bench-Id: r-1")
		talk(t, idle, hello)
		var r *SinkReport
		done := make(chan struct{})
		go func() { r = stop(); close(done) }()
		talk(t, idle, "S: 421\nEOF")
		talk(t, busy, "D: \\r\\n.\\r\\n\nS: 250\nS: 421\nEOF")
		<-done
		if r.Messages != 1 || r.Distinct != 1 {
			t.Errorf("%v", r)
		}
	})
}

func TestSink_expect(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		sink, err := NewSink(SinkConfig{Expect: 1, Timeout: time.Minute})
		if err != nil {
			t.Fatal(err)
		}
		begin := time.Now()
		if _, err := sink.Serve(t.Context(), newPipes()); !errors.Is(err, ErrTimeout) {
			t.Errorf("got %v", err)
		}
		if d := time.Since(begin); d != time.Minute {
			t.Errorf("waited %v", d)
		}
	})
}
