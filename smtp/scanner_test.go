package smtp

import (
	"bytes"
	"io"
	"net"
	"strconv"
	"strings"
	"testing"
	"testing/synctest"

	"pgregory.net/rapid"
)

// naive does what scanner does, octet by octet and with the whole input at hand:
// message, octets used up to the true end (-1: not found), and whether it is clean.
func naive(in []byte, dots bool) (out []byte, end int, clean bool) {
	clean = true
	bol := true
	for i := 0; i < len(in); i++ {
		if bol && dots && in[i] == '.' {
			if bytes.HasPrefix(in[i:], []byte(".\r\n")) {
				return out, i + 3, clean
			}
			bol = false
			continue
		}
		bol = false
		switch c := in[i]; {
		case c == '\n' && (i == 0 || in[i-1] != '\r'), c == 0:
			clean = false
		case c == '\r' && (i+1 == len(in) || in[i+1] != '\n'):
			clean = false
		case c == '\n':
			bol = true
		}
		out = append(out, in[i])
	}
	return out, -1, clean
}

// scanAll feeds in to a scanner in pieces, as they would come from the wire:
// what one call leaves is offered again together with the next piece.
func scanAll(in []byte, dots bool, piece func(left int) int) (out []byte, end int, clean bool) {
	s := scanner{dots: dots, maxLine: -1, maxSize: 1 << 40}
	have, used := 0, 0
	for {
		for used < have {
			o, n, done := s.scan(in[used:have])
			out = append(out, o...)
			used += n
			if done {
				return out, used, s.fault == noFault
			}
			if n == 0 {
				if have-used > 2 {
					panic("more than two octets left unread")
				}
				break
			}
		}
		if have == len(in) {
			s.finish()
			return out, -1, s.fault == noFault
		}
		have += max(1, min(piece(len(in)-have), len(in)-have))
	}
}

func checkScan(t interface{ Fatalf(string, ...any) }, in []byte, dots bool, piece func(int) int) {
	want, wantEnd, wantClean := naive(in, dots)
	got, end, clean := scanAll(in, dots, piece)
	if end != wantEnd {
		t.Fatalf("%q: end at %d, want %d", in, end, wantEnd)
	}
	if end < 0 && dots {
		return // the message goes on: nothing to compare yet
	}
	if clean != wantClean {
		t.Fatalf("%q: clean %v, want %v", in, clean, wantClean)
	}
	if clean && !bytes.Equal(got, want) {
		t.Fatalf("%q: got %q, want %q", in, got, want)
	}
}

func TestScannerAgainstNaive(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		parts := rapid.SliceOfN(rapid.SampledFrom([]string{"\r", "\n", ".", "\r\n", "\r\n.", "\r\n.\r\n", ".\r\n", "a", "\x00", "text text", "\xff"}), 0, 30).Draw(t, "parts")
		in := []byte(strings.Join(parts, ""))
		dots := rapid.Bool().Draw(t, "dots")
		checkScan(t, in, dots, func(left int) int { return rapid.IntRange(1, 5).Draw(t, "piece") })
	})
}

// All strings over the interesting octets up to length 7, whole and octet by octet.
func TestScannerExhaustively(t *testing.T) {
	const octets = "\r\n.a"
	for n := range 8 {
		in := make([]byte, n)
		for i := range 1 << (2 * n) {
			for j := range in {
				in[j] = octets[i>>(2*j)&3]
			}
			for _, dots := range []bool{true, false} {
				checkScan(t, in, dots, func(left int) int { return left })
				checkScan(t, in, dots, func(int) int { return 1 })
			}
		}
	}
}

func FuzzData(f *testing.F) {
	for _, s := range []string{"a\r\n.\r\n", ".\r\n", "..\r\n.\r\nMAIL", "a\n.\n", "\r\r\n.\r\n", "\x00.\r\n.\r\n"} {
		f.Add([]byte(s), byte(0), true)
		f.Add([]byte(s), byte(1), true)
		f.Add([]byte(s), byte(2), false)
	}
	f.Fuzz(func(t *testing.T, in []byte, step byte, dots bool) {
		checkScan(t, in, dots, func(left int) int {
			if step == 0 {
				return left
			}
			return int(step)
		})
	})
}

