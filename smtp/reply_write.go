package smtp

import (
	"strconv"
	"strings"

	"github.com/tarishi/tarishi/mail"
)

const maxReplyLine = 512 // octets with CRLF (RFC 5321 §4.5.3.1.5)

// appendReply appends r as it goes on the wire. Each line carries the enhanced
// code (RFC 2034 §4), of the same class as the reply; octets other than
// printable ASCII become '?', so that nothing a client sent can end a line;
// lines that would be too long are folded.
func appendReply(dst []byte, r mail.Reply, enhanced bool) []byte {
	var head [24]byte
	code := strconv.AppendInt(head[:0], int64(r.Code), 10)
	n := len(code)
	head[n] = ' '
	prefix := head[:n+1]
	if class := uint16(r.Code / 100); enhanced && class != 3 { // RFC 2034 §3: 2yz, 4yz and 5yz
		e := r.Enhanced
		if e[0] != class {
			e = mail.EnhancedCode{class, 0, 0}
		}
		prefix = strconv.AppendUint(prefix, uint64(e[0]), 10)
		prefix = append(prefix, '.')
		prefix = strconv.AppendUint(prefix, uint64(e[1]), 10)
		prefix = append(prefix, '.')
		prefix = strconv.AppendUint(prefix, uint64(e[2]), 10)
		prefix = append(prefix, ' ')
	}
	room := maxReplyLine - len(prefix) - 2
	for text, more := r.Text, true; more; {
		var line string
		line, text, more = strings.Cut(text, "\n")
		for {
			part := line
			if len(part) > room {
				part = part[:room]
				if sp := strings.LastIndexByte(part, ' '); sp > 0 {
					part = part[:sp]
				}
			}
			line = line[len(part):]
			start := len(dst)
			dst = append(dst, prefix...)
			if more || line != "" {
				dst[start+n] = '-'
			}
			dst = appendPrintable(dst, part)
			dst = append(dst, '\r', '\n')
			if line == "" {
				break
			}
			line = strings.TrimPrefix(line, " ")
		}
	}
	return dst
}

func appendPrintable(dst []byte, s string) []byte {
	start := len(dst)
	dst = append(dst, s...)
	for i := start; i < len(dst); i++ {
		if dst[i] < ' ' || dst[i] > '~' {
			dst[i] = '?'
		}
	}
	return dst
}

// say queues a reply of the engine or of a Session. After a 421 the connection is closed.
func (c *Conn) say(r mail.Reply) { c.queue(r, true) }

// sayPlain queues a reply without enhanced code: the greeting, and the answers to
// HELO and EHLO (RFC 2034 §4).
func (c *Conn) sayPlain(r mail.Reply) { c.queue(r, false) }

func (c *Conn) queue(r mail.Reply, enhanced bool) {
	if c.mute {
		return
	}
	c.srv.stats.reply(r.Code)
	c.wire.out = appendReply(c.wire.out, r, enhanced)
	if r.Code == 421 {
		c.closing, c.lingering = true, true
	}
	if len(c.wire.out) > maxQueue {
		_ = c.wire.flush()
	}
}

// ok queues a usual reply, whole and with CRLF: say for the ones that come with every message.
func (c *Conn) ok(line string) {
	if c.mute {
		return
	}
	c.srv.stats.reply(int(line[0]-'0') * 100)
	c.wire.out = append(c.wire.out, line...)
	if len(c.wire.out) > maxQueue {
		_ = c.wire.flush()
	}
}

// mistake queues the reply to a command that should not have been sent and counts it.
func (c *Conn) mistake(r mail.Reply) {
	if c.errors++; exceeds(c.errors, c.srv.limits.Errors) {
		c.say(mail.R(421, "4.7.0", "Too many errors, closing connection"))
		return
	}
	c.say(r)
}

// idleChatter counts a command that brings no mail forward; false when there were too many.
func (c *Conn) idleChatter() bool {
	if c.junk++; exceeds(c.junk, c.srv.limits.Junk) {
		c.say(mail.R(421, "4.7.0", "Too many commands without mail, closing connection"))
		return false
	}
	return true
}
