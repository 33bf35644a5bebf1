package ingress

import (
	"context"
	"io"
	"log/slog"
	"net"
	"net/netip"
	"regexp"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/tarishi/tarishi/plugin"
	"github.com/tarishi/tarishi/smtp"
)

var oneReply = regexp.MustCompile(`^[2345]\d\d[ -][ -~]*$`)

// FuzzVisit throws octets at the whole server's side, with a plugin at every hook that
// says what it likes. However that goes, the visit ends, nothing panics, every line
// that is said is a reply, disconnect is asked exactly once if connect_init was, and
// what is stored is a whole, clean message with recipients that were answered 2yz.
func FuzzVisit(f *testing.F) {
	const mail = "EHLO x\r\nMAIL FROM:<a@b.test>\r\nRCPT TO:<u@local.test>\r\nRCPT TO:<v@far.test>\r\nDATA\r\nSubject: x\r\n\r\nhi\r\n.\r\n"
	f.Add([]byte(mail+"QUIT\r\n"), []byte{0}, true)
	f.Add([]byte(mail+mail+"RSET\r\nNOOP\r\nVRFY x\r\nFROB\r\n"), []byte{0, 1, 0, 3, 0, 0, 2}, true)
	f.Add([]byte("EHLO x\r\nMAIL FROM:<>\r\nRCPT TO:<u@local.test>\r\nBDAT 4\r\na\r\n\r\nRSET\r\nBDAT 0 LAST\r\n"), []byte{0, 0, 0, 0, 0, 5}, false)
	f.Add([]byte("HELO x\r\nMAIL FROM:<a@b.test>\r\nRCPT TO:<postmaster>\r\nDATA\r\nbare\n\r\n.\r\nQUIT\r\n"), []byte{7, 1}, true)
	f.Fuzz(func(t *testing.T, in, say []byte, trusted bool) {
		if len(in) > 10000 || len(say) == 0 {
			return
		}
		asked, begun, over, taken := 0, 0, 0, 0
		p := scripted{"any", at{}}
		for _, h := range plugin.Hooks {
			p.at[h] = func(_ context.Context, e *plugin.Event) plugin.Verdict {
				switch e.Hook {
				case plugin.ConnectInit:
					begun++
				case plugin.Disconnect:
					over++
				case plugin.DataPost:
					_ = e.Transaction.AddField("X-Looked", "yes")
				}
				asked++
				code := plugin.Code(say[asked%len(say)] % 10)
				if code == plugin.OK && (e.Hook == plugin.Queue || e.Hook == plugin.QueueOutbound) {
					taken++ // the plugin has it now
				}
				return plugin.Verdict{Code: code}
			}
		}
		q, policy := &memory{}, with(inForce(t, p))
		var faults strings.Builder
		var out []byte
		synctest.Test(t, func(t *testing.T) {
			log := slog.New(slog.NewTextHandler(&faults, &slog.HandlerOptions{Level: slog.LevelError}))
			srv := &smtp.Server{Hostname: "mx.test", Handler: New(policy, q.store()), Log: log}
			ours, theirs := net.Pipe()
			client := "192.0.2.7"
			if trusted {
				client = "127.0.0.1"
			}
			done := make(chan struct{})
			go func() {
				srv.ServeConn(from{theirs, net.TCPAddrFromAddrPort(netip.AddrPortFrom(netip.MustParseAddr(client), 4711))}, false)
				close(done)
			}()
			wrote := make(chan struct{})
			go func() {
				_, _ = ours.Write(in)
				time.Sleep(time.Minute) // nothing more comes of it
				ours.Close()
				close(wrote)
			}()
			out, _ = io.ReadAll(ours)
			ours.Close()
			<-done
			<-wrote
			_ = srv.Shutdown(t.Context())
		})
		for line := range strings.SplitSeq(strings.TrimSuffix(string(out), "\r\n"), "\r\n") {
			if line != "" && !oneReply.MatchString(line) {
				t.Errorf("said %q", line)
			}
		}
		if strings.Contains(faults.String(), "panic") || strings.Contains(string(out), "Internal error") {
			t.Errorf("%s", faults.String())
		}
		if begun != over {
			t.Errorf("connect_init was asked %d times, disconnect %d times", begun, over)
		}
		if said := strings.Count(string(out), " Queued as "); len(q.messages())+taken != said {
			t.Errorf("%d messages stored, %d taken over, %d times 250", len(q.messages()), taken, said)
		}
		for _, m := range q.messages() {
			if rest := strings.ReplaceAll(m.text, "\r\n", ""); strings.ContainsAny(rest, "\r\n\x00") || !strings.HasPrefix(m.text, "Received: ") {
				t.Errorf("stored %q", m.text)
			}
			for _, d := range m.deliveries {
				if len(d.Recipients) == 0 || d.Destination == "" {
					t.Errorf("a delivery to nobody: %+v", d)
				}
			}
		}
	})
}
