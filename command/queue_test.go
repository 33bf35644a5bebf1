package command

import (
	"bytes"
	"context"
	"errors"
	"flag"
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/spf13/cobra"

	"github.com/tarishi/tarishi/admin"
	"github.com/tarishi/tarishi/admin/admintest"
)

var updateGolden = flag.Bool("update", false, "rewrite the golden files")

func golden(t *testing.T, name, got string) {
	t.Helper()
	file := filepath.Join("testdata", name)
	if *updateGolden {
		if err := os.MkdirAll("testdata", 0o755); err != nil {
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

// adminNode is a node over the sample queue. Each time its counters are read its
// clock moves two seconds on, in which 240 messages came and 239 went.
func adminNode(t *testing.T) (url string, q *admintest.Queue) {
	t.Helper()
	q = admintest.Sample()
	var mu sync.Mutex
	var looks uint64
	s := admin.New(admin.Config{
		Version: "1.2.3", Node: "node1.example.net", Roles: []string{"ingress", "deliverer"},
		Started: admintest.Now.Add(-76 * time.Hour), Queue: q,
		Now: func() time.Time {
			mu.Lock()
			defer mu.Unlock()
			return admintest.Now.Add(time.Duration(looks) * 2 * time.Second)
		},
		Stats: func() admin.Stats {
			mu.Lock()
			defer mu.Unlock()
			looks++
			st := admintest.SampleStats()
			st.SMTP.Accepted += 240 * looks
			st.Delivery.Delivered += 239 * looks
			return st
		},
	})
	srv := httptest.NewServer(s.Handler())
	t.Cleanup(srv.Close)
	return srv.URL, q
}

// command runs the command line in this process, as main does.
func command(in any, out any, args ...string) (code int) {
	root := &cobra.Command{Use: "tarishi", SilenceErrors: true, SilenceUsage: true}
	root.AddCommand(queueCommand(), limitsCommand(), reactionsCommand(), suppressCommand(), nodesCommand(), clusterCommand(), statusCommand(), topCommand())
	root.SetArgs(args)
	switch f := in.(type) {
	case *os.File:
		root.SetIn(f)
	default:
		root.SetIn(strings.NewReader(""))
	}
	switch w := out.(type) {
	case *os.File:
		root.SetOut(w)
		root.SetErr(w)
	case *bytes.Buffer:
		root.SetOut(w)
		root.SetErr(w)
	}
	err := root.Execute()
	if err != nil {
		fmt.Fprintln(root.ErrOrStderr(), "tarishi:", err)
	}
	return exitCode(err)
}

// dialogue is the golden form of a command: what was typed, what came, the exit code.
func dialogue(args ...string) string {
	var out bytes.Buffer
	code := command(nil, &out, args...)
	var shown []string
	for i := 0; i < len(args); i++ {
		if args[i] == "--admin" {
			i++
			continue
		}
		if args[i] == "" || strings.ContainsAny(args[i], " <>\n") {
			args[i] = fmt.Sprintf("%q", args[i])
		}
		shown = append(shown, args[i])
	}
	return fmt.Sprintf("$ tarishi %s\n%s(exit %d)\n", strings.Join(shown, " "), strings.ReplaceAll(out.String(), author(), "ann@desk"), code)
}

func TestQueueCommands(t *testing.T) {
	id := admintest.SampleID
	for _, c := range []struct {
		name string
		runs [][]string // one node for all of a case
	}{
		{"ls", [][]string{{"queue", "ls"}, {"queue", "ls", "--max", "2"}, {"queue", "ls", "--max", "1", "--json"}}},
		{"ls-deliveries", [][]string{
			{"queue", "ls", "--destination", "gmail.example"},
			{"queue", "ls", "--destination", "gmail.example", "--max", "1"},
			{"queue", "ls", "--sender", "alice@example.net"},
			{"queue", "ls", "--sender", "<>"},
			{"queue", "ls", "--destination", "evil.example"},
			{"queue", "ls", "--destination", "nobody.example"},
			{"queue", "ls", "--destination", "nobody.example", "--json"},
		}},
		{"show", [][]string{
			{"queue", "show", id(0)}, {"queue", "show", id(2) + ".0"}, {"queue", "show", id(3)},
			{"queue", "show", id(8)}, {"queue", "show", id(1), "--json"},
			{"queue", "show", id(0), "--headers"}, {"queue", "show", id(0), "--body"}, {"queue", "show", id(1), "--body"},
		}},
		{"doubts", [][]string{{"queue", "doubts"}, {"queue", "doubts", "--json"}}},
		{"act", [][]string{
			{"queue", "retry", "--destination", "gmail.example"},
			{"queue", "retry", "--destination", "gmail.example"},
			{"queue", "retry", id(0)},
			{"queue", "hold", id(3), id(2)},
			{"queue", "hold", strings.ToLower(id(3)), id(2), "zzz"},
			{"queue", "hold", "zzz", "yyy"},
			{"queue", "hold", "--sender", "alice@example.net"},
			{"queue", "release", "--id", id(3), "--json"},
			{"queue", "rm", id(8)},
			{"queue", "rm", "--sender", "<>", "--yes"},
			{"queue", "bounce", id(3), "--reason", "sent by a stolen account"},
			{"queue", "ls"},
		}},
		{"usage", [][]string{
			{"queue", "rm"},
			{"queue", "rm", "--destination", ""},
			{"queue", "rm", "--destination", "", "--sender", "<>"},
			{"queue", "rm", "", "--sender", "<>"},
			{"queue", "ls", "--destination", ""},
			{"queue", "rm", "--destination", "bob@gmail.example"},
			{"queue", "rm", id(0), "not an id"},
			{"queue", "rm", id(0) + ".x"},
			{"queue", "show", id(0) + "."},
			{"queue", "rm", "--destinaton", "gmail.example"},
			{"queue", "rm", "--yes=perhaps", id(0)},
			{"queue", "remove", id(0)},
			{"queue", "ls", "gmail.example"},
			{"queue", "ls", "--max", "0"},
			{"queue", "ls", "--max", "many"},
			{"queue", "show"},
			{"queue", "show", id(0), id(1)},
			{"queue", "show", id(0), "--body", "--headers"},
			{"queue", "bounce", id(0), "--reason", "two\nlines"},
			{"queue", "hold", "--yes", id(0)},
			{"status", "now"},
			{"top", "--interval", "1ms"},
		}},
		{"status", [][]string{
			{"status", "--interval", "1ns"}, {"status", "--interval", "0"}, {"status", "--interval", "1ns", "--json"},
		}},
	} {
		t.Run(c.name, func(t *testing.T) {
			url, _ := adminNode(t)
			var all []string
			for _, args := range c.runs {
				all = append(all, dialogue(append(args, "--admin", url)...))
			}
			golden(t, c.name+".txt", strings.Join(all, "\n"))
		})
	}
}

// A command line that is wrong changes nothing, also when only its end is wrong.
func TestUsageErrorsChangeNothing(t *testing.T) {
	url, q := adminNode(t)
	before := len(q.Snapshot())
	dialogue("queue", "rm", admintest.SampleID(0), "not an id", "--admin", url)
	if len(q.Snapshot()) != before {
		t.Error("mail was removed by a command line that was refused")
	}
}

func TestTopWithoutTerminal(t *testing.T) {
	url, _ := adminNode(t)
	golden(t, "top.txt", dialogue("top", "--interval", "100ms", "--admin", url))
}

func TestNobodyAnswers(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	url := "http://" + l.Addr().String()
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	other := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, "<html>I am a router</html>") }))
	defer other.Close()
	for _, u := range []string{url, other.URL, other.URL + "/v2"} {
		for _, args := range [][]string{
			{"queue", "ls"}, {"queue", "show", "A"}, {"queue", "show", "A", "--body"}, {"queue", "doubts"}, {"queue", "rm", "A"}, {"status"}, {"top"},
		} {
			got := dialogue(append(args, "--admin", u)...)
			if !strings.HasSuffix(got, "(exit 3)\n") {
				t.Errorf("%s", got)
			}
			if u == url && !strings.Contains(got, "no Tarishi answers at "+url+"; is `tarishi serve` running?") {
				t.Errorf("%s", got)
			}
		}
	}
	for _, bad := range []string{"127.0.0.1:8025", "ftp://x", "http://", "http://x/?y=1", "::"} {
		if got := dialogue("queue", "ls", "--admin", bad); !strings.HasSuffix(got, "(exit 2)\n") || !strings.Contains(got, "looks like http://127.0.0.1:8025") {
			t.Errorf("--admin %s: %s", bad, got)
		}
	}
}

