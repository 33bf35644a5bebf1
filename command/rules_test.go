package command

import (
	"bytes"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/spf13/cobra"
)

// rules runs `tarishi rules`.
func rules(args ...string) (out string, code int) {
	var b bytes.Buffer
	root := &cobra.Command{Use: "tarishi", SilenceErrors: true, SilenceUsage: true}
	root.AddCommand(rulesCommand())
	root.SetArgs(append([]string{"rules"}, args...))
	root.SetOut(&b)
	root.SetErr(&b)
	err := root.Execute()
	if err != nil {
		fmt.Fprintln(&b, "tarishi:", err)
	}
	return b.String(), exitCode(err)
}

func TestRulesTry(t *testing.T) {
	out, code := rules("try", "--destination", "google", "--reply", "421 4.7.28 Gmail has detected an unusual rate of unsolicited mail")
	want := `Class      RateLimited: too much from us: messages, connections, recipients
Action     slow
Rule       google/unusual-rate (pack)
Reactions  google: slow 0.5 per source from 60/1m floor 1/1m recover 5%/10m for 6h, after 3 in 10m
`
	if out != want || code != 0 {
		t.Errorf("exit %d\n%s\nwant\n%s", code, out, want)
	}
	out, code = rules("try", "--json", "--phase", "rcpt", "--reply", "550 5.1.1 nobody")
	var v trial
	if err := json.Unmarshal([]byte(out), &v); err != nil || code != 0 || v.Class != "InvalidRecipient" || v.Action != "suppress" || v.Rule != "" {
		t.Errorf("exit %d, %v\n%s", code, err, out)
	}
	for _, x := range []struct{ want, args string }{
		{"is no reply", "try --reply hello"},
		{"no destination has that name", "try --destination gogle --reply 421"},
		{"write connect, hello", "try --phase banner --reply 421"},
		{"there is no `tarishi rules tidy`", "tidy"},
		{"one word too many", "ls x"},
	} {
		if out, code := rules(strings.Fields(x.args)...); code != exitUsage || !strings.Contains(out, x.want) {
			t.Errorf("%s: exit %d %s", x.args, code, out)
		}
	}
}

func TestRulesLint(t *testing.T) {
	name := filepath.Join(t.TempDir(), "mine.yaml")
	lint := func(text string) (string, int) {
		if err := os.WriteFile(name, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		out, code := rules("lint", name)
		return strings.ReplaceAll(out, filepath.Dir(name)+"/", ""), code
	}
	rule := func(name, text string) string {
		return fmt.Sprintf("  - name: %s\n    for: [google]\n    when: {text: %q}\n    class: RateLimited\n", name, text)
	}
	if out, code := lint("rules:\n" + rule("a", "unusual rate")); code != 0 || !strings.Contains(out, "the pack's google/unusual-rate has no turn any more") || !strings.Contains(out, "rules ok") {
		t.Errorf("exit %d\n%s", code, out)
	}
	if out, code := lint("rules:\n" + rule("a", "unusual rate") + rule("b", "unusual rate of unsolicited")); code != exitPartly || !strings.Contains(out, "mine.yaml:6: rules[1]: b: never has its turn") {
		t.Errorf("exit %d\n%s", code, out)
	}
	if out, code := lint("rules:\n" + rule("a", "421 slow$er")); code != exitUsage || !strings.Contains(out, "mine.yaml:4: rules[0].when.text: a: begins with a code") {
		t.Errorf("exit %d\n%s", code, out)
	}
	if out, code := rules("lint"); code != 0 {
		t.Errorf("the pack alone: exit %d\n%s", code, out)
	}
}

func TestRulesLs(t *testing.T) {
	out, code := rules("ls", "--json", "--destination", "yahoo")
	var list []ruleInfo
	if err := json.Unmarshal([]byte(out), &list); err != nil || code != 0 || len(list) < 10 || list[0].From != "pack" || list[0].Text == "" {
		t.Errorf("exit %d, %v, %d rules", code, err, len(list))
	}
	for _, r := range list {
		if r.For[0] != "yahoo" && r.For[0] != "*" {
			t.Errorf("%s is for %v", r.Name, r.For)
		}
	}
}

func TestRulesDestinations(t *testing.T) {
	out, code := rules("destinations", "--json")
	var list []groupInfo
	if err := json.Unmarshal([]byte(out), &list); err != nil || code != 0 || len(list) < 20 || len(list[0].MX) == 0 {
		t.Errorf("exit %d, %v, %d destinations", code, err, len(list))
	}
	if out, code := rules("destinations"); code != 0 || !strings.Contains(out, "*.google.com *.googlemail.com") {
		t.Errorf("exit %d\n%s", code, out)
	}
}

// What `rules limits` prints is taken by `limits apply`, and its destinations are
// those of the pack.
func TestRulesLimits(t *testing.T) {
	out, code := rules("limits")
	conf := filepath.Join(t.TempDir(), "t.yaml")
	if err := os.WriteFile(conf, []byte(out), 0o600); err != nil || code != 0 {
		t.Fatal(code, err)
	}
	if out, code := rules("lint", "-c", conf); code != 0 {
		t.Errorf("as a configuration: exit %d\n%s", code, out)
	}
}
