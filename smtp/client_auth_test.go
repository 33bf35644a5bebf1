package smtp

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"strings"
	"testing"

	"github.com/tarishi/tarishi/smtp/smtptest"
)

// Each row is a host, and how we prove who we are to it. The answers of CRAM-MD5 are
// the example of RFC 2195 §2.
func TestClientAuth(t *testing.T) {
	tlsHello := helloWith("STARTTLS", "AUTH CRAM-MD5") + "C! STARTTLS\nS: 220 go\ntls\nC: EHLO us.test\nS: 250-mx.test\n"
	const ok = "S: 235 2.7.0 Welcome\n"
	long := strings.Repeat("x", 500)
	for _, row := range []struct {
		name   string
		login  Login
		policy TLSPolicy
		script string
		want   string // of the error; empty: none
	}{
		{"PLAIN over TLS", Login{User: "tim", Mechanism: ""}, TLSRequired,
			tlsHello + "S: 250 AUTH CRAM-MD5 LOGIN PLAIN\nC! AUTH PLAIN AHRpbQB0YW5zdGFhZnRhbnN0YWFm\n" + ok, ""},
		{"PLAIN too long for its command", Login{User: long}, TLSRequired,
			tlsHello + "S: 250 AUTH PLAIN\nC! AUTH PLAIN\nS: 334 \nC: *\n" + ok, ""},
		{"LOGIN", Login{User: "tim"}, TLSRequired,
			tlsHello + "S: 250 AUTH=LOGIN\nC! AUTH LOGIN\nS: 334 VXNlcm5hbWU6\nC! dGlt\nS: 334 UGFzc3dvcmQ6\nC! dGFuc3RhYWZ0YW5zdGFhZg==\n" + ok, ""},
		{"CRAM-MD5 by choice", Login{User: "tim", Mechanism: "cram-md5"}, TLSRequired,
			tlsHello + "S: 250 AUTH PLAIN CRAM-MD5\nC! AUTH CRAM-MD5\nS: 334 PDE4OTYuNjk3MTcwOTUyQHBvc3RvZmZpY2UucmVzdG9uLm1jaS5uZXQ+\nC! dGltIGI5MTNhNjAyYzdlZGE3YTQ5NWI0ZTZlNzMzNGQzODkw\n" + ok, ""},
		{"in clear, allowed: the password stays here if it can", Login{User: "tim", Insecure: true}, TLSNever,
			helloWith("AUTH PLAIN CRAM-MD5") + "C! AUTH CRAM-MD5\nS: 334 PDE4OTYuNjk3MTcwOTUyQHBvc3RvZmZpY2UucmVzdG9uLm1jaS5uZXQ+\nC! dGltIGI5MTNhNjAyYzdlZGE3YTQ5NWI0ZTZlNzMzNGQzODkw\n" + ok, ""},
		{"in clear, not allowed", Login{User: "tim"}, TLSNever, helloWith("AUTH PLAIN") + "eof\n", "auth: " + ErrAuthUnsafe.Error()},
		{"any certificate, not allowed", Login{User: "tim"}, TLSOpportunistic, tlsHello + "S: 250 AUTH PLAIN\neof\n", "auth: " + ErrAuthUnsafe.Error()},
		{"any certificate, allowed", Login{User: "tim", Insecure: true}, TLSOpportunistic,
			tlsHello + "S: 250 AUTH PLAIN\nC! AUTH PLAIN AHRpbQB0YW5zdGFhZnRhbnN0YWFm\n" + ok, ""},
		{"none offered", Login{User: "tim"}, TLSRequired, tlsHello + "S: 250 SIZE 1\neof\n", "auth: the host offers no AUTH"},
		{"offered before TLS only", Login{User: "tim", Mechanism: "CRAM-MD5"}, TLSRequired, tlsHello + "S: 250 AUTH PLAIN\neof\n",
			"auth: the host offers AUTH PLAIN, and we want CRAM-MD5"},
		{"refused", Login{User: "tim"}, TLSRequired,
			tlsHello + "S: 250 AUTH PLAIN\nC! AUTH PLAIN AHRpbQB0YW5zdGFhZnRhbnN0YWFm\nS: 535 5.7.8 No\nC: QUIT\n", "refused at auth: 535 5.7.8 No"},
		{"refused for now", Login{User: "tim"}, TLSRequired,
			tlsHello + "S: 250 AUTH PLAIN\nC! AUTH PLAIN AHRpbQB0YW5zdGFhZnRhbnN0YWFm\nS: 454 4.7.0 Later\nC: QUIT\n", "refused at auth: 454 4.7.0 Later"},
		{"asks for more than there is", Login{User: "tim"}, TLSRequired,
			tlsHello + "S: 250 AUTH PLAIN\nC! AUTH PLAIN AHRpbQB0YW5zdGFhZnRhbnN0YWFm\nS: 334 \neof\n", "auth: unexpected reply"},
		{"a challenge that is none", Login{User: "tim"}, TLSRequired,
			tlsHello + "S: 250 AUTH CRAM-MD5\nC! AUTH CRAM-MD5\nS: 334 !!\neof\n", "auth: unexpected reply"},
		{"hangs up", Login{User: "tim"}, TLSRequired,
			tlsHello + "S: 250 AUTH PLAIN\nC! AUTH PLAIN AHRpbQB0YW5zdGFhZnRhbnN0YWFm\ncut\n", "auth: EOF"},
	} {
		t.Run(row.name, func(t *testing.T) {
			clientSays(t, row.script, func(t *testing.T, dial func(ClientOptions) (*Client, error)) {
				login := row.login
				login.Password = func() (string, error) { return "tanstaaftanstaaf", nil }
				var lines strings.Builder
				o := ClientOptions{TLS: row.policy, Host: "mx.test", Login: &login, Debug: func(dir, line string) { lines.WriteString(dir + ": " + line + "\n") }}
				if row.policy == TLSRequired {
					o.TLSConfig = &tls.Config{RootCAs: trusting(t)}
				}
				c, err := dial(o)
				switch {
				case row.want == "":
					mustClient(t, c, err)
				case err == nil || !strings.Contains(err.Error(), row.want):
					t.Errorf("error %v, want %s", err, row.want)
				}
				said := lines.String()
				if err != nil {
					said += err.Error()
				}
				for _, secret := range []string{"tanstaaf", "AHRpb", "dGFuc3", "b913a6", "dGltIGI5"} {
					if strings.Contains(said, secret) {
						t.Errorf("%s is shown:\n%s", secret, said)
					}
				}
			})
		})
	}
}

// trusting are roots that the certificate of smtptest is one of.
func trusting(t *testing.T) *x509.CertPool {
	t.Helper()
	roots := x509.NewCertPool()
	roots.AddCert(smtptest.TLSConfig().Certificates[0].Leaf)
	return roots
}

func TestClientAuth_noPassword(t *testing.T) {
	clientSays(t, helloWith("AUTH PLAIN")+"eof\n", func(t *testing.T, dial func(ClientOptions) (*Client, error)) {
		gone := errors.New("the file of the password is gone")
		_, err := dial(ClientOptions{TLS: TLSNever, Login: &Login{User: "tim", Insecure: true, Password: func() (string, error) { return "", gone }}})
		var auth *AuthError
		if !errors.As(err, &auth) || !errors.Is(err, gone) {
			t.Errorf("got %v", err)
		}
	})
}
