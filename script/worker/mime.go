package worker

import (
	"bytes"
	"encoding/base64"
	"fmt"
	"io"
	"mime"
	"strings"

	"golang.org/x/text/encoding/htmlindex"
)

// part is one MIME part of a message, the message itself included. Nothing that a
// sender writes is an error: what cannot be understood is taken as text.
type part struct {
	header   *header
	ct       string // Content-Type as it stands; text/plain if there is none
	kind     string // and without its parameters, in lower case
	charset  string
	text     string // decoded, as UTF-8; empty for an attachment
	children []*part
	// Of an attachment: its octets, as they stand in the message.
	attachment bool
	filename   string
	encoding   string
	encoded    []byte

	bound object
}

// Bounds on what a message may cost: parts beyond these are text of their parent.
const (
	maxDepth = 30
	maxParts = 1000
)

// parseMIME takes a message's body apart.
func parseMIME(w *worker, h *header, body []byte) *part {
	parts := 0
	return newPart(w, h, body, 0, &parts)
}

func newPart(w *worker, h *header, body []byte, depth int, parts *int) *part {
	*parts++
	p := &part{header: h}
	p.bound.w = w
	p.ct = "text/plain"
	if all := h.all("content-type"); len(all) > 0 {
		p.ct = strings.TrimSpace(strings.ReplaceAll(all[0], "\n", ""))
	}
	kind, params := parameters(p.ct)
	p.kind, p.charset = kind, params["charset"]
	if p.charset == "" {
		p.charset = "UTF-8"
	}
	if boundary := params["boundary"]; strings.HasPrefix(kind, "multipart/") && boundary != "" && depth < maxDepth {
		preamble, pieces := split(body, boundary, maxParts-*parts)
		p.text = toText(preamble, p.charset)
		for _, piece := range pieces {
			block, rest := cutHeader(piece)
			p.children = append(p.children, newPart(w, parseHeader(w, block), rest, depth+1, parts))
		}
		return p
	}
	disposition, dparams := "", map[string]string{}
	if all := h.all("content-disposition"); len(all) > 0 {
		disposition, dparams = parameters(strings.ReplaceAll(all[0], "\n", ""))
	}
	encoding := strings.ToLower(strings.TrimSpace(strings.Join(h.all("content-transfer-encoding"), "")))
	if disposition == "attachment" || !strings.HasPrefix(kind, "text/") && depth > 0 && !strings.HasPrefix(kind, "message/") {
		p.attachment, p.encoding, p.encoded = true, encoding, body
		p.filename = dparams["filename"]
		if p.filename == "" {
			p.filename = params["name"]
		}
		p.filename = decoded(p.filename)
		return p
	}
	p.text = toText(decodeTransfer(encoding, body), p.charset)
	return p
}

// decoding opens an attachment, which is decoded while it is read: a message may be as
// large as half of a worker's memory.
func (p *part) decoding() func() io.Reader {
	encoding, encoded := p.encoding, p.encoded
	return func() io.Reader {
		if encoding == "base64" {
			return &base64Reader{base64.NewDecoder(base64.RawStdEncoding, &sextets{encoded})}
		}
		return bytes.NewReader(decodeTransfer(encoding, encoded))
	}
}

// sextets reads what base64 means; the rest is skipped (RFC 2045 §6.8).
type sextets struct{ b []byte }

func (s *sextets) Read(p []byte) (n int, err error) {
	for len(s.b) > 0 && n < len(p) {
		c := s.b[0]
		s.b = s.b[1:]
		if inBase64(c) {
			p[n] = c
			n++
		}
	}
	if n == 0 {
		return 0, io.EOF
	}
	return n, nil
}

// base64Reader ends where one sextet is left, which makes no octet.
type base64Reader struct{ r io.Reader }

func (b *base64Reader) Read(p []byte) (int, error) {
	n, err := b.r.Read(p)
	if err != nil {
		err = io.EOF
	}
	return n, err
}

func inBase64(c byte) bool {
	return 'A' <= c && c <= 'Z' || 'a' <= c && c <= 'z' || '0' <= c && c <= '9' || c == '+' || c == '/'
}

// forget lets go of attachments that no stream has: the message with them.
func (p *part) forget() {
	p.encoded = nil
	for _, c := range p.children {
		c.forget()
	}
}

// count is how many parts there are below p.
func (p *part) count() int {
	if p == nil {
		return 0
	}
	n := len(p.children)
	for _, c := range p.children {
		n += c.count()
	}
	return n
}

// parameters reads type/subtype; key=value, as leniently as can be.
func parameters(s string) (kind string, params map[string]string) {
	kind, params, err := mime.ParseMediaType(s)
	if err == nil && params != nil {
		return kind, params
	}
	head, rest, _ := strings.Cut(s, ";")
	params = map[string]string{}
	for rest != "" {
		var item string
		item, rest, _ = strings.Cut(rest, ";")
		key, v, ok := strings.Cut(item, "=")
		if key = strings.ToLower(strings.TrimSpace(key)); ok && params[key] == "" {
			params[key] = strings.Trim(strings.TrimSpace(v), `"`)
		}
	}
	return strings.ToLower(strings.TrimSpace(head)), params
}

