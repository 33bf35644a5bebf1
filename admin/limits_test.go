package admin_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"log/slog"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/tarishi/tarishi/admin"
	"github.com/tarishi/tarishi/admin/admintest"
	"github.com/tarishi/tarishi/shaping"
)

// limited is a sample Server with limits and nodes.
func limited(t *testing.T, change ...func(*admin.Config)) (*admin.Server, *admintest.Limits, *admintest.Cluster) {
	t.Helper()
	l, c := admintest.SampleLimits(), admintest.SampleCluster()
	s, _ := sample(t, append([]func(*admin.Config){func(x *admin.Config) {
		x.Limits, x.Cluster, x.Defaults = l, c, &admin.Defaults{Connections: 20, PerConnection: 100}
	}}, change...)...)
	return s, l, c
}

func TestLimitListings(t *testing.T) {
	for _, c := range []struct{ name, path string }{
		{"limits", "/v1/limits"},
		{"limits-max1", "/v1/limits?max=1"},
		{"explain-domain", "/v1/limits/explain?domain=Workspace.example&tenant=acme"},
		{"explain-mx", "/v1/limits/explain?domain=other.example&mx=a.google.example,b.other.example&source=192.0.2.1"},
		{"explain-name", "/v1/limits/explain?domain=google"},
		{"explain-suspended", "/v1/limits/explain?domain=example.org"},
		{"history", "/v1/limits/history"},
		{"history-max1", "/v1/limits/history?max=1"},
		{"nodes", "/v1/nodes"},
	} {
		t.Run(c.name, func(t *testing.T) {
			s, _, _ := limited(t)
			w := ask(s, "GET", c.path, "")
			if w.Code != 200 || w.Header().Get("Content-Type") != "application/json" {
				t.Fatalf("HTTP %d %s: %s", w.Code, w.Header().Get("Content-Type"), w.Body)
			}
			golden(t, c.name+".json", indent(t, w.Body.Bytes()))
		})
	}
}

func TestEmptyLimits(t *testing.T) {
	s, _, _ := limited(t, func(c *admin.Config) {
		c.Limits, c.Cluster, c.Defaults = admintest.NewLimits(nil), &admintest.Cluster{}, nil
	})
	var all strings.Builder
	for _, path := range []string{"/v1/limits", "/v1/limits/history", "/v1/limits/explain?domain=a.test", "/v1/nodes"} {
		all.WriteString(indent(t, ask(s, "GET", path, "").Body.Bytes()))
	}
	golden(t, "limits-empty.json", all.String())
	if strings.Contains(all.String(), "null") {
		t.Error("an empty list is null")
	}
}

func TestExplainWithoutDNS(t *testing.T) {
	s, l, _ := limited(t)
	l.MXErr = errors.New("SERVFAIL")
	w := ask(s, "GET", "/v1/limits/explain?domain=other.example", "")
	if w.Code != 200 || !strings.Contains(w.Body.String(), "its MX could not be looked up (SERVFAIL)") {
		t.Errorf("HTTP %d %s", w.Code, w.Body)
	}
}

// orders are one good order of each verb.
var orders = map[string]string{
	"set":      `{"rule":{"to":"google","messages":["5/1h",{"max":1,"window":"1s"}],"connections":2},"author":"ann","reason":"slower"}`,
	"unset":    `{"to":"google","fields":["messages"],"author":"ann"}`,
	"apply":    `{"rules":[{"to":"a.test","per":["source"],"recipients":["7/1m"]}],"author":"ann","base":3}`,
	"suspend":  `{"to":"a.test","for":"2h","reason":"blocked"}`,
	"resume":   `{"to":"example.org","author":"ann"}`,
	"rollback": `{"version":1,"author":"ann"}`,
}

