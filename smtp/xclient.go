package smtp

import (
	"net/netip"
	"strconv"
	"strings"

	"github.com/tarishi/tarishi/mail"
)

// XCLIENT is Postfix's extension by which one who is believed says whose mail it brings:
// https://www.postfix.org/XCLIENT_README.html
const xclientKeyword = "XCLIENT NAME ADDR PORT PROTO HELO LOGIN DESTADDR DESTPORT"

// clientOf is what XCLIENT has said of the client, all of its commands together.
type clientOf struct {
	addr, dest netip.AddrPort
	addrKnown  bool // addr has been spoken of, be it to say that nobody knows it
	destKnown  bool
	name       string
	nameKnown  bool
	helo       string // "" once the client has said its own
	proto      string // SMTP or ESMTP
	login      string
}

// RemoteName is the client's host name as XCLIENT has said it; known is false when it has
// not spoken of it, and name is empty when it has said that there is none.
func (c *Conn) RemoteName() (name string, known bool) {
	if c.said == nil {
		return "", false
	}
	return c.said.name, c.said.nameKnown
}

func (c *Conn) doXClient(args string) {
	switch {
	case c.body != nil:
		c.mistake(inChunks)
		return
	case !c.xclient:
		c.mistake(notForYou)
		return
	case c.tx.open:
		c.mistake(nestedMail)
		return
	}
	said := clientOf{}
	if c.said != nil {
		said = *c.said
	}
	if bad := said.read(args); bad != "" {
		c.mistake(mail.R(501, "5.5.4", bad))
		return
	}
	if !c.idleChatter() {
		return
	}
	remote := c.remote
	if said.addrKnown {
		remote = netAddr(said.addr)
	}
	counted := c.srv.countedAs(remote)
	if full := c.srv.door.recount(c.counted, counted, c.srv.limits); full != "" {
		c.srv.stats.refused.Add(1)
		c.srv.log.Info("smtp: connection refused", "client", remote, "limit", full)
		c.say(mail.R(421, "4.7.0", "Too many connections, try again later"))
		return
	}
	c.srv.log.Info("smtp: XCLIENT", "conn", c.id, "from", c.remote, "client", remote)
	c.remote, c.counted, c.said = remote, counted, &said
	if said.destKnown {
		c.local = netAddr(said.dest)
	}
	c.startOver()
}

// startOver goes back to the greeting, as another client's connection: what the Session
// knew of the one before is gone. What is known of TLS stays.
func (c *Conn) startOver() {
	c.session.Close(c.ctx)
	c.session = nil
	c.tx, c.hello, c.esmtp, c.trusted, c.refusals = envelope{}, "", false, false, 0
	c.identity, c.early = c.said.login, false
	if !c.connect() {
		c.closing = true
		return
	}
	if c.said.helo != "" {
		esmtp := c.said.proto != "SMTP"
		if r := c.session.Hello(c.ctx, c.said.helo, esmtp); r != nil && r.Code >= 400 {
			c.refuseOr(r)
			return
		}
		c.hello, c.esmtp = c.said.helo, esmtp
	}
	c.banner()
}

// read takes in the arguments of one command, or says what is wrong with them.
func (s *clientOf) read(args string) (bad string) {
	if args == "" {
		return "Syntax: XCLIENT attribute=value ..."
	}
	seen := map[string]bool{}
	for word := range strings.FieldsSeq(args) {
		key, coded, ok := strings.Cut(word, "=")
		key = upper(key)
		value, decoded := readXtext(coded)
		switch {
		case !ok || !decoded:
			return "Malformed attribute"
		case seen[key]:
			return "Attribute given twice"
		case !s.set(key, value):
			return "Attribute not known, or its value not possible"
		}
		seen[key] = true
	}
	return ""
}

// set takes in one attribute.
func (s *clientOf) set(key, value string) (ok bool) {
	gone := strings.EqualFold(value, "[UNAVAILABLE]")
	switch key {
	case "NAME":
		gone = gone || strings.EqualFold(value, "[TEMPUNAVAIL]")
		if s.name, s.nameKnown = "", true; gone {
			return true
		}
		s.name = value
		return value[0] != '[' && CheckDomain(value) == nil
	case "ADDR":
		s.addrKnown = true
		return setAddr(&s.addr, value, gone)
	case "DESTADDR":
		s.destKnown = true
		return setAddr(&s.dest, value, gone)
	case "PORT":
		return setPort(&s.addr, value, gone)
	case "DESTPORT":
		return setPort(&s.dest, value, gone)
	case "PROTO":
		s.proto = upper(value)
		return s.proto == "SMTP" || s.proto == "ESMTP"
	case "HELO":
		if s.helo = ""; gone {
			return true
		}
		s.helo = value
		return isHelloName(value)
	case "LOGIN":
		if s.login = ""; gone {
			return true
		}
		s.login = value
		return len(value) <= maxDomain && !strings.ContainsFunc(value, func(r rune) bool { return r <= ' ' || r == 0x7f })
	}
	return false
}

func setAddr(to *netip.AddrPort, value string, gone bool) bool {
	if gone {
		*to = netip.AddrPort{}
		return true
	}
	v6 := len(value) > 5 && strings.EqualFold(value[:5], "IPV6:")
	if v6 {
		value = value[5:]
	}
	ip, err := netip.ParseAddr(value)
	if err != nil || ip.Zone() != "" || ip.Is6() != v6 {
		return false
	}
	*to = netip.AddrPortFrom(ip.Unmap(), to.Port())
	return true
}

func setPort(to *netip.AddrPort, value string, gone bool) bool {
	n, err := strconv.ParseUint(value, 10, 16)
	if gone {
		n, err = 0, nil
	}
	*to = netip.AddrPortFrom(to.Addr(), uint16(n))
	return err == nil
}
