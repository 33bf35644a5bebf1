package plugin

import (
	"fmt"
	"strings"
)

// What a line of a header has at most without its CRLF (RFC 5322 §2.1.1), and what one
// that is folded has (RFC 2047 §2), where there are blanks.
const (
	maxLine = 998
	foldAt  = 76
)

// seam stands between encoded words; the blank is no part of the text.
const seam = "?= =?"

// Fold breaks the lines of a field's value that are too long, at blanks: those that do
// not fit, and those of several encoded words. It is an error if one cannot be broken.
// Line ends are \n; what is folded already stays as it is.
func Fold(name, value string) (string, error) {
	used := len(name) + len(": ")
	if n := used + len(value); n <= foldAt || n <= maxLine && !strings.Contains(value, seam) {
		return value, nil
	}
	if used > maxLine {
		return "", fmt.Errorf("a header field's name has %d octets; a line has at most %d", len(name), maxLine)
	}
	var out []string
	for i, line := range strings.Split(value, "\n") {
		if i > 0 {
			used = 0
		}
		for j, piece := range pieces(line, used) {
			if j > 0 {
				used = 0
			}
			if used > 0 && used+len(piece) > maxLine && len(piece) < maxLine {
				out = append(out, "") // on a line of its own
				piece, used = " "+piece, 0
			}
			if used+len(piece) > maxLine {
				return "", fmt.Errorf("field %s: %d octets without a blank to fold at; a line has at most %d", name, len(piece), maxLine)
			}
			out = append(out, piece)
		}
	}
	return strings.Join(out, "\n"), nil
}

// pieces breaks a line before whose beginning so many octets are used. Each but the
// first begins with the blanks that it was broken at, and has more than blanks.
func pieces(line string, used int) (out []string) {
	if n := used + len(line); n <= foldAt || n <= maxLine && !strings.Contains(line, seam) {
		return []string{line}
	}
	begin, last := 0, 0 // of the piece, and where it could be broken
	for k := 1; k <= len(strings.TrimRight(line, " \t")); k++ {
		end := k == len(line)
		if !end && (!blank(line[k]) || blank(line[k-1])) {
			continue
		}
		if used+k-begin > foldAt && last > begin {
			out = append(out, line[begin:last])
			begin, used = last, 0
		}
		last = k
	}
	return append(out, line[begin:])
}

func blank(c byte) bool { return c == ' ' || c == '\t' }
