package command

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

// windows fails exactly when a limit was broken, and names the connection.
func TestBenchWindows(t *testing.T) {
	record := filepath.Join(t.TempDir(), "record")
	if err := os.WriteFile(record, []byte("start\t1\t1\tA\nopen\t2\t1\t10.0.0.1:9\tA\nmail\t10\t1\td.test\ts@x\nmail\t1000000010\t1\td.test\ts@x\nclose\t1000000020\t1\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	out, err := runBench("windows", "--record", record, "--limit", "d.test=1/1s", "--connections", "d.test=1", "--per-connection", "d.test=2", "--new-connections", "d.test=1/1h")
	if err != nil || strings.Count(out, "kept") != 4 {
		t.Errorf("kept: %v\n%s", err, out)
	}
	out, err = runBench("windows", record, "--record", record, "--json", "--destination", "all=d.test", "--limit", "all=2/1.000000001s")
	if err == nil || !strings.Contains(out, `"violations": 2`) {
		t.Errorf("two records, each with a message too many for both: %v\n%s", err, out)
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
		{"windows"},
		{"windows", "--record", "/nowhere"},
		{"windows", "--record", "bench_test.go"},
		{"windows", "--record", "/dev/null", "--limit", "d=1"},
		{"windows", "--record", "/dev/null", "--limit", "d=1/1s"},
		{"windows", "--record", "/dev/null", "--connections", "d"},
		{"windows", "--record", "/dev/null", "--destination", "d"},
	} {
		if out, err := runBench(args...); err == nil {
			t.Errorf("%v: no error\n%s", args, out)
		}
	}
}
