package admin_test

import (
	"bytes"
	"encoding/json"
	"testing"

	"github.com/tarishi/tarishi/admin"
	"github.com/tarishi/tarishi/admin/admintest"
)

func indent(t *testing.T, b []byte) string {
	t.Helper()
	var out bytes.Buffer
	if err := json.Indent(&out, b, "", "  "); err != nil {
		t.Fatalf("not JSON: %v: %s", err, b)
	}
	return out.String()
}

// Who may speak to the API: programs and our own page, not pages of others.
func TestGuard(t *testing.T) {
	id := admintest.SampleID(3)
	order := `{"id":"` + id + `"}`
	for _, c := range []struct {
		name   string
		header []string
		post   int // HTTP code of an rm
		get    int // of a listing
	}{
		{"curl by address", nil, 200, 200},
		{"curl by IPv6 address", []string{"Host", "[::1]:8025"}, 200, 200},
		{"curl by localhost", []string{"Host", "localhost:8025"}, 200, 200},
		{"curl by hostname", []string{"Host", "NODE1.example.net:8025"}, 200, 200},
		{"curl by further name", []string{"Host", "mail-admin"}, 200, 200},
		{"unknown name", []string{"Host", "tarishi.svc:8025"}, 403, 403},
		{"unknown name, a program", []string{"Host", "tarishi.svc:8025", admin.ClientHeader, "1"}, 200, 200},
		{"own page", []string{"Origin", "http://127.0.0.1:8025", "Sec-Fetch-Site", "same-origin"}, 200, 200},
		{"rebound name", []string{"Host", "evil.example:8025", "Origin", "http://evil.example:8025"}, 403, 403},
		{"foreign page", []string{"Origin", "http://evil.example", "Sec-Fetch-Site", "cross-site"}, 403, 403},
		{"foreign page without Sec-Fetch", []string{"Origin", "http://evil.example"}, 403, 403},
		{"sandboxed page", []string{"Origin", "null"}, 403, 403},
		{"other port, same machine", []string{"Origin", "http://127.0.0.1:8080", "Sec-Fetch-Site", "same-site"}, 403, 403},
		{"image of a foreign page", []string{"Sec-Fetch-Site", "cross-site", "Sec-Fetch-Mode", "no-cors"}, 403, 403},
		{"form", []string{"Content-Type", "application/x-www-form-urlencoded"}, 415, 200},
		{"text form", []string{"Content-Type", "text/plain"}, 415, 200},
		{"no type", []string{"Content-Type", ""}, 415, 200},
		{"JSON with charset", []string{"Content-Type", "application/json; charset=utf-8"}, 200, 200},
	} {
		t.Run(c.name, func(t *testing.T) {
			s, q := sample(t, func(c *admin.Config) { c.Hosts = []string{"mail-admin"} })
			if w := ask(s, "POST", "/v1/queue/rm", order, c.header...); w.Code != c.post {
				t.Errorf("POST: HTTP %d %s; want %d", w.Code, w.Body, c.post)
			}
			if removed := len(q.Removed()) == 1; removed != (c.post == 200) {
				t.Errorf("removed: %v", removed)
			}
			if w := ask(s, "GET", "/v1/queue", "", c.header...); w.Code != c.get {
				t.Errorf("GET: HTTP %d %s; want %d", w.Code, w.Body, c.get)
			}
		})
	}
}

// A browser's preflight is not answered, so a foreign page can send no JSON.
func TestNoPreflight(t *testing.T) {
	s, _ := sample(t)
	w := ask(s, "OPTIONS", "/v1/queue/rm", "", "Origin", "http://evil.example", "Access-Control-Request-Method", "POST")
	if w.Code/100 == 2 || w.Header().Get("Access-Control-Allow-Origin") != "" {
		t.Errorf("HTTP %d %v", w.Code, w.Header())
	}
}

// A link from elsewhere to the status page works.
func TestLinkToPage(t *testing.T) {
	s, _ := sample(t)
	if w := ask(s, "GET", "/", "", "Sec-Fetch-Site", "cross-site", "Sec-Fetch-Mode", "navigate"); w.Code != 200 {
		t.Errorf("HTTP %d %s", w.Code, w.Body)
	}
	if w := ask(s, "GET", "/v1/queue", "", "Sec-Fetch-Site", "cross-site", "Sec-Fetch-Mode", "navigate"); w.Code != 403 {
		t.Errorf("HTTP %d for a listing", w.Code)
	}
}

// Probes come under any name.
func TestProbesUnderAnyName(t *testing.T) {
	s, _ := sample(t)
	for _, p := range []string{"/healthz", "/readyz", "/metrics"} {
		if w := ask(s, "GET", p, "", "Host", "10-0-0-1.pod.cluster.local"); w.Code != 200 {
			t.Errorf("%s: HTTP %d %s", p, w.Code, w.Body)
		}
	}
}
