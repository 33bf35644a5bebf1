package smtp

import (
	"io"
	"net"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
)

// slowLines takes a stream apart as one would explain it: a command ends in CRLF;
// one that is too long, or holds a CR or a NUL, is not run; one that ends in LF
// alone ends everything. closed says so.
func slowLines(in string, limit int) (run []string, closed bool) {
	for {
		line, rest, whole := strings.Cut(in, "\n")
		if !whole {
			return run, false
		}
		in = rest
		line, crlf := strings.CutSuffix(line, "\r")
		switch {
		case !crlf:
			return run, true
		case len(line)+2 > limit || strings.ContainsAny(line, "\r\x00"):
		default:
			run = append(run, line)
		}
	}
}

const fuzzLine = 2048 // octets of a command line

// slowCommands are the commands of a stream that reach Session.Command. ok is false
// for a stream with verbs that end a dialogue or change how it is read.
func slowCommands(in string) (commands []string, closed, ok bool) {
	lines, closed := slowLines(in, fuzzLine)
	for _, line := range lines {
		if strings.HasPrefix(line, "\x16\x03") {
			return nil, false, false
		}
		verb, args, _ := strings.Cut(line, " ")
		switch verb = strings.ToUpper(verb); verb {
		case "QUIT", "BDAT", "DATA", "XASK", "XTEST", "GET", "POST", "CONNECT", "HEAD", "PUT", "OPTIONS", "DELETE", "TRACE", "PATCH":
			return nil, false, false
		case "MAIL", "RCPT", "EHLO", "HELO", "RSET", "NOOP", "VRFY", "HELP", "STARTTLS", "XCLIENT":
		default:
			commands = append(commands, "COMMAND "+verb+" "+strings.TrimRight(args, " \t"))
		}
	}
	return commands, closed, !strings.HasPrefix(in[strings.LastIndex(in, "\n")+1:], "\x16")
}

// commands are those that the Session has been told.
func (h *recorder) commands() (out []string) {
	for _, e := range h.events {
		if strings.HasPrefix(e, "COMMAND ") {
			out = append(out, e)
		}
	}
	return out
}

// inPieces has a client send in, so many octets at a time, and hang up, and returns
// what it was told.
func inPieces(t *testing.T, h *recorder, in string, piece int) string {
	var out []byte
	synctest.Test(t, func(t *testing.T) {
		s := &Server{Hostname: "mx.test", Handler: h, Limits: Limits{CommandLine: fuzzLine, Errors: -1, Junk: -1}}
		ours, theirs := net.Pipe()
		done := make(chan struct{})
		go func() {
			s.ServeConn(theirs, false)
			close(done)
		}()
		go func() {
			for rest := in; rest != ""; {
				n := min(len(rest), piece)
				if _, err := io.WriteString(ours, rest[:n]); err != nil {
					return
				}
				rest = rest[n:]
			}
			synctest.Wait()
			ours.Close()
		}()
		out, _ = io.ReadAll(ours)
		ours.Close()
		<-done
		_ = s.Shutdown(t.Context())
	})
	return string(out)
}

// FuzzSmuggling sends any octets as a message, and commands behind its end. What was
// the message and what was run as a command must be what the slow readings say, of
// the message and of the commands; and there is one reply to the message.
func FuzzSmuggling(f *testing.F) {
	for _, end := range []string{"\n.\n", "\n.\r\n", "\r\n.\n", "\r\n.\r", "\r.\r\n", "\r.\r", "\n.\r", "\r.\n", "\r\n\x00.\r\n", "\r\n.\x00\r\n", "\r\n. \r\n", "\r\n.\r\r\n", "\r\r\n.\r\n", "\r\n.\r\n"} {
		f.Add("body"+end+"SMUGGLED x\r\n", uint8(0))
		f.Add("body"+end+"SMUGGLED x\r\n", uint8(200))
	}
	f.Fuzz(func(t *testing.T, in string, cut uint8) {
		if len(in) > 20000 {
			return
		}
		stream := in + "\r\n.\r\nLAST\r\n"
		message, end, clean := naive([]byte(stream), true)
		commands, closed, ok := slowCommands(stream[end:])
		if !ok {
			return
		}
		h := &recorder{setup: func(c *Conn) { c.SetTrusted(true) }}
		piece := max(int(cut)+1, len(in)/500)
		replies := inPieces(t, h, "EHLO x\r\nMAIL FROM:<a@b.test>\r\nRCPT TO:<c@d.test>\r\nDATA\r\n"+stream, piece)
		if got := h.commands(); !slices.Equal(got, commands) {
			t.Fatalf("%q in pieces of %d: run %q, want %q", in, piece, got, commands)
		}
		if clean != (len(h.messages) == 1) || clean && h.messages[0] != string(message) {
			t.Fatalf("%q in pieces of %d: clean %v, messages %q", in, piece, clean, h.messages)
		}
		_, behind, _ := strings.Cut(replies, "\r\n354 ")
		lines := strings.Split(strings.TrimSuffix(behind, "\r\n"), "\r\n")
		if len(lines) < 2 || lines[1][:1] != map[bool]string{true: "2", false: "5"}[clean] {
			t.Fatalf("%q in pieces of %d: told %q", in, piece, behind)
		}
		if said := strings.Contains(behind, "421 4.5.2"); said != closed {
			t.Fatalf("%q in pieces of %d: closed %v, want %v", in, piece, said, closed)
		}
	})
}

// FuzzCommandLine sends octets to a whole connection, in pieces of any size, and
// compares what was run with the slow reading. Verbs that end a dialogue or change
// how it is read are another test's (FuzzConversation, FuzzBdat).
func FuzzCommandLine(f *testing.F) {
	f.Add("FOO a\r\nbar \t \r\nNOOP x\r\n", uint16(1))
	f.Add("FOO\r\r\nBAR\n BAZ\r\n", uint16(2))
	f.Add("FOO\x00\r\nX"+strings.Repeat("y", 2045)+"\r\nX"+strings.Repeat("y", 2046)+"\r\nEND\r\n", uint16(1000))
	f.Add("FOO\r\n"+strings.Repeat("y", 5000)+"\r\nEND\r\n"+strings.Repeat("z", 1023)+"\r", uint16(1024))
	f.Add(strings.Repeat("ABC x\r\n", 200)+"END\n", uint16(4096))
	f.Fuzz(func(t *testing.T, in string, cut uint16) {
		if len(in) > 40000 {
			return
		}
		want, closed, ok := slowCommands(in)
		if !ok {
			return
		}
		h := &recorder{}
		piece := max(int(cut)+1, len(in)/500) // more pieces only cost time
		replies := inPieces(t, h, in, piece)
		if got := h.commands(); !slices.Equal(got, want) {
			t.Fatalf("%q in pieces of %d: run %q, want %q", in, piece, got, want)
		}
		if said := strings.Contains(replies, "421 4.5.2"); said != closed {
			t.Fatalf("%q in pieces of %d: closed %v, want %v", in, piece, said, closed)
		}
	})
}
