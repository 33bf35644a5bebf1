package command

import (
	"fmt"
	"io"
	"time"

	"github.com/spf13/cobra"

	"github.com/tarishi/tarishi/admin"
)

// suppressCommand is `tarishi suppress`: the list of those who are sent nothing.
func suppressCommand() *cobra.Command {
	n := &node{}
	c := &cobra.Command{
		Use:   "suppress",
		Short: "See and change the list of those who are sent nothing",
		Long: `See and change the list of those who are sent nothing.

Who is on it is refused at RCPT, and mail that waits for him is returned to its
sender without an attempt. An entry concerns everybody's mail, or one tenant's.

Exit codes: 0 done, or not on the list; 1 on the list, nothing matched, or some
of it was refused; 2 the command line is wrong; 3 no node answers.`,
		Example: `  tarishi suppress check u@example.net
  tarishi suppress add u@example.net --reason "asked for it" --expires 90d
  tarishi suppress ls --tenant acme --prefix @example.net
  tarishi suppress export > list.jsonl
  tarishi suppress import list.jsonl`,
		RunE: func(c *cobra.Command, args []string) error {
			if len(args) > 0 {
				return usageError("there is no `tarishi suppress %s`; see `tarishi suppress --help`", clean(args[0]))
			}
			return c.Help()
		},
	}
	n.flags(c)
	c.AddCommand(suppressAdd(n), suppressRm(n), suppressCheck(n), suppressLs(n), suppressImport(n), suppressExport(n))
	return operator(c)
}

const tenantUsage = "`tenant` whose mail it concerns; default: everybody's"

func suppressAdd(n *node) *cobra.Command {
	var tenant, reason, expires string
	c := &cobra.Command{
		Use:   "add ADDRESS...",
		Short: "Put addresses on the list",
		Args:  someAddresses,
		RunE: func(c *cobra.Command, args []string) error {
			o := admin.SuppressOrder{Author: author()}
			for _, a := range args {
				o.Entries = append(o.Entries, admin.SuppressEntry{Address: a, Tenant: tenant, Reason: reason, Expires: expires, Source: "operator"})
			}
			client, err := n.client()
			if err != nil {
				return err
			}
			v, err := client.Suppress(c.Context(), o)
			if err != nil {
				return err
			}
			return suppressed(c, n, v, "put on the list")
		},
	}
	c.Flags().StringVar(&tenant, "tenant", "", tenantUsage)
	c.Flags().StringVar(&reason, "reason", "", "why, for people and for refusals")
	c.Flags().StringVar(&expires, "expires", "", "until when, or how long: 2027-01-31, 90d; default: for ever")
	return c
}

func suppressRm(n *node) *cobra.Command {
	var tenant string
	c := &cobra.Command{
		Use:     "rm ADDRESS...",
		Aliases: []string{"remove"},
		Short:   "Take addresses off the list",
		Args:    someAddresses,
		RunE: func(c *cobra.Command, args []string) error {
			o := admin.SuppressOrder{Author: author()}
			for _, a := range args {
				o.Entries = append(o.Entries, admin.SuppressEntry{Address: a, Tenant: tenant})
			}
			client, err := n.client()
			if err != nil {
				return err
			}
			v, err := client.Unsuppress(c.Context(), o)
			if err != nil {
				return err
			}
			if err := suppressed(c, n, v, "taken off the list"); err != nil {
				return err
			}
			if left := len(args) - v.Changed; left > 0 {
				of := "everybody's mail"
				if tenant != "" {
					of = "mail of " + tenant
				}
				return partly("%s not on the list for %s", plural(left, "was", "were"), of)
			}
			return nil
		},
	}
	c.Flags().StringVar(&tenant, "tenant", "", tenantUsage)
	return c
}

// someAddresses wants at least one.
func someAddresses(c *cobra.Command, args []string) error {
	if len(args) == 0 {
		return usageError("which address? see `%s --help`", c.CommandPath())
	}
	return nil
}

// suppressed says what became of an order.
func suppressed(c *cobra.Command, n *node, v admin.SuppressAnswer, done string) error {
	if n.asJSON {
		if err := printJSON(c.OutOrStdout(), v); err != nil {
			return err
		}
	} else if v.Changed > 0 {
		fmt.Fprintf(c.OutOrStdout(), "%s %s.\n", plural(v.Changed, "address", "addresses"), done)
	}
	for _, b := range v.Bad {
		fmt.Fprintf(c.ErrOrStderr(), "%s: %s\n", clean(b.Address), clean(b.Error))
	}
	if len(v.Bad) > 0 {
		return partly("%s refused", plural(len(v.Bad), "address was", "addresses were"))
	}
	return nil
}

