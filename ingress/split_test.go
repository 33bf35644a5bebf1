package ingress

import (
	"fmt"
	"testing"

	"pgregory.net/rapid"

	"github.com/tarishi/tarishi/mail"
)

// Whatever the recipients: each is in exactly one delivery, each delivery is of
// one domain, no two of the same, and the indexes count from 0.
func TestSplitProperty(t *testing.T) {
	address := rapid.Custom(func(t *rapid.T) mail.Recipient {
		local := rapid.SampledFrom([]string{"a", "A", "b", `"a b"`, `"x@y"`, "c"}).Draw(t, "local")
		if rapid.Bool().Draw(t, "numbered") {
			local = fmt.Sprint("u", rapid.IntRange(0, 40).Draw(t, "n"))
		}
		domain := rapid.SampledFrom([]string{"d.test", "D.test", "e.test", "bücher.test", "xn--bcher-kva.test", "f.e.test", "g.test"}).Draw(t, "domain")
		return mail.Recipient{Address: mail.NewAddress(local + "@" + domain)}
	})
	rapid.Check(t, func(t *rapid.T) {
		rcpts := rapid.SliceOfN(address, 1, 3*few).Draw(t, "recipients")
		m := &mail.Message{ID: "X"}
		ds := split(m, append([]mail.Recipient(nil), rcpts...))

		domains := map[mail.Domain]bool{}
		for i, d := range ds {
			if d.Index != i || d.Message != m || len(d.Recipients) == 0 {
				t.Fatalf("delivery %d: %+v", i, d)
			}
			if domains[d.Destination] {
				t.Fatalf("two deliveries for %s", d.Destination)
			}
			domains[d.Destination] = true
			for _, r := range d.Recipients {
				if r.Domain != d.Destination {
					t.Fatalf("%s in the delivery for %s", r.Raw, d.Destination)
				}
			}
		}
		for _, want := range rcpts {
			n := 0
			for _, d := range ds {
				for _, r := range d.Recipients {
					if r.Same(want.Address) {
						n++
					}
				}
			}
			if n != 1 {
				t.Fatalf("%s is in %d places", want.Raw, n)
			}
		}
	})
}
