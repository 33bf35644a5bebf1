package ingress

import (
	"encoding/base64"
	"strings"
	"testing"

	"github.com/tarishi/tarishi/auth"
)

// withUsers is the usual policy with two users, of whom one has a tenant.
func withUsers(t *testing.T, insecure bool) Policy {
	t.Helper()
	u, err := auth.ParseUsers("users", []byte("ann:$2a$04$FC35OWiAh3FbcyUWzrbFDulELnWoSnWdBKyMVyrrQMC17wUPnSV4y:acme\nold:{CLEAR}secret\n"))
	if err != nil {
		t.Fatal(err)
	}
	p := defaults()
	p.Auth = &Auth{Users: func() *auth.Users { return u }, Mechanisms: []auth.Mechanism{auth.Plain, auth.Login}, Insecure: insecure}
	return p
}

func plainWord(name, password string) string {
	return base64.StdEncoding.EncodeToString([]byte("\x00" + name + "\x00" + password))
}

func TestD8_auth(t *testing.T) {
	ok, wrong := plainWord("old", "secret"), plainWord("old", "Secret")
	for _, c := range []struct{ name, script string }{
		{"relays", `
			C: EHLO c
			S: 250
			C: MAIL FROM:<a@x.test>
			C: RCPT TO:<b@far.test>
			S: 250 2
			S: 550 5.7.1
			C: RSET
			S: 250
			C: AUTH PLAIN ` + ok + `
			S: 235 2.7.0
			C: MAIL FROM:<a@x.test>
			C: RCPT TO:<b@far.test>
			S: 250 2
			S: 250 2`},
		{"in steps", `
			C: EHLO c
			S: 250
			C: auth plain
			S: 334
			C: ` + ok + `
			S: 235`},
		{"login", `
			C: EHLO c
			S: 250
			C: AUTH LOGIN
			S: 334 VXNlcm5hbWU6
			C: b2xk
			S: 334 UGFzc3dvcmQ6
			C: c2VjcmV0
			S: 235`},
		{"twice", `
			C: EHLO c
			S: 250
			C: AUTH PLAIN ` + ok + `
			S: 235
			C: AUTH PLAIN ` + ok + `
			S: 503 5.5.1`},
		{"in a transaction", `
			C: EHLO c
			S: 250
			C: MAIL FROM:<a@x.test>
			S: 250
			C: AUTH PLAIN ` + ok + `
			S: 503 5.5.1
			C: RCPT TO:<b@local.test>
			S: 250`},
		{"after HELO", `
			C: HELO c
			S: 250
			C: AUTH PLAIN ` + ok + `
			S: 503 5.5.1`},
		{"wrong", `
			C: EHLO c
			S: 250
			C: AUTH PLAIN ` + wrong + `
			S: 535 5.7.8
			C: AUTH PLAIN ` + plainWord("nobody", "secret") + `
			S: 535 5.7.8
			C: AUTH PLAIN ` + ok + `
			S: 235`},
	} {
		t.Run(c.name, func(t *testing.T) { dialogue{policy: withUsers(t, true)}.run(t, c.script) })
	}
	t.Run("without TLS", func(t *testing.T) {
		dialogue{policy: withUsers(t, false)}.run(t, `
			C: EHLO c
			S: 250
			C: AUTH PLAIN `+ok+`
			S: 538 5.7.11`)
	})
	t.Run("not at all", func(t *testing.T) {
		dialogue{}.run(t, `
			C: EHLO c
			S: 250
			C: AUTH PLAIN `+ok+`
			S: 502 5.5.1`)
	})
}

func TestD9_auth(t *testing.T) {
	for _, c := range []struct{ name, args, reply string }{
		{"somebody else", "PLAIN " + base64.StdEncoding.EncodeToString([]byte("ann\x00old\x00secret")), "535 5.7.8"},
		{"empty", "PLAIN =", "501 5.5.2"},
		{"no base64", "PLAIN !!", "501 5.5.2"},
		{"padding", "PLAIN " + strings.TrimRight(plainWord("old", "secre"), "="), "501 5.5.2"},
		{"no mechanism", "", "501 5.5.4"},
		{"two words", "PLAIN a b", "501 5.5.4"},
		{"unknown", "NTLM", "504 5.5.4"},
		{"not offered", "CRAM-MD5", "504 5.5.4"},
	} {
		t.Run(c.name, func(t *testing.T) {
			dialogue{policy: withUsers(t, true)}.run(t, "C: EHLO c\nS: 250\nC: AUTH "+c.args+"\nS: "+c.reply+"\nC: NOOP\nS: 250")
		})
	}
	t.Run("called off", func(t *testing.T) {
		dialogue{policy: withUsers(t, true)}.run(t, `
			C: EHLO c
			S: 250
			C: AUTH PLAIN
			S: 334
			C: *
			S: 501 5.7.0
			C: NOOP
			S: 250`)
	})
	t.Run("a long answer", func(t *testing.T) {
		dialogue{policy: withUsers(t, true)}.run(t, `
			C: EHLO c
			S: 250
			C: AUTH PLAIN
			S: 334
			C: {A*13000}
			S: 500 5.5.6
			C: NOOP
			S: 250`)
	})
}

// The mail of a user with a tenant is that tenant's.
func TestAuth_tenant(t *testing.T) {
	p := withUsers(t, true)
	p.TenantHeader = "X-Tenant"
	q := &memory{}
	h := dialogue{policy: p, queue: q}.run(t, `
		C: EHLO c
		S: 250
		C: AUTH PLAIN `+plainWord("ann", "s3cret")+`
		S: 235
		C: MAIL FROM:<a@x.test>
		C: RCPT TO:<b@far.test>
		C: DATA
		S: 250
		S: 250
		S: 354
		C: X-Tenant: somebody
		C: Subject: x
		C:
		C: .
		S: 250`)
	if m := q.messages()[0].message; m.Tenant != "acme" || m.Protocol != "ESMTPA" {
		t.Errorf("tenant %q, with %s", m.Tenant, m.Protocol)
	}
	if s := h.Stats(); s.Logins != 1 {
		t.Errorf("%d logins", s.Logins)
	}
}
