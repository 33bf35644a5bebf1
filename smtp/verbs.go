package smtp

import (
	"strconv"
	"strings"
	"time"

	"github.com/tarishi/tarishi/mail"
)

const (
	okMail = "250 2.1.0 OK\r\n"
	okRcpt = "250 2.1.5 OK\r\n"
	okDone = "250 2.0.0 OK\r\n"
	noVrfy = "252 2.5.0 Cannot VRFY, but will take a message and try\r\n"
	goData = "354 End data with <CR><LF>.<CR><LF>\r\n"
)

var (
	noSuchVerb  = mail.R(500, "5.5.2", "Command not recognized")
	notDone     = mail.R(502, "5.5.1", "Command not implemented")
	noArguments = mail.R(501, "5.5.4", "This command takes no arguments")
	helloFirst  = mail.R(503, "5.5.1", "Say EHLO first")
	mailFirst   = mail.R(503, "5.5.1", "Need MAIL before this")
	nestedMail  = mail.R(503, "5.5.1", "A transaction is open already")
	noRcpt      = mail.R(554, "5.5.1", "No valid recipients")
	notForYou   = mail.R(550, "5.7.0", "Not for you")
	inChunks    = mail.R(503, "5.5.1", "A message is being sent with BDAT")
)

// dispatch runs one command line. line is valid until something is read.
func (c *Conn) dispatch(line []byte) {
	verb, args := splitVerb(line)
	var short [12]byte // longest verb we know, and one more
	v := short[:copy(short[:], verb)]
	for i, b := range v {
		if 'a' <= b && b <= 'z' {
			v[i] = b - 'a' + 'A'
		}
	}
	switch string(v) {
	case "MAIL":
		c.doMail(string(args))
	case "RCPT":
		c.doRcpt(string(args))
	case "DATA":
		c.doData(args)
	case "BDAT":
		c.doBdat(string(args))
	case "EHLO", "HELO":
		c.doHello(string(args), v[0] == 'E')
	case "RSET":
		if c.noArgs(args) && c.idleChatter() {
			r := c.aside(func(a Asider) *mail.Reply { return a.Rset(c.ctx) })
			c.endTransaction()
			c.answer(r, okDone)
		}
	case "NOOP": // RFC 5321 §4.1.1.9: an argument is ignored
		if c.idleChatter() {
			c.answer(c.aside(func(a Asider) *mail.Reply { return a.Noop(c.ctx, string(args)) }), okDone)
		}
	case "QUIT":
		if c.noArgs(args) {
			r := c.aside(func(a Asider) *mail.Reply { return a.Quit(c.ctx) })
			c.answer(r, "221 2.0.0 "+c.srv.Hostname+" closing connection\r\n")
			c.closing = true
		}
	case "VRFY":
		// RFC 5321 §3.5.3, §7.3: 252 for everybody says nothing about anybody.
		if len(args) == 0 {
			c.mistake(mail.R(501, "5.5.4", "Syntax: VRFY string"))
		} else if c.idleChatter() {
			c.answer(c.aside(func(a Asider) *mail.Reply { return a.Vrfy(c.ctx, string(args)) }), noVrfy)
		}
	case "HELP":
		if c.idleChatter() {
			c.say(mail.R(214, "2.0.0", "HELO EHLO STARTTLS MAIL RCPT DATA BDAT RSET NOOP QUIT"))
		}
	case "STARTTLS":
		c.doStartTLS(args)
	case "XCLIENT":
		c.doXClient(string(args))
	case "GET", "POST", "CONNECT", "HEAD", "PUT", "OPTIONS", "DELETE", "TRACE", "PATCH", "PROXY":
		// A browser made to talk to us: what follows is not the user's wish. Or one who
		// says PROXY and is no proxy of ours.
		c.lineFault(errNotSMTP)
		c.closing = true
	default:
		c.doOther(string(verb), string(args))
	}
}

// noArgs tells whether args is empty, and says so when not.
func (c *Conn) noArgs(args []byte) bool {
	if len(args) > 0 {
		c.mistake(noArguments)
		return false
	}
	return true
}

func (c *Conn) doOther(verb, args string) {
	if c.body != nil {
		c.mistake(inChunks) // the Session is busy in Message
		return
	}
	verb = strings.ToUpper(verb)
	r := c.session.Command(c.ctx, verb, args)
	if c.lost {
		return // in a Challenge; nobody waits for the reply
	}
	if r != nil {
		c.refuseOr(r)
		return
	}
	switch verb {
	case "EXPN", "ETRN", "TURN", "ATRN", "SEND", "SOML", "SAML", "AUTH", "BURL":
		c.mistake(notDone)
	case "XFORWARD":
		c.mistake(notForYou)
	default:
		c.mistake(noSuchVerb)
	}
}

// refuseOr sends a Session's reply and tells whether it is positive. Negative ones count.
func (c *Conn) refuseOr(r *mail.Reply) bool {
	if r.Code < 400 {
		c.say(*r)
		return true
	}
	if r.Permanent() {
		c.mistake(*r)
	} else {
		c.say(*r)
	}
	return false
}

