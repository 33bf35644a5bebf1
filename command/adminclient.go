package command

import (
	"encoding/json"
	"io"
	"os"

	"github.com/spf13/cobra"

	"github.com/tarishi/tarishi/admin"
)

// defaultAdmin is where `tarishi serve` listens when it is told nothing else.
const defaultAdmin = "http://127.0.0.1:8025"

// node is the flags of every command that speaks to a node.
type node struct {
	url    string
	asJSON bool
}

func (n *node) flags(c *cobra.Command) {
	at := os.Getenv("TARISHI_ADMIN")
	if at == "" {
		at = defaultAdmin
	}
	c.PersistentFlags().StringVar(&n.url, "admin", at, "`URL` of the node's admin port (environment: TARISHI_ADMIN)")
	c.PersistentFlags().BoolVar(&n.asJSON, "json", false, "print JSON")
}

func (n *node) client() (*admin.Client, error) {
	c, err := admin.NewClient(n.url)
	if err != nil {
		return nil, usageError("%w", err)
	}
	return c, nil
}

// printJSON prints v as people and jq both read it.
func printJSON(w io.Writer, v any) error {
	enc := json.NewEncoder(w)
	enc.SetIndent("", "  ")
	enc.SetEscapeHTML(false)
	return enc.Encode(v)
}
