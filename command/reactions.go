package command

import (
	"context"
	"fmt"
	"io"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/tarishi/tarishi/admin"
	"github.com/tarishi/tarishi/shaping"
)

// reactionsCommand is `tarishi reactions`: what receivers' replies have brought upon
// their destinations, for the whole cluster.
func reactionsCommand() *cobra.Command {
	n := &node{}
	c := &cobra.Command{
		Use:   "reactions",
		Short: "See, undo and add what replies bring upon a destination",
		Long: `See, undo and add what replies bring upon a destination, in the whole cluster: less
mail, fewer connections, none for a while. Rules about replies ask for it (see
tarishi rules); it ends by itself. It never allows more than the limits do.

Exit codes: 0 done; 1 refused by the nodes, or not known to be in force
everywhere; 2 the command line or the change is wrong; 3 no node answers.`,
		Example: `  tarishi reactions ls
  tarishi reactions show r7
  tarishi reactions undo r7 --reason "they have lifted the block"
  tarishi reactions add yahoo "suspend for 2h" --reason TSS04
  tarishi reactions add example.org "slow 0.5 per source from 60/1m for 1d" --source 192.0.2.1`,
		RunE: func(c *cobra.Command, args []string) error {
			if len(args) > 0 {
				return usageError("there is no `tarishi reactions %s`; see `tarishi reactions --help`", clean(args[0]))
			}
			return c.Help()
		},
	}
	n.flags(c)
	c.AddCommand(reactionsLs(n), reactionsShow(n), reactionsUndo(n), reactionsAdd(n))
	return operator(c)
}

// reactionsLs lists them.
func reactionsLs(n *node) *cobra.Command {
	var to string
	c := &cobra.Command{
		Use:     "ls",
		Aliases: []string{"list"},
		Short:   "List the reactions in force",
		Args:    noArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			client, err := n.client()
			if err != nil {
				return err
			}
			l, err := client.Reactions(c.Context())
			if err != nil {
				return err
			}
			l.Reactions = reactionsTo(l.Reactions, to)
			if n.asJSON {
				return printJSON(c.OutOrStdout(), l)
			}
			width, _ := ttySize(c.OutOrStdout())
			printReactions(c.OutOrStdout(), l, width)
			return nil
		},
	}
	c.Flags().StringVar(&to, "to", "", "only those to a destination whose name contains `TEXT`")
	return c
}

// reactionsTo is those whose destination's name contains a text.
func reactionsTo(rs []admin.ReactionLine, text string) []admin.ReactionLine {
	return slices.DeleteFunc(slices.Clone(rs), func(r admin.ReactionLine) bool { return !strings.Contains(r.To.String(), text) })
}

func printReactions(w io.Writer, l admin.ReactionsList, width int) {
	if len(l.Reactions) == 0 {
		fmt.Fprintln(w, "There are none.")
		return
	}
	t := table{head: []string{"ID", "~TO", "DOES", "BY", ">TIMES", "SINCE", "ENDS", "~CAUSE"}}
	for i := range l.Reactions {
		r := &l.Reactions[i]
		t.add(r.Ref(), r.Whom, r.What, r.By(), count(r.Times), ago(l.Now, r.At), ends(l.Now, r), r.Cause)
	}
	t.write(w, width)
}

// ends says when a reaction is over, as far as that is known.
func ends(now time.Time, r *admin.ReactionLine) string {
	var items []string
	if !r.Next.IsZero() {
		items = append(items, "recovers "+until(now, r.Next))
	}
	if !r.Until.IsZero() {
		items = append(items, until(now, r.Until))
	}
	return strings.Join(items, "; ends ")
}

// reactionsShow shows one whole.
func reactionsShow(n *node) *cobra.Command {
	return &cobra.Command{
		Use:   "show ID",
		Short: "Show one reaction",
		Args:  oneArg("ID"),
		RunE: func(c *cobra.Command, args []string) error {
			id, err := shaping.ParseReactionID(args[0])
			if err != nil {
				return usageError("%w", err)
			}
			client, err := n.client()
			if err != nil {
				return err
			}
			l, err := client.Reactions(c.Context())
			if err != nil {
				return err
			}
			i := slices.IndexFunc(l.Reactions, func(r admin.ReactionLine) bool { return r.ID == id })
			if i < 0 {
				return usageError("there is no reaction r%d; it may be over: see `tarishi limits history`", id)
			}
			if n.asJSON {
				return printJSON(c.OutOrStdout(), l.Reactions[i])
			}
			printReaction(c.OutOrStdout(), l.Now, &l.Reactions[i])
			return nil
		},
	}
}