func TestChanges(t *testing.T) {
	var all strings.Builder
	for _, verb := range []string{"set", "unset", "apply", "suspend", "resume", "rollback"} {
		var log bytes.Buffer
		s, l, _ := limited(t, func(c *admin.Config) { c.Log = slog.New(slog.NewTextHandler(&log, nil)) })
		l.Lag = [][]admin.Laggard{
			{{Node: "node3", Until: admintest.Now.Add(12 * time.Second)}, {Node: "node1", Until: admintest.Now.Add(29 * time.Second)}},
			{{Node: "node3", Until: admintest.Now.Add(12 * time.Second)}},
		}
		w := ask(s, "POST", "/v1/limits/"+verb, orders[verb])
		if w.Code != 200 || w.Header().Get("Content-Type") != "application/x-ndjson" {
			t.Fatalf("%s: HTTP %d %s", verb, w.Code, w.Body)
		}
		b, _ := l.Book(t.Context())
		set, _ := json.Marshal(b.Set)
		suspended, _ := json.Marshal(b.Suspensions)
		all.WriteString("POST " + verb + "\n" + w.Body.String() + string(set) + "\n" + string(suspended) + "\n\n")
		if e := b.History[len(b.History)-1]; !e.At.Equal(admintest.Now) || verb != "suspend" && e.Author != "ann" {
			t.Errorf("%s is remembered as %+v", verb, e)
		}
		if got := log.String(); !strings.Contains(got, `"limits changed"`) || !strings.Contains(got, "change="+verb) || !strings.Contains(got, `"limits in force"`) {
			t.Errorf("%s is logged as\n%s", verb, got)
		}
	}
	golden(t, "changes.txt", all.String())
}

func TestDiffChangesNothing(t *testing.T) {
	s, l, _ := limited(t)
	before, _ := l.Book(t.Context())
	w := ask(s, "POST", "/v1/limits/diff", `{"rules":[{"to":"a.test","connections":5},{"to":"google","messages":["10/1h"],"connections":1}]}`)
	if w.Code != 200 {
		t.Fatalf("HTTP %d %s", w.Code, w.Body)
	}
	golden(t, "diff.json", indent(t, w.Body.Bytes()))
	if w := ask(s, "POST", "/v1/limits/diff", `{"rules":[{"to":"google","messages":["10/1h"]}]}`); !strings.Contains(w.Body.String(), `"differences":[]`) {
		t.Errorf("of what is set: %s", w.Body)
	}
	if after, _ := l.Book(t.Context()); after != before {
		t.Error("a question changed the limits")
	}
}

func TestLimitRefusals(t *testing.T) {
	for _, c := range []struct {
		name, method, path, body string
		code                     int
		says                     string
	}{
		{"misspelt parameter", "GET", "/v1/limits?maximum=3", "", 400, `no parameter "maximum"`},
		{"max zero", "GET", "/v1/limits/history?max=0", "", 400, "from 1 to 1000"},
		{"explain nobody", "GET", "/v1/limits/explain", "", 400, "write a domain such as example.net"},
		{"explain a misspelt name", "GET", "/v1/limits/explain?domain=gogle", "", 400, `did you mean "google"?`},
		{"change by GET", "GET", "/v1/limits/set", "", 405, "asked with POST"},
		{"listing by POST", "POST", "/v1/limits", "{}", 405, "read with GET"},
		{"unknown verb", "POST", "/v1/limits/destroy", "{}", 404, "there is no /v1/limits/destroy here"},
		{"no JSON", "POST", "/v1/limits/set", "to=google", 400, "not understood"},
		{"two objects", "POST", "/v1/limits/resume", `{"to":"example.org"}{}`, 400, "nothing else"},
		{"no rule", "POST", "/v1/limits/set", `{"author":"ann"}`, 400, `set needs "rule"`},
		{"null for a rule", "POST", "/v1/limits/set", `{"rule":null}`, 400, "no limit is given"},
		{"no list", "POST", "/v1/limits/apply", `{}`, 400, `apply needs "rules"`},
		{"key of another verb", "POST", "/v1/limits/suspend", `{"to":"a.test","per":["source"]}`, 400, `suspend takes no "per"; it takes author, reason, base, to, for`},
		{"misspelt field", "POST", "/v1/limits/set", `{"rule":{"to":"a.test","mesages":["5/1h"],"connections":1}}`, 400, `unknown field "mesages"`},
		{"unknown unit", "POST", "/v1/limits/set", `{"rule":{"to":"a.test","messages":["5/fortnight"]}}`, 400, `"fortnight" is no unit of time`},
		{"unknown scope", "POST", "/v1/limits/set", `{"rule":{"to":"a.test","per":["sender"],"messages":["5/1h"]}}`, 400, "nothing to count by"},
		{"nobody", "POST", "/v1/limits/set", `{"rule":{"to":"gogle","messages":["5/1h"]}}`, 400, `"gogle" is a destination nobody defined; did you mean "google"?`},
		{"negative", "POST", "/v1/limits/set", `{"rule":{"to":"a.test","connections":-1}}`, 400, "connections: -1 is negative"},
		{"of another version", "POST", "/v1/limits/unset", `{"to":"google","base":1}`, 400, "have changed since version 1; they are at 3"},
		{"not set", "POST", "/v1/limits/unset", `{"to":"a.test"}`, 400, "no limit to a.test was set at run time"},
		{"not suspended", "POST", "/v1/limits/resume", `{"to":"google"}`, 400, "google is not suspended; suspended are example.org"},
		{"for no time", "POST", "/v1/limits/suspend", `{"to":"google","for":"soon"}`, 400, "no length of time"},
		{"a version to come", "POST", "/v1/limits/rollback", `{"version":9}`, 400, "there is no version 9 yet"},
		{"author of two lines", "POST", "/v1/limits/resume", `{"to":"example.org","author":"a\nb"}`, 400, "one line"},
		{"a bad diff", "POST", "/v1/limits/diff", `{"rules":[{"to":"a.test"}]}`, 400, "limits nothing"},
		{"remove nobody", "POST", "/v1/nodes/remove", `{}`, 400, "not named"},
		{"remove with a misspelt key", "POST", "/v1/nodes/remove", `{"nod":"node3"}`, 400, "not understood"},
		{"transfer to somebody", "POST", "/v1/nodes/transfer", `{"node":"node3"}`, 400, "cannot be chosen"},
	} {
		t.Run(c.name, func(t *testing.T) {
			s, l, cl := limited(t)
			before, _ := l.Book(t.Context())
			w := ask(s, c.method, c.path, c.body, "Content-Type", "application/json")
			if w.Code != c.code || !strings.Contains(strings.ReplaceAll(w.Body.String(), `\"`, `"`), c.says) || strings.Count(w.Body.String(), "\n") != 1 {
				t.Errorf("HTTP %d %s; want %d with %q", w.Code, w.Body, c.code, c.says)
			}
			if after, _ := l.Book(t.Context()); after != before || len(cl.Removed())+cl.Transfers() > 0 {
				t.Error("a refused request changed something")
			}
		})
	}
}

