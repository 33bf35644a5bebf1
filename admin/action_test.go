package admin_test

import (
	"bytes"
	"context"
	"encoding/json"
	"io"
	"log/slog"
	"net/http/httptest"
	"strings"
	"testing"
	"testing/iotest"
	"testing/synctest"
	"time"

	"pgregory.net/rapid"

	"github.com/tarishi/tarishi/admin"
	"github.com/tarishi/tarishi/admin/admintest"
)

// lastLine reads the final line of an NDJSON answer.
func lastLine(t *testing.T, b []byte) admin.Progress {
	t.Helper()
	lines := bytes.Split(bytes.TrimSpace(b), []byte("\n"))
	var p admin.Progress
	for i, l := range lines {
		p = admin.Progress{}
		if err := json.Unmarshal(l, &p); err != nil {
			t.Fatalf("line %d: %v: %s", i, err, l)
		}
		if p.Final != (i == len(lines)-1) {
			t.Fatalf("line %d of %d: final is %v", i+1, len(lines), p.Final)
		}
	}
	return p
}

func TestActions(t *testing.T) {
	id := admintest.SampleID
	due := func(q *admintest.Queue, delivery string) string {
		for _, e := range q.Snapshot() {
			if e.ID() == delivery {
				if e.Due.IsZero() {
					return e.State + " now"
				}
				return e.State + " later"
			}
		}
		return "gone"
	}
	for _, c := range []struct {
		name  string
		verb  admin.Verb
		order string
		want  admin.Progress
		after map[string]string // delivery: state and due
	}{
		{"retry a destination", admin.Retry, `{"destination":"Gmail.Example"}`,
			admin.Progress{Matched: 3, Changed: 2, Unchanged: 1},
			map[string]string{id(0) + ".0": "waiting now", id(1) + ".0": "ready now", id(2) + ".0": "waiting now", id(3) + ".0": "waiting later"}},
		{"retry leaves held mail and what is being sent", admin.Retry, `{"id":"` + id(0) + `"}`,
			admin.Progress{Matched: 3, Changed: 1, Unchanged: 1, Busy: 1},
			map[string]string{id(0) + ".0": "waiting now", id(0) + ".1": "held now", id(0) + ".2": "active now"}},
		{"retry one delivery", admin.Retry, `{"id":"` + id(0) + `.0"}`,
			admin.Progress{Matched: 1, Changed: 1}, map[string]string{id(0) + ".0": "waiting now"}},
		{"hold by sender", admin.Hold, `{"sender":"ALICE@example.net"}`,
			admin.Progress{Matched: 3, Changed: 1, Unchanged: 1, Busy: 1},
			map[string]string{id(0) + ".0": "held later", id(0) + ".1": "held now", id(0) + ".2": "active now", id(1) + ".0": "ready now"}},
		{"release", admin.Release, `{"id":"` + id(0) + `"}`,
			admin.Progress{Matched: 3, Changed: 1, Unchanged: 1, Busy: 1},
			map[string]string{id(0) + ".0": "waiting later", id(0) + ".1": "waiting now"}},
		{"remove by two filters", admin.Rm, `{"sender":"<>","destination":"gmail.example"}`,
			admin.Progress{Matched: 1, Changed: 1},
			map[string]string{id(2) + ".0": "gone", id(0) + ".0": "waiting later"}},
		{"filters that exclude one another", admin.Rm, `{"sender":"<>","destination":"example.org"}`,
			admin.Progress{}, map[string]string{id(2) + ".0": "waiting later"}},
		{"remove nothing", admin.Rm, `{"id":"` + id(8) + `"}`, admin.Progress{}, nil},
		{"bounce", admin.Bounce, `{"id":"` + id(0) + `"}`,
			admin.Progress{Matched: 3, Changed: 2, Busy: 1},
			map[string]string{id(0) + ".0": "gone", id(0) + ".1": "gone", id(0) + ".2": "active now"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			s, q := sample(t)
			w := ask(s, "POST", "/v1/queue/"+string(c.verb), c.order)
			if w.Code != 200 || w.Header().Get("Content-Type") != "application/x-ndjson" {
				t.Fatalf("HTTP %d %s: %s", w.Code, w.Header().Get("Content-Type"), w.Body)
			}
			got := lastLine(t, w.Body.Bytes())
			if got.Action != c.verb || got.State != "done" || got.Author != "someone unnamed" || got.ID != admintest.ActionID(0) {
				t.Errorf("%+v", got)
			}
			if got := (admin.Progress{Matched: got.Matched, Changed: got.Changed, Unchanged: got.Unchanged, Busy: got.Busy}); got != c.want {
				t.Errorf("got %+v\nwant %+v", got, c.want)
			}
			for d, want := range c.after {
				if got := due(q, d); got != want {
					t.Errorf("%s is %s; want %s", d, got, want)
				}
			}
		})
	}
}

