package main

import (
	"encoding/json"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// TestMain makes of the test's own file the program, when the test starts it again.
func TestMain(m *testing.M) {
	if os.Getenv("OWN_PROGRAM") != "" {
		main()
		return
	}
	os.Exit(m.Run())
}

// try runs `try` of the program with a subject, and returns its exit code.
func try(t *testing.T, config, subject string) (out struct {
	Accepted bool
	Stored   *struct {
		Notes json.RawMessage
		Added []string
	}
}, code int, stderr string) {
	t.Helper()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	c := exec.Command(self, "try", "--config", config, "--to", "ann@example.net", "--message", "-", "--json", "--rdns", "client.example")
	c.Env = append(os.Environ(), "OWN_PROGRAM=yes")
	c.Stdin = strings.NewReader("Subject: " + subject + "\r\n\r\nbody\r\n")
	var errs strings.Builder
	c.Stderr = &errs
	b, err := c.Output()
	var exit *exec.ExitError
	if err != nil && !errors.As(err, &exit) {
		t.Fatal(err)
	}
	if len(b) > 0 {
		if err := json.Unmarshal(b, &out); err != nil {
			t.Fatalf("%v in %s", err, b)
		}
	}
	return out, c.ProcessState.ExitCode(), errs.String()
}

// The program runs its own plugin, with its settings and its list.
func TestOwnPlugin(t *testing.T) {
	for _, x := range []struct {
		subject, notes string
		marked         bool
		code           int
	}{
		{"hello", `{"subjects":0}`, false, 0},
		{"You are a winner", `{"subjects":1}`, true, 0},
		{"Casino lottery winner", "", false, 1},
	} {
		out, code, stderr := try(t, "tarishi.yaml", x.subject)
		if code != x.code || out.Accepted != (x.code == 0) {
			t.Errorf("%s: exit code %d, accepted %v; %s", x.subject, code, out.Accepted, stderr)
			continue
		}
		if out.Stored == nil {
			continue
		}
		marked := strings.Contains(strings.Join(out.Stored.Added, "\n"), "X-Unwanted-Words: winner")
		if marked != x.marked || strings.Join(strings.Fields(string(out.Stored.Notes)), "") != x.notes {
			t.Errorf("%s: marked %v, notes %s", x.subject, marked, out.Stored.Notes)
		}
	}
}

// A wrong setting is told with file and line, before any mail is taken.
func TestOwnPlugin_wrongSettings(t *testing.T) {
	src, err := os.ReadFile("tarishi.yaml")
	if err != nil {
		t.Fatal(err)
	}
	config := filepath.Join(t.TempDir(), "tarishi.yaml")
	bad := strings.Replace(string(src), "mark: 2", "marc: 2", 1)
	if err := os.WriteFile(config, []byte(bad), 0o600); err != nil {
		t.Fatal(err)
	}
	_, code, stderr := try(t, config, "hello")
	if want := config + `:9: unknown key "marc" in plugins.run[0].settings; did you mean "mark"?`; code != 2 || !strings.Contains(stderr, want) {
		t.Errorf("exit code %d, %s\nwant %s", code, stderr, want)
	}
}
