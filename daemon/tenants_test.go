package daemon

import (
	"fmt"
	"testing"
)

func TestTenantsOfTheFile(t *testing.T) {
	src := `
smtp:
  relay_from: [10.0.0.0/8, 127.0.0.1]
  clients:
    - {from: [10.1.0.0/16, 10.2.0.7], tenant: acme, class: bulk}
    - {from: [127.0.0.1], class: high}
tenants:
  acme: {weight: 4, class: bulk}
  globex: {weight: 1, class: normal}
  a@b.test: {}
classes: {high: {share: 20%}}
`
	c := mustParse(t, src)
	if got := fmt.Sprint(c.Shares().Tenants, c.TenantClasses()); got != "map[acme:4] map[acme:bulk globex:normal]" {
		t.Error(got)
	}
	if x := c.SMTP.Clients[0]; fmt.Sprint(x.From) != "[10.1.0.0/16 10.2.0.7/32]" || x.Tenant != "acme" || x.Class != "bulk" {
		t.Errorf("%+v", x)
	}
	if s := c.Shares(); s.High != 20 || s.Weight("globex") != 1 {
		t.Errorf("%+v", s)
	}
	if again := mustParse(t, printed(t, c)); printed(t, again) != printed(t, c) {
		t.Error("it does not print as it reads")
	}
	c = mustParse(t, src, "TARISHI_CLASSES_HIGH_SHARE=35%", `TARISHI_TENANTS={globex: {weight: 2}}`,
		`TARISHI_SMTP_CLIENTS=[{from: [10.0.0.1], tenant: globex}]`)
	if s := c.Shares(); s.High != 35 || len(c.Tenants) != 1 || s.Weight("globex") != 2 || c.SMTP.Clients[0].Tenant != "globex" {
		t.Errorf("of the environment: %v %v %v", c.Classes, c.Tenants, c.SMTP.Clients)
	}
	if c := mustParse(t, ""); !c.Shares().IsZero() || len(c.TenantClasses()) != 0 {
		t.Errorf("without a word: %v %v", c.Classes, c.Tenants)
	}
}

func TestBadTenants(t *testing.T) {
	for _, x := range []struct{ src, want string }{
		{"tenants: {acme: {wieght: 4}}", `t.yaml:1: unknown key "wieght" in tenants.acme; did you mean "weight"?`},
		{"tenants: {acme: {weight: 0}}", `t.yaml:1: tenants.acme.weight: 0 is too small; at least 1`},
		{"tenants: {acme: {weight: 500}}", `t.yaml:1: tenants.acme.weight: 500 is too large; at most 100`},
		{"tenants: {acme: {class: hihg}}", `t.yaml:1: tenants.acme.class: "hihg" is not possible; did you mean "high"?`},
		{"tenants:\n  \"a b\": {weight: 2}", `t.yaml:2: tenants.a b: "a b" is no name of a tenant: up to 64 letters, digits, dots, dashes, underscores, @ or +`},
		{"classes: {high: {share: 20}}", `t.yaml:1: classes.high.share: "20" wants a share such as 20%`},
		{"classes: {high: {share: 95%}}", `t.yaml:1: classes.high.share: 95% is too large; at most 90%`},
		{"classes: {bulk: {share: 5%}}", `t.yaml:1: unknown key "bulk" in classes; keys here: high`},
		{"smtp: {clients: [{from: [127.0.0.1]}]}", `t.yaml:1: smtp.clients[0]: says nothing of its clients; give a tenant or a class, or take it away`},
		{"smtp: {clients: [{tenant: acme}]}", `t.yaml:1: smtp.clients[0].from: missing; Networks (CIDR) within relay_from. Of several entries the one with the smallest network around a client is its.`},
		{"smtp: {clients: [{from: [], tenant: acme}]}", `t.yaml:1: smtp.clients[0].from: is empty; list the networks of the clients`},
		{"smtp: {clients: [{from: [192.0.2.0/24], tenant: acme}]}", `t.yaml:1: smtp.clients[0].from[0]: 192.0.2.0/24 is not within smtp.relay_from; only clients there are believed; add it there`},
		{"smtp: {clients: [{from: [127.0.0.1], tenant: a}, {from: [127.0.0.1], tenant: b}]}", `t.yaml:1: smtp.clients[1].from[0]: 127.0.0.1/32 stands in smtp.clients[0].from[0] already; keep one`},
		{"smtp: {clients: [{from: [127.0.0.1], tenant: \"a b\"}]}", `t.yaml:1: smtp.clients[0].tenant: "a b" is no name of a tenant: up to 64 letters, digits, dots, dashes, underscores, @ or +`},
	} {
		_, err := Parse("t.yaml", []byte(x.src), nil)
		if err == nil || err.Error() != x.want {
			t.Errorf("%s:\n got  %v\n want %s", x.src, err, x.want)
		}
	}
}
