package admin

import (
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
)

// A node that waits for its peers lives, is not ready, and says why; then the node
// itself answers, on the same port.
func TestGate(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	why := Check{Name: "starting", Ask: func(context.Context) error { return errors.New("node2 has not answered yet") }}
	g := NewGate(NewStarting(Config{Node: "n1", Checks: []Check{why}}))
	ctx, end := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- g.Serve(ctx, l) }()
	ask := func(path string) (int, string) {
		t.Helper()
		r, err := http.Get("http://" + l.Addr().String() + path)
		if err != nil {
			t.Fatal(err)
		}
		defer r.Body.Close()
		b, _ := io.ReadAll(r.Body)
		return r.StatusCode, string(b)
	}
	for _, c := range []struct {
		path string
		code int
		says string
	}{{"/healthz", 200, "alive"}, {"/readyz", 503, "node2 has not answered"}, {"/v1/status", 200, "node2 has not answered"}, {"/v1/nodes", 503, "node2 has not answered"}} {
		if code, text := ask(c.path); code != c.code || !strings.Contains(text, c.says) {
			t.Errorf("%s: %d %s", c.path, code, text)
		}
	}
	g.Pass(New(Config{Node: "n1"}))
	if code, text := ask("/readyz"); code != 200 {
		t.Errorf("/readyz: %d %s", code, text)
	}
	end()
	if err := <-ended; err != nil {
		t.Error(err)
	}
}