func printReaction(w io.Writer, now time.Time, r *admin.ReactionLine) {
	line := func(key, format string, args ...any) {
		fmt.Fprintf(w, "%-9s %s\n", key, clean(fmt.Sprintf(format, args...)))
	}
	line("reaction", "%s, asked for %s", r.Ref(), plural(r.Times, "time", "times"))
	line("to", "%s", r.Whom)
	line("does", "%s", r.What)
	line("remedy", "%s", r.Remedy)
	line("by", "%s", r.By())
	if r.Cause != "" {
		line("cause", "%s", r.Cause)
	}
	line("since", "%s", stamp(r.At, ago(now, r.At)))
	if !r.Last.Equal(r.At) {
		line("again", "%s", stamp(r.Last, ago(now, r.Last)))
	}
	if !r.Next.IsZero() {
		line("recovers", "%s of the whole, %s", r.Remedy.Recover, stamp(r.Next, until(now, r.Next)))
	}
	if !r.Until.IsZero() {
		line("ends", "%s", stamp(r.Until, until(now, r.Until)))
	}
}

// reactionsUndo ends some.
func reactionsUndo(n *node) *cobra.Command {
	var to, reason string
	var all bool
	c := &cobra.Command{
		Use:   "undo ID...",
		Short: "End reactions; the rule that asked for one may ask again",
		RunE: func(c *cobra.Command, args []string) error {
			o := admin.ReactionOrder{Reason: reason}
			for _, a := range args {
				id, err := shaping.ParseReactionID(a)
				if err != nil {
					return usageError("%w", err)
				}
				o.IDs = append(o.IDs, id)
			}
			if given := len(args) > 0; given == (all || to != "") {
				return usageError("say which: their ids, or --to, or --all")
			}
			if len(args) == 0 {
				client, err := n.client()
				if err != nil {
					return err
				}
				l, err := client.Reactions(c.Context())
				if err != nil {
					return err
				}
				for _, r := range reactionsTo(l.Reactions, to) {
					o.IDs = append(o.IDs, r.ID)
				}
				if len(o.IDs) == 0 {
					if !n.asJSON {
						fmt.Fprintln(c.OutOrStdout(), "There are none.")
					}
					return nil
				}
			}
			return changeReactions(c, n, admin.UndoReactions, o)
		},
	}
	c.Flags().StringVar(&to, "to", "", "all to destinations whose name contains `TEXT`")
	c.Flags().BoolVar(&all, "all", false, "all there are")
	reasonFlag(c, &reason)
	return c
}

// reactionsAdd makes one by hand.
func reactionsAdd(n *node) *cobra.Command {
	var o admin.ReactionOrder
	c := &cobra.Command{
		Use:   "add TO REMEDY",
		Short: `Have something done as if replies had asked for it: "slow 0.5 for 2h"`,
		Long: `Have something done as if replies had asked for it. TO is a domain or a destination
that is named in the configuration. REMEDY is one of

  slow 0.5 [per source|tenant] [from 60/1m] [floor 1/1m] [recover 5%/5m] [for 6h]
  suspend [per source|tenant] for 2h
  hold for 1h                          (the mail of one tenant)
  connections 0.5 [per source] for 1h

slow leaves a share of what the limits allow, each time it is said; where nothing is
limited it begins at "from". It gives back a part of the whole in each step.`,
		Args: func(c *cobra.Command, args []string) error {
			if len(args) < 2 {
				return usageError(`TO and REMEDY are needed, as in: %s example.org "suspend for 2h"`, c.CommandPath())
			}
			return nil
		},
		RunE: func(c *cobra.Command, args []string) error {
			o.To, o.Remedy = args[0], strings.Join(args[1:], " ")
			if _, err := shaping.ParseRemedy(o.Remedy); err != nil {
				return usageError("%w", err)
			}
			return changeReactions(c, n, admin.AddReaction, o)
		},
	}
	c.Flags().StringVar(&o.Source, "source", "", "the address we send from, for a remedy per source")
	c.Flags().StringVar(&o.Tenant, "tenant", "", "the tenant, for a remedy per tenant")
	c.Flags().StringSliceVar(&o.MX, "mx", nil, "take these `HOSTS` for the domain's MX instead of asking DNS")
	reasonFlag(c, &o.Reason)
	return c
}

func changeReactions(c *cobra.Command, n *node, v admin.ReactionVerb, o admin.ReactionOrder) error {
	client, err := n.client()
	if err != nil {
		return err
	}
	o.Author = author()
	return followChange(c, n, func(ctx context.Context, each func(admin.LimitProgress)) (admin.LimitProgress, error) {
		return client.ChangeReactions(ctx, v, o, each)
	}, func(p admin.LimitProgress) string { return changeReport(admin.SuspendLimit, p) })
}
