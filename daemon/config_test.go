package daemon

import (
	"bytes"
	"reflect"
	"strings"
	"testing"
)

func mustParse(t *testing.T, src string, env ...string) *Config {
	t.Helper()
	c, err := Parse("t.yaml", []byte(src), env)
	if err != nil {
		t.Fatalf("unexpected fault:\n%v\nin\n%s", err, src)
	}
	return c
}

func TestLoadWithoutFile(t *testing.T) {
	c, err := Load("", nil)
	if err != nil {
		t.Fatal(err)
	}
	for _, x := range []struct{ what, got, want string }{
		{"data", c.Data, "./tarishi-data"},
		{"smtp.listen", strings.Join(c.SMTP.Listen, " "), "127.0.0.1:2525"},
		{"admin.listen", c.Admin.Listen, "127.0.0.1:8025"},
		{"roles", strings.Join(c.Roles, " "), "ingress scheduler deliverer"},
		{"relay_from", flow(reflect.ValueOf(c.SMTP.RelayFrom)), `["127.0.0.0/8", "::1/128"]`},
		{"max_message_size", c.SMTP.MaxMessageSize.String(), "50MiB"},
	} {
		if x.got != x.want {
			t.Errorf("%s is %q, want %q", x.what, x.got, x.want)
		}
	}
	if c.Hostname == "" || c.Delivery.Helo != c.Hostname || c.SMTP.Hostname != c.Hostname {
		t.Errorf("names: %q %q %q", c.Hostname, c.SMTP.Hostname, c.Delivery.Helo)
	}
}

func TestPrintDefault(t *testing.T) {
	c, err := Load("", nil)
	if err != nil {
		t.Fatal(err)
	}
	var b bytes.Buffer
	if err := c.Print(&b); err != nil {
		t.Fatal(err)
	}
	if again := printed(t, mustParse(t, b.String())); again != b.String() {
		t.Errorf("print does not load back:\n%s", again)
	}
}

func printed(t interface {
	Helper()
	Fatal(...any)
}, c *Config) string {
	t.Helper()
	var b bytes.Buffer
	if err := c.Print(&b); err != nil {
		t.Fatal(err)
	}
	return b.String()
}

// Odd but right: things that a check must not refuse.
func TestGoodConfig(t *testing.T) {
	for name, src := range map[string]string{
		"empty":                    "",
		"only comments":            "# nothing\n",
		"empty sections":           "smtp:\nlocal:\n  domains:\nroutes:\n",
		"any free ports":           "smtp: {listen: [\"127.0.0.1:0\", \"127.0.0.1:0\"]}\nadmin: {listen: \"127.0.0.1:0\"}",
		"one port, two addresses":  "smtp: {listen: [\"127.0.0.1:25\", \"127.0.0.2:25\", \"[::1]:25\"]}",
		"no admin":                 "admin: {listen: \"\"}",
		"no deliverer":             "roles: [ingress]",
		"a deliverer only":         "roles: [deliverer]\nsmtp: {listen: []}\ncluster: {peers: [\"a=127.0.0.1:7001\", \"b=127.0.0.1:7011\", \"c=127.0.0.1:7021\"]}",
		"routes by name":           "routes: [{name: backup, via: \"h:25\"}, {name: b, to: a.test, via: \"h:25\"}]",
		"local by route":           "local: {domains: [a.b.test]}\nroutes: [{to: \"*.b.test\", via: \"h:25\"}]",
		"quoted and block scalars": "hostname: \"mx.test\"\ndata: |-\n  /x y\nretry:\n  schedule:\n  - 1m\n",
		"one address as network":   "smtp: {relay_from: [192.0.2.1, \"::1\"]}",
		"numbers in quotes":        "smtp: {max_recipients: \"200\"}",
		"never a notice":           "retry: {delay_notice: 0, expire: 1h}",
		"JSON":                     `{"smtp": {"listen": ["127.0.0.1:25"], "lax_paths": true}}`,
		"a document marker":        "---\ndata: /x\n",
		"a limit for a domain":     "limits: [{to: A.test, connections: 1}, {to: \"*\", per_connection: 3}]",
	} {
		t.Run(name, func(t *testing.T) { mustParse(t, src) })
	}
}

func TestNamesOnTheWireAreASCII(t *testing.T) {
	c := mustParse(t, "hostname: Münch.example\ndelivery: {helo: out.münch.example}")
	if c.Hostname != "xn--mnch-0ra.example" || c.SMTP.Hostname != c.Hostname || c.Delivery.Helo != "out.xn--mnch-0ra.example" {
		t.Errorf("%q %q %q", c.Hostname, c.SMTP.Hostname, c.Delivery.Helo)
	}
}