func TestForeignPagesMayNotChangeLimits(t *testing.T) {
	s, l, _ := limited(t)
	before, _ := l.Book(t.Context())
	for _, h := range [][]string{
		{"Origin", "https://evil.example"}, {"Host", "evil.example"}, {"Content-Type", "text/plain"}, {"Sec-Fetch-Site", "cross-site"},
	} {
		if w := ask(s, "POST", "/v1/limits/set", orders["set"], h...); w.Code/100 != 4 {
			t.Errorf("%v: HTTP %d", h, w.Code)
		}
	}
	if after, _ := l.Book(t.Context()); after != before {
		t.Error("the limits have changed")
	}
}

func TestLimitsThatCannotBeAsked(t *testing.T) {
	s, l, cl := limited(t)
	l.Err, cl.Err = errors.New("no leader is known"), errors.New("node3 is alive; stop it first")
	for _, x := range []struct {
		method, path, body string
		code               int
		says               string
	}{
		{"GET", "/v1/limits", "", 503, "no leader is known; see /v1/nodes"},
		{"GET", "/v1/limits/history", "", 503, "no leader"},
		{"GET", "/v1/limits/explain?domain=a.test", "", 503, "no leader"},
		{"POST", "/v1/limits/set", orders["set"], 503, "no leader"},
		{"GET", "/v1/nodes", "", 503, "alive"},
		{"POST", "/v1/nodes/remove", `{"node":"node3"}`, 409, "node3 is alive; stop it first"},
		{"POST", "/v1/nodes/transfer", `{}`, 409, "alive"},
	} {
		if w := ask(s, x.method, x.path, x.body); w.Code != x.code || !strings.Contains(w.Body.String(), x.says) {
			t.Errorf("%s %s: HTTP %d %s", x.method, x.path, w.Code, w.Body)
		}
	}
	l.Err = nil
	l.ChangeErr = admin.ErrUnknown
	if w := ask(s, "POST", "/v1/limits/set", orders["set"]); w.Code != 503 || !strings.Contains(w.Body.String(), "may have been made; see /v1/limits/history") {
		t.Errorf("HTTP %d %s", w.Code, w.Body)
	}
	s, _ = sample(t)
	for path, says := range map[string]string{"/v1/limits": "cannot ask who keeps the limits", "/v1/nodes": "knows of no others"} {
		if w := ask(s, "GET", path, ""); w.Code != 503 || !strings.Contains(w.Body.String(), says) {
			t.Errorf("a node without: %s: HTTP %d %s", path, w.Code, w.Body)
		}
	}
}

