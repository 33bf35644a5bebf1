package daemon

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// Scripts that cannot hold the largest message are worth a word before it comes.
func TestScriptsThatCannotHoldAMessageAreWarnedOf(t *testing.T) {
	dir := t.TempDir()
	if err := os.Mkdir(filepath.Join(dir, "plugins"), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, "plugins", "look.js"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	for text, want := range map[string]bool{
		"plugins: {run: [look]}":                                   false,
		"plugins: {run: [look], scripts: {memory: 64MiB}}":         true,
		"plugins: {run: [access], scripts: {memory: 64MiB}}":       false,
		"plugins: {run: [look]}\nsmtp: {max_message_size: 100MiB}": true,
	} {
		c, err := Parse(filepath.Join(dir, "t.yaml"), []byte(text), nil)
		if err != nil {
			t.Fatal(err)
		}
		if got := strings.Contains(strings.Join(c.Warnings, "\n"), "plugins.scripts.memory"); got != want {
			t.Errorf("%s: warned is %v: %q", text, got, c.Warnings)
		}
	}
}
