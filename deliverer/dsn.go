package deliverer

import (
	"bytes"
	"fmt"
	"hash/fnv"
	"io"
	"mime/quotedprintable"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/tarishi/tarishi/mail"
)

// action is the Action field of a delivery status (RFC 3464 §2.3.3).
type action string

const (
	actionFailed    action = "failed"
	actionDelayed   action = "delayed"
	actionRelayed   action = "relayed"
	actionDelivered action = "delivered"
)

// verdict is what a notice says about one recipient.
type verdict struct {
	recipient mail.Recipient
	action    action
	reply     mail.Reply        // what was said last; zero: nothing
	host      string            // by whom; empty: by us
	class     string            // its bounce class
	status    mail.EnhancedCode // zero: that of the reply
	until     time.Time         // delayed: given up then
}

// notice is a delivery status notification before it is written down.
type notice struct {
	id       string // message id of the notice itself
	hostname string // the reporting MTA
	now      time.Time
	about    *mail.Message
	verdicts []verdict
	header   []byte // of the message reported on, cut to headerCap
}

const (
	// headerCap bounds what a notice quotes: enough for any real header, and a notice
	// is never larger than what provoked it by much.
	headerCap = 32 << 10
	// replyCap bounds a remote's words about one recipient, repliesCap those of all
	// recipients together: a host that is talkative about each of a thousand
	// recipients does not make megabytes.
	replyCap   = 2 << 10
	repliesCap = 64 << 10
	replyLeast = 100
)

// noticeID names the notice of one attempt on a delivery about these recipients. It
// depends on nothing else, so that a notice repeated after a crash is the same
// notice, and one that has to tell of others is another: the queue drops a repeat.
// It sorts by the age of the message it reports on.
func noticeID(env *mail.Delivery, kind string, attempt int, about []verdict) string {
	const alphabet = "0123456789ABCDEFGHJKMNPQRSTVWXYZ"
	h := fnv.New128a()
	fmt.Fprintf(h, "%s %s %d", env.ID(), kind, attempt)
	for i := range about {
		fmt.Fprintf(h, "\n%s", about[i].recipient.Raw)
	}
	sum := h.Sum(nil)
	prefix := env.Message.ID[:min(9, len(env.Message.ID))]
	b := []byte(prefix)
	for _, c := range sum[:11] {
		b = append(b, alphabet[c&31])
	}
	return string(b)
}

// international tells whether the notice needs SMTPUTF8 and the types of RFC 6533.
func (n *notice) international() bool {
	if n.about.SMTPUTF8 || !n.about.Sender.IsASCII() {
		return true
	}
	for i := range n.verdicts {
		if !n.verdicts[i].recipient.IsASCII() {
			return true
		}
	}
	return false
}

// write returns the notice as a message (RFC 3464, RFC 6522, RFC 6533), and
// whether it must travel with SMTPUTF8.
func (n *notice) write() (body []byte, utf8 bool) {
	utf8 = n.international()
	var b bytes.Buffer
	line := func(format string, args ...any) {
		fmt.Fprintf(&b, format, args...)
		b.WriteString("\r\n")
	}
	boundary := "=_" + n.id + "_notice" // =_ cannot occur in quoted-printable or in a header of ours
	statusType, headerType, charset, encoding := "message/delivery-status", "text/rfc822-headers", "us-ascii", "7bit"
	if utf8 {
		statusType, headerType, charset, encoding = "message/global-delivery-status", "message/global-headers", "utf-8", "8bit"
	}
	subject, lead := n.words()

	line("From: Mail Delivery System <MAILER-DAEMON@%s>", n.hostname)
	line("To: <%s>", n.about.Sender.Raw)
	line("Subject: %s", subject)
	line("Date: %s", n.now.Format(time.RFC1123Z))
	line("Message-ID: <%s@%s>", n.id, n.hostname)
	// RFC 3834 §5: no machine is to answer this.
	line("Auto-Submitted: auto-replied")
	line("MIME-Version: 1.0")
	line("Content-Type: multipart/report; report-type=delivery-status;")
	line("\tboundary=\"%s\"", boundary)
	if utf8 {
		line("Content-Transfer-Encoding: 8bit")
	}
	line("")
	line("This is a delivery status notification in MIME format.")
	line("")
	line("--%s", boundary)
	line("Content-Type: text/plain; charset=%s", charset)
	line("Content-Transfer-Encoding: %s", encoding)
	line("Content-Description: Notification")
	line("")
	n.human(&b, lead, utf8)
	line("")
	line("--%s", boundary)
	line("Content-Type: %s", statusType)
	if utf8 {
		line("Content-Transfer-Encoding: 8bit")
	}
	line("Content-Description: Delivery report")
	line("")
	n.status(&b, utf8)
	line("")
	line("--%s", boundary)
	line("Content-Description: Header of the message")
	n.quote(&b, headerType, utf8)
	line("")
	line("--%s--", boundary)
	return b.Bytes(), utf8
}

