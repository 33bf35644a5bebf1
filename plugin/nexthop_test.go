package plugin_test

import (
	"encoding/json"
	"fmt"
	"net/netip"
	"reflect"
	"strings"
	"testing"

	"github.com/tarishi/tarishi/plugin"
)

func TestNextHops(t *testing.T) {
	type hops = []plugin.NextHop
	type object = map[string]any
	for _, row := range []struct {
		name  string
		value any
		want  hops
		fault string // part of the error
	}{
		{"a hop", plugin.NextHop{Host: "mx.test"}, hops{{Host: "mx.test"}}, ""},
		{"by priority, and else in order", hops{{Host: "c.test", Priority: 2}, {Host: "a.test"}, {Host: "b.test"}}, hops{{Host: "a.test"}, {Host: "b.test"}, {Host: "c.test", Priority: 2}}, ""},
		{"our address alone", plugin.NextHop{Bind: netip.MustParseAddr("192.0.2.1")}, hops{{Bind: netip.MustParseAddr("192.0.2.1")}}, ""},
		{"text", "mx.test", hops{{Host: "mx.test"}}, ""},
		{"text with a port", "mx.test:2525", hops{{Host: "mx.test", Port: 2525}}, ""},
		{"an address", "2001:db8::1", hops{{Host: "2001:db8::1"}}, ""},
		{"an address in brackets", "[2001:db8::1]", hops{{Host: "2001:db8::1"}}, ""},
		{"an address with a port", "[2001:db8::1]:26", hops{{Host: "2001:db8::1", Port: 26}}, ""},
		{"LMTP", "lmtp:127.0.0.1:24", hops{{Host: "127.0.0.1", Port: 24, LMTP: true}}, ""},
		{"LMTP on a socket", "lmtp:unix:/run/lmtp", hops{{Path: "/run/lmtp", LMTP: true}}, ""},
		{"half a socket", "lmtp:unix:lmtp", nil, "whole path"},
		{"LMTP's URL", "lmtp://store.test", hops{{Host: "store.test", LMTP: true}}, ""},
		{"a URL with a login", "smtp://ann:pass%20word@mx.test:587", hops{{Host: "mx.test", Port: 587, User: "ann", Password: "pass word"}}, ""},
		{"Haraka's names", object{"exchange": "mx.test", "port": 587.0, "priority": 5.0, "bind": "192.0.2.9", "bind_helo": "out.test",
			"using_lmtp": false, "auth_user": "u", "auth_pass": "p", "auth_type": "plain", "from_dns": "x.test"},
			hops{{Host: "mx.test", Port: 587, Priority: 5, Bind: netip.MustParseAddr("192.0.2.9"), Hello: "out.test", User: "u", Password: "p", Mechanism: "plain"}}, ""},
		{"what they do not say", object{"exchange": "mx.test", "bind": nil, "port": "25", "tls": "off"}, hops{{Host: "mx.test", Port: 25, TLS: "off"}}, ""},
		{"a socket", object{"path": "/run/lmtp", "using_lmtp": true}, hops{{Path: "/run/lmtp", LMTP: true}}, ""},
		{"a list of all sorts", []any{"b.test", object{"exchange": "a.test", "priority": -1.0}}, hops{{Host: "a.test", Priority: -1}, {Host: "b.test"}}, ""},
		{"a list of texts", []string{"a.test", "b.test"}, hops{{Host: "a.test"}, {Host: "b.test"}}, ""},
		{"a route", object{"route": "smarthost"}, hops{{Route: "smarthost"}}, ""},

		{"nothing", nil, nil, "no host is named"},
		{"an empty list", []any{}, nil, "no host is named"},
		{"an empty text", "", nil, "no host is named"},
		{"a number", 3.0, nil, "a float64 is no host"},
		{"one without a name among others", []any{"a.test", object{"bind": "192.0.2.1"}}, nil, "has no name"},
		{"a route and a host", object{"route": "x", "exchange": "mx.test"}, nil, "exclude"},
		{"a route and how", object{"route": "x", "port": 26.0}, nil, "by itself"},
		{"a port in an object's name", object{"exchange": "mx.test:26"}, nil, "by itself"},
		{"a port that is none", "mx.test:99999", nil, "port 99999"},
		{"a port in words", "mx.test:smtp", nil, `"smtp" is no port`},
		{"half a port", object{"exchange": "mx.test", "port": 25.5}, nil, "no whole number"},
		{"a line end in a name", object{"exchange": "mx.test", "bind_helo": "a\r\nMAIL FROM:<>"}, nil, "no such characters"},
		{"a bad address", object{"exchange": "mx.test", "bind": "here"}, nil, "bind of a host"},
		{"a key that is none", object{"exchange": "mx.test", "pord": 26.0}, nil, `no "pord"`},
		{"a TLS that is none", object{"exchange": "mx.test", "tls": "yes"}, nil, "opportunistic, required"},
		{"a mechanism that is none", object{"exchange": "mx.test", "auth_user": "u", "auth_type": "NTLM"}, nil, `"NTLM"`},
		{"a password of nobody", object{"exchange": "mx.test", "auth_pass": "geheim"}, nil, "without a user"},
		{"a URL that is none", "smtp://ann:geheim@[mx.test", nil, "cannot be read"},
		{"a URL of something else", "http://ann:geheim@mx.test", nil, "smtp:// or lmtp://"},
		{"a list in a list", []any{[]any{"a.test"}}, nil, "a list in a list"},
		{"too many", make(hops, 101), nil, "at most 100"},
	} {
		t.Run(row.name, func(t *testing.T) {
			got, err := plugin.NextHops(row.value)
			if row.fault != "" {
				if err == nil || !strings.Contains(err.Error(), row.fault) || strings.Contains(err.Error(), "geheim") {
					t.Errorf("error %v, want %s", err, row.fault)
				}
				return
			}
			if err != nil || !reflect.DeepEqual(got, row.want) {
				t.Errorf("got %+v %v, want %+v", got, err, row.want)
			}
		})
	}
}

func TestNextHop_keepsItsPassword(t *testing.T) {
	h := plugin.NextHop{Host: "mx.test", Port: 587, Bind: netip.MustParseAddr("192.0.2.1"), Hello: "us.test", User: "ann", Password: "geheim"}
	j, err := json.Marshal(h)
	said := fmt.Sprint(h, &h, []plugin.NextHop{h}) + fmt.Sprintf("%v %+v %s", h, h, h) + string(j)
	if err != nil || strings.Contains(said, "geheim") {
		t.Errorf("%s %v", said, err)
	}
	if want := "mx.test:587 from 192.0.2.1 as us.test with a login"; h.String() != want {
		t.Errorf("%q, want %q", h, want)
	}
}
