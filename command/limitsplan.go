package command

import (
	"fmt"
	"io"
	"time"

	"github.com/spf13/cobra"

	"github.com/tarishi/tarishi/admin"
)

// limitsPlan says what an apply would do to what waits.
func limitsPlan(n *node) *cobra.Command {
	var file string
	c := &cobra.Command{
		Use:   "plan -f FILE",
		Short: "Say what `apply` of the same file would do to the mail that waits, and how long it would take; change nothing",
		Args:  noArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			rules, err := readRules(c, file)
			if err != nil {
				return err
			}
			client, err := n.client()
			if err != nil {
				return err
			}
			p, err := client.PlanLimits(c.Context(), rules)
			if err != nil {
				return err
			}
			if n.asJSON {
				return printJSON(c.OutOrStdout(), p)
			}
			width, _ := ttySize(c.OutOrStdout())
			printPlan(c.OutOrStdout(), p, width)
			return nil
		},
	}
	c.Flags().StringVarP(&file, "file", "f", "", "`FILE` with limits (YAML or JSON); -: standard input")
	return c
}

// printPlan prints what would change, and what that means for each destination with mail.
func printPlan(w io.Writer, p admin.LimitPlan, width int) {
	printDiff(w, admin.LimitDiff{Version: p.Version, Differences: p.Differences})
	if len(p.Destinations) > 0 {
		fmt.Fprintln(w)
		t := table{head: []string{"~DESTINATION", ">WAITING", "TAKES NOW", "THEN", "~LIMITS NOW", "THEN"}}
		for _, x := range p.Destinations {
			name := x.Destination
			if x.Was != "" {
				name += " (now " + x.Was + ")"
			}
			t.add(name, count(x.Waiting), takes(x.Before), takes(x.After), limitsNow(x.Before), limitsNow(x.After))
		}
		t.write(w, width)
	}
	switch {
	case len(p.Differences) == 0:
	case len(p.Destinations) == 0:
		fmt.Fprintln(w, "No mail that waits would be touched.")
	default:
		fmt.Fprintln(w, "Times are the least that the windows allow, were they empty now.")
	}
	if p.Untouched > 0 {
		fmt.Fprintf(w, "%s for other destinations would not be touched.\n", plural(p.Untouched, "delivery", "deliveries"))
	}
	if p.Unknown > 0 {
		fmt.Fprintf(w, "%s not looked at: too many, or DNS did not answer.\n", plural(p.Unknown, "domain was", "domains were"))
	}
}

// takes is how long a destination's mail takes, in words.
func takes(s admin.PlanState) string {
	switch {
	case s.Suspended:
		return "suspended"
	case s.Seconds == nil:
		return "no window"
	}
	return spell(time.Duration(*s.Seconds) * time.Second)
}

func limitsNow(s admin.PlanState) string {
	if s.Limits == "" {
		return "none"
	}
	return s.Limits
}
