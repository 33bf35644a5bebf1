package daemon

import (
	"fmt"
	"strings"
	"testing"
)

func TestListeners(t *testing.T) {
	c := mustParse(t, `
smtp:
  listen: [":25"]
  proxy_from: [10.0.0.5]
  xclient_from: [10.0.0.6]
  listeners:
    - {address: ":587", submission: true, proxy_from: [10.0.0.7]}
    - address: ":2525"
  auth: {users: u, senders: s, insecure: true}
`)
	var got []string
	for _, l := range c.SMTP.Listeners() {
		got = append(got, fmt.Sprintf("%s %v %v %v", l.Address, l.Implicit(), l.Submission, l.ProxyFrom))
	}
	want := ":25 false false [10.0.0.5/32]\n:587 false true [10.0.0.5/32 10.0.0.7/32]\n:2525 false false [10.0.0.5/32]"
	if s := strings.Join(got, "\n"); s != want {
		t.Errorf("got\n%s\nwant\n%s", s, want)
	}
}

func TestBadListeners(t *testing.T) {
	for src, want := range map[string]string{
		"smtp:\n  listeners:\n    - address: \":465\"\n      tls: implicit":           `t.yaml:4: smtp.listeners[0].tls: needs a certificate; set smtp.tls.cert and smtp.tls.key, or smtp.tls.folder`,
		"smtp:\n  listeners:\n    - address: \":587\"\n      submission: true":        `t.yaml:4: smtp.listeners[0].submission: needs users: nobody could send there; set smtp.auth.users`,
		"smtp:\n  listeners: [{submission: true}]":                                    `t.yaml:2: smtp.listeners[0].address: missing; Address (ip:port).`,
		"smtp:\n  listen: [\":25\"]\n  listeners:\n    - address: \"127.0.0.1:25\"":   `t.yaml:4: smtp.listeners[0].address: 127.0.0.1:25 is already taken by smtp.listen[0] (:25); choose another port`,
		"smtp:\n  listeners:\n    - address: \":587\"\n      proxy_from: [0.0.0.0/0]": `t.yaml:4: smtp.listeners[0].proxy_from: 0.0.0.0/0 is everybody: any client could say it is another; list the proxies alone`,
		"smtp:\n  proxy_from: [\"::/0\"]":                                             `t.yaml:2: smtp.proxy_from: ::/0 is everybody: any client could say it is another; list the proxies alone`,
		"smtp:\n  xclient_from: [0.0.0.0/0]":                                          `t.yaml:2: smtp.xclient_from: 0.0.0.0/0 is everybody: any client could say it is another; list the proxies alone`,
		"smtp:\n  auth: {senders: s}":                                                 `t.yaml:2: smtp.auth.senders: says what users may send as, and there are none; set smtp.auth.users`,
		"smtp:\n  listeners: [{address: \":587\", tls: off}]":                         `t.yaml:2: smtp.listeners[0].tls: "off" is not possible; one of starttls, implicit`,
	} {
		_, err := Parse("t.yaml", []byte(src), nil)
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s\ngot  %v\nwant %s", src, err, want)
		}
	}
}