// answer sends a Session's reply, or the usual one where it has none.
func (c *Conn) answer(r *mail.Reply, usual string) {
	if r == nil {
		c.ok(usual)
	} else {
		c.refuseOr(r)
	}
}

// endTransaction forgets the envelope and tells the Session (RFC 5321 §4.1.1.5).
func (c *Conn) endTransaction() {
	c.tx = envelope{}
	c.session.Reset(c.ctx)
}

func (c *Conn) doHello(name string, esmtp bool) {
	if !isHelloName(name) {
		c.mistake(mail.R(501, "5.5.4", "Syntax: EHLO or HELO, and your host name"))
		return
	}
	if !c.idleChatter() {
		return
	}
	c.early = c.early || len(c.wire.buffered()) > 0
	r := c.session.Hello(c.ctx, name, esmtp)
	if r != nil && r.Code >= 400 {
		c.refuseOr(r)
		return
	}
	c.endTransaction() // RFC 5321 §4.1.4: EHLO does what RSET does
	c.hello, c.esmtp = name, esmtp
	if c.said != nil {
		c.said.helo = ""
	}
	text := c.srv.Hostname
	if r != nil && r.Text != "" {
		text, _, _ = strings.Cut(r.Text, "\n")
	}
	if esmtp {
		text += "\nPIPELINING\n8BITMIME\nSMTPUTF8\nSIZE " + strconv.FormatInt(c.srv.limits.MessageSize, 10) +
			"\nCHUNKING\nDSN\nENHANCEDSTATUSCODES"
		if c.srv.tls != nil && c.tlsState == nil {
			text += "\nSTARTTLS"
		}
		if most := c.postpones(); most > 0 {
			text += "\n" + futureRelease(most, time.Now())
		}
		if c.xclient {
			text += "\n" + xclientKeyword
		}
		for _, k := range c.session.Keywords() {
			text += "\n" + k
		}
	}
	c.sayPlain(mail.Reply{Code: 250, Text: text})
}

// isHelloName lets through what names a host or tries to. RFC 5321 §4.1.4 forbids
// refusing mail because a name is wrong; but one word without controls it must be.
func isHelloName(s string) bool {
	for i := range len(s) {
		if s[i] <= ' ' || s[i] > '~' {
			return false
		}
	}
	if strings.HasPrefix(s, "[") && checkLiteral(s) != nil {
		return false
	}
	return s != "" && len(s) <= maxDomain
}

func (c *Conn) doMail(args string) {
	switch {
	case c.body != nil:
		c.mistake(inChunks)
		return
	case c.hello == "":
		c.mistake(helloFirst)
		return
	case c.tx.open:
		c.mistake(nestedMail)
		return
	}
	from, o, bad := parseMail(args, c.srv.LaxPaths, c.esmtp, c.srv.limits.MessageSize, c.postpones())
	if bad != nil {
		c.mistake(*bad)
		return
	}
	c.tx.utf8 = o.UTF8 // before Mail, so that Protocol is right there
	r := c.session.Mail(c.ctx, from, o)
	if r == nil {
		c.ok(okMail)
	} else if !c.refuseOr(r) {
		c.tx = envelope{}
		return
	}
	c.tx.open = true
}

func (c *Conn) doRcpt(args string) {
	switch {
	case c.body != nil:
		c.mistake(inChunks)
		return
	case !c.tx.open:
		c.mistake(mailFirst)
		return
	}
	to, o, bad := parseRcpt(args, c.srv.LaxPaths, c.esmtp, c.tx.utf8)
	if bad != nil {
		c.mistake(*bad)
		return
	}
	if c.tx.rcpt >= c.srv.limits.Recipients {
		c.say(mail.R(452, "4.5.3", "Too many recipients, send the rest in another transaction")) // RFC 5321 §4.5.3.1.10
		return
	}
	r := c.session.Rcpt(c.ctx, to, o)
	switch {
	case r == nil:
		c.ok(okRcpt)
	case r.Code < 400:
		c.say(*r)
	default:
		if r.Permanent() {
			if c.refusals++; exceeds(c.refusals, c.srv.limits.Refusals) {
				c.say(mail.R(421, "4.7.0", "Too many refused recipients, closing connection"))
				return
			}
		}
		c.say(*r)
		return
	}
	c.tx.rcpt++
}

func (c *Conn) doData(args []byte) {
	switch {
	case c.body != nil:
		c.mistake(inChunks)
		return
	case !c.noArgs(args):
		return
	case !c.tx.open:
		c.mistake(mailFirst)
		return
	case c.tx.rcpt == 0:
		c.mistake(noRcpt)
		return
	case len(c.wire.buffered()) > 0 && !c.trusted:
		// RFC 2920 §3.1: DATA is the last command of a group. Octets behind it
		// were sent by somebody who did not wait for our answer.
		c.early = true
		c.say(mail.R(503, "5.5.0", "Data sent before the 354, closing connection"))
		c.closing, c.lingering = true, true
		return
	}
	r := c.session.Data(c.ctx)
	switch {
	case r == nil:
		c.ok(goData)
	case r.Code/100 == 3:
		c.say(*r)
	default:
		c.refuseOr(r)
		return
	}
	c.receive(c.newBody())
}
