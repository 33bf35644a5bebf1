package replies

import (
	"strings"

	"github.com/tarishi/tarishi/mail"
)

// maxWords is how much of a reply's text is looked at. What a receiver has to say
// stands at the beginning; the rest can be as long as a stranger likes.
const maxWords = 4 << 10

// Words is the text of a reply as rules see it: one line, its first 4 KiB, single
// spaces, without code and enhanced code. Receivers break the same sentence into
// lines now here and now there.
func Words(text string) string {
	if len(text) > maxWords {
		text = text[:maxWords]
	}
	if tidy(text) {
		return text
	}
	var b strings.Builder
	b.Grow(len(text))
	space := true // at the beginning none is wanted
	for _, r := range text {
		switch r {
		case ' ', '\t', '\n', '\r':
			if !space {
				b.WriteByte(' ')
			}
			space = true
			continue
		case '\u017f': // the two letters outside ASCII that are ASCII letters in another case
			r = 's'
		case '\u212a':
			r = 'k'
		}
		b.WriteRune(r)
		space = false
	}
	return strings.TrimRight(b.String(), " ")
}

// tidy tells whether s is as Words makes it.
func tidy(s string) bool {
	if s == "" {
		return true
	}
	for i := 0; i < len(s); i++ {
		switch c := s[i]; {
		case c >= 0x80, c == '\t', c == '\n', c == '\r':
			return false
		case c == ' ' && (i == 0 || i == len(s)-1 || s[i-1] == ' '):
			return false
		}
	}
	return true
}

// cutCode takes an enhanced code off words that begin with one, which the reply
// kept since its class is not that of the code: "451 5.7.1 ...".
func cutCode(words string) (mail.EnhancedCode, string) {
	if len(words) < 5 || words[1] != '.' {
		return mail.EnhancedCode{}, words
	}
	first, rest, _ := strings.Cut(words, " ")
	e, ok := mail.ParseEnhancedCode(first)
	if !ok {
		return mail.EnhancedCode{}, words
	}
	return e, rest
}

// findCode finds an enhanced code behind the mark that qmail and its kin give it:
// "sorry, no mailbox here by that name (#5.1.1)".
func findCode(words string) mail.EnhancedCode {
	for {
		i := strings.IndexByte(words, '#')
		if i < 0 {
			return mail.EnhancedCode{}
		}
		words = words[i+1:]
		end := 0
		for end < len(words) && (words[end] == '.' || words[end] >= '0' && words[end] <= '9') {
			end++
		}
		if e, ok := mail.ParseEnhancedCode(strings.TrimRight(words[:end], ".")); ok {
			return e
		}
	}
}

// status is the enhanced code of the reply wherever it stands, with the class of
// its code: where the two contradict each other the code decides (RFC 3463 §2),
// and the rest of the enhanced code still says why.
func status(r *mail.Reply, words string) (mail.EnhancedCode, string) {
	e := r.Enhanced
	if e == (mail.EnhancedCode{}) {
		if e, words = cutCode(words); e == (mail.EnhancedCode{}) {
			e = findCode(words)
		}
	}
	if e != (mail.EnhancedCode{}) {
		e[0] = uint16(r.Code / 100)
	}
	return e, words
}
