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