// Mail held with a retry due later: a retry leaves it alone, a release sends it now.
func TestHoldRetryRelease(t *testing.T) {
	s, q := sample(t)
	id := admintest.SampleID(0) + ".0"
	for _, step := range []struct {
		verb    admin.Verb
		changed int
		held    bool
		now     bool
	}{{admin.Hold, 1, true, false}, {admin.Retry, 0, true, false}, {admin.Release, 1, false, true}} {
		p := lastLine(t, ask(s, "POST", "/v1/queue/"+string(step.verb), `{"id":"`+id+`"}`).Body.Bytes())
		e := q.Snapshot()[0]
		if p.Changed != step.changed || e.Held != step.held || e.Due.IsZero() != step.now {
			t.Errorf("after %s: %+v, held %v, due %v", step.verb, p, e.Held, e.Due)
		}
	}
}

func TestNotesAndReplies(t *testing.T) {
	s, q := sample(t)
	ask(s, "POST", "/v1/queue/rm", `{"id":"`+admintest.SampleID(1)+`","author":"root@mx1","reason":"a test"}`)
	ask(s, "POST", "/v1/queue/rm", `{"id":"`+admintest.SampleID(2)+`"}`)
	ask(s, "POST", "/v1/queue/bounce", `{"id":"`+admintest.SampleID(3)+`","reason":"sent by a stolen account"}`)
	ask(s, "POST", "/v1/queue/bounce", `{"id":"`+admintest.SampleID(0)+`.0"}`)
	golden(t, "notes.txt", strings.Join(append(q.Removed(), q.Bounced()...), "\n")+"\n")
}

// Who did what to which mail stands in the log, from where, and what came of it.
func TestActionsAreLogged(t *testing.T) {
	var log bytes.Buffer
	s, _ := sample(t, func(c *admin.Config) {
		c.Log = slog.New(slog.NewTextHandler(&log, &slog.HandlerOptions{ReplaceAttr: func(_ []string, a slog.Attr) slog.Attr {
			if a.Key == slog.TimeKey {
				return slog.Attr{}
			}
			return a
		}}))
	})
	ask(s, "POST", "/v1/queue/rm", `{"destination":"gmail.example","sender":"<>","author":"root@mx1","reason":"a test"}`)
	golden(t, "log.txt", log.String())
}

// A long action reports as it goes. Time is the bubble's.
func TestProgress(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, q := sample(t)
		q.Before = func() { time.Sleep(700 * time.Millisecond) } // the store is slow
		b := ask(s, "POST", "/v1/queue/rm", `{"destination":"gmail.example"}`).Body.Bytes()
		var got []int
		for _, l := range bytes.Split(bytes.TrimSpace(b), []byte("\n")) {
			var p admin.Progress
			if err := json.Unmarshal(l, &p); err != nil {
				t.Fatal(err)
			}
			got = append(got, p.Changed)
		}
		// 0.5 s, 1.0, 1.5, 2.0, and the end at 2.1 s.
		if want := []int{0, 1, 2, 2, 3}; !equal(got, want) {
			t.Errorf("changed so far: %v; want %v", got, want)
		}
	})
}

func equal(a, b []int) bool {
	if len(a) != len(b) {
		return false
	}
	for i := range a {
		if a[i] != b[i] {
			return false
		}
	}
	return true
}