func TestAdminFromEnvironment(t *testing.T) {
	url, _ := adminNode(t)
	t.Setenv("TARISHI_ADMIN", url)
	if got := dialogue("queue", "ls"); !strings.HasSuffix(got, "(exit 0)\n") {
		t.Error(got)
	}
}

// A node that answers but cannot list its queue is exit 3 too: ask again later.
func TestQueueUnavailable(t *testing.T) {
	url, q := adminNode(t)
	q.Err = errors.New("the store is slow")
	for _, args := range [][]string{{"queue", "ls"}, {"queue", "ls", "--id", "A"}, {"queue", "doubts"}, {"queue", "hold", "A"}} {
		got := dialogue(append(args, "--admin", url)...)
		if !strings.HasSuffix(got, "(exit 3)\n") || !strings.Contains(got, "the store is slow") {
			t.Error(got)
		}
	}
}

func TestNotReadyIsExit1(t *testing.T) {
	s := admin.New(admin.Config{Node: "n", Queue: admintest.New(), Checks: []admin.Check{{Name: "queue", Ask: func(context.Context) error { return errors.New("storage limit reached") }}}})
	srv := httptest.NewServer(s.Handler())
	defer srv.Close()
	got := dialogue("status", "--interval", "0", "--admin", srv.URL)
	if !strings.HasSuffix(got, "(exit 1)\n") || !strings.Contains(got, "NOT READY  queue: storage limit reached") {
		t.Error(got)
	}
}

// A node that dies during an action is said so, with what was done.
func TestActionCutOff(t *testing.T) {
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "application/x-ndjson")
		fmt.Fprintln(w, `{"action":"rm","matched":7,"changed":5}`)
		_ = http.NewResponseController(w).Flush()
		panic(http.ErrAbortHandler)
	}))
	srv.Config.ErrorLog = nil
	defer srv.Close()
	got := dialogue("queue", "rm", "A", "--admin", srv.URL)
	if !strings.HasSuffix(got, "(exit 1)\n") || !strings.Contains(got, "stopped answering after 5 were done") {
		t.Error(got)
	}
}
