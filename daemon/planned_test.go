package daemon

import (
	"testing"
	"time"
)

func TestPlannedMail(t *testing.T) {
	c := mustParse(t, `
smtp:
  headers: {send_at: X-Send-At, hours: ""}
  farthest_send_at: 90d
  longest_expiry: 7d
tenants: {acme: {hours: "Mon-Fri 09:00-18:00 Europe/Berlin"}, globex: {weight: 2}}
suppress: {at_accept: accept, bounces: global, keep: 0}
`)
	if h := c.SMTP.Headers; h.SendAt != "X-Send-At" || h.Expires != "X-Tarishi-Expires" || h.Hours != "" || c.SMTP.FarthestSendAt != 90*24*time.Hour {
		t.Errorf("%+v", c.SMTP)
	}
	if h := c.TenantHours(); len(h) != 1 || h["acme"] == "" {
		t.Error(h)
	}
	if c.Suppress != (Suppress{"accept", "global", 0}) {
		t.Errorf("%+v", c.Suppress)
	}
	if c := mustParse(t, ""); c.Suppress != (Suppress{"refuse", "tenant", 180 * 24 * time.Hour}) || c.SMTP.LongestExpiry != 30*24*time.Hour {
		t.Errorf("without a word: %+v", c.Suppress)
	}
}

func TestBadPlannedMail(t *testing.T) {
	for _, x := range []struct{ src, want string }{
		{"smtp: {headers: {send_at: Subject}}", `t.yaml:1: smtp.headers.send_at: "Subject" is a field that messages need; choose one of your own, such as X-Tenant`},
		{"smtp: {headers: {send_at: X-A, hours: x-a}}", `t.yaml:1: smtp.headers.hours: is the same field as smtp.headers.send_at; each needs one of its own`},
		{"smtp: {tenant_header: X-Tarishi-Hours}", `smtp.headers.hours: is the same field as smtp.tenant_header (the default); each needs one of its own`},
		{"smtp: {shortest_expiry: 2d, longest_expiry: 1d}", `t.yaml:1: smtp.shortest_expiry: 2d is more than smtp.longest_expiry (1d); make it shorter`},
		{"tenants: {acme: {hours: 9-18}}", `t.yaml:1: tenants.acme.hours: "9-18" is refused: hours must end with whose time they are, such as Europe/Berlin or UTC, as in Mon-Fri 09:00-18:00 Europe/Berlin`},
		{"suppress: {bounces: tenants}", `t.yaml:1: suppress.bounces: "tenants" is not possible; did you mean "tenant"?`},
	} {
		_, err := Parse("t.yaml", []byte(x.src), nil)
		if err == nil || err.Error() != x.want {
			t.Errorf("%s:\n got  %v\n want %s", x.src, err, x.want)
		}
	}
}
