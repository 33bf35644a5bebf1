package trial

import (
	"os"
	"path"
	"slices"
	"strings"
	"testing"

	"github.com/tarishi/tarishi/daemon"
	"github.com/tarishi/tarishi/plugin"
)

// Page makes a Node of a page of docs/plugins, which says all of it: the configuration
// in a block yaml, files in blocks "text config/NAME" (or json, ini), and what a client
// sees in blocks smtp, which are the dialogues.
func Page(t *testing.T, page string, kinds ...plugin.Kind) (*Node, []string) {
	t.Helper()
	src, err := os.ReadFile(path.Join("../../docs/plugins", page))
	if err != nil {
		t.Fatal(err)
	}
	n := &Node{Files: Files{}}
	var dialogues []string
	for _, part := range strings.Split(string(src), "\n```")[1:] {
		info, block, ok := strings.Cut(part, "\n")
		if !ok || info == "" {
			continue // the end of a block
		}
		language, name, _ := strings.Cut(info, " ")
		switch {
		case language == "yaml":
			c, err := daemon.Parse(page, []byte(block), nil)
			if err != nil {
				t.Fatalf("%s: %v", page, err)
			}
			for _, r := range c.Plugins.Run {
				i := slices.IndexFunc(kinds, func(k plugin.Kind) bool { return k.Name == r.Name })
				if i < 0 {
					t.Fatalf("%s: no test of it knows plugin %s", page, r.Name)
				}
				n.Plugins = append(n.Plugins, Use{kinds[i], r.Settings.String()})
			}
		case language == "smtp":
			dialogues = append(dialogues, block)
		case strings.HasPrefix(name, "config/"):
			n.Files[strings.TrimPrefix(name, "config/")] = block + "\n"
		}
	}
	if len(n.Plugins) == 0 || len(dialogues) == 0 {
		t.Fatalf("%s has no example", page)
	}
	return n, dialogues
}
