package lists_test

import (
	"fmt"
	"net/netip"
	"strings"
	"testing"

	"github.com/tarishi/tarishi/mail"
	"github.com/tarishi/tarishi/plugins/lists"
)

// A list of 100,000 is read once, and each question takes as long as with ten.

const big = 100_000

func BenchmarkRead(b *testing.B) {
	for name, line := range map[string]func(i int) string{
		"networks":  func(i int) string { return fmt.Sprintf("10.%d.%d.%d/32", i>>16, i>>8&255, i&255) },
		"domains":   func(i int) string { return fmt.Sprintf("host%d.example", i) },
		"mailboxes": func(i int) string { return fmt.Sprintf("user%d@host.example", i) },
	} {
		var text strings.Builder
		for i := range big {
			text.WriteString(line(i) + "\n")
		}
		src := []byte(text.String())
		b.Run(name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				var n lists.Networks
				var d lists.Domains
				var m lists.Mailboxes
				add := map[string]func(string) error{"networks": n.Add, "domains": d.Add, "mailboxes": m.Add}[name]
				if err := lists.Parse(name, src, add); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

func BenchmarkHas(b *testing.B) {
	for _, size := range []int{10, big} {
		var n lists.Networks
		var d lists.Domains
		var m lists.Mailboxes
		for i := range size {
			p := netip.AddrFrom4([4]byte{10, byte(i >> 16), byte(i >> 8), byte(i)})
			_ = n.Add(p.String())
			_ = d.Add(fmt.Sprintf("host%d.example", i))
			_ = m.Add(fmt.Sprintf("user%d@host.example", i))
		}
		_ = n.Add("192.0.2.0/24")
		hit, miss := netip.MustParseAddr("10.0.0.5"), netip.MustParseAddr("172.16.0.1")
		here, away := mail.NewAddress("User5@host.example"), mail.NewAddress("nobody@host.example")
		b.Run(fmt.Sprintf("networks/%d", size), func(b *testing.B) {
			for b.Loop() {
				if !n.Has(hit) || n.Has(miss) {
					b.Fatal()
				}
			}
		})
		b.Run(fmt.Sprintf("domains/%d", size), func(b *testing.B) {
			for b.Loop() {
				if !d.HasDomain("host5.example") || d.HasDomain("host.example") {
					b.Fatal()
				}
			}
		})
		b.Run(fmt.Sprintf("mailboxes/%d", size), func(b *testing.B) {
			for b.Loop() {
				if !m.Has(here) || m.Has(away) {
					b.Fatal()
				}
			}
		})
	}
}
