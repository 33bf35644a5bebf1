package daemon

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"math/big"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// A bad configuration is refused with file, line, field and mend. The texts are
// what an operator reads at three in the morning, so they are compared whole.
func TestBadConfig(t *testing.T) {
	dir := t.TempDir()
	certA, keyA := certificate(t, dir, "a")
	_, keyB := certificate(t, dir, "b")
	garbage := filepath.Join(dir, "garbage")
	if err := os.WriteFile(garbage, []byte("no PEM"), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, x := range []struct{ name, src, want string }{
		{"unknown key", "limts: []", `t.yaml:1: unknown key "limts"; did you mean "limits"?`},
		{"unknown key, deeper", "smtp:\n  listen: []\n  listn: [\":25\"]", `t.yaml:3: unknown key "listn" in smtp; did you mean "listen"?`},
		{"unknown key, swapped letters", "smpt: {}", `t.yaml:1: unknown key "smpt"; did you mean "smtp"?`},
		{"unknown key, wrong place", "\nrelay_from: [10.0.0.0/8]", `t.yaml:2: unknown key "relay_from"; did you mean smtp.relay_from?`},
		{"unknown key, nothing near", "admin: {password: x}", `t.yaml:1: unknown key "password" in admin; keys here: listen`},
		{"unknown key in a list", "routes:\n  - to: a.test\n    via: b:25\n  - {to: c.test, vai: d:25}", `t.yaml:4: unknown key "vai" in routes[1]; did you mean "via"?`},
		{"unknown key in a destination", "destinations:\n  google:\n    mxs: [a.test]", `t.yaml:3: unknown key "mxs" in destinations.google; did you mean "mx"?`},
		{"duplicate key", "data: /a\nhostname: mx.test\ndata: /b", `t.yaml:3: key "data" stands twice (first in line 1); keep one`},
		{"duplicate section", "smtp: {listen: [\":25\"]}\nsmtp:\n  max_received: 200", `t.yaml:2: key "smtp" stands twice (first in line 1); keep one`},
		{"duplicate destination", "destinations:\n  g: {mx: [a.test]}\n  g: {mx: [b.test]}", `t.yaml:3: destinations: key "g" stands twice (first in line 2); keep one`},
		{"text for a list", "smtp:\n  listen: 127.0.0.1:25", `t.yaml:2: smtp.listen: wants a list, not "127.0.0.1:25"; write ["127.0.0.1:25"]`},
		{"keys for a list", "routes: {to: a.test, via: \"b:25\"}", `t.yaml:1: routes: wants a list, not keys and values`},
		{"list for text", "data: [a, b]", `t.yaml:1: data: wants text, not a list`},
		{"list for a section", "smtp: [a]", `t.yaml:1: smtp: wants keys and values, not a list`},
		{"text for a section", "smtp: on", `t.yaml:1: smtp: wants keys and values, not "on"`},
		{"list for the document", "- a", `t.yaml:1: wants keys and values, not a list`},
		{"keys for a number", "smtp: {max_recipients: {a: 1}}", `t.yaml:1: smtp.max_recipients: wants a number, not keys and values`},
		{"text for a number", "smtp:\n  max_recipients: many", `t.yaml:2: smtp.max_recipients: "many" wants a whole number`},
		{"fraction for a number", "smtp: {max_recipients: 100.5}", `t.yaml:1: smtp.max_recipients: "100.5" wants a whole number`},
		{"bool", "log: {attempts: yes}", `t.yaml:1: log.attempts: "yes" wants true or false`},
		{"size without sense", "smtp: {max_message_size: big}", `t.yaml:1: smtp.max_message_size: "big" wants a size such as 4096, 64KiB or 50MB`},
		{"size with a doubtful unit", "smtp: {max_message_size: 50M}", `t.yaml:1: smtp.max_message_size: "50M" wants a size such as 4096, 64KiB or 50MB`},
		{"negative size", "queue: {max_bytes: -1}", `t.yaml:1: queue.max_bytes: "-1" wants a size such as 4096, 64KiB or 50MB`},
		{"endless size", "queue: {max_bytes: 99999999TiB}", `t.yaml:1: queue.max_bytes: "99999999TiB" is larger than any disk`},
		{"duration without unit", "retry: {expire: 5}", `t.yaml:1: retry.expire: "5" wants a duration such as 30s, 1h30m or 5d`},
		{"negative duration", "retry: {expire: -5d}", `t.yaml:1: retry.expire: "-5d" wants a duration such as 30s, 1h30m or 5d`},
		{"bad duration in a list", "retry:\n  schedule:\n    - 1m\n    - soon", `t.yaml:4: retry.schedule[1]: "soon" wants a duration such as 30s, 1h30m or 5d`},
		{"too small", "smtp: {max_recipients: 50}", `t.yaml:1: smtp.max_recipients: 50 is too small; at least 100`},
		{"too small a loop limit", "smtp: {max_received: 30}", `t.yaml:1: smtp.max_received: 30 is too small; at least 100`},
		{"too large", "retry: {jitter: 0.9}", `t.yaml:1: retry.jitter: 0.9 is too large; at most 0.5`},
		{"too long", "retry: {expire: 60d}", `t.yaml:1: retry.expire: 60d is too large; at most 30d`},
		{"impossible value", "queue: {sync: allways}", `t.yaml:1: queue.sync: "allways" is not possible; did you mean "always"?`},
		{"impossible value, nothing near", "log: {format: xml}", `t.yaml:1: log.format: "xml" is not possible; one of text, json`},
		{"impossible role", "roles: [ingres]", `t.yaml:1: roles[0]: "ingres" is not possible; did you mean "ingress"?`},
		{"no role", "roles: []", `t.yaml:1: roles: is empty; a process without a role does nothing`},
		{"role twice", "roles: [ingress, ingress]", `t.yaml:1: roles[1]: "ingress" stands twice`},
		{"network", "smtp:\n  relay_from:\n    - 10.0.0.0/8\n    - 10.0.0.0/33", `t.yaml:4: smtp.relay_from[1]: "10.0.0.0/33" wants a network such as 192.0.2.0/24 or 2001:db8::/32`},
		{"network with host bits", "smtp: {relay_from: [10.1.2.3/8]}", `t.yaml:1: smtp.relay_from[0]: "10.1.2.3/8" has host bits set; write 10.0.0.0/8`},
		{"listen without port", "smtp: {listen: [127.0.0.1]}", `t.yaml:1: smtp.listen[0]: "127.0.0.1" wants ip:port, such as 127.0.0.1:25, [::1]:25 or :25`},
		{"listen on a name", "smtp: {listen: [\"mx.test:25\"]}", `t.yaml:1: smtp.listen[0]: "mx.test:25" wants an IP address before the port, not a name`},
		{"listen on a strange port", "admin: {listen: \"127.0.0.1:smtp\"}", `t.yaml:1: admin.listen: "127.0.0.1:smtp" has no port between 0 and 65535`},
		{"port beyond", "admin: {listen: \"127.0.0.1:99999\"}", `t.yaml:1: admin.listen: "127.0.0.1:99999" has no port between 0 and 65535`},
		{"ports equal", "smtp:\n  listen: [\"127.0.0.1:2525\", \"127.0.0.1:2525\"]", `t.yaml:2: smtp.listen[1]: 127.0.0.1:2525 is already taken by smtp.listen[0] (127.0.0.1:2525); choose another port`},
		{"ports equal by wildcard", "smtp: {listen: [\":2525\"]}\nadmin:\n  listen: 127.0.0.1:2525", `t.yaml:3: admin.listen: 127.0.0.1:2525 is already taken by smtp.listen[0] (:2525); choose another port`},
		{"port equal to a default", "smtp: {listen: [\"127.0.0.1:8025\"]}", `admin.listen: 127.0.0.1:8025 is already taken by smtp.listen[0] (127.0.0.1:8025) (the default); choose another port`},
		{"nowhere to listen", "smtp: {listen: []}", `t.yaml:1: smtp.listen: is empty; the ingress role needs an address to listen on`},
		{"hostname", "hostname: mx_1.test", `t.yaml:1: hostname: "mx_1.test" is not a domain name: '_' may not stand there`},
		{"hostname an address", "hostname: 192.0.2.1", `t.yaml:1: hostname: "192.0.2.1" is an address, not a name`},
		{"TLS without certificate", "smtp:\n  tls_listen: [\":465\"]", `t.yaml:2: smtp.tls_listen: needs a certificate; set smtp.tls.cert and smtp.tls.key`},
		{"certificate without key", "smtp:\n  tls:\n    cert: " + certA, `t.yaml:3: smtp.tls.cert: is set without smtp.tls.key; set both or none`},
		{"key without certificate", "smtp:\n  tls: {key: " + keyA + "}", `t.yaml:2: smtp.tls.key: is set without smtp.tls.cert; set both or none`},
		{"certificate missing", "smtp: {tls: {cert: " + dir + "/none, key: " + keyA + "}}", `t.yaml:1: smtp.tls.cert: cannot read ` + dir + `/none: no such file or directory`},
		{"key of another", "smtp: {tls: {cert: " + certA + ", key: " + keyB + "}}", `t.yaml:1: smtp.tls.cert: ` + certA + ` and ` + keyB + ` do not make a certificate: private key does not match public key`},
		{"no PEM", "smtp: {tls: {cert: " + garbage + ", key: " + keyA + "}}", `t.yaml:1: smtp.tls.cert: ` + garbage + ` and ` + keyA + ` do not make a certificate: failed to find any PEM data in certificate input`},
		{"local without via", "local:\n  domains: [a.test]", `t.yaml:2: local.domains[0]: mail for a.test has nowhere to go; set local.via, such as "lmtp:127.0.0.1:24", or a route`},
		{"via without local", "local: {via: \"lmtp:127.0.0.1:24\"}", `t.yaml:1: local.via: is set but local.domains is empty; list the domains it is for`},
		{"local twice", "local: {domains: [a.test, A.test], via: \"h:25\"}", `t.yaml:1: local.domains[1]: "A.test" stands twice`},
		{"local and routed", "local: {domains: [a.test], via: \"h:25\"}\nroutes:\n  - {to: A.test, via: \"i:25\"}", `t.yaml:3: routes[0].to: "A.test" is in local.domains and goes to local.via; keep one of the two`},
		{"postmaster", "local: {domains: [a.test], via: \"h:25\", postmaster: admin}", `t.yaml:1: local.postmaster: "admin" wants a mailbox such as admin@example.net`},
		{"route pattern", "routes: [{to: \"a.*.test\", via: \"h:25\"}]", `t.yaml:1: routes[0].to: "a.*.test" wants a domain, "*.domain" or "*"`},
		{"route unquoted star", "routes:\n  - to: *.test\n    via: h:25", `t.yaml:2: routes[0].to: YAML anchors and aliases are not understood; write the value out, or put quotes round text that begins with *`},
		{"route without port", "routes: [{to: a.test, via: mx.b.test}]", `t.yaml:1: routes[0].via: "mx.b.test" wants "host:port", "lmtp:host:port" or "lmtp:unix:/path"`},
		{"route to half a socket", "routes: [{to: a.test, via: \"lmtp:unix:dovecot\"}]", `t.yaml:1: routes[0].via: "lmtp:unix:dovecot" wants the whole path of a socket, such as "lmtp:unix:/run/dovecot/lmtp"`},
		{"route to nobody", "routes: [{to: a.test, via: \":25\"}]", `t.yaml:1: routes[0].via: ":25" has no host before the port`},
		{"route with half", "routes:\n  - to: a.test", `t.yaml:2: routes[0].via: missing; "host:port", "lmtp:host:port" or "lmtp:unix:/path".`},
		{"route for nobody", "routes: [{via: \"h:25\"}]", `t.yaml:1: routes[0].to: missing; write whose mail goes there, or a name by which rules may send mail there`},
		{"route name", "routes: [{via: \"h:25\", name: \"a b\"}]", `t.yaml:1: routes[0].name: "a b" wants letters, digits, - and _, at most 64`},
		{"route names", "routes: [{via: \"h:25\", name: b}, {to: a.test, via: \"h:25\", name: b}]", `t.yaml:1: routes[1].name: "b" is the name of routes[0] already; choose another`},
		{"route with half a login", "routes: [{to: a.test, via: \"h:25\", auth: {user: ann}}]", `t.yaml:1: routes[0].auth: has no password_file; write the password into a file that only this program can read`},
		{"route with a login of nobody", "routes: [{to: a.test, via: \"h:25\", auth: {password_file: /p}}]", `t.yaml:1: routes[0].auth: has no user; write the name that the host knows us by`},
		{"route with a password in it", "routes: [{to: a.test, via: \"h:25\", auth: {user: ann, password: x}}]", `t.yaml:1: unknown key "password" in routes[0].auth; keys here: user, password_file, mechanism, insecure`},
		{"route that tells its password", "routes:\n  - to: a.test\n    via: \"h:25\"\n    tls: opportunistic\n    auth: {user: ann, password_file: /p}", `t.yaml:4: routes[0].tls: "opportunistic" would send the password where others can read it; write required or implicit, or auth.insecure: true where the network is yours alone`},
		{"route with authorities for nothing", "routes: [{to: a.test, via: \"h:25\", ca: /ca.pem}]", `t.yaml:1: routes[0].ca: is for a host that must prove itself; write tls: required or implicit`},
		{"route with a TLS", "routes: [{to: a.test, via: \"h:25\", tls: verify}]", `t.yaml:1: routes[0].tls: "verify" is not possible; one of opportunistic, required, implicit, off`},
		{"route of nothing", "routes:\n-", `t.yaml:2: routes[0]: is empty; write it, or take its dash away`},
		{"listener of nothing", "smtp: {listen: [null]}", `t.yaml:1: smtp.listen[0]: is empty; write it, or take its dash away`},
		{"route twice", "routes:\n  - {to: a.test, via: \"h:25\"}\n  - {to: A.TEST, via: \"i:25\"}", `t.yaml:3: routes[1].to: "A.TEST" has a route already (routes[0]); keep one`},
		{"limit of an undefined destination", "destinations:\n  google: {mx: [\"*.google.com\"]}\nlimits:\n  - to: gogle\n    connections: 5", `t.yaml:4: limits[0].to: "gogle" is a destination nobody defined; did you mean "google"?`},
		{"limit of nothing", "limits:\n  - to: a.test", `t.yaml:2: limits[0]: limits nothing; give messages, recipients, new_connections, connections or per_connection`},
		{"limit twice", "limits: [{to: \"*\", connections: 1}, {to: \"*\", connections: 2}]", `t.yaml:1: limits[1].to: "*" per cluster has a limit already (number 1); put all its fields into one`},
		{"destination like a domain", "destinations:\n  google.com: {mx: [\"*.google.com\"]}", `t.yaml:2: destinations.google.com: "google.com" cannot be told from a domain or a pattern; use a name of letters, digits, - and _`},
		{"DNS server", "delivery: {dns: {servers: [localhost]}}", `t.yaml:1: delivery.dns.servers[0]: "localhost" wants ip or ip:port`},
		{"notice after the end", "retry: {expire: 2h}", `retry.delay_notice: 4h is not before retry.expire (2h) (the default); make it shorter, or 0 for no notice`},
		{"no data folder", "data: \"\"", `t.yaml:1: data: names no folder`},
		{"anchor", "data: &d /a", `t.yaml:1: data: YAML anchors and aliases are not understood; write the value out`},
		{"tag", "data: !!str /a", `t.yaml:1: data: YAML tags are not understood; remove !!str`},
		{"merge key", "smtp:\n  <<: {listen: []}", `t.yaml:2: smtp: a key that is no plain name; YAML merge keys, anchors and tags are not understood`},
		{"two documents", "data: /a\n---\ndata: /b", `t.yaml:3: a second YAML document; keep everything in one, without ---`},
		{"cross checks in file order", "limits: [{to: a.test}]\nroles: [ingress, ingress]", "t.yaml:1: limits[0]: limits nothing; give messages, recipients, new_connections, connections or per_connection\nt.yaml:2: roles[1]: \"ingress\" stands twice"},
		{"all at once, in order", "limts: []\nsmtp:\n  max_recipients: 1\n  listen: x", "t.yaml:1: unknown key \"limts\"; did you mean \"limits\"?\nt.yaml:3: smtp.max_recipients: 1 is too small; at least 100\nt.yaml:4: smtp.listen: wants a list, not \"x\"; write [\"x\"]"},
	} {
		t.Run(x.name, func(t *testing.T) {
			c, err := Parse("t.yaml", []byte(x.src), nil)
			if err == nil {
				t.Fatalf("accepted: %s\nas\n%s", x.src, printed(t, c))
			}
			if err.Error() != x.want {
				t.Errorf("for\n%s\ngot\n%s\nwant\n%s", x.src, err, x.want)
			}
			var p *Problem
			if !errors.As(err, &p) {
				t.Error("not a Problem")
			}
		})
	}
}

func TestNotYAML(t *testing.T) {
	for _, x := range []struct{ src, want string }{
		{"a: b: c", "t.yaml:1: not YAML: "}, {"data: /a\nsmtp: {listen: [\n", "t.yaml:2: not YAML: "}, {"data: \"x", "t.yaml:1: not YAML: "}, {"smtp:\n\tlisten: []", "t.yaml:2: not YAML: "},
	} {
		_, err := Parse("t.yaml", []byte(x.src), nil)
		if err == nil || !strings.HasPrefix(err.Error(), x.want) || strings.Contains(err.Error(), "\n") {
			t.Errorf("%q: %v", x.src, err)
		}
	}
	if _, err := Load(filepath.Join(t.TempDir(), "none"), nil); err == nil || !strings.HasPrefix(err.Error(), "cannot read the configuration: ") {
		t.Errorf("no file: %v", err)
	}
}

func certificate(t *testing.T, dir, name string) (cert, key string) {
	t.Helper()
	k, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	tmpl := &x509.Certificate{SerialNumber: big.NewInt(1), DNSNames: []string{"mx.test"}, NotBefore: time.Unix(0, 0), NotAfter: time.Unix(1<<33, 0)}
	der, err := x509.CreateCertificate(rand.Reader, tmpl, tmpl, &k.PublicKey, k)
	if err != nil {
		t.Fatal(err)
	}
	kder, err := x509.MarshalPKCS8PrivateKey(k)
	if err != nil {
		t.Fatal(err)
	}
	cert, key = filepath.Join(dir, name+".crt"), filepath.Join(dir, name+".key")
	for file, block := range map[string]*pem.Block{cert: {Type: "CERTIFICATE", Bytes: der}, key: {Type: "PRIVATE KEY", Bytes: kder}} {
		if err := os.WriteFile(file, pem.EncodeToMemory(block), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return cert, key
}
