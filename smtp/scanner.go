package smtp

import (
	"bytes"

	"github.com/tarishi/tarishi/mail"
)

// fault is what makes a message unacceptable by its octets.
type fault uint8

const (
	noFault fault = iota
	bareLF
	bareCR
	nulOctet
	longLine
	overSize
)

var faultReply = [...]mail.Reply{
	bareLF:   mail.R(550, "5.5.2", "Message refused: bare <LF>, lines must end in <CR><LF>"), // RFC 5321 §2.3.8
	bareCR:   mail.R(550, "5.5.2", "Message refused: bare <CR>, lines must end in <CR><LF>"),
	nulOctet: mail.R(550, "5.6.0", "Message refused: NUL octet"), // RFC 5322 §4 (obs-NO-WS-CTL)
	longLine: mail.R(554, "5.6.0", "Message refused: line too long"),
	overSize: tooBig,
}

// scanner undoes dot-stuffing and finds the end of a message. It is pure: octets
// in, octets out, whatever pieces they come in. The zero value with limits set is
// at the start of a message.
type scanner struct {
	dots    bool  // DATA: CR LF . CR LF ends the message; else (BDAT) nothing does
	maxLine int   // octets of a line with CRLF; negative: no limit
	maxSize int64 // octets of the message

	at    place
	line  int   // octets of the current line so far
	size  int64 // octets of the message so far
	fault fault // the first one; from then on nothing is delivered
}

type place uint8

const (
	lineStart place = iota // the last two octets were CRLF, or there were none
	inLine
	afterCR
)

func (s *scanner) spoil(f fault) {
	if s.fault == noFault {
		s.fault = f
	}
}

// scan looks at p and uses n octets of it. out is the part of p that belongs to
// the message (nothing once there is a fault); end says that the message ends
// behind the n octets. n < len(p) without end means either call again at once, or,
// when n is 0, with more octets: only up to two octets that may begin the end are
// ever left so.
func (s *scanner) scan(p []byte) (out []byte, n int, end bool) {
	i, start := 0, 0
loop:
	for i < len(p) {
		switch s.at {
		case afterCR:
			if p[i] == '\n' {
				s.newline(1)
				i++
				continue
			}
			s.spoil(bareCR)
			s.at = inLine
		case lineStart:
			if s.dots && p[i] == '.' {
				rest := p[i:]
				switch {
				case len(rest) == 1 || len(rest) == 2 && rest[1] == '\r':
					n = i
					break loop // cannot tell yet
				case rest[1] == '\r' && rest[2] == '\n':
					n, end = i+3, true
					break loop
				case i > start:
					n = i
					break loop // deliver what stands before the dot
				}
				i++ // RFC 5321 §4.5.2: the first period of a longer line is dropped
				start = i
			}
			s.at = inLine
		default:
			lf := bytes.IndexByte(p[i:], '\n')
			if lf < 0 {
				if cr := bytes.IndexByte(p[i:], '\r'); cr >= 0 {
					if i+cr < len(p)-1 {
						s.spoil(bareCR)
					}
					if p[len(p)-1] == '\r' {
						s.at = afterCR
					}
				}
				s.longer(len(p) - i)
				i = len(p)
				continue
			}
			if lf == 0 || p[i+lf-1] != '\r' {
				s.spoil(bareLF) // and no line ends here: B . CR LF behind it ends nothing
				if bytes.IndexByte(p[i:i+lf], '\r') >= 0 {
					s.spoil(bareCR)
				}
				s.longer(lf + 1)
			} else {
				if bytes.IndexByte(p[i:i+lf-1], '\r') >= 0 {
					s.spoil(bareCR)
				}
				s.newline(lf + 1)
			}
			i += lf + 1
		}
	}
	if n == 0 && !end {
		n = i
	}
	out = p[start:min(i, n)]
	s.size += int64(len(out))
	if s.fault == noFault && bytes.IndexByte(out, 0) >= 0 {
		s.fault = nulOctet
	}
	if s.size > s.maxSize {
		s.spoil(overSize)
	}
	if s.fault != noFault {
		out = nil
	}
	return out, n, end
}

// longer adds n octets to the current line.
func (s *scanner) longer(n int) {
	if s.line += n; s.maxLine >= 0 && s.line > s.maxLine {
		s.spoil(longLine)
	}
}

// newline ends the current line, whose last n octets have not been counted.
func (s *scanner) newline(n int) {
	s.longer(n)
	s.line, s.at = 0, lineStart
}

// finish is called at the end of a message that no dot ends: a CR still waits for its LF.
func (s *scanner) finish() {
	if s.at == afterCR {
		s.spoil(bareCR)
	}
}
