package replies_test

import (
	"flag"
	"fmt"
	"os"
	"strings"
	"testing"

	"github.com/tarishi/tarishi/replies"
)

var update = flag.Bool("update", false, "write the tables of docs/replies.md")

const manual = "../docs/replies.md"

// The manual's tables are those of the code.
func TestManual(t *testing.T) {
	b, err := os.ReadFile(manual)
	if err != nil {
		t.Fatal(err)
	}
	var classes, actions strings.Builder
	classes.WriteString("| class | after 4yz | after 5yz | meaning |\n|---|---|---|---|\n")
	for _, c := range replies.Classes {
		fmt.Fprintf(&classes, "| %s | %s | %s | %s |\n", c.Class, c.Transient, c.Permanent, c.Meaning)
	}
	actions.WriteString("| action | meaning |\n|---|---|\n")
	for _, a := range replies.Actions {
		fmt.Fprintf(&actions, "| %s | %s |\n", a.Action, a.Meaning)
	}
	is := string(b)
	want := between(t, between(t, is, "classes", classes.String()), "actions", actions.String())
	if *update {
		if err := os.WriteFile(manual, []byte(want), 0o644); err != nil {
			t.Fatal(err)
		}
		return
	}
	if is != want {
		t.Error("docs/replies.md has other tables than the code; go test ./replies -run Manual -update")
	}
}

// between puts text between the marks of a name.
func between(t *testing.T, s, name, text string) string {
	t.Helper()
	open, end := "<!-- "+name+" -->\n", "<!-- /"+name+" -->"
	head, rest, ok := strings.Cut(s, open)
	_, tail, ok2 := strings.Cut(rest, end)
	if !ok || !ok2 {
		t.Fatalf("no marks of %s", name)
	}
	return head + open + text + end + tail
}
