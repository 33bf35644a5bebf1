package ingress

import (
	"fmt"
	"net"
	"net/netip"
	"strings"
	"testing"
)

// F1: no form of address makes us relay for a stranger.
func TestF1_relay(t *testing.T) {
	for _, to := range []string{
		`u@other.test`, `u%other.test@local.test`, `other.test!u@local.test`, `@local.test:u@other.test`,
		`<@local.test,@x.test:u@other.test`, `@local.test,@x.test:u@other.test`, `"u@other.test"@local.test`, `"u@other.test"`,
		`u@other.test@local.test`, `u@local.test@other.test`, `u@[127.0.0.1]`, `u@[IPv6:::1]`, `u@localhost`, `u@LOCAL.test.`,
		`"u%other.test"@local.test`, `"other.test!u"@local.test`, `u%other.test@[127.0.0.1]`, `"u\@other.test"@local.test`,
		`u%other.test`, `u@mx.test`, `u%other.test@mx.test`, `u@sub.local.test`, `u@xlocal.test`, `u@local.test.other.test`, `other.test!u@mx.test`,
		`u`, `u@`, `@other.test`, ` u@other.test`, `u@other.test `,
	} {
		t.Run(to, func(t *testing.T) {
			q := &memory{}
			dialogue{queue: q}.run(t, fmt.Sprintf(`
				C: EHLO x
				S: 250
				C: MAIL FROM:<a@client.test>
				S: 250
				C: RCPT TO:<%s>
				S: 5
				C: DATA
				S: 55
				C: NOOP
				S: 250`, to))
			if len(q.messages()) > 0 {
				t.Error("stored")
			}
		})
	}
	// What stands in a local domain and routes nowhere is welcome.
	dialogue{}.run(t, `
		C: EHLO x
		S: 250
		C: MAIL FROM:<a@client.test>
		S: 250
		C: RCPT TO:<u@local.test>
		S: 250
		C: RCPT TO:<u@LOCAL.Test>
		S: 250
		C: RCPT TO:<u+tag=x@local.test>
		S: 250
		C: RCPT TO:<"a b"@local.test>
		S: 250`)
}

// A client in relay_from may send anywhere, and % is just a character of a
// mailbox; address literals stay closed (K4).
func TestF1_relayClient(t *testing.T) {
	dialogue{client: "10.1.2.3"}.run(t, `
		C: EHLO x
		S: 250
		C: MAIL FROM:<a@client.test>
		S: 250
		C: RCPT TO:<u@other.test>
		S: 250
		C: RCPT TO:<u%x.test@other.test>
		S: 250
		C: RCPT TO:<u@[127.0.0.1]>
		S: 550 5.1.2
		C: RCPT TO:<u@[IPv6:::1]>
		S: 550 5.1.2
		C: RCPT TO:<@local.test:u@other.test>
		S: 55
		C: RCPT TO:<u>
		S: 55`)
}

// F2: nothing a stranger says about himself gives rights.
func TestF2_noRights(t *testing.T) {
	for _, helo := range []string{"mx.test", "localhost", "local.test", "[127.0.0.1]", "127.0.0.1"} {
		for _, sender := range []string{"", "u@local.test", "postmaster@local.test", "u@mx.test", "u@localhost"} {
			t.Run(helo+" "+sender, func(t *testing.T) {
				p := defaults()
				p.ReverseName = nil
				dialogue{policy: p}.run(t, fmt.Sprintf(`
					C: EHLO %s
					S: 250
					C: MAIL FROM:<%s>
					S: 250
					C: RCPT TO:<u@other.test>
					S: 550 5.7.1`, helo, sender))
			})
		}
	}
}

// F3: an address with quotes is one address, and reaches the queue as it was sent.
func TestF3_raw(t *testing.T) {
	for _, raw := range []string{`"x> NOTIFY=NEVER ORCPT"@y.test`, `"a b"@d.test`, `"a\"b"@d.test`, `"a@b"@d.test`, `"a\\"@d.test`, `u@D.Test`} {
		t.Run(raw, func(t *testing.T) {
			q := &memory{}
			dialogue{queue: q, client: "127.0.0.1"}.run(t, fmt.Sprintf(`
				C: EHLO x
				S: 250
				C: MAIL FROM:<%s>
				S: 250
				C: RCPT TO:<%s>
				S: 250
				C: DATA
				S: 354
				C: .
				S: 250`, raw, raw))
			m := q.messages()[0]
			if r := m.deliveries[0].Recipients; len(r) != 1 || r[0].Raw != raw || m.message.Sender.Raw != raw {
				t.Errorf("from %q to %+v", m.message.Sender.Raw, r)
			}
			if !strings.Contains(m.text, "for <"+raw+">;") {
				t.Errorf("trace: %s", m.text)
			}
		})
	}
}

func TestRelayTable(t *testing.T) {
	r := newRelay(Policy{RelayFrom: []netip.Prefix{netip.MustParsePrefix("10.1.0.0/16"), netip.MustParsePrefix("2001:db8::/32"), netip.MustParsePrefix("::1/128")}})
	for _, x := range []struct {
		ip   string
		want bool
	}{
		{"10.1.0.0", true}, {"10.1.255.255", true}, {"10.2.0.0", false}, {"10.0.255.255", false}, {"127.0.0.1", false},
		{"::ffff:10.1.2.3", true}, {"::ffff:10.2.0.1", false}, {"2001:db8::1", true}, {"2001:db9::1", false}, {"::1", true}, {"::2", false}, {"::10.1.2.3", false},
	} {
		ip := clientIP(net.TCPAddrFromAddrPort(netip.AddrPortFrom(netip.MustParseAddr(x.ip), 25)))
		if got := r.trusts(ip); got != x.want {
			t.Errorf("%s: %v", x.ip, got)
		}
	}
	if r.trusts(clientIP(&net.UnixAddr{Name: "@"})) {
		t.Error("a client without an address is trusted")
	}
}
