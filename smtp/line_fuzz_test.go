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
		const limit = 2048
		if len(in) > 40000 {
			return
		}
		lines, closed := slowLines(in, limit)
		var want []string
		for _, line := range lines {
			if strings.HasPrefix(line, "\x16\x03") {
				return
			}
			verb, args, _ := strings.Cut(line, " ")
			switch verb = strings.ToUpper(verb); verb {
			case "QUIT", "BDAT", "DATA", "XASK", "XTEST", "GET", "POST", "CONNECT", "HEAD", "PUT", "OPTIONS", "DELETE", "TRACE", "PATCH":
				return
			case "MAIL", "RCPT", "EHLO", "HELO", "RSET", "NOOP", "VRFY", "HELP", "STARTTLS":
			default:
				want = append(want, "COMMAND "+verb+" "+strings.TrimRight(args, " \t"))
			}
		}
		if strings.HasPrefix(in[strings.LastIndex(in, "\n")+1:], "\x16") {
			return
		}
		piece := max(int(cut)+1, len(in)/500) // more pieces only cost time
		h := &recorder{}
		var replies string
		synctest.Test(t, func(t *testing.T) {
			s := &Server{Hostname: "mx.test", Handler: h, Limits: Limits{CommandLine: limit, Errors: -1, Junk: -1}}
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
			b, _ := io.ReadAll(ours)
			replies = string(b)
			ours.Close()
			<-done
			_ = s.Shutdown(t.Context())
		})
		var got []string
		for _, e := range h.events {
			if strings.HasPrefix(e, "COMMAND ") {
				got = append(got, e)
			}
		}
		if !slices.Equal(got, want) {
			t.Fatalf("%q in pieces of %d: run %q, want %q", in, piece, got, want)
		}
		if said := strings.Contains(replies, "421 4.5.2"); said != closed {
			t.Fatalf("%q in pieces of %d: closed %v, want %v", in, piece, said, closed)
		}
	})
}
