package smtp

import (
	"bytes"
	"errors"
	"io"
	"strconv"
	"strings"
	"syscall"
)

// Extensions are what a host offers in its reply to EHLO.
type Extensions struct {
	Name                string // how the host calls itself
	ESMTP               bool   // it knows EHLO; false after HELO
	Pipelining          bool   // RFC 2920
	EightBitMIME        bool   // RFC 6152
	SMTPUTF8            bool   // RFC 6531
	Chunking            bool   // RFC 3030
	EnhancedStatusCodes bool   // RFC 2034
	DSN                 bool   // RFC 3461
	StartTLS            bool   // RFC 3207
	RequireTLS          bool   // RFC 8689
	SizeOffered         bool   // RFC 1870
	Size                int64  // largest message taken, octets; 0: not said
	// RFC 9422; 0: not said. They are the caller's to respect: it makes the transactions.
	RcptMax       int // recipients in a transaction
	RcptDomainMax int // recipient domains in a transaction
	MailMax       int // transactions in a connection
	Auth          []string
}

func parseExtensions(raw rawReply) Extensions {
	e := Extensions{ESMTP: true}
	first := true
	raw.each(func(line []byte) {
		if first {
			first = false
			name, _, _ := bytes.Cut(line, []byte(" "))
			e.Name = printable(name)
			return
		}
		// RFC 5321 §4.1.1.1: keywords in any case. "AUTH=LOGIN" is an old way to write "AUTH LOGIN".
		keyword, args, _ := strings.Cut(strings.ToUpper(printable(line)), " ")
		e.add(keyword, strings.Fields(args))
	})
	return e
}

func (e *Extensions) add(keyword string, args []string) {
	if name, arg, ok := strings.Cut(keyword, "="); ok && name == "AUTH" {
		keyword, args = name, append([]string{arg}, args...)
	}
	switch keyword {
	case "PIPELINING":
		e.Pipelining = true
	case "8BITMIME":
		e.EightBitMIME = true
	case "SMTPUTF8":
		e.SMTPUTF8 = true
	case "CHUNKING":
		e.Chunking = true
	case "ENHANCEDSTATUSCODES":
		e.EnhancedStatusCodes = true
	case "DSN":
		e.DSN = true
	case "STARTTLS":
		e.StartTLS = true
	case "REQUIRETLS":
		e.RequireTLS = true
	case "SIZE":
		e.SizeOffered = true
		if len(args) > 0 {
			if n, err := strconv.ParseInt(args[0], 10, 64); err == nil && n > 0 {
				e.Size = n
			}
		}
	case "LIMITS":
		for _, a := range args {
			name, value, _ := strings.Cut(a, "=")
			n, err := strconv.Atoi(value)
			if err != nil || n < 1 {
				continue // RFC 9422 §4: what is not understood is ignored
			}
			switch name {
			case "RCPTMAX":
				e.RcptMax = n
			case "RCPTDOMAINMAX":
				e.RcptDomainMax = n
			case "MAILMAX":
				e.MailMax = n
			}
		}
	case "AUTH":
		for _, a := range args {
			if a != "" {
				e.Auth = append(e.Auth, a)
			}
		}
	}
}

// hello says EHLO, or LHLO, or HELO where the host does not know EHLO. It is
// never sent together with other commands (RFC 2920 §3.1).
func (c *Client) hello() error {
	verb := "EHLO "
	if c.o.LMTP {
		verb = "LHLO "
	}
	if !c.o.ForceHELO || c.o.LMTP {
		raw, err := c.exchange(StageHello, verb)
		if err != nil {
			if !c.o.LMTP && wasCut(err) {
				return c.broken(StageHello, errors.Join(ErrHelloCut, err))
			}
			return err
		}
		if raw.code/100 == 2 {
			c.ext = parseExtensions(raw)
			return nil
		}
		if c.o.LMTP || !knowsNoEHLO(raw.code) {
			return c.refused(StageHello, raw)
		}
	}
	raw, err := c.exchange(StageHello, "HELO ")
	if err != nil {
		return err
	}
	if raw.code/100 != 2 {
		return c.refused(StageHello, raw)
	}
	c.ext = Extensions{}
	raw.each(func(line []byte) {
		if c.ext.Name == "" {
			name, _, _ := bytes.Cut(line, []byte(" "))
			c.ext.Name = printable(name)
		}
	})
	return nil
}

func (c *Client) exchange(stage Stage, verb string) (rawReply, error) {
	if err := c.writeCommand(stage, c.t.Hello, verb+c.o.Hello+"\r\n"); err != nil {
		return rawReply{}, err
	}
	return c.readReply(stage, c.t.Hello)
}

// knowsNoEHLO tells the replies after which RFC 5321 §3.2 has us try HELO;
// 550 is what some old content filters say.
func knowsNoEHLO(code int) bool {
	switch code {
	case 500, 501, 502, 504, 550:
		return true
	}
	return false
}

// wasCut tells whether the remote ended the connection, as opposed to a deadline,
// the caller's context or a remote that talks nonsense.
func wasCut(err error) bool {
	for _, cut := range []error{io.EOF, io.ErrClosedPipe, syscall.ECONNRESET, syscall.EPIPE} {
		if errors.Is(err, cut) {
			return true
		}
	}
	return false
}