// split takes a multipart body apart (RFC 2046 §5.1.1): what stands before the first
// boundary, and the parts; what follows the last one is nobody's.
func split(body []byte, boundary string, most int) (preamble []byte, parts [][]byte) {
	mark := []byte("--" + boundary)
	start, at := -1, 0
	for at < len(body) {
		end := len(body)
		if i := bytes.IndexByte(body[at:], '\n'); i >= 0 {
			end = at + i + 1
		}
		line := bytes.TrimRight(body[at:end], " \t\r\n")
		last := len(line) == len(mark)+2 && bytes.HasSuffix(line, []byte("--"))
		if bytes.HasPrefix(line, mark) && (last || len(line) == len(mark)) {
			if start < 0 {
				preamble = body[:at]
			} else {
				parts = append(parts, body[start:at])
			}
			if start = end; last || len(parts) >= most {
				return preamble, parts
			}
		}
		at = end
	}
	if start < 0 {
		return body, nil
	}
	return preamble, append(parts, body[start:])
}

// cutHeader separates a part's header from its body at the first empty line.
func cutHeader(b []byte) (block, body []byte) {
	at := 0
	for line := range bytes.Lines(b) {
		at += len(line)
		if len(bytes.TrimRight(line, "\r\n")) == 0 {
			return b[:at], b[at:]
		}
		if at == len(line) && bytes.IndexByte(line, ':') < 0 {
			return nil, b // there is no header at all
		}
	}
	return b, nil
}

// decodeTransfer undoes a Content-Transfer-Encoding (RFC 2045 §6); what is not
// encoded as it says stays.
func decodeTransfer(encoding string, body []byte) []byte {
	switch encoding {
	case "base64":
		clean := make([]byte, 0, len(body))
		for _, c := range body {
			if inBase64(c) {
				clean = append(clean, c)
			}
		}
		if len(clean)%4 == 1 { // one sextet makes no octet
			clean = clean[:len(clean)-1]
		}
		n, _ := base64.RawStdEncoding.Decode(clean, clean) // what is read is ahead of what is written
		return clean[:n]
	case "quoted-printable":
		return unquote(body)
	}
	return body
}

// unquote decodes quoted-printable; an = that begins nothing stays.
func unquote(b []byte) []byte {
	out := make([]byte, 0, len(b))
	for line := range bytes.Lines(b) {
		text := bytes.TrimRight(line, " \t\r\n")
		end := line[len(bytes.TrimRight(line, "\r\n")):]
		soft := bytes.HasSuffix(text, []byte{'='})
		if soft {
			text = text[:len(text)-1]
		}
		for i := 0; i < len(text); i++ {
			if text[i] == '=' && i+2 < len(text) {
				hi, lo := unhex(text[i+1]), unhex(text[i+2])
				if hi >= 0 && lo >= 0 {
					out = append(out, byte(hi<<4|lo))
					i += 2
					continue
				}
			}
			out = append(out, text[i])
		}
		if !soft {
			out = append(out, end...)
		}
	}
	return out
}

func unhex(c byte) int {
	switch {
	case '0' <= c && c <= '9':
		return int(c - '0')
	case 'A' <= c && c <= 'F':
		return int(c-'A') + 10
	case 'a' <= c && c <= 'f':
		return int(c-'a') + 10
	}
	return -1
}

// toText is octets as UTF-8 with bare line feeds, as scripts see a body.
func toText(b []byte, charset string) string {
	switch strings.ToLower(charset) {
	case "utf-8", "utf8", "us-ascii", "ascii", "": // which is nearly all mail, and may be large
		var text strings.Builder
		text.Grow(len(b))
		for {
			i := bytes.Index(b, []byte("\r\n"))
			if i < 0 {
				break
			}
			text.Write(b[:i])
			text.WriteByte('\n')
			b = b[i+2:]
		}
		text.Write(b)
		return strings.ToValidUTF8(text.String(), "\uFFFD")
	}
	b = bytes.ReplaceAll(b, []byte("\r\n"), []byte("\n"))
	r, err := charsetReader(charset, bytes.NewReader(b))
	if err != nil {
		return strings.ToValidUTF8(string(b), "\uFFFD")
	}
	out, err := io.ReadAll(r)
	if err != nil {
		return strings.ToValidUTF8(string(b), "\uFFFD")
	}
	return strings.ToValidUTF8(string(out), "\uFFFD")
}

// charsetReader makes UTF-8 of another charset.
func charsetReader(charset string, r io.Reader) (io.Reader, error) {
	switch strings.ToLower(charset) {
	case "utf-8", "utf8", "us-ascii", "ascii", "":
		return r, nil
	}
	e, err := htmlindex.Get(charset)
	if err != nil {
		return nil, fmt.Errorf("charset %q: %w", charset, err)
	}
	return e.NewDecoder().Reader(r), nil
}