// FuzzBdat sends a message in chunks of any size and asks for the same octets:
// cuts are the ends of the chunks, and nothing in a chunk is ever a command.
func FuzzBdat(f *testing.F) {
	f.Add([]byte("a\r\n.\r\nQUIT\r\n"), uint16(3), uint16(4))
	f.Add([]byte("\r\n"), uint16(1), uint16(0))
	f.Add([]byte("bare\nLF"), uint16(2), uint16(9))
	f.Add([]byte{}, uint16(0), uint16(0))
	f.Fuzz(func(t *testing.T, msg []byte, cut1, cut2 uint16) {
		if len(msg) > 10000 {
			return
		}
		a := min(int(cut1), len(msg))
		b := min(a+int(cut2), len(msg))
		var in bytes.Buffer
		in.WriteString("EHLO x\r\nMAIL FROM:<a@b.test>\r\nRCPT TO:<c@d.test>\r\n")
		for i, chunk := range [][]byte{msg[:a], msg[a:b], msg[b:]} {
			in.WriteString("BDAT ")
			in.WriteString(strconv.Itoa(len(chunk)))
			if i == 2 {
				in.WriteString(" LAST")
			}
			in.WriteString("\r\n")
			in.Write(chunk)
		}
		in.WriteString("QUIT\r\n")
		h := &recorder{}
		replies := converse(t, h, in.Bytes())
		_, _, clean := naive(msg, false)
		_, rest, _ := strings.Cut(replies, "250 2.1.5 OK\r\n")
		if got := len(strings.Split(rest, "\r\n")) - 1; got != 4 || !strings.HasPrefix(rest[strings.LastIndex(rest[:len(rest)-2], "\n")+1:], "221") {
			t.Fatalf("%q: replies %q", in.Bytes(), replies)
		}
		if clean != (len(h.messages) == 1) || clean && h.messages[0] != string(msg) {
			t.Fatalf("%q: clean %v, messages %q", msg, clean, h.messages)
		}
	})
}

// converse sends in at once and returns all replies; the server closes.
func converse(t *testing.T, h *recorder, in []byte) string {
	var out []byte
	synctest.Test(t, func(t *testing.T) {
		s := &Server{Hostname: "mx.test", Handler: h}
		ours, theirs := net.Pipe()
		go s.ServeConn(theirs, false)
		go func() { _, _ = ours.Write(in) }()
		out, _ = io.ReadAll(ours)
		ours.Close()
		_ = s.Shutdown(t.Context())
	})
	return string(out)
}

// FuzzConversation throws octets at a whole connection: it must end, close the
// session once, answer in well-formed lines, and never take a message with a bare CR or LF.
func FuzzConversation(f *testing.F) {
	const hello = "EHLO x\r\nMAIL FROM:<a@b.test>\r\nRCPT TO:<c@d.test>\r\n"
	f.Add([]byte(hello + "DATA\r\na\r\n.\r\nQUIT\r\n"))
	f.Add([]byte(hello + "BDAT 3\r\nabcRSET\r\nBDAT 2 LAST\r\nxxNOOP\r\n"))
	f.Add([]byte("\x16\x03\x01"))
	f.Add([]byte("GET / HTTP/1.1\r\n"))
	f.Add([]byte("NOOP\nNOOP\r\n\x00\r\n"))
	f.Fuzz(func(t *testing.T, in []byte) {
		h := &recorder{setup: func(c *Conn) { c.SetTrusted(true) }}
		for _, l := range strings.SplitAfter(converse(t, h, in), "\r\n") {
			if l != "" && !replyLine.MatchString(l) {
				t.Fatalf("reply line %q", l)
			}
		}
		if h.count("CLOSE") != 1 {
			t.Fatal("session not closed once")
		}
		for _, m := range h.messages {
			if _, _, clean := naive([]byte(m), false); !clean {
				t.Fatalf("message %q", m)
			}
		}
	})
}
