package daemon_test

import (
	"os"
	"strings"
	"testing"

	"github.com/tarishi/tarishi/daemon"
)

// The examples of docs/local.md are configurations.
func TestLocalPage(t *testing.T) {
	page, err := os.ReadFile("../docs/local.md")
	if err != nil {
		t.Fatal(err)
	}
	blocks := strings.Split(string(page), "\n```yaml\n")[1:]
	if len(blocks) != 2 {
		t.Errorf("%d examples", len(blocks))
	}
	for _, b := range blocks {
		b, _, _ = strings.Cut(b, "```")
		if _, err := daemon.Parse("local.md", []byte(b), nil); err != nil {
			t.Error(err)
		}
	}
}
