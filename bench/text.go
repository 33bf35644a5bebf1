package bench

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"math/rand/v2"
	"strconv"
	"strings"
	"time"
)

const (
	lineLen   = 78   // 76 characters and CRLF
	poolLines = 4096 // 312 KiB of text that all messages are cut from
)

// composer makes message n of a run: always the same octets for the same run, date
// and n. It holds no state between messages and is safe for concurrent use.
type composer struct {
	run, sender, helo string
	date              string
	further           string // fields, each with its CRLF
	size              int
	hash              bool
	recipients        int
	destinations      uint64
	rcpt              []rcptPart
	pool              []byte
}

// rcptPart is a literal of the recipient template, followed by a number (n: the
// destination's, r: the recipient's) or by nothing.
type rcptPart struct {
	text string
	then byte
}

func newComposer(cfg *Source, run string, now time.Time) (*composer, error) {
	template := cfg.Template
	if template == "" {
		template = "user@d{n}.bench.test"
		if cfg.Recipients > 1 {
			template = "user{r}@d{n}.bench.test"
		}
	}
	parts, err := parseTemplate(template)
	if err != nil {
		return nil, err
	}
	further := ""
	for _, f := range cfg.Header {
		further += f + "\r\n"
	}
	return &composer{
		further: further,
		run:     run, sender: cfg.Sender, helo: cfg.Helo,
		date: now.Format("Mon, 02 Jan 2006 15:04:05 -0700"),
		size: cfg.Size, hash: cfg.Hash,
		recipients: cfg.Recipients, destinations: uint64(cfg.Destinations),
		rcpt: parts, pool: newPool(),
	}, nil
}

// parseTemplate reads a recipient with {n} and {r} in it.
func parseTemplate(s string) ([]rcptPart, error) {
	if strings.ContainsAny(s, " \t\r\n<>") || !strings.Contains(s, "@") {
		return nil, fmt.Errorf("destination template %q is not an address", s)
	}
	var parts []rcptPart
	for {
		i := strings.IndexByte(s, '{')
		if i < 0 {
			return append(parts, rcptPart{text: s}), nil
		}
		if len(s) < i+3 || s[i+2] != '}' || s[i+1] != 'n' && s[i+1] != 'r' {
			return nil, fmt.Errorf("destination template: %q: only {n} (destination) and {r} (recipient) are known", s[i:])
		}
		parts = append(parts, rcptPart{s[:i], s[i+1]})
		s = s[i+3:]
	}
}

// newPool makes the text. One line in 64 begins with a dot, so that a server that
// gets dot-stuffing wrong (RFC 5321 §4.5.2) is seen by the hash.
func newPool() []byte {
	const letters = "abcdefghijklmnopqrstuvwxyz ABCDEFGHIJKLMNOPQRSTUVWXYZ 0123456789"
	rnd := rand.New(rand.NewPCG(25, 587))
	pool := make([]byte, 0, poolLines*lineLen)
	for line := range poolLines {
		for col := range lineLen - 2 {
			c := letters[rnd.IntN(len(letters))]
			// No space at an end of a line: a relay that trims it would be right to.
			if c == ' ' && (col == 0 || col == lineLen-3) {
				c = 'x'
			}
			if col == 0 && line%64 == 1 {
				c = '.'
			}
			pool = append(pool, c)
		}
		pool = append(pool, '\r', '\n')
	}
	return pool
}

// appendID writes the id of message n: "<run>-<n>".
func (c *composer) appendID(dst []byte, n uint64) []byte {
	dst = append(dst, c.run...)
	dst = append(dst, '-')
	return strconv.AppendUint(dst, n, 10)
}

// appendRecipient writes recipient r of message n. Destinations are taken in turn.
func (c *composer) appendRecipient(dst []byte, n uint64, r int) []byte {
	for _, p := range c.rcpt {
		dst = append(dst, p.text...)
		switch p.then {
		case 'n':
			dst = strconv.AppendUint(dst, (n*uint64(c.recipients)+uint64(r))%c.destinations, 10)
		case 'r':
			dst = strconv.AppendInt(dst, int64(r), 10)
		}
	}
	return dst
}

// appendHeader writes the header of message n with its empty line, and returns the
// length the body must have so that header and body are as long as asked.
func (c *composer) appendHeader(dst []byte, n uint64) ([]byte, int) {
	from := len(dst)
	dst = append(append(dst, idHeader+": "...), c.run...)
	dst = append(dst, '-')
	dst = strconv.AppendUint(dst, n, 10)
	dst = append(append(dst, "\r\nFrom: <"...), c.sender...)
	dst = append(dst, ">\r\nTo: <"...)
	dst = c.appendRecipient(dst, n, 0)
	dst = append(dst, ">\r\nSubject: bench "...)
	dst = c.appendID(dst, n)
	dst = append(append(dst, "\r\nDate: "...), c.date...)
	dst = append(dst, "\r\nMessage-ID: <"...)
	dst = c.appendID(dst, n)
	dst = append(append(append(dst, '@'), c.helo...), ">\r\n"...)
	dst = append(dst, c.further...)
	if !c.hash {
		dst = append(dst, "\r\n"...)
		return dst, max(0, c.size-(len(dst)-from))
	}
	const hashLine = len(hashHeader) + len(": ") + 2*sha256.Size + len("\r\n")
	body := max(0, c.size-(len(dst)-from)-hashLine-2)
	h := sha256.New()
	c.body(n, body, func(p []byte) error { h.Write(p); return nil })
	var sum [sha256.Size]byte
	dst = append(dst, hashHeader+": "...)
	dst = hex.AppendEncode(dst, h.Sum(sum[:0]))
	return append(dst, "\r\n\r\n"...), body
}

// body hands out the body of message n in pieces of whole lines, not yet
// dot-stuffed, length octets altogether (a length of 1 cannot be: it is empty).
func (c *composer) body(n uint64, length int, emit func([]byte) error) error {
	full, rest := length/lineLen, length%lineLen
	line := int(n * 61 % poolLines)
	if rest == 1 { // one octet cannot be a line: the last full line lends it one
		if full == 0 {
			return nil
		}
		full--
	}
	for full > 0 {
		k := min(full, poolLines-line)
		if err := emit(c.pool[line*lineLen : (line+k)*lineLen]); err != nil {
			return err
		}
		full -= k
		line = (line + k) % poolLines
	}
	if rest == 0 {
		return nil
	}
	var tail [lineLen + 1]byte
	t := append(tail[:0], c.pool[line*lineLen:(line+1)*lineLen]...)
	if rest == 1 {
		t = append(t[:lineLen-3], "\r\n\r\n"...)
	} else {
		t = append(t[:rest-2], "\r\n"...)
		if rest > 2 && t[rest-3] == ' ' {
			t[rest-3] = 'x'
		}
	}
	return emit(t)
}

type byteWriter interface{ Write([]byte) (int, error) }

// writeStuffed writes whole lines, doubling a dot at the start of each (RFC 5321 §4.5.2).
func writeStuffed(w byteWriter, p []byte) error {
	if len(p) > 0 && p[0] == '.' {
		if _, err := w.Write(p[:1]); err != nil {
			return err
		}
	}
	for {
		i := bytes.Index(p, []byte("\n."))
		if i < 0 {
			_, err := w.Write(p)
			return err
		}
		if _, err := w.Write(p[:i+2]); err != nil {
			return err
		}
		p = p[i+1:]
	}
}
