package bench

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"hash"
	"hash/maphash"
	"time"
)

var (
	crlf      = []byte("\r\n")
	lineDot   = []byte("\r\n.")
	emptyLine = []byte("\r\n\r\n")
	idField   = []byte("\r\n" + idHeader + ": ")
	hashField = []byte("\r\n" + hashHeader + ": ")
)

// maxHeader bounds the header kept of a message; an id behind it is not found.
const maxHeader = 64 << 10

// body takes a message's octets in pieces, keeps the header and hashes the rest.
type body struct {
	header []byte // behind a CRLF of our own, so that every field follows one
	inBody bool
	octets uint64
	digest hash.Hash // nil: not asked for
}

func (b *body) begin(hashed bool) {
	b.header = append(b.header[:0], '\r', '\n')
	b.inBody = false
	b.octets = 0
	if hashed {
		if b.digest == nil {
			b.digest = sha256.New()
		}
		b.digest.Reset()
	}
}

func (b *body) add(p []byte) {
	b.octets += uint64(len(p))
	if !b.inBody {
		from := max(0, len(b.header)-3)
		b.header = append(b.header, p...)
		i := bytes.Index(b.header[from:], emptyLine)
		switch {
		case i >= 0:
			p = b.header[from+i+4:]
			b.header = b.header[:from+i+2]
			b.inBody = true
		case len(b.header) > maxHeader:
			b.inBody = true
			return
		default:
			return
		}
	}
	if b.digest != nil {
		b.digest.Write(p)
	}
}

// field returns the value of the first such field, nil when there is none. name
// includes the CRLF before and the colon and space behind, in the source's own case:
// a relay has no business changing either.
func (b *body) field(name []byte) []byte {
	i := bytes.Index(b.header, name)
	if i < 0 {
		return nil
	}
	value, _, _ := bytes.Cut(b.header[i+len(name):], crlf)
	return value
}

// intact tells whether the body has the hash its header names; known is false when
// it names none.
func (b *body) intact() (intact, known bool) {
	want := b.field(hashField)
	if want == nil {
		return false, false
	}
	var sum [sha256.Size]byte
	var text [2 * sha256.Size]byte
	hex.Encode(text[:], b.digest.Sum(sum[:0]))
	return bytes.Equal(want, text[:]), true
}

// dotted reads a text up to CRLF . CRLF, undoing the dots (RFC 5321 §4.5.2). Bare CR
// and bare LF are ordinary octets: they end nothing.
func (s *session) dotted() error {
	// The CRLF that ended DATA stands before the first line, and a dot may follow it.
	// It is still in the buffer; skip counts what of it must not reach the body.
	s.r -= 2
	skip := 2
	emit := func(p []byte) {
		k := min(skip, len(p))
		skip -= k
		if len(p) > k {
			s.body.add(p[k:])
		}
	}
	for {
		window := s.buf[s.r:s.w]
		i := bytes.Index(window, lineDot)
		switch {
		case i < 0:
			// The last two octets may be the beginning of CRLF dot.
			if n := len(window) - 2; n > 0 {
				emit(window[:n])
				s.r += n
			}
		case len(window) < i+5:
			emit(window[:i])
			s.r += i
		case window[i+3] == '\r' && window[i+4] == '\n':
			emit(window[:i+2])
			s.r += i + 5
			return nil
		default:
			emit(window[:i+2])
			s.r += i + 3
			continue
		}
		if err := s.fill(); err != nil {
			return err
		}
	}
}

// counted reads n octets, into the body or nowhere.
func (s *session) counted(n int64, keep bool) error {
	for n > 0 {
		if s.r == s.w {
			if err := s.fill(); err != nil {
				return err
			}
		}
		k := min(n, int64(s.w-s.r))
		if keep {
			s.body.add(s.buf[s.r : s.r+int(k)])
		}
		s.r += int(k)
		n -= k
	}
	return nil
}

// record counts a message with all its accepted recipients.
func (s *Sink) record(se *session) {
	now := time.Now()
	c := &s.count
	c.messages.Add(1)
	c.bytes.Add(se.body.octets)
	if c.first.Load() == 0 {
		c.first.CompareAndSwap(0, now.UnixNano())
	}
	if s.cfg.Hash {
		if intact, known := se.body.intact(); !known {
			c.noHash.Add(1)
		} else if !intact {
			c.badHash.Add(1)
		}
	}
	id := bytes.TrimSpace(se.body.field(idField))
	if len(id) == 0 || bytes.IndexByte(id, '\t') >= 0 {
		c.noID.Add(1)
		c.copies.Add(uint64(se.accepted))
		return
	}
	idHash := maphash.Bytes(s.seed, id)
	for rest := se.rcpts; len(rest) > 0; {
		rcpt, tail, _ := bytes.Cut(rest, []byte("\n"))
		rest = tail
		c.copies.Add(1)
		if s.ids != nil {
			s.ids.add(func(dst []byte) []byte { return appendEvidence(dst, id, now, rcpt) })
		}
		// Mixed so that one id for two recipients differs from another pair.
		if !s.seenCopies.add(idHash*0x9e3779b97f4a7c15 ^ maphash.Bytes(s.seed, rcpt)) {
			c.duplicates.Add(1)
		}
	}
	if !s.seenIDs.add(idHash) {
		return
	}
	c.lastDistinct.Store(now.UnixNano())
	if n := c.distinct.Add(1); s.cfg.Expect > 0 && n >= s.cfg.Expect {
		s.once.Do(func() { close(s.full) })
	}
}
