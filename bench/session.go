package bench

import (
	"bytes"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"time"
)

const (
	sessionBuffer = 16 << 10
	maxLine       = 4096 // octets of a command, RFC 5321 §4.5.3.1.4 (512) and room for extensions
	maxRcpts      = 10000
)

// errDone ends a session on purpose.
var errDone = errors.New("done")

// session is the sink's end of one connection. One goroutine owns it.
type session struct {
	sink *Sink
	conn net.Conn
	id   uint64

	buf     []byte // received and not yet consumed: buf[r:w]
	r, w    int
	out     []byte // replies not yet written
	touched time.Time
	graced  bool // the sink stops, and this transaction has been given its grace
	secure  bool
	arrived func() int64 // when the octets last read came in, by the record's clock; nil: no record

	greeted  bool
	inMail   bool
	sender   []byte
	rcpts    []byte // the accepted recipients, each ended by a newline
	accepted int
	over     int64 // when it was decided that the connection ends, by the record's clock
	mailAt   int64 // by the record's clock; 0: its line has been written
	messages int
	body     body
	chunking bool // within a series of BDAT
}

func newSession(s *Sink, conn net.Conn, id uint64) *session {
	se := &session{sink: s, conn: conn, id: id, buf: make([]byte, sessionBuffer)}
	if s.rec != nil {
		se.conn, se.arrived = withArrivals(conn)
	}
	return se
}

// run talks until either side has enough. Why a connection ended interests nobody here.
func (s *session) run(turnAway bool) {
	if turnAway {
		s.sink.count.turnedAway.Add(1)
		s.reply("421 4.3.2 too many connections")
		s.touch()
		s.ends()
		_ = s.flush()
		return
	}
	defer s.recordMail(nil) // one that saw no RCPT
	s.touch()
	if s.sink.cfg.TLS == TLSImplicit && s.startTLS() != nil {
		return
	}
	if s.stalls(atConnect) || !s.wait(s.sink.cfg.ConnectDelay) {
		return
	}
	s.reply("220 ", s.sink.cfg.Hostname, " ESMTP bench sink")
	for {
		line, err := s.line()
		if err != nil {
			s.goodbye()
			return
		}
		if err := s.command(line); err != nil {
			s.ends()
			_ = s.flush()
			return
		}
		if s.graced && !s.inMail {
			s.goodbye() // the transaction the sink waited for is over
			return
		}
	}
}

// ends marks the end of the connection for the record, before the last reply leaves:
// whoever has read that may connect again, and that is then another connection.
func (s *session) ends() {
	if s.over == 0 {
		s.over = rawNow()
	}
}

// goodbye tells a client that the sink is on its way out, if it is.
func (s *session) goodbye() {
	s.ends()
	if s.sink.stopping() {
		s.reply("421 4.3.2 the sink is done")
		_ = s.flush()
	}
}

// touch allows another idle time. Doing so once a second is enough and cheaper.
func (s *session) touch() {
	now := time.Now()
	if now.Sub(s.touched) < time.Second {
		return
	}
	s.touched = now
	_ = s.conn.SetDeadline(now.Add(sinkIdle))
	if s.sink.stopping() {
		// Set before our own deadline, the sink's hurry would be lost.
		_ = s.conn.SetReadDeadline(now)
	}
}

// wait sleeps unless the sink stops first, which ends the session.
func (s *session) wait(d time.Duration) bool {
	if d <= 0 {
		return true
	}
	if s.flush() != nil {
		return false
	}
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-s.sink.stop:
		return false
	case <-t.C:
		return true
	}
}

// stalls holds the connection without a word when the sink was told to at this step,
// until the client gives up or the sink stops.
func (s *session) stalls(at stage) bool {
	if stage(s.sink.cfg.Stall) != at {
		return false
	}
	if s.flush() != nil {
		return true
	}
	_ = s.conn.SetReadDeadline(time.Time{})
	if !s.sink.stopping() {
		_, _ = io.Copy(io.Discard, s.conn)
	}
	return true
}

func (s *session) reply(parts ...string) {
	for _, p := range parts {
		s.out = append(s.out, p...)
	}
	s.out = append(s.out, '\r', '\n')
}

func (s *session) flush() error {
	if len(s.out) == 0 {
		return nil
	}
	_, err := s.conn.Write(s.out)
	s.out = s.out[:0]
	return err
}

// fill reads more into the buffer. Replies leave first, so that they are written
// once for all commands that came together (RFC 2920 §3.2).
func (s *session) fill() error {
	if err := s.flush(); err != nil {
		return err
	}
	if s.r > 0 {
		s.w = copy(s.buf, s.buf[s.r:s.w])
		s.r = 0
	}
	if s.w == len(s.buf) {
		return errors.New("line too long")
	}
	s.touch()
	n, err := s.conn.Read(s.buf[s.w:])
	if n == 0 && errors.Is(err, os.ErrDeadlineExceeded) && s.inMail && !s.graced && s.sink.stopping() {
		s.graced = true
		_ = s.conn.SetReadDeadline(time.Now().Add(sinkGrace))
		n, err = s.conn.Read(s.buf[s.w:])
	}
	s.w += n
	if n > 0 {
		return nil
	}
	return err
}

// line returns the next command without its CRLF; it is valid until the next read.
// Only CRLF ends a line (RFC 5321 §2.3.8).
func (s *session) line() ([]byte, error) {
	for from := s.r; ; {
		i := bytes.Index(s.buf[from:s.w], crlf)
		if i >= 0 && from+i-s.r <= maxLine {
			line := s.buf[s.r : from+i]
			s.r = from + i + 2
			return line, nil
		}
		if i >= 0 || s.w-s.r > maxLine {
			s.reply("500 5.5.2 line too long")
			_ = s.flush()
			return nil, errDone
		}
		seen := max(0, s.w-s.r-1) // the last octet may be a CR
		if err := s.fill(); err != nil {
			return nil, err
		}
		from = s.r + seen
	}
}

// startTLS goes on over TLS. What was pipelined behind STARTTLS is dropped, as
// RFC 3207 §4.2 wants for all knowledge got before.
func (s *session) startTLS() error {
	if err := s.flush(); err != nil {
		return err
	}
	t := tls.Server(s.conn, s.sink.tls)
	if err := t.Handshake(); err != nil {
		return fmt.Errorf("tls: %w", err)
	}
	s.conn, s.secure = t, true
	s.r, s.w = 0, 0
	s.greeted = false
	s.reset()
	return nil
}

// reset forgets the transaction.
func (s *session) reset() {
	s.recordMail(nil)
	s.inMail, s.chunking = false, false
	s.accepted = 0
	s.rcpts = s.rcpts[:0]
}

// recordMail writes the line of the MAIL under way, once, now that its first recipient
// is known, or that it has none.
func (s *session) recordMail(rcpt []byte) {
	if s.sink.rec != nil && s.mailAt != 0 {
		s.sink.rec.mail(s.mailAt, s.id, rcpt, s.sender)
		s.mailAt = 0
	}
}
