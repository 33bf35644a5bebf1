package smtp

import (
	"context"
	"net"
	"testing"
	"testing/synctest"
	"time"
)

func TestA14_shutdown(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := &recorder{}
		s := &Server{Hostname: "mx.test", Handler: h}
		dial := func() *player {
			ours, theirs := net.Pipe()
			go s.ServeConn(theirs, false)
			return newPlayer(t, ours, dialogue{server: s, handler: h})
		}
		idle, half, busy := dial(), dial(), dial()
		idle.play(`
			S: 220
			C: EHLO idle
			S: 250`)
		half.play(`
			S: 220
			C| EHL`)
		busy.play(`
			S: 220
			C: EHLO busy
			C: MAIL FROM:<a@b.test>
			C: RCPT TO:<c@d.test>
			S: 250
			S: 250
			S: 250`)
		synctest.Wait()

		start := time.Now()
		down := make(chan error)
		go func() { down <- s.Shutdown(context.Background()) }()
		synctest.Wait()
		idle.play("S: 421 4.3.2\nCLOSED")
		half.play("S: 421 4.3.2\nCLOSED")
		if d := time.Since(start); d != 0 {
			t.Errorf("idle clients were told after %v", d)
		}
		late := dial()
		late.play("S: 421 4.3.2\nCLOSED")
		select {
		case <-down:
			t.Fatal("Shutdown did not wait for the open transaction")
		default:
		}
		busy.play(`
			W: 1m
			C: DATA
			S: 354
			C: last words
			C: .
			S: 250 2.0.0 Queued
			M: last words\r\n
			S: 421 4.3.2
			CLOSED`)
		if err := <-down; err != nil {
			t.Error(err)
		}
		for _, p := range []*player{idle, half, busy, late} {
			p.conn.Close()
			p.sending.Wait()
		}
	})
}

func TestA14_shutdownCutsAtTheEnd(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := &recorder{}
		s := &Server{Hostname: "mx.test", Handler: h}
		ours, theirs := net.Pipe()
		go s.ServeConn(theirs, false)
		p := newPlayer(t, ours, dialogue{server: s, handler: h})
		p.play(`
			S: 220
			C: EHLO busy
			C: MAIL FROM:<a@b.test>
			S: 250
			S: 250`)
		ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
		defer cancel()
		start := time.Now()
		if err := s.Shutdown(ctx); err != context.DeadlineExceeded || time.Since(start) != time.Minute {
			t.Errorf("%v after %v", err, time.Since(start))
		}
		p.play("CLOSED")
		synctest.Wait()
		if h.count("CLOSE") != 1 {
			t.Error("session not closed")
		}
	})
}

// A whole group in one segment: the last wait was before MAIL, the transaction is
// open all the same, and Shutdown leaves its body alone.
func TestA14_shutdownInPipelinedMessage(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := &recorder{}
		s := &Server{Hostname: "mx.test", Handler: h}
		ours, theirs := net.Pipe()
		go s.ServeConn(theirs, false)
		p := newPlayer(t, ours, dialogue{server: s, handler: h})
		p.play(`
			S: 220
			C: EHLO x
			C: MAIL FROM:<a@b.test>
			C: RCPT TO:<c@d.test>
			C: DATA
			S: 250
			S: 250
			S: 250
			S: 354`)
		synctest.Wait() // the server is reading
		down := make(chan error)
		go func() { down <- s.Shutdown(context.Background()) }()
		synctest.Wait()
		p.play(`
			W: 1m
			C: text
			C: .
			S: 250
			M: text\r\n
			S: 421 4.3.2
			CLOSED`)
		if err := <-down; err != nil {
			t.Error(err)
		}
	})
}

// The same while STARTTLS shakes hands.
func TestA14_shutdownInHandshake(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := &recorder{}
		s := &Server{Hostname: "mx.test", Handler: h, TLS: testTLS()}
		ours, theirs := net.Pipe()
		go s.ServeConn(theirs, false)
		p := newPlayer(t, ours, dialogue{server: s, handler: h})
		p.play(`
			S: 220
			C: EHLO x
			S: 250
			C: STARTTLS
			S: 220`)
		synctest.Wait() // the server is reading
		down := make(chan error)
		go func() { down <- s.Shutdown(context.Background()) }()
		synctest.Wait()
		p.play(`
			W: 1s
			TLS mx.test
			S: 421 4.3.2
			CLOSED`)
		if err := <-down; err != nil {
			t.Error(err)
		}
	})
}

func TestStats(t *testing.T) {
	s := &Server{}
	dialogue{server: s}.run(t, envelopeOK+`
		C: .
		S: 250
		C: FOO
		S: 500
	`)
	// 220, EHLO, MAIL, RCPT, message; 354; 500
	if got := s.Stats(); got.Open != 0 || got.Replies != [6]uint64{2: 5, 3: 1, 5: 1} {
		t.Errorf("%+v", got)
	}
}
