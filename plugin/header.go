package plugin

import (
	"fmt"
	"strings"
	"sync"
)

// Header is a message's header (RFC 5322 §2.2). Fields that nobody touches keep
// their octets. Safe for concurrent use.
type Header struct {
	mu      sync.Mutex
	fields  []field
	version uint64
}

// field is one field: raw is all of it, folding and the last CRLF included.
type field struct {
	name string // as it stands there; empty: a line that is no field
	raw  string
}

// ParseHeader reads a header block, with or without its empty line. Whatever it is,
// Bytes gives it back as it was.
func ParseHeader(block []byte) *Header {
	// All fields share one copy: a stranger's header may have a hundred thousand.
	text := string(block)
	h := &Header{fields: make([]field, 0, strings.Count(text, "\n")+1)}
	at, begin := 0, 0 // of the line, of the field
	for line := range strings.Lines(text) {
		if isEnd(line) {
			break
		}
		if n := len(h.fields); n > 0 && (line[0] == ' ' || line[0] == '\t') {
			h.fields[n-1].raw = text[begin : at+len(line)]
		} else {
			begin = at
			h.fields = append(h.fields, field{fieldName(line), line})
		}
		at += len(line)
	}
	return h
}

func isEnd(line string) bool { return strings.Trim(line, "\r\n") == "" }

// fieldName is what stands before the colon, if a name can stand there.
func fieldName(line string) string {
	name, _, ok := strings.Cut(line, ":")
	name = strings.TrimRight(name, " \t") // RFC 5322 §4.5.3: obsolete, and still seen
	if !ok || !validField(name) {
		return ""
	}
	return name
}

func validField(name string) bool {
	for i := range len(name) {
		if name[i] <= ' ' || name[i] >= 0x7f || name[i] == ':' {
			return false
		}
	}
	return name != ""
}

// Get returns the value of the first field of that name, unfolded and without the
// blanks around it; "" when there is none.
func (h *Header) Get(name string) string {
	h.mu.Lock()
	defer h.mu.Unlock()
	for i := range h.fields {
		if f := &h.fields[i]; strings.EqualFold(f.name, name) {
			return f.value()
		}
	}
	return ""
}

// All returns the values of the fields of that name, from the top.
func (h *Header) All(name string) []string {
	h.mu.Lock()
	defer h.mu.Unlock()
	var out []string
	for i := range h.fields {
		if f := &h.fields[i]; strings.EqualFold(f.name, name) {
			out = append(out, f.value())
		}
	}
	return out
}

// value is what stands behind the colon, without line ends (RFC 5322 §2.2.3) and the
// blanks around it.
func (f *field) value() string {
	_, v, _ := strings.Cut(f.raw, ":")
	v = strings.TrimSpace(v)
	if !strings.ContainsAny(v, "\r\n") {
		return v
	}
	var b strings.Builder
	for i := range len(v) {
		if v[i] != '\r' && v[i] != '\n' {
			b.WriteByte(v[i])
		}
	}
	return strings.TrimSpace(b.String())
}

// Names lists the fields' names from the top, lines that are no field left out.
func (h *Header) Names() []string {
	h.mu.Lock()
	defer h.mu.Unlock()
	var out []string
	for _, f := range h.fields {
		if f.name != "" {
			out = append(out, f.name)
		}
	}
	return out
}

// Add puts a field below the others. It is an error if the name can be none, or the
// value would end the header, or cannot be folded to lines that fit; line ends followed
// by a blank fold.
func (h *Header) Add(name, value string) error {
	f, err := newField(name, value)
	if err != nil {
		return err
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	h.fields = append(h.fields, f)
	h.version++
	return nil
}

// AddLeading puts a field above the others.
func (h *Header) AddLeading(name, value string) error {
	f, err := newField(name, value)
	if err != nil {
		return err
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	h.fields = append([]field{f}, h.fields...)
	h.version++
	return nil
}

// Remove takes all fields of that name away and tells how many there were.
func (h *Header) Remove(name string) int {
	h.mu.Lock()
	defer h.mu.Unlock()
	kept, n := h.fields[:0], 0
	for _, f := range h.fields {
		if strings.EqualFold(f.name, name) {
			n++
			continue
		}
		kept = append(kept, f)
	}
	clear(h.fields[len(kept):])
	h.fields = kept
	h.version++
	return n
}

// Version counts the changes.
func (h *Header) Version() uint64 {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.version
}

// Bytes is the header as it will be stored, without the empty line behind it.
func (h *Header) Bytes() []byte {
	h.mu.Lock()
	defer h.mu.Unlock()
	n := len("\r\n") // for who adds the empty line
	for _, f := range h.fields {
		n += len(f.raw)
	}
	b := make([]byte, 0, n)
	for _, f := range h.fields {
		b = append(b, f.raw...)
	}
	return b
}

func newField(name, value string) (field, error) {
	if !validField(name) {
		return field{}, fmt.Errorf("%q cannot be a header field's name", name)
	}
	value, err := Fold(name, strings.ReplaceAll(strings.TrimRight(value, "\r\n"), "\r\n", "\n"))
	if err != nil {
		return field{}, err
	}
	lines := strings.Split(value, "\n")
	for i, l := range lines {
		if strings.ContainsAny(l, "\r\x00") {
			return field{}, fmt.Errorf("field %s: a bare CR or NUL cannot stand in a value", name)
		}
		if i > 0 && (strings.TrimLeft(l, " \t") == l || strings.Trim(l, " \t") == "") {
			return field{}, fmt.Errorf("field %s: line %d of the value would begin another field; a line that folds begins with a blank", name, i+1)
		}
	}
	return field{name, name + ": " + strings.Join(lines, "\r\n") + "\r\n"}, nil
}
