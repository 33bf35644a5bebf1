package main

import (
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// runBench runs `tarishi bench` with args and returns what it printed.
func runBench(args ...string) (string, error) {
	c := benchCommand()
	var out bytes.Buffer
	c.SetOut(&out)
	c.SetErr(&out)
	c.SetArgs(args)
	err := c.Execute()
	return out.String(), err
}

// check fails, and so exits 1, exactly when mail was lost.
func TestBenchCheck(t *testing.T) {
	dir := t.TempDir()
	sent, got := filepath.Join(dir, "sent"), filepath.Join(dir, "got")
	for name, text := range map[string]string{sent: "a\t1\tx@d\nb\t2\tx@d\n", got: "a\t3\tx@d\na\t4\tx@d\n"} {
		if err := os.WriteFile(name, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	out, err := runBench("check", "--sent", sent, "--received", got, "--json")
	if err == nil || !strings.Contains(out, `"lost": 1`) || !strings.Contains(out, `"duplicates": 1`) {
		t.Errorf("lost mail: %v\n%s", err, out)
	}
	if out, err = runBench("check", "--sent", got, "--received", got); err != nil || !strings.Contains(out, "0 lost") {
		t.Errorf("nothing lost: %v\n%s", err, out)
	}
}

func TestBenchFlags(t *testing.T) {
	for _, args := range [][]string{
		{"source", "--messages", "1", "--pipelining", "perhaps"},
		{"source"},
		{"source", "--messages", "1", "--tls", "x"},
		{"sink", "--extensions", "x"},
		{"sink", "--stall", "quit"},
		{"check", "--sent", "x"},
	} {
		if out, err := runBench(args...); err == nil {
			t.Errorf("%v: no error\n%s", args, out)
		}
	}
}
