package ingress

import (
	"context"
	"fmt"
	"runtime"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/tarishi/tarishi/mail"
	"github.com/tarishi/tarishi/plugin"
)

// G4: a header made to be expensive costs what its octets cost: the filter goes over
// them once, and so does what plugins are given to read. What is measured is the
// processor's time, not the clock's; the bound is many times the usual, since what
// it is to find costs seconds: work that grows with the square of the header.
func TestG4_costs(t *testing.T) {
	const bound, room = 500 * time.Millisecond, 64 << 20
	nested := strings.Builder{}
	for i := range 1000 {
		fmt.Fprintf(&nested, "--b%d\r\nContent-Type: multipart/mixed; boundary=b%d\r\n\r\n", i, i+1)
	}
	looks := at{plugin.DataPost: func(_ context.Context, e *plugin.Event) plugin.Verdict {
		h := e.Transaction.Message().Header()
		for _, name := range []string{"Received", "DKIM-Signature", "X", "Authentication-Results", "Nobody"} {
			h.Get(name)
			h.All(name)
		}
		h.Names()
		_ = e.Transaction.AddField("X-Seen", "yes")
		_ = e.Transaction.RemoveField("X")
		return plugin.Verdict{}
	}}
	for _, x := range []struct{ name, head, body, reply string }{
		{"one field of a megabyte", "X: " + strings.Repeat("x", 1<<20-10) + "\r\n", "", "250"},
		{"a larger one", "X: " + strings.Repeat("x", 600000) + "\r\n " + strings.Repeat("x", 600000) + "\r\n", "", "552 5.3.4"},
		{"ten thousand fields", strings.Repeat("X: "+strings.Repeat("y", 90)+"\r\n", 10000), "", "250"},
		{"all of one octet", strings.Repeat("X:y\r\n", 200000), "", "250"},
		{"200,000 folded lines", "X: y\r\n" + strings.Repeat(" z\r\n", 200000), "", "250"},
		{"each folded once", strings.Repeat("X:y\r\n z\r\n", 110000), "", "250"},
		{"a thousand multiparts", "Content-Type: multipart/mixed; boundary=b0\r\n", nested.String(), "250"},
		{"500 signatures", strings.Repeat("DKIM-Signature: v=1; a=rsa-sha256; d=x.test; s=s; h=from; bh=xxxx;\r\n\tb="+strings.Repeat("y", 350)+"\r\n", 500), "", "250"},
		{"300 Received", strings.Repeat("Received: from x by y; Sat, 7 Mar 2026 09:05:01 +0100\r\n", 300), "", "554 5.4.6"},
		{"comments in comments", "Authentication-Results: " + strings.Repeat("(", 1<<20-100) + "\r\n", "", "250"},
		{"28,000 results", strings.Repeat("Authentication-Results:\r\n mx.test\r\n", 28000), "", "250"},
		{"no header at all", "", strings.Repeat("x\r\n", 300000), "250"},
	} {
		for _, plugins := range []bool{false, true} {
			t.Run(fmt.Sprintf("%s, plugins %v", x.name, plugins), func(t *testing.T) {
				q, p := &memory{}, defaults()
				if plugins {
					p = with(inForce(t, scripted{"looks", looks}))
				}
				var before, after runtime.MemStats
				runtime.ReadMemStats(&before)
				start := processorTime(t)
				dialogue{queue: q, policy: p, message: x.head + "\r\n" + x.body}.run(t, `
					C: EHLO x
					S: 250
					C: MAIL FROM:<>
					S: 250
					C: RCPT TO:<u@local.test>
					S: 250
					C: DATA
					S: 354
					MESSAGE
					S: `+x.reply+`
					C: NOOP
					S: 250`)
				took := processorTime(t) - start
				runtime.ReadMemStats(&after)
				if grown := after.TotalAlloc - before.TotalAlloc; took > bound || grown > room {
					t.Errorf("%v and %d octets for a header of %d", took, grown, len(x.head))
				}
				if testing.Verbose() {
					t.Logf("%v, %d KiB", took.Round(time.Millisecond/10), (after.TotalAlloc-before.TotalAlloc)>>10)
				}
			})
		}
	}
}

// processorTime is what this process has used so far.
func processorTime(t *testing.T) time.Duration {
	t.Helper()
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		t.Fatal(err)
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

// H4: who is known not to be there is refused while the client still holds the
// message, so that nobody is sent a notice about mail that he never wrote; and so is
// what a plugin finds in the message. Nothing of either is stored.
func TestH4_refusedAtTheDoor(t *testing.T) {
	p := with(inForce(t, scripted{"mailboxes", at{
		plugin.Rcpt: func(_ context.Context, e *plugin.Event) plugin.Verdict {
			if e.Address.Local() != "ann" {
				return plugin.Verdict{Code: plugin.Refuse, Reply: mail.R(550, "5.1.1", "No such user")}
			}
			return plugin.Verdict{}
		},
		plugin.DataPost: func(_ context.Context, e *plugin.Event) plugin.Verdict {
			if e.Transaction.Message().Header().Get("Subject") == "a virus" {
				return plugin.Denied("no viruses")
			}
			return plugin.Verdict{}
		},
	}}))
	q := &memory{}
	dialogue{queue: q, policy: p}.run(t, `
		C: EHLO x
		S: 250
		C: MAIL FROM:<forged@victim.test>
		S: 250
		C: RCPT TO:<nobody@local.test>
		S: 550 5.1.1 No such user
		C: DATA
		S: 554
		C: RCPT TO:<ann@local.test>
		S: 250
		C: DATA
		S: 354
		C: Subject: a virus
		C: .
		S: 550 5.7.1 no viruses
		C: MAIL FROM:<ann@friend.test>
		S: 250
		C: RCPT TO:<ann@local.test>
		S: 250
		C: RCPT TO:<bob@local.test>
		S: 550 5.1.1
		C: DATA
		S: 354
		C: Subject: hello
		C: .
		S: 250`)
	if ms := q.messages(); len(ms) != 1 || len(ms[0].deliveries) != 1 || len(ms[0].deliveries[0].Recipients) != 1 || ms[0].deliveries[0].Recipients[0].Raw != "ann@local.test" {
		t.Errorf("stored %+v", ms)
	}
}