// When the operator leaves, the action goes on; he finds it again, and may end it.
func TestActionOutlivesItsClient(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, q := sample(t)
		ctx, cancel := context.WithCancel(t.Context())
		n := 0
		q.Before = func() {
			if n++; n == 2 {
				cancel()
			}
			time.Sleep(time.Second)
		}
		r := httptest.NewRequestWithContext(ctx, "POST", "/v1/queue/rm", strings.NewReader(`{"destination":"gmail.example","author":"ann"}`))
		r.Host = "localhost"
		r.Header.Set("Content-Type", "application/json")
		s.Handler().ServeHTTP(httptest.NewRecorder(), r)
		if got := len(q.Removed()); got != 1 {
			t.Errorf("%d were removed when the client went away", got)
		}
		var l admin.ActionsList
		path := "/v1/queue/actions"
		if err := json.Unmarshal(ask(s, "GET", path, "").Body.Bytes(), &l); err != nil || len(l.Actions) != 1 || l.Actions[0].State != "running" || l.Actions[0].Author != "ann" {
			t.Fatalf("%+v, %v", l, err)
		}
		path += "/" + l.Actions[0].ID
		var p admin.Progress
		if err := json.Unmarshal(ask(s, "POST", path+"/cancel", `{"author":"bob"}`).Body.Bytes(), &p); err != nil || p.State != "cancelled" || p.Cancelled != "bob" {
			t.Errorf("%+v, %v", p, err)
		}
		if w := ask(s, "POST", path+"/cancel", `{"author":"bob"}`); w.Code != 409 {
			t.Errorf("cancelled twice: HTTP %d %s", w.Code, w.Body)
		}
		if p := lastLine(t, ask(s, "GET", path+"/progress", "").Body.Bytes()); p.State != "cancelled" {
			t.Errorf("%+v", p)
		}
		synctest.Wait()
		time.Sleep(5 * time.Second)
		if got := len(q.Removed()); got != 1 {
			t.Errorf("%d were removed of a cancelled action", got)
		}
	})
}

// Who does not want to wait is told under which id it goes on.
func TestDetach(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, q := sample(t)
		q.Before = func() { time.Sleep(time.Second) }
		var p admin.Progress
		w := ask(s, "POST", "/v1/queue/hold", `{"all":true,"detach":true}`)
		if err := json.Unmarshal(w.Body.Bytes(), &p); err != nil || p.ID == "" || p.State != "running" || p.Final || p.Filter != "everything" {
			t.Errorf("%s: %v", w.Body, err)
		}
		if p := lastLine(t, ask(s, "GET", "/v1/queue/actions/"+p.ID+"/progress", "").Body.Bytes()); p.State != "done" || p.Changed == 0 {
			t.Errorf("%+v", p)
		}
	})
}

// However many ask, the lanes are listed once a second, and one who leaves takes
// nobody's answer away.
func TestLanesAreListedOnceASecond(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		slow := &slowLanes{Queue: admintest.Sample(), ask: make(chan chan error)}
		s := admin.New(admin.Config{Queue: slow})
		answers := make(chan int, 3)
		first, leave := context.WithCancel(t.Context())
		for i := range 3 {
			go func() {
				ctx := t.Context()
				if i == 0 {
					ctx = first
				}
				r := httptest.NewRequestWithContext(ctx, "GET", "/v1/queue", nil)
				r.Host = "localhost"
				w := httptest.NewRecorder()
				s.Handler().ServeHTTP(w, r)
				if i > 0 {
					answers <- w.Body.Len()
				}
			}()
			synctest.Wait()
		}
		reply := <-slow.ask
		leave()
		synctest.Wait()
		reply <- nil
		if a, b := <-answers, <-answers; a != b || a < 100 {
			t.Errorf("answers of %d and %d octets", a, b)
		}
		ask(s, "GET", "/v1/queue", "") // within the second: would block if it listed
		time.Sleep(time.Second)        // the bubble's clock
		go ask(s, "GET", "/v1/queue", "")
		(<-slow.ask) <- nil
		synctest.Wait()
	})
}

type slowLanes struct {
	*admintest.Queue
	ask chan chan error
}

func (s *slowLanes) Lanes(ctx context.Context, max int) (admin.Overview, error) {
	reply := make(chan error)
	s.ask <- reply
	if err := <-reply; err != nil {
		return admin.Overview{}, err
	}
	if err := ctx.Err(); err != nil {
		return admin.Overview{}, err
	}
	return s.Queue.Lanes(ctx, max)
}

