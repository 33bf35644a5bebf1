package ingress

import (
	"net"
	"strings"
	"syscall"
	"testing"
	"testing/synctest"

	"github.com/tarishi/tarishi/smtp"
)

// A14: at the end of Run an open transaction finishes, nobody new gets in.
func TestA14_drain(t *testing.T) {
	q := &memory{}
	srv := &smtp.Server{Hostname: "mx.test"}
	synctest.Test(t, func(t *testing.T) {
		srv.Handler = New(defaults(), q.store())
		l := newPipeListener()
		s := &Service{server: srv, drain: 1 << 40, open: []opened{{l, &smtp.Port{}}}}
		stop := make(chan struct{})
		ctx := ctxOf(t, stop)
		done := make(chan error, 1)
		go func() { done <- s.Run(ctx) }()

		idle, busy := newPlayer(t, l.dial()), newPlayer(t, l.dial())
		busy.play("C: EHLO x\nS: 250\nC: MAIL FROM:<>\nS: 250\nC: RCPT TO:<u@local.test>\nS: 250\nC: DATA\nS: 354\nC: hello\n")
		idle.expect(0, "220")
		synctest.Wait()
		close(stop)
		idle.expect(0, "421 4.3.2")
		for i, text := range []string{"250 2.0.0", "421 4.3.2"} {
			if i == 0 {
				busy.pending.WriteString(".\r\n")
				busy.send()
			}
			busy.expect(i, text)
		}
		if err := <-done; err != nil {
			t.Error(err)
		}
		idle.conn.Close()
		busy.conn.Close()
		idle.wg.Wait()
		busy.wg.Wait()
	})
	if len(q.messages()) != 1 {
		t.Errorf("%d messages", len(q.messages()))
	}
}

func TestListen(t *testing.T) {
	taken, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer taken.Close()
	if _, err := Listen(&smtp.Server{}, []Listener{{Address: "127.0.0.1:0"}, {Address: taken.Addr().String()}}, 0); err == nil || !strings.HasPrefix(err.Error(), "cannot listen for SMTP on 127.0.0.1:") {
		t.Errorf("a taken port: %v", err)
	}
	s, err := Listen(&smtp.Server{}, []Listener{{Address: "127.0.0.1:0"}, {Address: "127.0.0.1:0", Port: smtp.Port{TLS: true}}}, 0)
	if err != nil || len(s.Addrs()) != 2 {
		t.Fatal(err, s)
	}
	c, err := net.Dial("tcp", s.Addrs()[0].String())
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	accepted, err := s.open[0].Accept()
	if err != nil {
		t.Fatal(err)
	}
	defer accepted.Close()
	raw, err := accepted.(*net.TCPConn).SyscallConn()
	if err != nil {
		t.Fatal(err)
	}
	_ = raw.Control(func(fd uintptr) {
		if on, err := syscall.GetsockoptInt(int(fd), syscall.SOL_SOCKET, syscall.SO_KEEPALIVE); on != 0 || err != nil {
			t.Errorf("an idle connection is not left alone: %d, %v", on, err)
		}
	})
	s.close()
}

// A listener that fails ends Run, with the reason; the others are shut down too.
func TestListenerFails(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		srv := &smtp.Server{Hostname: "mx.test", Handler: New(defaults(), (&memory{}).store())}
		a, b := newPipeListener(), newPipeListener()
		s := &Service{server: srv, open: []opened{{a, &smtp.Port{}}, {b, &smtp.Port{}}}}
		done := make(chan error, 1)
		go func() { done <- s.Run(t.Context()) }()
		synctest.Wait()
		a.Close()
		if err := <-done; err == nil || !strings.HasPrefix(err.Error(), "SMTP listener failed: ") {
			t.Errorf("%v", err)
		}
		<-b.gone
	})
}
