package command

import (
	"cmp"
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/tarishi/tarishi/admin"
)

// queueSummary is `tarishi queue summary`.
func queueSummary(n *node) *cobra.Command {
	return &cobra.Command{
		Use:   "summary",
		Short: "Show the queue in a few numbers: by state, tenant, class, and when it is due",
		Args:  noArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			client, err := n.client()
			if err != nil {
				return err
			}
			s, err := client.Summary(c.Context())
			if err != nil {
				return err
			}
			if n.asJSON {
				return printJSON(c.OutOrStdout(), s)
			}
			printSummary(c.OutOrStdout(), s)
			return nil
		},
	}
}

// summaryTenants is how many tenants a summary names.
const summaryTenants = 10

func printSummary(w io.Writer, s admin.QueueSummary) {
	fmt.Fprintf(w, "%s ready, %s waiting, %s held; %s being sent; %s.\n", count(s.Ready), count(s.Waiting), count(s.Held), count(s.Active),
		plural(s.Destinations, "destination waits", "destinations wait"))
	var due []string
	for _, d := range s.Due {
		if d.Count == 0 {
			continue
		}
		when := "later"
		if within, err := time.ParseDuration(d.Within); err == nil {
			if when = "now"; within > 0 {
				when = "within " + spell(within)
			}
		}
		due = append(due, when+" "+count(d.Count))
	}
	if len(due) > 0 {
		fmt.Fprintf(w, "Due: %s.\n", strings.Join(due, ", "))
	}
	if parts := most(s.Classes, len(s.Classes)); len(s.Classes) > 1 {
		fmt.Fprintf(w, "By class: %s.\n", strings.Join(parts, ", "))
	}
	if len(s.Tenants) > 1 || len(s.Tenants) == 1 && s.Tenants[""] == 0 {
		parts := most(s.Tenants, summaryTenants)
		if rest := len(s.Tenants) - len(parts); rest > 0 {
			parts = append(parts, plural(rest, "other tenant", "other tenants"))
		}
		fmt.Fprintf(w, "By tenant: %s.\n", strings.Join(parts, ", "))
	}
}

// most names the largest of some counts.
func most(by map[string]int64, n int) (out []string) {
	names := slices.SortedFunc(maps.Keys(by), func(a, b string) int {
		return cmp.Or(cmp.Compare(by[b], by[a]), strings.Compare(a, b))
	})
	for _, name := range names[:min(n, len(names))] {
		shown := clean(name)
		if name == "" {
			shown = "of no tenant"
		}
		out = append(out, shown+" "+count(by[name]))
	}
	return out
}