// Whatever is asked in whatever order, held mail is only sent once released, and
// nothing leaves the queue but by rm and bounce.
func TestActionsProperty(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		q := admintest.Sample()
		s := admin.New(admin.Config{Queue: q})
		total := len(q.Snapshot())
		for range rapid.IntRange(1, 12).Draw(rt, "orders") {
			verb := rapid.SampledFrom(admin.Verbs).Draw(rt, "verb")
			order := rapid.SampledFrom([]string{
				`{"destination":"gmail.example"}`, `{"destination":"example.org"}`, `{"sender":"alice@example.net"}`,
				`{"sender":"<>"}`, `{"id":"` + admintest.SampleID(3) + `"}`,
			}).Draw(rt, "order")
			held := map[string]bool{}
			for _, e := range q.Snapshot() {
				held[e.ID()] = e.Held
			}
			w := ask(s, "POST", "/v1/queue/"+string(verb), order)
			if w.Code != 200 {
				rt.Fatalf("HTTP %d %s", w.Code, w.Body)
			}
			for _, e := range q.Snapshot() {
				if held[e.ID()] && !e.Held && verb != admin.Release {
					rt.Fatalf("%s let %s go", verb, e.ID())
				}
			}
			if n := len(q.Snapshot()) + len(q.Removed()) + len(q.Bounced()); n != total {
				rt.Fatalf("%d deliveries of %d", n, total)
			}
			var p admin.Progress
			_ = json.Unmarshal(w.Body.Bytes(), &p)
			if p.Matched != p.Changed+p.Unchanged+p.Busy {
				rt.Fatalf("the sum is wrong: %+v", p)
			}
		}
	})
}

// The header block ends at the empty line, however the store hands the octets out.
func FuzzHeaders(f *testing.F) {
	for _, s := range []string{"A: b\r\n\r\nbody", "A: b\n\nbody", "\r\nbody", "\nbody", "", "A: b", "A: b\r\n \r\nB: c\r\n\r\n", "A\r\r\n\r\r\n\r\n"} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, msg []byte) {
		want := headerOf(msg)
		for name, r := range map[string]io.Reader{
			"whole": bytes.NewReader(msg), "octet by octet": iotest.OneByteReader(bytes.NewReader(msg)), "with EOF": iotest.DataErrReader(bytes.NewReader(msg)),
		} {
			q := &oneBody{Queue: admintest.New(), r: r}
			w := ask(admin.New(admin.Config{Queue: q}), "GET", "/v1/queue/messages/A/body?part=headers", "")
			if got := w.Body.String(); got != want {
				t.Errorf("%s: %q; want %q", name, got, want)
			}
		}
	})
}

// headerOf is the header block by the book: lines up to and with the first empty one.
func headerOf(msg []byte) string {
	var b strings.Builder
	for _, l := range strings.SplitAfter(string(msg), "\n") {
		b.WriteString(l)
		if l == "\n" || l == "\r\n" {
			break
		}
	}
	return b.String()
}

type oneBody struct {
	*admintest.Queue
	r io.Reader
}

func (o *oneBody) Open(context.Context, string) (io.ReadCloser, error) { return io.NopCloser(o.r), nil }

// An order from anybody changes the queue only if it names a part of it.
func FuzzOrder(f *testing.F) {
	f.Add([]byte(`{"id":"01K9ABCDEFGH00000003","author":"a","reason":"b"}`))
	f.Add([]byte(`{"destination":"gmail.example"}`))
	f.Add([]byte(`{"sender":"<>"}`))
	f.Add([]byte(`{"id":"","ID":"\u0000"}`))
	f.Fuzz(func(t *testing.T, b []byte) {
		s, q := sample(t)
		w := ask(s, "POST", "/v1/queue/rm", string(b), "Content-Type", "application/json")
		var o admin.Order
		if json.Unmarshal(b, &o) != nil || o.Selection == (admin.Selection{}) {
			if w.Code != 400 || len(q.Removed()) > 0 {
				t.Errorf("HTTP %d, removed %v", w.Code, q.Removed())
			}
			return
		}
		if w.Code != 200 && w.Code != 400 && w.Code != 503 {
			t.Errorf("HTTP %d %s", w.Code, w.Body)
		}
	})
}
