package bench

import (
	"bytes"
	"strconv"
	"strings"
)

// command carries out one line. An error ends the session, after the replies are out.
func (s *session) command(line []byte) error {
	verb, arg, _ := bytes.Cut(line, []byte(" "))
	switch string(bytes.ToUpper(verb)) {
	case "MAIL":
		return s.mail(arg)
	case "RCPT":
		return s.rcpt(arg)
	case "DATA":
		return s.data()
	case "BDAT":
		return s.bdat(arg)
	case "EHLO":
		return s.hello(true)
	case "HELO":
		return s.hello(false)
	case "RSET":
		s.reset()
		s.reply("250 2.0.0 reset")
	case "NOOP":
		s.reply("250 2.0.0 ok")
	case "VRFY":
		s.reply("252 2.5.2 send it and see") // RFC 5321 §3.5.3
	case "STARTTLS":
		if s.sink.cfg.TLS != TLSStart || s.secure {
			s.reply("502 5.5.1 not offered")
			return nil
		}
		s.reply("220 2.0.0 go ahead")
		return s.startTLS()
	case "QUIT":
		s.reply("221 2.0.0 bye")
		return errDone
	default:
		s.reply("500 5.5.2 unknown command")
	}
	return nil
}

func (s *session) hello(extended bool) error {
	if s.stalls(atHello) {
		return errDone
	}
	s.reset()
	s.greeted = true
	offers := []string{s.sink.cfg.Hostname}
	if extended {
		if s.sink.cfg.TLS == TLSStart && !s.secure {
			offers = append(offers, "STARTTLS")
		}
		if !s.sink.cfg.NoExtensions {
			// SIZE 0: no fixed limit (RFC 1870 §4).
			offers = append(offers, "PIPELINING", "CHUNKING", "8BITMIME", "ENHANCEDSTATUSCODES", "SIZE 0")
		}
	}
	last := len(offers) - 1
	for _, o := range offers[:last] {
		s.reply("250-", o)
	}
	s.reply("250 ", offers[last])
	return nil
}

func (s *session) mail(arg []byte) error {
	path, ok := address(arg, "FROM:")
	if s.arrived != nil && !s.inMail {
		// A refused one counts as well: the sender has begun a transaction.
		s.recordMail(nil)
		s.mailAt = s.arrived()
		s.sender = append(s.sender[:0], path...)
	}
	if s.stalls(atMail) {
		return errDone
	}
	switch {
	case s.sink.cfg.GoAwayAfter > 0 && s.messages >= s.sink.cfg.GoAwayAfter:
		s.reply("421 4.7.0 enough for this connection")
		return errDone
	case s.sink.stopping():
		s.reply("421 4.3.2 the sink is done")
		return errDone
	case !s.greeted:
		s.reply("503 5.5.1 say EHLO first")
	case s.inMail:
		s.reply("503 5.5.1 one transaction at a time")
	case !ok:
		s.reply("501 5.5.4 MAIL FROM:<address>")
	default:
		s.inMail = true
		s.sender = append(s.sender[:0], path...)
		s.reply("250 2.1.0 ok")
	}
	return nil
}

func (s *session) rcpt(arg []byte) error {
	path, ok := address(arg, "TO:")
	s.recordMail(path)
	if s.stalls(atRcpt) {
		return errDone
	}
	switch {
	case !s.inMail || s.chunking:
		s.reply("503 5.5.1 MAIL first")
		return nil
	case !ok || len(path) == 0:
		s.reply("501 5.5.4 RCPT TO:<address>")
		return nil
	case s.accepted >= maxRcpts:
		s.reply("452 4.5.3 too many recipients")
		return nil
	}
	code, text := "250", "2.1.5 ok"
	switch s.sink.policy.judge(s.sender, path) {
	case unwanted:
		s.sink.count.rcptRefused.Add(1)
		code, text = "550", "5.1.1 no such user here"
	case deferred:
		s.sink.count.rcptDeferred.Add(1)
		code, text = "451", "4.3.0 not now"
	case greylisted:
		s.sink.count.rcptDeferred.Add(1)
		code, text = "451", "4.7.1 greylisted, come again"
	default:
		s.accepted++
		s.rcpts = append(append(s.rcpts, path...), '\n')
	}
	if s.arrived != nil {
		s.sink.rec.rcpt(s.arrived(), s.id, code, path)
	}
	s.reply(code, " ", text)
	return nil
}

func (s *session) data() error {
	if s.stalls(atData) {
		return errDone
	}
	switch {
	case !s.inMail || s.chunking:
		s.reply("503 5.5.1 MAIL first")
		return nil
	case s.accepted == 0:
		s.reply("554 5.5.1 no valid recipients") // RFC 2920 §3.1 rather than 354 and a refusal later
		return nil
	}
	s.reply("354 go ahead")
	s.body.begin(s.sink.cfg.Hash)
	if err := s.dotted(); err != nil {
		return err
	}
	return s.received()
}

// bdat takes one chunk (RFC 3030 §2). A chunk nobody waits for is read all the same,
// for its octets must not be taken for commands.
func (s *session) bdat(arg []byte) error {
	size, tail, _ := bytes.Cut(arg, []byte(" "))
	n, err := strconv.ParseInt(string(size), 10, 63)
	last := bytes.EqualFold(bytes.TrimSpace(tail), []byte("LAST"))
	if err != nil || n < 0 || len(tail) > 0 && !last {
		s.reply("501 5.5.4 BDAT size [LAST]")
		return errDone // how much follows is unknown
	}
	welcome := s.inMail && s.accepted > 0
	if welcome && !s.chunking {
		s.chunking = true
		s.body.begin(s.sink.cfg.Hash)
	}
	if err := s.counted(n, welcome); err != nil {
		return err
	}
	switch {
	case !welcome:
		s.reply("503 5.5.1 no valid recipients")
	case last:
		return s.received()
	default:
		s.reply("250 2.0.0 ", strconv.FormatInt(n, 10), " octets")
	}
	return nil
}

// received answers a whole message. It is counted after the delay and before its 250
// is on the way: what the client may take for delivered has been counted.
func (s *session) received() error {
	var at int64
	if s.arrived != nil {
		at = s.arrived()
	}
	if s.stalls(atDot) || !s.wait(s.sink.cfg.Delay) {
		return errDone
	}
	s.sink.record(s)
	if s.arrived != nil {
		s.sink.rec.data(at, s.id, s.accepted, bytes.TrimSpace(s.body.field(idField)), trace(s.body.header))
	}
	s.messages++
	s.reset()
	s.reply("250 2.0.0 taken")
	if most := s.sink.cfg.CloseAfter; most > 0 && s.messages >= most {
		return errDone
	}
	return nil
}

// address takes what stands between < and >, behind FROM: or TO:. Parameters are
// ignored: the sink takes whatever it is given.
func address(arg []byte, keyword string) ([]byte, bool) {
	if len(arg) < len(keyword) || !strings.EqualFold(string(arg[:len(keyword)]), keyword) {
		return nil, false
	}
	arg = bytes.TrimLeft(arg[len(keyword):], " ")
	if len(arg) < 2 || arg[0] != '<' {
		return nil, false
	}
	quoted := false
	for i := 1; i < len(arg); i++ {
		switch c := arg[i]; {
		case c == '\\' && quoted:
			i++
		case c == '"':
			quoted = !quoted
		case c == '>' && !quoted:
			return arg[1:i], true
		case c < ' ' && c != '\t': // would break the lines of the ids file
			return nil, false
		}
	}
	return nil, false
}
