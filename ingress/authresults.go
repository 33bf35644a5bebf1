package ingress

import "strings"

// forged tells whether an Authentication-Results field, as it came, claims to have
// been written here: by the host ours (in lower case). A stranger's would tell
// everybody behind us that we have found his message authentic (RFC 8601 §5).
func forged(field []byte, ours string) bool {
	_, value, _ := strings.Cut(string(field), ":")
	id := skipComments(value)
	if strings.HasPrefix(id, `"`) {
		id = unquote(id)
	} else if i := strings.IndexAny(id, " \t\r\n;(/"); i >= 0 {
		id = id[:i]
	}
	return strings.TrimSuffix(strings.ToLower(id), ".") == ours
}

// skipComments returns what stands behind blanks, folding and comments, which may
// be nested (CFWS of RFC 5322 §3.2.2).
func skipComments(s string) string {
	depth := 0
	for i := 0; i < len(s); i++ {
		switch c := s[i]; {
		case c == '(':
			depth++
		case c == ')' && depth > 0:
			depth--
		case c == '\\' && depth > 0:
			i++
		case depth > 0, c == ' ', c == '\t', c == '\r', c == '\n':
		default:
			return s[i:]
		}
	}
	return ""
}

// unquote reads a quoted-string at the beginning of s.
func unquote(s string) string {
	var b strings.Builder
	for i := 1; i < len(s) && s[i] != '"'; i++ {
		if s[i] == '\\' && i+1 < len(s) {
			i++
		}
		if s[i] != '\r' && s[i] != '\n' { // folding is no part of it
			b.WriteByte(s[i])
		}
	}
	return b.String()
}

// judge ends an Authentication-Results field that was kept until it could be read:
// it goes on unless it is forged.
func (f *headerFilter) judge() error {
	if !f.judging {
		return nil
	}
	f.judging = false
	if forged(f.judged, f.ours) {
		return nil
	}
	return f.pass(f.judged)
}
