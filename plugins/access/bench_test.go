package access_test

import (
	"context"
	"fmt"
	"net/netip"
	"strings"
	"testing"

	"github.com/tarishi/tarishi/plugin"
	"github.com/tarishi/tarishi/plugins/access"
	"github.com/tarishi/tarishi/plugins/internal/trial"
)

// BenchmarkLists is what 100,000 entries in each list cost: to load, and to be asked.
func BenchmarkLists(b *testing.B) {
	for _, size := range []int{10, 100_000} {
		var ips, senders, domains strings.Builder
		for i := range size {
			fmt.Fprintf(&ips, "10.%d.%d.%d\n", i>>16, i>>8&255, i&255)
			fmt.Fprintf(&senders, "user%d@host%d.example\n", i, i%1000)
			fmt.Fprintf(&domains, "domain%d.example\n", i)
		}
		files := trial.Files{
			"connect.rdns_access.blacklist": ips.String(), "mail_from.access.blacklist": senders.String(), "access.domains": domains.String(),
		}
		b.Run(fmt.Sprintf("load/%d", size), func(b *testing.B) {
			for b.Loop() {
				trial.Chain(b, files, trial.Use{Kind: access.Kind})
			}
		})
		c := trial.Chain(b, files, trial.Use{Kind: access.Kind})
		b.Run(fmt.Sprintf("ask/%d", size), func(b *testing.B) {
			for b.Loop() {
				conn := &plugin.Connection{Remote: netip.MustParseAddrPort("192.0.2.7:25")}
				c.Run(context.Background(), &plugin.Event{Hook: plugin.Connect, Connection: conn})
				from := address("nobody@elsewhere.example")
				tx := conn.Begin("1", from)
				v := c.Run(context.Background(), &plugin.Event{Hook: plugin.Mail, Connection: conn, Transaction: tx, Address: from})
				if v.Code != plugin.Cont {
					b.Fatal(v)
				}
			}
		})
	}
}
