package ingress

import (
	"context"
	"errors"
	"net/netip"
	"testing"

	"github.com/tarishi/tarishi/mail"
)

func TestSuppressedAtAccept(t *testing.T) {
	list := func(_ context.Context, to mail.Address, tenant string) (string, error) {
		switch to.Local() {
		case "gone":
			return "on the list\nof everybody", nil
		case "acmes":
			if tenant == "acme" {
				return "on the list of acme", nil
			}
		case "unknown":
			return "", errors.New("no majority")
		}
		return "", nil
	}
	p := defaults()
	p.Suppressed, p.TenantHeader = list, "X-Tenant"
	p.Clients = []Client{{From: netip.MustParsePrefix("10.1.0.0/16"), Tenant: "acme"}}

	q := &memory{}
	h := dialogue{queue: q, policy: p, client: "127.0.0.1"}.run(t, `
		C: EHLO x
		S: 250
		C: MAIL FROM:<a@b.test>
		S: 250
		C: RCPT TO:<gone@x.test>
		S: 550 5.7.1 on the list?of everybody
		C: RCPT TO:<unknown@x.test>
		S: 451 4.3.0
		C: RCPT TO:<acmes@x.test>
		S: 250
		C: RCPT TO:<u@x.test>
		S: 250
		C: DATA
		S: 354
		C: X-Tenant: acme
		C:
		C: .
		# one of them may go: the other is the deliverer's
		S: 250
		C: MAIL FROM:<a@b.test>
		S: 250
		C: RCPT TO:<acmes@x.test>
		S: 250
		C: DATA
		S: 354
		C: X-Tenant: acme
		C:
		C: .
		S: 550 5.7.1 on the list of acme
		C: NOOP
		S: 250`)
	if n := len(q.messages()); n != 1 || len(q.messages()[0].deliveries[0].Recipients) != 2 {
		t.Errorf("%d stored", n)
	}
	if s := h.Stats(); s.Suppressed != 2 || s.BadHeader != 0 || s.BadRecipient != 0 || s.Unavailable != 1 {
		t.Errorf("%+v", s)
	}
	// Whose mail it is, is known by the client's network.
	dialogue{policy: p, client: "10.1.2.3"}.run(t, `
		C: EHLO x
		S: 250
		C: MAIL FROM:<a@b.test>
		S: 250
		C: RCPT TO:<acmes@x.test>
		S: 550 5.7.1 on the list of acme`)
	// A stranger is told no more than that.
	dialogue{policy: p}.run(t, `
		C: EHLO x
		S: 250
		C: MAIL FROM:<a@b.test>
		S: 250
		C: RCPT TO:<gone@local.test>
		S: 550 5.7.1 This address takes no mail through this host
		C: RCPT TO:<postmaster>
		S: 250`)
}