func TestAChangeThatIsNotKnownToBeInForce(t *testing.T) {
	s, l, _ := limited(t)
	l.ForceErr = errors.New("the leader was lost")
	w := ask(s, "POST", "/v1/limits/set", orders["set"])
	if w.Code != 200 || !strings.Contains(w.Body.String(), "version 4 is made, but not known to be in force on every node: the leader was lost") {
		t.Errorf("HTTP %d %s", w.Code, w.Body)
	}
}

// client is a Client of a sample server over TCP.
func client(t *testing.T, s *admin.Server) *admin.Client {
	t.Helper()
	srv := httptest.NewServer(s.Handler())
	t.Cleanup(srv.Close)
	c, err := admin.NewClient(srv.URL)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func TestLimitClient(t *testing.T) {
	s, l, cl := limited(t)
	l.Lag = [][]admin.Laggard{{{Node: "node3"}}}
	c, ctx := client(t, s), t.Context()

	if v, err := c.Limits(ctx, 2); err != nil || len(v.Live) != 2 || v.Total != 3 || len(v.Rules) != 3 || v.Rules[0].Layer != shaping.LayerSet {
		t.Errorf("%+v, %v", v, err)
	}
	if v, err := c.Explain(ctx, "x.test", []string{"a.google.example"}, "192.0.2.1", "acme"); err != nil || v.Destination.Key != "name:google" || v.Values[0].String() != "10/1h" || v.Defaults.Connections != 20 {
		t.Errorf("%+v, %v", v, err)
	}
	if v, err := c.LimitHistory(ctx, 10); err != nil || len(v.Entries) != 3 || v.Entries[0].Op != shaping.OpSuspend {
		t.Errorf("%+v, %v", v, err)
	}
	if v, err := c.Nodes(ctx); err != nil || len(v.Nodes) != 4 {
		t.Errorf("%+v, %v", v, err)
	}
	if v, err := c.DiffLimits(ctx, nil); err != nil || len(v.Differences) != 1 || v.Differences[0].String() != "google: messages gone (was 10/1h)" {
		t.Errorf("%+v, %v", v, err)
	}
	var seen []string
	p, err := c.ChangeLimits(ctx, admin.ApplyLimits, admin.LimitOrder{Author: "ann"}, func(p admin.LimitProgress) {
		for _, w := range p.Waiting {
			seen = append(seen, w.Node)
		}
	})
	if err != nil || !p.Final || p.Version != 4 || !p.Since.Equal(l.Since) || strings.Join(seen, " ") != "node3" || p.What != "google: messages gone (was 10/1h)" {
		t.Errorf("%+v, %v, waited for %v", p, err, seen)
	}
	var refused *admin.RefusedError
	if _, err := c.ChangeLimits(ctx, admin.ResumeLimit, admin.LimitOrder{To: "google"}, nil); !errors.As(err, &refused) || refused.Code != 400 {
		t.Errorf("%v", err)
	}
	if err := c.RemoveNode(ctx, "node3", "ann"); err != nil || strings.Join(cl.Removed(), " ") != "node3" {
		t.Errorf("%v, %v", err, cl.Removed())
	}
	if leader, err := c.Transfer(ctx, "ann"); err != nil || leader != "node2" || cl.Transfers() != 1 {
		t.Errorf("%q, %v", leader, err)
	}
}

// Who asked for a change and goes away has changed the limits and leaves no
// question behind.
func TestAClientThatGoesAway(t *testing.T) {
	s, l, _ := limited(t)
	l.Hold = make(chan struct{})
	c := client(t, s)
	ctx, cancel := context.WithCancel(t.Context())
	p, err := c.ChangeLimits(ctx, admin.SetLimit, admin.LimitOrder{Rule: &shaping.Rule{To: "a.test", Connections: new(int)}}, func(admin.LimitProgress) { cancel() })
	if !errors.Is(err, context.Canceled) || p.Version != 4 || !strings.Contains(err.Error(), "the change is made (version 4)") {
		t.Errorf("%+v, %v", p, err)
	}
	if b, _ := l.Book(t.Context()); b.Version != 4 {
		t.Errorf("version %d", b.Version)
	}
}
