package command

import (
	"context"
	"fmt"
	"io"
	"os"
	"time"

	"github.com/spf13/cobra"

	"github.com/tarishi/tarishi/admin"
	"github.com/tarishi/tarishi/shaping"
)

// limitsCommand is `tarishi limits`: see and change how much each destination is
// sent, for the whole cluster, through any node's admin port.
func limitsCommand() *cobra.Command {
	n := &node{}
	c := &cobra.Command{
		Use:   "limits",
		Short: "See and change how much each destination is sent",
		Long: `See and change how much each destination is sent, by the whole cluster.

TO is a domain, a destination named in the configuration, "*.example.net" (every
domain below it) or "*". For each field the most specific limit that gives it
decides; of two to the same TO, one set here stands before one of the
configuration file. A change is answered when every node works by it.

Exit codes: 0 done; 1 refused by the nodes, or not known to be in force
everywhere; 2 the command line or the change is wrong; 3 no node answers.`,
		Example: `  tarishi limits ls
  tarishi limits explain gmail.com
  tarishi limits set google --messages 1000/1h,20/1s --connections 5
  tarishi limits set "*" --per tenant --recipients 10000/1d
  tarishi limits unset google --field messages
  tarishi limits suspend example.org --for 2h --reason "they asked for it"
  tarishi limits plan -f new.yaml
  tarishi limits history
  tarishi limits rollback 12`,
		RunE: func(c *cobra.Command, args []string) error {
			if len(args) > 0 {
				return usageError("there is no `tarishi limits %s`; see `tarishi limits --help`", clean(args[0]))
			}
			return c.Help()
		},
	}
	n.flags(c)
	c.AddCommand(limitsLs(n), limitsExplain(n), limitsHistory(n),
		limitsPlan(n), limitsSet(n), limitsUnset(n), limitsApply(n), limitsDiff(n), limitsSuspend(n), limitsResume(n), limitsRollback(n))
	return operator(c)
}

// oneArg is cobra.ExactArgs(1) with our exit code; what names the argument.
func oneArg(what string) cobra.PositionalArgs {
	return func(c *cobra.Command, args []string) error {
		switch {
		case len(args) == 0 || args[0] == "":
			return usageError("%s is missing; see `%s --help`", what, c.CommandPath())
		case len(args) > 1:
			return noArgs(c, args[1:])
		}
		return nil
	}
}

// limitsLs shows what is limited and how it stands.
func limitsLs(n *node) *cobra.Command {
	var rows int
	var watching bool
	var interval time.Duration
	c := &cobra.Command{
		Use:     "ls",
		Aliases: []string{"list"},
		Short:   "List limits, and how those in use stand: used, in flight, waiting, next release",
		Args:    noArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			if rows < 1 || rows > 1000 {
				return usageError("--max %d is out of range; give a number from 1 to 1000", rows)
			}
			if interval < 100*time.Millisecond {
				return usageError("--interval %s is too short; give at least 100ms", interval)
			}
			client, err := n.client()
			if err != nil {
				return err
			}
			in, inOK := c.InOrStdin().(*os.File)
			out, outOK := c.OutOrStdout().(*os.File)
			if watching && !n.asJSON && inOK && outOK && tty(in) && tty(out) {
				return watch(c.Context(), in, out, interval, func(ctx context.Context, w io.Writer, columns, lines int) error {
					l, err := client.Limits(ctx, max(1, min(1000, lines-8)))
					if err == nil {
						printLiveLimits(w, l, columns)
					}
					return err
				})
			}
			for {
				l, err := client.Limits(c.Context(), rows)
				if err != nil {
					return err
				}
				if n.asJSON {
					err = printJSON(c.OutOrStdout(), l)
				} else {
					width, _ := ttySize(c.OutOrStdout())
					printLimits(c.OutOrStdout(), l, width)
				}
				if err != nil || !watching {
					return err
				}
				if err := pause(c.Context(), interval); err != nil {
					return err
				}
			}
		},
	}
	c.Flags().IntVar(&rows, "max", 100, "limits in use to list, at most 1000")
	c.Flags().BoolVar(&watching, "watch", false, "look again and again (q quits)")
	c.Flags().DurationVar(&interval, "interval", 2*time.Second, "time between two looks")
	return c
}

// limitsExplain says what bounds mail to one domain, and which rule says so.
func limitsExplain(n *node) *cobra.Command {
	var mx []string
	var source, tenant string
	c := &cobra.Command{
		Use:   "explain DOMAIN",
		Short: "Say what bounds mail to a domain, and which limit each value comes from",
		Args:  oneArg("DOMAIN"),
		RunE: func(c *cobra.Command, args []string) error {
			client, err := n.client()
			if err != nil {
				return err
			}
			e, err := client.Explain(c.Context(), args[0], mx, source, tenant)
			if err != nil {
				return err
			}
			if n.asJSON {
				return printJSON(c.OutOrStdout(), e)
			}
			width, _ := ttySize(c.OutOrStdout())
			printExplanation(c.OutOrStdout(), e, width)
			return nil
		},
	}
	c.Flags().StringSliceVar(&mx, "mx", nil, "`hosts` to assume as its MX instead of asking DNS")
	c.Flags().StringVar(&source, "source", "", "mail sent from this `address` of ours")
	c.Flags().StringVar(&tenant, "tenant", "", "mail of this `tenant`")
	return c
}

// limitsHistory lists the changes that were made.
func limitsHistory(n *node) *cobra.Command {
	var rows int
	c := &cobra.Command{
		Use:   "history",
		Short: "List the changes that were made, the newest first",
		Args:  noArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			if rows < 1 || rows > 1000 {
				return usageError("--max %d is out of range; give a number from 1 to 1000", rows)
			}
			client, err := n.client()
			if err != nil {
				return err
			}
			h, err := client.LimitHistory(c.Context(), rows)
			if err != nil {
				return err
			}
			if n.asJSON {
				return printJSON(c.OutOrStdout(), h)
			}
			width, _ := ttySize(c.OutOrStdout())
			printHistory(c.OutOrStdout(), h, width)
			return nil
		},
	}
	c.Flags().IntVar(&rows, "max", 20, "changes to list, at most 1000")
	return c
}

// limitsDiff says what an apply would do.
func limitsDiff(n *node) *cobra.Command {
	var file string
	c := &cobra.Command{
		Use:   "diff -f FILE",
		Short: "Say what `apply` of the same file would change (exit 1: something)",
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
			d, err := client.DiffLimits(c.Context(), rules)
			if err != nil {
				return err
			}
			if n.asJSON {
				err = printJSON(c.OutOrStdout(), d)
			} else {
				printDiff(c.OutOrStdout(), d)
			}
			if err == nil && len(d.Differences) > 0 {
				return partly("%s would change", plural(len(d.Differences), "limit", "limits"))
			}
			return err
		},
	}
	c.Flags().StringVarP(&file, "file", "f", "", "`FILE` with limits (YAML or JSON); -: standard input")
	return c
}

// printDiff prints one line per limit that would change.
func printDiff(w io.Writer, d admin.LimitDiff) {
	for _, x := range d.Differences {
		sign := "~"
		switch {
		case x.Before == nil:
			sign = "+"
		case x.After == nil:
			sign = "-"
		}
		fmt.Fprintln(w, sign, clean(x.String()))
	}
	if len(d.Differences) == 0 {
		fmt.Fprintf(w, "Nothing would change (version %d).\n", d.Version)
	}
}

// per is the scope of a rule for a table's cell.
func per(p shaping.Per) string {
	if p == 0 {
		return ""
	}
	return p.String()
}
