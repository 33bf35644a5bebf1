package api

import (
	"context"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/dop251/goja"
)

// world is a Runtime whose loop runs, with what it has logged.
type testWorld struct {
	*Runtime
	t *testing.T

	mu    sync.Mutex
	lines []Line
}

// newWorld makes a world of files: names relative to the folder of plugins.
func newWorld(t *testing.T, files map[string]string, more ...func(*Options)) *testWorld {
	t.Helper()
	dir := t.TempDir()
	for name, text := range files {
		file := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(file), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(file, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	w := &testWorld{t: t}
	o := Options{Folder: dir, Hostname: "mx.example.com", Log: func(l Line) {
		w.mu.Lock()
		w.lines = append(w.lines, l)
		w.mu.Unlock()
	}}
	for _, f := range more {
		f(&o)
	}
	r, err := New(o)
	if err != nil {
		t.Fatal(err)
	}
	w.Runtime = r
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() { r.Run(ctx); close(done) }()
	t.Cleanup(func() { cancel(); <-done; r.Close() })
	return w
}

// inside calls f inside the loop, and waits for it.
func (w *testWorld) inside(f func()) {
	w.t.Helper()
	done := make(chan struct{})
	w.Do(nil, func() error { defer close(done); f(); return nil })
	<-done
}

// eval runs a script's text and gives its value as a string: an error is "error: …".
// A promise is waited for.
func (w *testWorld) eval(script string) string {
	w.t.Helper()
	out := make(chan string, 1)
	w.Do(nil, func() error {
		v, err := w.vm.RunString(script)
		if err != nil {
			out <- "error: " + thrown(err)
			return nil
		}
		if _, ok := v.Export().(*goja.Promise); !ok {
			out <- v.String()
			return nil
		}
		then, _ := goja.AssertFunction(v.ToObject(w.vm).Get("then"))
		_, err = then(v,
			w.vm.ToValue(func(c goja.FunctionCall) goja.Value { out <- c.Argument(0).String(); return goja.Undefined() }),
			w.vm.ToValue(func(c goja.FunctionCall) goja.Value {
				out <- "error: " + c.Argument(0).String()
				return goja.Undefined()
			}))
		return err
	})
	return <-out
}

func thrown(err error) string {
	if x, ok := err.(*goja.Exception); ok {
		return x.Value().String()
	}
	return err.Error()
}

// logged are the lines so far.
func (w *testWorld) logged() []Line {
	w.mu.Lock()
	defer w.mu.Unlock()
	return append([]Line(nil), w.lines...)
}

// script wraps statements so that require is there, and their return is the value.
func script(body string) string {
	return "(function(){" + body + "\n})()"
}

// withRequire gives scripts of eval a require, as files of the folder have it.
func (w *testWorld) withRequire() *testWorld {
	w.inside(func() { w.vm.Set("require", w.modules.requireFor("")) })
	return w
}

// table checks expressions against their values.
func (w *testWorld) table(rows [][2]string) {
	w.t.Helper()
	for _, row := range rows {
		if got := w.eval(row[0]); got != row[1] {
			w.t.Errorf("%s\n\tis   %s\n\twant %s", strings.TrimSpace(row[0]), got, row[1])
		}
	}
}