// words returns the subject and the first sentences, for the person who wrote the message.
func (n *notice) words() (subject string, lead []string) {
	switch n.verdicts[0].action {
	case actionDelayed:
		return "Delayed: your message has not been delivered yet", []string{
			"Your message could not be delivered yet. You need not send it again:",
			"we keep trying until " + n.verdicts[0].until.UTC().Format("Mon, 2 Jan 2006 15:04 MST") + ".",
		}
	case actionRelayed, actionDelivered:
		return "Delivery report: your message was handed on", []string{
			"You asked for a report. Your message was accepted for the recipients below.",
			"A mail system that only took it over (\"relayed\") may not report further.",
		}
	}
	return "Undelivered: your message was returned", []string{
		"Your message could not be delivered to the recipients below,",
		"and will not be tried again.",
	}
}

func (n *notice) human(b *bytes.Buffer, lead []string, utf8 bool) {
	fmt.Fprintf(b, "This is the mail system at %s.\r\n\r\n", n.hostname)
	for _, l := range lead {
		fmt.Fprintf(b, "%s\r\n", l)
	}
	for i := range n.verdicts {
		v := &n.verdicts[i]
		fmt.Fprintf(b, "\r\n<%s>\r\n", plain(v.recipient.Raw, utf8))
		said := n.said(v, utf8)
		switch {
		case v.expired():
			fold(b, "    ", "Given up: it could not be delivered in time.")
			if !v.reply.IsZero() {
				fold(b, "    ", "Last: "+said)
			}
		case v.host != "" && !v.reply.IsZero():
			host := v.host
			if host[0] == '/' { // where a socket lies is nobody's business
				host = "The host of the mailbox"
			}
			fold(b, "    ", host+" said: "+said)
		case !v.reply.IsZero():
			fold(b, "    ", said)
		}
	}
}

// said is the reply, fit for the notice.
func (n *notice) said(v *verdict, utf8 bool) string {
	room := max(min(replyCap, repliesCap/len(n.verdicts)), replyLeast)
	s := v.reply.String()
	if len(s) > room {
		s = strings.ToValidUTF8(s[:room], "") + "..."
	}
	return plain(s, utf8)
}

func (v *verdict) expired() bool { return v.status == mail.EnhancedCode{4, 4, 7} }

// status writes the machine's part, RFC 3464 §2.
func (n *notice) status(b *bytes.Buffer, utf8 bool) {
	if id, ok := xtext(n.about.EnvelopeID); ok {
		fmt.Fprintf(b, "Original-Envelope-Id: %s\r\n", plain(id, false))
	}
	fmt.Fprintf(b, "Reporting-MTA: dns; %s\r\n", n.hostname)
	if n.about.Helo != "" {
		fmt.Fprintf(b, "Received-From-MTA: dns; %s\r\n", plain(n.about.Helo, utf8))
	}
	fmt.Fprintf(b, "Arrival-Date: %s\r\n", n.about.Received.Format(time.RFC1123Z))
	if r := n.about.HoldRequest; r != "" { // RFC 4865 §5
		fmt.Fprintf(b, "Future-Release-Request: %s\r\n", plain(r, false))
	}
	for i := range n.verdicts {
		v := &n.verdicts[i]
		b.WriteString("\r\n")
		if kind, value, ok := originalRecipient(v.recipient.ORcpt); ok {
			fmt.Fprintf(b, "Original-Recipient: %s;%s\r\n", plain(kind, false), plain(value, utf8))
		}
		kind := "rfc822"
		if !v.recipient.IsASCII() {
			kind = "utf-8" // RFC 6533 §3
		}
		fmt.Fprintf(b, "Final-Recipient: %s;%s\r\n", kind, plain(v.recipient.Raw, utf8))
		fmt.Fprintf(b, "Action: %s\r\n", v.action)
		status := v.status
		if status == (mail.EnhancedCode{}) {
			status = v.reply.Status()
		}
		if v.action == actionFailed && status[0] == 2 || v.action == actionDelayed && status[0] != 4 {
			status[0] = map[action]uint16{actionFailed: 5, actionDelayed: 4}[v.action]
		}
		fmt.Fprintf(b, "Status: %s\r\n", status)
		if v.host != "" && v.host[0] != '/' { // a socket of this machine has no name in DNS
			name, _, _ := strings.Cut(v.host, "[")
			if name == v.host {
				name = strings.TrimRight(strings.TrimRight(name, "0123456789"), ":")
			}
			fmt.Fprintf(b, "Remote-MTA: dns; %s\r\n", plain(name, utf8))
		}
		if !v.reply.IsZero() {
			// RFC 3464 §2.3.6: "smtp" is for what the remote said; our own words go by another name.
			kind := "smtp"
			if v.host == "" {
				kind = "x-tarishi"
			}
			fold(b, "Diagnostic-Code: ", kind+"; "+n.said(v, utf8))
		}
		if v.class != "" {
			fmt.Fprintf(b, "X-Tarishi-Bounce-Class: %s\r\n", plain(v.class, false))
		}
		fmt.Fprintf(b, "Last-Attempt-Date: %s\r\n", n.now.Format(time.RFC1123Z))
		if !v.until.IsZero() {
			fmt.Fprintf(b, "Will-Retry-Until: %s\r\n", v.until.Format(time.RFC1123Z))
		}
	}
}

