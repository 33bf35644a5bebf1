package worker

import (
	"bytes"
	"io"
	"strings"
	"testing"
	"unicode/utf8"
)

// outline shows a part's tree: kinds, and text or octets.
func outline(p *part) string {
	s := p.kind
	if p.attachment {
		octets, _ := io.ReadAll(p.decoding()())
		s += "@" + p.filename + "=" + string(octets)
	} else {
		s += "=" + p.text
	}
	for _, c := range p.children {
		s += "(" + outline(c) + ")"
	}
	return s
}

func parsed(message string) *part {
	head, body, _ := strings.Cut(strings.ReplaceAll(message, "\n", "\r\n"), "\r\n\r\n")
	w := &worker{}
	return parseMIME(w, parseHeader(w, []byte(head+"\r\n")), []byte(body))
}

func TestMessagesAreTakenApart(t *testing.T) {
	for _, c := range []struct{ name, message, want string }{
		{"nothing said", "A: b\n\ntext\n", "text/plain=text\n"},
		{"base64 with rubbish", "Content-Transfer-Encoding: BASE64\n\naGV s*bG8\n=\n", "text/plain=hello"},
		{"quoted-printable that is not", "Content-Transfer-Encoding: quoted-printable\n\na=3Db=ZZ=\n=4", "text/plain=a=b=ZZ=4"},
		{"a charset nobody knows", "Content-Type: text/plain; charset=klingon\n\nq\xe9\n", "text/plain=q\uFFFD\n"},
		{"windows-1252", "Content-Type: text/html; charset=windows-1252\n\n\x80\n", "text/html=€\n"},
		{"no last boundary", "Content-Type: multipart/mixed; boundary=x\n\n--x\n\none\n--x\n\ntwo\n", "multipart/mixed=(text/plain=one\n)(text/plain=two\n)"},
		{"an epilogue", "Content-Type: multipart/mixed; boundary=x\n\npre\n--x\n\none\n--x--\nepilogue\n", "multipart/mixed=pre\n(text/plain=one\n)"},
		{"a boundary that only begins like one", "Content-Type: multipart/mixed; boundary=x\n\n--x\n\n--xy\n--x--\n", "multipart/mixed=(text/plain=--xy\n)"},
		{"inside each other", "Content-Type: multipart/mixed; boundary=x\n\n--x\nContent-Type: multipart/alternative; boundary=y\n\n--y\n\na\n--y\nContent-Type: text/html\n\nb\n--y--\n--x\nContent-Type: image/png; name=i.png\n\nPNG\n--x--\n",
			"multipart/mixed=(multipart/alternative=(text/plain=a\n)(text/html=b\n))(image/png@i.png=PNG\r\n)"},
		{"text that is attached", "Content-Type: multipart/mixed; boundary=x\n\n--x\nContent-Disposition: attachment; filename=\"=?utf-8?q?=C3=A9?=.txt\"\n\nt\n--x--\n", "multipart/mixed=(text/plain@é.txt=t\r\n)"},
		{"a part without a header", "Content-Type: multipart/mixed; boundary=x\n\n--x\njust text\n--x--\n", "multipart/mixed=(text/plain=just text\n)"},
		{"no boundary given", "Content-Type: multipart/mixed\n\n--x\n\none\n", "multipart/mixed=--x\n\none\n"},
		{"parameters that are none", "Content-Type: text/html; ;charset; =x; charset=utf-8\n\nb", "text/html=b"},
	} {
		if got := outline(parsed(c.message)); got != c.want {
			t.Errorf("%s:\n got  %q\n want %q", c.name, got, c.want)
		}
	}
}

// Whatever a sender writes: parts and depth are bounded, text is UTF-8, and no octets
// come from nowhere.
func FuzzMIME(f *testing.F) {
	f.Add("Content-Type: multipart/mixed; boundary=x", "--x\n\none\n--x\nContent-Type: multipart/mixed; boundary=x\n\n--x--\n")
	f.Add("Content-Transfer-Encoding: base64\r\nContent-Type: text/plain; charset=utf-16", "aGVsbG8=")
	f.Add("Content-Transfer-Encoding: quoted-printable", "a=\r\n=41=\n")
	f.Fuzz(func(t *testing.T, head, body string) {
		w := &worker{}
		p := parseMIME(w, parseHeader(w, []byte(head)), []byte(body))
		if n := p.count(); n > maxParts {
			t.Fatalf("%d parts", n)
		}
		var walk func(p *part, depth int)
		walk = func(p *part, depth int) {
			if depth > maxDepth || !utf8.ValidString(p.text) || len(p.encoded) > len(body) {
				t.Fatalf("depth %d, text %q, %d octets of %d", depth, p.text, len(p.encoded), len(body))
			}
			for _, c := range p.children {
				walk(c, depth+1)
			}
		}
		walk(p, 0)
		for _, x := range []*wire{{lineEnd: "\r\n", stuffed: true, dot: true}, {lineEnd: "\n"}} {
			r := &wireReader{x: x, in: newBuffered(strings.NewReader(body))}
			var b bytes.Buffer
			if _, err := b.ReadFrom(r); err != nil {
				t.Fatal(err)
			}
			if x.stuffed && bytes.Count(b.Bytes(), []byte("\r\n.\r\n")) > 1 {
				t.Fatalf("%q ends more than once: %q", body, b.Bytes())
			}
		}
	})
}
