package admin_test

import (
	"bytes"
	"context"
	"errors"
	"flag"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/tarishi/tarishi/admin"
	"github.com/tarishi/tarishi/admin/admintest"
)

var update = flag.Bool("update", false, "rewrite the golden files")

// golden compares got with testdata/name.
func golden(t *testing.T, name, got string) {
	t.Helper()
	file := filepath.Join("testdata", name)
	if *update {
		if err := os.MkdirAll(filepath.Dir(file), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(file, []byte(got), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if got != string(want) {
		t.Errorf("%s differs\n--- got\n%s\n--- want\n%s", file, got, want)
	}
}

// sample is a Server over the sample queue, at a clock that stands still.
func sample(t *testing.T, change ...func(*admin.Config)) (*admin.Server, *admintest.Queue) {
	t.Helper()
	q := admintest.Sample()
	c := admin.Config{
		Version: "1.2.3", Node: "node1.example.net", Roles: []string{"ingress", "deliverer"},
		Started: admintest.Now.Add(-76 * time.Hour),
		Queue:   q, Stats: admintest.SampleStats, Now: func() time.Time { return admintest.Now },
	}
	for _, f := range change {
		f(&c)
	}
	return admin.New(c), q
}

// ask makes one request as curl would: no Origin, Host an address.
func ask(s *admin.Server, method, path, body string, header ...string) *httptest.ResponseRecorder {
	r := httptest.NewRequest(method, path, strings.NewReader(body))
	r.Host = "127.0.0.1:8025"
	if body != "" {
		r.Header.Set("Content-Type", "application/json")
	}
	for i := 0; i < len(header); i += 2 {
		if header[i] == "Host" {
			r.Host = header[i+1]
			continue
		}
		r.Header.Set(header[i], header[i+1])
	}
	w := httptest.NewRecorder()
	s.Handler().ServeHTTP(w, r)
	return w
}

func TestListings(t *testing.T) {
	for _, c := range []struct{ name, path string }{
		{"lanes", "/v1/queue"},
		{"lanes-max1", "/v1/queue?max=1"},
		{"by-message", "/v1/queue/messages?id=" + admintest.SampleID(0)},
		{"by-delivery", "/v1/queue/messages?id=" + strings.ToLower(admintest.SampleID(0)) + ".1"},
		{"by-destination", "/v1/queue/messages?destination=GMAIL.example.&max=2"},
		{"exactly-max", "/v1/queue/messages?destination=evil.example&max=1"},
		{"by-sender", "/v1/queue/messages?sender=%3Calice@EXAMPLE.net%3E&destination=example.org"},
		{"by-null-sender", "/v1/queue/messages?sender=%3C%3E"},
		{"hostile", "/v1/queue/messages?destination=evil.example"},
		{"no-match", "/v1/queue/messages?destination=nobody.example"},
		{"doubts", "/v1/queue/doubts"},
		{"status", "/v1/status"},
		{"healthz", "/healthz"},
		{"readyz", "/readyz"},
	} {
		t.Run(c.name, func(t *testing.T) {
			s, _ := sample(t)
			w := ask(s, "GET", c.path, "")
			if w.Code != 200 || w.Header().Get("Content-Type") != "application/json" {
				t.Fatalf("HTTP %d %s: %s", w.Code, w.Header().Get("Content-Type"), w.Body)
			}
			golden(t, c.name+".json", indent(t, w.Body.Bytes()))
		})
	}
}

func TestEmptyQueue(t *testing.T) {
	s, _ := sample(t, func(c *admin.Config) { c.Queue = admintest.New(); c.Stats = nil; c.Roles = nil })
	golden(t, "empty.json", indent(t, ask(s, "GET", "/v1/queue", "").Body.Bytes()))
	golden(t, "empty-status.json", indent(t, ask(s, "GET", "/v1/status", "").Body.Bytes()))
}

func TestRefusals(t *testing.T) {
	const js = "application/json"
	id := admintest.SampleID(0)
	for _, c := range []struct {
		name, method, path, body string
		code                     int
		says                     string
	}{
		{"unknown path", "GET", "/v1/queues", "", 404, "there is no /v1/queues here"},
		{"unknown verb", "POST", "/v1/queue/destroy", `{"id":"A"}`, 404, "there is no"},
		{"wrong method", "POST", "/v1/queue", `{}`, 405, "read with GET"},
		{"action by GET", "GET", "/v1/queue/rm?destination=gmail.example", "", 405, "asked with POST"},
		{"no filter", "GET", "/v1/queue/messages", "", 400, "nothing was selected"},
		{"misspelt parameter", "GET", "/v1/queue/messages?id=" + id + "&destinaton=x.example", "", 400, `no parameter "destinaton"`},
		{"max zero", "GET", "/v1/queue?max=0", "", 400, "from 1 to 1000"},
		{"max huge", "GET", "/v1/queue/messages?max=1000000&id=" + id, "", 400, "from 1 to 1000"},
		{"max words", "GET", "/v1/queue?max=all", "", 400, "from 1 to 1000"},
		{"bad id", "GET", "/v1/queue/messages?id=../../etc", "", 400, "is no message id"},
		{"tail that is no number", "POST", "/v1/queue/rm", `{"id":"` + id + `.x"}`, 400, "is no message id"},
		{"tail below zero", "GET", "/v1/queue/why/" + id + ".-1", "", 400, "is no message id"},
		{"tail too large", "GET", "/v1/queue/why/" + id + ".99999999999999999999", "", 400, "is no message id"},
		{"address as destination", "GET", "/v1/queue/messages?destination=bob@gmail.example", "", 400, "give the domain alone"},
		{"half an address as sender", "GET", "/v1/queue/messages?sender=gmail", "", 400, "give the whole address"},
		{"control characters", "GET", "/v1/queue/messages?sender=a%0a@b", "", 400, "control characters"},
		{"no such body", "GET", "/v1/queue/messages/" + admintest.SampleID(8) + "/body", "", 404, "nothing of id"},
		{"bad body id", "GET", "/v1/queue/messages/x%20y/body", "", 400, "is no message id"},
		{"bad part", "GET", "/v1/queue/messages/" + id + "/body?part=tail", "", 400, "part=headers"},
		{"empty filter", "POST", "/v1/queue/rm", `{}`, 400, "nothing was selected"},
		{"blank filter", "POST", "/v1/queue/rm", `{"destination":"  "}`, 400, "the destination is empty"},
		{"one field empty", "POST", "/v1/queue/rm", `{"id":"","destination":"gmail.example"}`, 400, "the id is empty"},
		{"misspelt field", "POST", "/v1/queue/rm", `{"id":"` + id + `","destinaton":"x"}`, 400, "not understood"},
		{"not JSON", "POST", "/v1/queue/rm", `id=1`, 400, "not understood"},
		{"two objects", "POST", "/v1/queue/rm", `{"id":"A"}{"id":"B"}`, 400, "something follows"},
		{"array", "POST", "/v1/queue/rm", `[]`, 400, "not understood"},
		{"null", "POST", "/v1/queue/rm", `null`, 400, "nothing was selected"},
		{"too long", "POST", "/v1/queue/rm", `{"id":"` + strings.Repeat("A", 20000) + `"}`, 400, "not understood"},
		{"newline in reason", "POST", "/v1/queue/bounce", `{"id":"A","reason":"a\r\nX-Evil: 1"}`, 400, "one line"},
		{"escape in author", "POST", "/v1/queue/hold", `{"id":"A","author":"\u001b[2J"}`, 400, "one line"},
		{"long reason", "POST", "/v1/queue/bounce", `{"id":"A","reason":"` + strings.Repeat("x", 401) + `"}`, 400, "at most 400"},
	} {
		t.Run(c.name, func(t *testing.T) {
			s, q := sample(t)
			w := ask(s, c.method, c.path, c.body, "Content-Type", js)
			if w.Code != c.code || !strings.Contains(w.Body.String(), `{"error":"`) || !strings.Contains(strings.ReplaceAll(w.Body.String(), `\"`, `"`), c.says) {
				t.Errorf("HTTP %d %s; want %d with %q", w.Code, w.Body, c.code, c.says)
			}
			if strings.Count(w.Body.String(), "\n") != 1 {
				t.Errorf("the error is not one line: %q", w.Body)
			}
			if len(q.Removed())+len(q.Bounced()) > 0 {
				t.Error("a refused request changed the queue")
			}
		})
	}
}

func TestQueueErrorsAreSaid(t *testing.T) {
	for _, path := range []string{"/v1/queue", "/v1/queue/messages?id=A", "/v1/queue/doubts"} {
		s, q := sample(t)
		q.Err = errors.New("the store is slow")
		w := ask(s, "GET", path, "")
		if w.Code != 503 || !strings.Contains(w.Body.String(), "the store is slow") {
			t.Errorf("%s: HTTP %d %s", path, w.Code, w.Body)
		}
		q.Err = nil // and a failure is not remembered
		if w := ask(s, "GET", path, ""); w.Code != 200 {
			t.Errorf("%s, mended: HTTP %d %s", path, w.Code, w.Body)
		}
	}
}

func TestReadyzGivesReasons(t *testing.T) {
	s, _ := sample(t, func(c *admin.Config) {
		c.Checks = []admin.Check{
			{Name: "smtp", Ask: func(context.Context) error { return nil }},
			{Name: "queue", Ask: func(context.Context) error { return errors.New("storage limit reached") }},
			{Name: "self-test", Ask: func(ctx context.Context) error { <-ctx.Done(); return ctx.Err() }},
		}
	})
	w := ask(s, "GET", "/readyz", "")
	if w.Code != 503 {
		t.Errorf("HTTP %d", w.Code)
	}
	golden(t, "unready.json", indent(t, w.Body.Bytes()))
	if w := ask(s, "GET", "/healthz", ""); w.Code != 200 {
		t.Errorf("a node that is not ready is alive all the same, not HTTP %d", w.Code)
	}
}

func TestBody(t *testing.T) {
	s, q := sample(t)
	id := admintest.SampleID(0)
	all := string(q.Bodies[id])
	head, _, _ := strings.Cut(all, "\r\n\r\n")
	for _, c := range []struct{ path, want string }{
		{id + "/body", all},
		{id + ".2/body", all},
		{id + "/body?part=headers", head + "\r\n\r\n"},
	} {
		w := ask(s, "GET", "/v1/queue/messages/"+c.path, "")
		if w.Code != 200 || w.Body.String() != c.want {
			t.Errorf("%s: HTTP %d %q; want %q", c.path, w.Code, w.Body, c.want)
		}
		if w.Header().Get("Content-Disposition") != "attachment" || w.Header().Get("X-Content-Type-Options") != "nosniff" {
			t.Errorf("%s: a stranger's message may be shown as a page: %v", c.path, w.Header())
		}
	}
}

// A body that cannot be read to its end is a cut connection, not a short message.
func TestBodyCutOff(t *testing.T) {
	s := admin.New(admin.Config{Queue: brokenQueue{admintest.New()}})
	srv := httptest.NewServer(s.Handler())
	defer srv.Close()
	c, err := admin.NewClient(srv.URL)
	if err != nil {
		t.Fatal(err)
	}
	r, err := c.Body(t.Context(), "A", false)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = r.Close() }()
	if b, err := io.ReadAll(r); err == nil {
		t.Errorf("read %d octets and no error of a body with a bad checksum", len(b))
	}
}

type brokenQueue struct{ *admintest.Queue }

func (brokenQueue) Open(context.Context, string) (io.ReadCloser, error) {
	return io.NopCloser(io.MultiReader(strings.NewReader(strings.Repeat("x", 100000)), failing{})), nil
}

type failing struct{}

func (failing) Read([]byte) (int, error) { return 0, errors.New("checksum mismatch") }

func TestPage(t *testing.T) {
	s, _ := sample(t)
	w := ask(s, "GET", "/", "")
	body := w.Body.String()
	if w.Code != 200 || !strings.HasPrefix(w.Header().Get("Content-Type"), "text/html") {
		t.Fatalf("HTTP %d %v", w.Code, w.Header())
	}
	for _, bad := range []string{"src=\"http", "href=\"http", "@import", "innerHTML", "/*CSS*/", "/*JS*/", "onclick="} {
		if strings.Contains(body, bad) {
			t.Errorf("the page holds %q", bad)
		}
	}
	policy := w.Header().Get("Content-Security-Policy")
	if !strings.Contains(policy, "default-src 'none'") || strings.Contains(policy, "unsafe") {
		t.Errorf("policy %q", policy)
	}
	if w := ask(s, "GET", "/other", ""); w.Code != 404 {
		t.Errorf("/other: HTTP %d", w.Code)
	}
}

// Serve ends with its context, also while an action is under way, and leaves no
// goroutine of its own behind.
func TestServeEnds(t *testing.T) {
	entered, leave := make(chan struct{}), make(chan struct{})
	s, q := sample(t)
	once := false
	q.Before = func() {
		if !once {
			once = true
			close(entered)
			<-leave
		}
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- s.Serve(ctx, l) }()
	c, err := admin.NewClient("http://" + l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	type result struct {
		p   admin.Progress
		err error
	}
	acted := make(chan result, 1)
	go func() {
		p, err := c.Act(t.Context(), admin.Hold, admin.Order{Selection: admin.Selection{Destination: "gmail.example"}}, nil)
		acted <- result{p, err}
	}()
	<-entered
	cancel()
	close(leave)
	if r := <-acted; r.err != nil || r.p.Changed != 3 || !r.p.Final {
		t.Errorf("an action under way at the drain: %+v, %v", r.p, r.err)
	}
	if err := <-ended; err != nil {
		t.Errorf("Serve returned %v", err)
	}
	if _, err := c.Status(t.Context()); err == nil {
		t.Error("a stopped server answers")
	}
}

// An admin port that others can reach is said so in the log.
func TestServeWarnsOfOpenPort(t *testing.T) {
	for addr, warns := range map[string]bool{"192.0.2.1:8025": true, "0.0.0.0:8025": true, "127.0.0.1:8025": false, "[::1]:8025": false} {
		var log bytes.Buffer
		s, _ := sample(t, func(c *admin.Config) { c.Log = slog.New(slog.NewTextHandler(&log, nil)) })
		if err := s.Serve(t.Context(), closedListener(addr)); err == nil {
			t.Error("Serve on a closed listener returned nil")
		}
		if got := strings.Contains(log.String(), "no password"); got != warns {
			t.Errorf("%s: warned %v, want %v", addr, got, warns)
		}
	}
}

type closedListener string

func (closedListener) Accept() (net.Conn, error) { return nil, net.ErrClosed }
func (closedListener) Close() error              { return nil }
func (c closedListener) Addr() net.Addr {
	a, _ := net.ResolveTCPAddr("tcp", string(c))
	return a
}

func TestMetrics(t *testing.T) {
	s, _ := sample(t)
	w := ask(s, "GET", "/metrics", "", "Host", "any.name.example")
	if w.Code != http.StatusOK {
		t.Fatalf("HTTP %d %s", w.Code, w.Body)
	}
	var ours []string
	for _, l := range strings.Split(w.Body.String(), "\n") {
		if strings.Contains(l, "tarishi_") {
			ours = append(ours, l)
		}
	}
	golden(t, "metrics.txt", strings.Join(ours, "\n")+"\n")
	if !strings.Contains(w.Body.String(), "go_goroutines") {
		t.Error("the runtime's metrics are missing")
	}

	s, _ = sample(t, func(c *admin.Config) { c.Stats = nil })
	if b := ask(s, "GET", "/metrics", "").Body.String(); strings.Contains(b, "tarishi_smtp") || !strings.Contains(b, "tarishi_build_info") {
		t.Errorf("a node without roles says:\n%s", b)
	}
}

// A histogram that is not well formed is left out; the rest is served.
func TestMetricsBadHistogram(t *testing.T) {
	s, _ := sample(t, func(c *admin.Config) {
		c.Stats = func() admin.Stats {
			return admin.Stats{Queue: &admin.QueueStats{BarrierSizes: &admin.Histogram{Bounds: []float64{1}, Counts: []uint64{1}}}}
		}
	})
	b := ask(s, "GET", "/metrics", "").Body.String()
	if strings.Contains(b, "barrier_messages") || !strings.Contains(b, "tarishi_queue_barriers_total") {
		t.Errorf("got\n%s", b)
	}
}