func suppressCheck(n *node) *cobra.Command {
	var tenant string
	c := &cobra.Command{
		Use:   "check ADDRESS",
		Short: "Tell whether mail may go to an address: exit code 0 if so, else 1",
		Args: func(c *cobra.Command, args []string) error {
			if len(args) != 1 {
				return usageError("which address? see `%s --help`", c.CommandPath())
			}
			return nil
		},
		RunE: func(c *cobra.Command, args []string) error {
			client, err := n.client()
			if err != nil {
				return err
			}
			v, err := client.CheckSuppression(c.Context(), args[0], tenant)
			if err != nil {
				return err
			}
			w := c.OutOrStdout()
			switch {
			case n.asJSON:
				if err := printJSON(w, v); err != nil {
					return err
				}
			case v.Suppressed:
				printSuppression(w, *v.Entry)
			default:
				fmt.Fprintf(w, "%s is not on the list.\n", clean(v.Address))
			}
			if v.Suppressed {
				return partly("%s is on the list", clean(v.Address))
			}
			return nil
		},
	}
	c.Flags().StringVar(&tenant, "tenant", "", "`tenant` whose mail it would be; default: nobody's in particular")
	return c
}

// printSuppression prints all of one entry.
func printSuppression(w io.Writer, e admin.Suppression) {
	row := func(name, value string) {
		if value != "" {
			fmt.Fprintf(w, "%-9s %s\n", name, clean(value))
		}
	}
	row("address", e.Address)
	row("tenant", e.Tenant)
	row("reason", e.Reason)
	row("class", e.Class)
	row("source", e.Source)
	row("event", e.Event)
	row("author", e.Author)
	row("since", e.At.UTC().Format(time.RFC3339))
	if !e.Expires.IsZero() {
		row("expires", e.Expires.UTC().Format(time.RFC3339))
	}
}

func suppressLs(n *node) *cobra.Command {
	var f admin.SuppressionFilter
	var rows int
	var after string
	c := &cobra.Command{
		Use:     "ls",
		Aliases: []string{"list"},
		Short:   "List entries, as they came on the list",
		Args:    noArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			if rows < 1 || rows > 1000 {
				return usageError("--max %d is out of range; give a number from 1 to 1000", rows)
			}
			client, err := n.client()
			if err != nil {
				return err
			}
			v, err := client.Suppressions(c.Context(), f, after, rows)
			if err != nil {
				return err
			}
			if n.asJSON {
				return printJSON(c.OutOrStdout(), v)
			}
			width, _ := ttySize(c.OutOrStdout())
			printSuppressions(c.OutOrStdout(), v, width)
			return nil
		},
	}
	suppressFlags(c, &f)
	c.Flags().IntVar(&rows, "max", 100, "rows to list, at most 1000")
	c.Flags().StringVar(&after, "after", "", "go on at the `place` where the list before ended")
	return c
}

// suppressFlags are those that say which entries are meant.
func suppressFlags(c *cobra.Command, f *admin.SuppressionFilter) {
	c.Flags().BoolVar(&f.Global, "global", false, "only entries that concern everybody's mail")
	c.Flags().StringVar(&f.Tenant, "tenant", "", "only entries that concern this `tenant`'s mail")
	c.Flags().StringVar(&f.Prefix, "prefix", "", "how the address begins; @example.net: its domain")
	c.Flags().StringVar(&f.Reason, "reason", "", "what occurs in the reason")
	c.Flags().StringVar(&f.Source, "source", "", "bounce, api or operator")
}

func printSuppressions(w io.Writer, v admin.SuppressionsList, width int) {
	if len(v.Entries) > 0 {
		t := table{head: []string{"~ADDRESS", "TENANT", "SOURCE", "SINCE", "EXPIRES", "REASON"}}
		for _, e := range v.Entries {
			expires := "never"
			if !e.Expires.IsZero() {
				expires = until(v.Now, e.Expires)
			}
			t.add(e.Address, e.Tenant, e.Source, ago(v.Now, e.At), expires, e.Reason)
		}
		t.write(w, width)
	}
	switch {
	case v.Next != "":
		fmt.Fprintf(w, "There may be more; go on with --after %s.\n", v.Next)
	case len(v.Entries) == 0:
		fmt.Fprintln(w, "Nobody.")
	}
	all := ""
	if !v.Counted {
		all = " so far; the node is still reading them"
	}
	fmt.Fprintf(w, "%s on the list of this cluster%s.\n", plural(v.Count, "entry is", "entries are"), all)
}