// quote writes the third part: the header of the message, so that its sender
// knows which one it was (RFC 6522 §4).
func (n *notice) quote(b *bytes.Buffer, kind string, utf8 bool) {
	if !isASCII(n.header) && !utf8 {
		// Octets above 127 in a header that promised none: still no 8-bit mail from us.
		fmt.Fprintf(b, "Content-Type: %s\r\nContent-Transfer-Encoding: quoted-printable\r\n\r\n", kind)
		w := quotedprintable.NewWriter(b)
		_, _ = w.Write(n.header)
		_ = w.Close()
		return
	}
	fmt.Fprintf(b, "Content-Type: %s\r\n", kind)
	if utf8 {
		b.WriteString("Content-Transfer-Encoding: 8bit\r\n")
	}
	b.WriteString("\r\n")
	b.Write(n.header)
}

// readHeader returns the header of a message with the CRLF of its last line,
// at most headerCap octets of it in whole lines.
func readHeader(r io.Reader) []byte {
	buf, _ := io.ReadAll(io.LimitReader(r, headerCap)) // a damaged body still has a header to quote
	return cutHeader(buf)
}

func cutHeader(buf []byte) []byte {
	if bytes.HasPrefix(buf, []byte("\r\n")) {
		return nil
	}
	if i := bytes.Index(buf, []byte("\r\n\r\n")); i >= 0 && i+2 <= headerCap {
		return buf[:i+2]
	}
	buf = buf[:min(len(buf), headerCap)]
	return buf[:bytes.LastIndex(buf, []byte("\n"))+1]
}

// fold writes a header field or a paragraph in lines of at most 76 characters
// where words allow, and never one that a strict receiver refuses (998).
func fold(b *bytes.Buffer, first, text string) {
	b.WriteString(first)
	width := len(first)
	for i, word := range strings.Fields(text) {
		for len(word) > 900 {
			b.WriteString(word[:900] + "\r\n    ")
			word, width = word[900:], 4
		}
		switch {
		case i == 0:
		case width+1+len(word) > 76:
			b.WriteString("\r\n    ")
			width = 4
		default:
			b.WriteByte(' ')
			width++
		}
		b.WriteString(word)
		width += len(word)
	}
	b.WriteString("\r\n")
}

// plain makes a stranger's words fit for one line of a notice.
func plain(s string, allowUTF8 bool) string {
	return strings.Map(func(r rune) rune {
		switch {
		case r == '\t', r == '\r', r == '\n':
			return ' '
		case r < ' ' || r == 0x7f || r == utf8.RuneError:
			return '?'
		case r >= 0x80 && !allowUTF8:
			return '?'
		}
		return r
	}, s)
}

func isASCII(b []byte) bool {
	for _, c := range b {
		if c >= 0x80 {
			return false
		}
	}
	return true
}

// xtext decodes RFC 3461 §4; ok is false for the empty or malformed.
func xtext(s string) (string, bool) {
	var b strings.Builder
	for i := 0; i < len(s); i++ {
		if s[i] != '+' {
			b.WriteByte(s[i])
			continue
		}
		if i+2 >= len(s) {
			return "", false
		}
		var v byte
		for _, c := range []byte(s[i+1 : i+3]) {
			switch {
			case '0' <= c && c <= '9':
				v = v<<4 | c - '0'
			case 'A' <= c && c <= 'F':
				v = v<<4 | c - 'A' + 10
			default:
				return "", false
			}
		}
		b.WriteByte(v)
		i += 2
	}
	return b.String(), b.Len() > 0
}

// originalRecipient takes ORCPT apart: "rfc822;bob+40x.test" (RFC 3461 §4.2).
func originalRecipient(orcpt string) (kind, value string, ok bool) {
	kind, value, ok = strings.Cut(orcpt, ";")
	if !ok {
		return "", "", false
	}
	value, ok = xtext(value)
	return kind, value, ok
}
