package daemon

import (
	"reflect"
	"strings"
	"testing"
	"time"
)

func TestEnvOverrides(t *testing.T) {
	c := mustParse(t, "smtp:\n  listen: [\":25\"]\n  max_recipients: 200\nroutes: [{to: a.test, via: \"b:25\"}]",
		"PATH=/bin", "TARISHI_SMTP_LISTEN=127.0.0.1:1, 127.0.0.1:2", "TARISHI_DATA=/x: y", "TARISHI_RETRY_SCHEDULE=[1m, 2d]",
		`TARISHI_ROUTES=[{to: "*.c.test", via: "d:26"}]`, "TARISHI_SMTP_LAX_PATHS=true", "TARISHI_SMTP_MAX_MESSAGE_SIZE=1MiB",
		"TARISHI_DESTINATIONS={google: {mx: ['*.google.com']}}", "TARISHI_HOSTNAME=", "TARISHI_SMTP_MAX_RECIPIENTS=", "TARISHI_ADMIN=http://127.0.0.1:8025",
		// What Kubernetes adds for Services named tarishi and tarishi-admin.
		"TARISHI_SERVICE_HOST=10.0.0.1", "TARISHI_SERVICE_PORT=25", "TARISHI_SERVICE_PORT_SMTP=25", "TARISHI_PORT=tcp://10.0.0.1:25",
		"TARISHI_PORT_25_TCP=tcp://10.0.0.1:25", "TARISHI_PORT_25_TCP_ADDR=10.0.0.1", "TARISHI_ADMIN_SERVICE_HOST=10.0.0.2")
	if !reflect.DeepEqual(c.SMTP.Listen, []string{"127.0.0.1:1", "127.0.0.1:2"}) || c.Data != "/x: y" || c.SMTP.MaxRecipients != 200 || !c.SMTP.LaxPaths ||
		c.SMTP.MaxMessageSize != 1<<20 || !reflect.DeepEqual(c.Retry.Schedule, []time.Duration{time.Minute, 48 * time.Hour}) ||
		!reflect.DeepEqual(c.Routes, []Route{{To: "*.c.test", Via: "d:26"}}) || len(c.Destinations["google"].MX) != 1 {
		t.Errorf("%+v", c)
	}
}

func TestBadEnv(t *testing.T) {
	for _, x := range []struct{ env, want string }{
		{"TARISHI_SMPT_LISTEN=:25", "TARISHI_SMPT_LISTEN: no such key; did you mean TARISHI_SMTP_LISTEN?"},
		{"TARISHI_NOTHING_LIKE_IT=1", "TARISHI_NOTHING_LIKE_IT: no such key; see `tarishi config print` for the keys"},
		{"TARISHI_LOCAL={domains: [a.test]}", "TARISHI_LOCAL: a section, which takes no value of its own; set its keys: TARISHI_LOCAL_DOMAINS, TARISHI_LOCAL_VIA, TARISHI_LOCAL_POSTMASTER"},
		{"TARISHI_SMTP_TLS=on", "TARISHI_SMTP_TLS: a section, which takes no value of its own; set its keys: TARISHI_SMTP_TLS_CERT, TARISHI_SMTP_TLS_KEY, TARISHI_SMTP_TLS_FOLDER"},
		{"TARISHI_CLUSTER_NODE=n1", "cluster.peers: is empty, but other keys of cluster are set (the default); list the nodes with the scheduler role, or remove the section"},
		{"TARISHI_SMTP_LISTEN=here", `TARISHI_SMTP_LISTEN: smtp.listen[0]: "here" wants ip:port, such as 127.0.0.1:25, [::1]:25 or :25`},
		{"TARISHI_RETRY_EXPIRE=5", `TARISHI_RETRY_EXPIRE: retry.expire: "5" wants a duration such as 30s, 1h30m or 5d`},
		{"TARISHI_ROUTES=[{too: a}]", `TARISHI_ROUTES: unknown key "too" in routes[0]; did you mean "to"?`},
		{"TARISHI_ROUTES={to: a}", `TARISHI_ROUTES: routes: wants a list, not keys and values`},
		{"TARISHI_ADMIN_LISTEN=127.0.0.1:2525", `TARISHI_ADMIN_LISTEN: admin.listen: 127.0.0.1:2525 is already taken by smtp.listen (127.0.0.1:2525); choose another port`},
		{"TARISHI_LIMITS=[{to: a.test, per: [tenant], messages: [20/1s], connections: 2}]", "TARISHI_LIMITS: limits[0].connections: cannot count per tenant: tenants share connections; limit messages or recipients per tenant, and connections per source or for the cluster"},
	} {
		_, err := Parse("", nil, []string{x.env})
		if err == nil || err.Error() != x.want {
			t.Errorf("%s\ngot  %v\nwant %s", x.env, err, x.want)
		}
	}
}

// Two keys must not share a variable, nor may one look like what Kubernetes adds.
func TestEnvNamesAreUnique(t *testing.T) {
	seen := map[string]string{}
	for _, k := range leaves(reflect.ValueOf(&Config{}).Elem(), "") {
		name := EnvName(k.path)
		if other := seen[name]; other != "" || serviceLinks.MatchString(name) || contains(reserved, name) {
			t.Errorf("%s of %s is taken (%s)", name, k.path, other)
		}
		seen[name] = k.path
	}
}

func contains(list []string, s string) bool {
	return strings.Contains(" "+strings.Join(list, " ")+" ", " "+s+" ")
}

// Every key says what it means, in a sentence; every default, bound and check is one.
func TestDeclarations(t *testing.T) {
	var walk func(v reflect.Value, path string)
	walk = func(v reflect.Value, path string) {
		for _, k := range keysOf(v, path) {
			if k.tag.Get("refused") != "" {
				continue
			}
			if d := k.doc(); d == "" || !strings.HasSuffix(d, ".") {
				t.Errorf("%s: doc %q", k.path, d)
			}
			if name := k.tag.Get("check"); name != "" && checks[name] == nil {
				t.Errorf("%s: no check %q", k.path, name)
			}
			e := k.value.Type()
			if e.Kind() == reflect.Slice {
				e = e.Elem()
			}
			for _, tag := range []string{"min", "max"} {
				if text, ok := k.tag.Lookup(tag); ok {
					if err := setScalar(reflect.New(e).Elem(), text); err != nil {
						t.Errorf("%s: %s %s", k.path, tag, err)
					}
				}
			}
			switch {
			case k.isSection():
				walk(k.value, k.path)
			case k.isCompound():
				walk(reflect.New(k.value.Type().Elem()).Elem(), k.path)
			}
		}
	}
	walk(reflect.ValueOf(&Config{}).Elem(), "")
}
