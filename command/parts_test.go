package command

import (
	"fmt"
	"net/netip"
	"testing"

	"github.com/tarishi/tarishi/dns"
)

// The whole MX is named, whichever hosts had addresses today: first those to dial.
func TestAllHostsOfAnMX(t *testing.T) {
	a, b, c := dns.MailHost{Host: "a.test"}, dns.MailHost{Host: "b.test"}, dns.MailHost{Host: "c.test"}
	at := []netip.Addr{netip.MustParseAddr("192.0.2.1")}
	got := allHosts([]dns.MailHost{a, b, c}, []dns.Candidate{{MailHost: b, Addrs: at}})
	if s := fmt.Sprint(got); s != "[{b.test [192.0.2.1]} {a.test []} {c.test []}]" {
		t.Error(s)
	}
}
