package command

import (
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// runConfig runs `tarishi config args...` and returns what it printed.
func runConfig(t *testing.T, args ...string) (out, errs string, err error) {
	t.Helper()
	var o, e bytes.Buffer
	c := configCommand(builtinKinds())
	c.SilenceErrors, c.SilenceUsage = true, true
	c.SetOut(&o)
	c.SetErr(&e)
	c.SetArgs(args)
	err = c.Execute()
	return o.String(), e.String(), err
}

func TestConfigCommand(t *testing.T) {
	file := filepath.Join(t.TempDir(), "tarishi.yaml")
	write := func(text string) {
		t.Helper()
		if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	write("hostname: mx.test\nlimts: []\n")
	_, _, err := runConfig(t, "check", "--config", file)
	if want := file + `:2: unknown key "limts"; did you mean "limits"?`; err == nil || err.Error() != want {
		t.Errorf("got %v, want %s", err, want)
	}

	write("hostname: mx.test\nsmtp: {max_recipients: 123}\n")
	out, warnings, err := runConfig(t, "check", "--config", file)
	if err != nil || out != "configuration ok\n" || !strings.HasPrefix(warnings, "warning: local.domains is empty") {
		t.Errorf("%q %q %v", out, warnings, err)
	}

	// What is printed, printed again, is the same.
	first, _, err := runConfig(t, "print", "--config", file)
	if err != nil || !strings.Contains(first, "max_recipients: 123") {
		t.Fatalf("%v\n%s", err, first)
	}
	write(first)
	second, _, err := runConfig(t, "print", "--config", file)
	if err != nil || second != first {
		t.Errorf("%v\n%s", err, second)
	}
}
