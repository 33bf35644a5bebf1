package command

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"os"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/tarishi/tarishi/admin"
	"github.com/tarishi/tarishi/daemon"
	"github.com/tarishi/tarishi/shaping"
)

// limitsSet is `tarishi limits set`.
func limitsSet(n *node) *cobra.Command {
	var perNames []string
	var note, reason string
	var shadow bool
	windows := map[shaping.Field]*string{}
	numbers := map[shaping.Field]*int{}
	c := &cobra.Command{
		Use:   "set TO",
		Short: "Limit a destination; what is not given stays as it is",
		Long: `Limit a destination; what is not given stays as it is.

Windows slide: 1000/1h is at most 1000 in any sixty minutes. Several are separated
by commas, and all of them hold. A change keeps the past: lowering 100/1s to 1/1m
counts what was sent in the last minute. 0 suspends.`,
		Args: oneArg("TO"),
		RunE: func(c *cobra.Command, args []string) error {
			p, err := shaping.ParsePer(perNames)
			if err != nil {
				return usageError("--per: %w", err)
			}
			r := shaping.Rule{To: args[0], Per: p, Shadow: shadow, Note: note}
			for f, text := range windows {
				if !c.Flags().Changed(flagOf(f)) {
					continue
				}
				ws, err := shaping.ParseWindows(*text)
				if err != nil {
					return usageError("--%s: %w", flagOf(f), err)
				}
				switch f {
				case shaping.Messages:
					r.Messages = ws
				case shaping.Recipients:
					r.Recipients = ws
				case shaping.NewConnections:
					r.NewConnections = ws
				}
			}
			for f, v := range numbers {
				switch {
				case !c.Flags().Changed(flagOf(f)):
				case f == shaping.Connections:
					r.Connections = v
				default:
					r.PerConnection = v
				}
			}
			if r.Empty() {
				return usageError("nothing is limited; give --messages, --recipients, --new-connections, --connections or --per-connection")
			}
			return changeLimits(c, n, admin.SetLimit, admin.LimitOrder{Rule: &r, Reason: reason})
		},
	}
	for _, x := range []struct {
		f    shaping.Field
		what string
	}{{shaping.Messages, "messages (transactions) begun: `1000/1h[,20/1s]`"}, {shaping.Recipients, "recipients, likewise: `N/TIME`"}, {shaping.NewConnections, "connections begun, likewise: `N/TIME`"}} {
		windows[x.f] = c.Flags().String(flagOf(x.f), "", x.what)
	}
	numbers[shaping.Connections] = c.Flags().Int(flagOf(shaping.Connections), 0, "connections at a time, of all nodes together")
	numbers[shaping.PerConnection] = c.Flags().Int(flagOf(shaping.PerConnection), 0, "messages over one connection")
	c.Flags().StringSliceVar(&perNames, "per", nil, "count apart for each `source`, tenant or source,tenant (default: the whole cluster together)")
	c.Flags().BoolVar(&shadow, "shadow", false, "count what it would hold, and hold nothing (see ls)")
	c.Flags().StringVar(&note, "note", "", "why, kept with the limit")
	reasonFlag(c, &reason)
	return c
}

// flagOf is the flag of a field: --new-connections.
func flagOf(f shaping.Field) string { return strings.ReplaceAll(string(f), "_", "-") }

func reasonFlag(c *cobra.Command, reason *string) {
	c.Flags().StringVar(reason, "reason", "", "why, for the history")
}

// limitsUnset is `tarishi limits unset`.
func limitsUnset(n *node) *cobra.Command {
	var fields, perNames []string
	var reason string
	var shadow bool
	c := &cobra.Command{
		Use:   "unset TO",
		Short: "Take back what was set here; the configuration file's limit shows again",
		Args:  oneArg("TO"),
		RunE: func(c *cobra.Command, args []string) error {
			o := admin.LimitOrder{To: args[0], Shadow: shadow, Reason: reason}
			for _, f := range fields {
				o.Fields = append(o.Fields, shaping.Field(strings.ReplaceAll(f, "-", "_")))
			}
			if c.Flags().Changed("per") {
				// "cluster" is the scope that has no name in a limit.
				p, err := shaping.ParsePer(without(perNames, "cluster"))
				if err != nil {
					return usageError("--per: %w", err)
				}
				o.Per = &p
			}
			return changeLimits(c, n, admin.UnsetLimit, o)
		},
	}
	c.Flags().BoolVar(&shadow, "shadow", false, "only what was set in shadow (default: only what was not)")
	c.Flags().StringSliceVar(&fields, "field", nil, "only these `fields`: messages, recipients, new_connections, connections, per_connection")
	c.Flags().StringSliceVar(&perNames, "per", nil, "only what counts per `source`, tenant, source,tenant or cluster (default: all)")
	reasonFlag(c, &reason)
	return c
}

func without(list []string, word string) []string {
	var out []string
	for _, s := range list {
		if s != word {
			out = append(out, s)
		}
	}
	return out
}

// limitsApply is `tarishi limits apply`.
func limitsApply(n *node) *cobra.Command {
	var file, reason string
	var base uint64
	c := &cobra.Command{
		Use:   "apply -f FILE",
		Short: "Make what is set here exactly the limits of a file (see diff)",
		Long: `Make what is set here exactly the limits of a file: YAML or JSON, a list as it
stands under "limits" in the configuration. What was set here and is not in the
file is taken back. See what would change with diff.`,
		Args: noArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			rules, err := readRules(c, file)
			if err != nil {
				return err
			}
			return changeLimits(c, n, admin.ApplyLimits, admin.LimitOrder{Rules: rules, Base: base, Reason: reason})
		},
	}
	c.Flags().StringVarP(&file, "file", "f", "", "`FILE` with limits (YAML or JSON); -: standard input")
	c.Flags().Uint64Var(&base, "base", 0, "refuse if the limits are not at this `VERSION` any more")
	reasonFlag(c, &reason)
	return c
}

// maxRulesFile bounds what is read as a file of limits.
const maxRulesFile = 8 << 20

// readRules reads a file of limits.
func readRules(c *cobra.Command, file string) ([]shaping.Rule, error) {
	if file == "" {
		return nil, usageError("the file is missing; give -f FILE, or -f - for standard input")
	}
	in, name := c.InOrStdin(), "standard input"
	if file != "-" {
		f, err := os.Open(file)
		if err != nil {
			return nil, usageError("cannot read the limits: %w", err)
		}
		defer func() { _ = f.Close() }() // read only: nothing to lose
		in, name = f, file
	}
	src, err := io.ReadAll(io.LimitReader(in, maxRulesFile+1))
	if err != nil {
		return nil, usageError("cannot read the limits: %w", err)
	}
	if len(src) > maxRulesFile {
		return nil, usageError("%s is larger than %s", name, size(int64(maxRulesFile)))
	}
	if len(bytes.TrimSpace(src)) == 0 {
		// A file that was cut off is one, too, and would take everything back.
		return nil, usageError("%s is empty; write [] for no limits at all", name)
	}
	rules, err := daemon.ParseRules(name, src)
	if err != nil {
		return nil, &exitError{exitUsage, err}
	}
	return rules, nil
}

// limitsSuspend is `tarishi limits suspend`.
func limitsSuspend(n *node) *cobra.Command {
	var length, reason string
	c := &cobra.Command{
		Use:   "suspend TO",
		Short: "Send a destination nothing, for a time or until it is resumed; its mail stays queued",
		Args:  oneArg("TO"),
		RunE: func(c *cobra.Command, args []string) error {
			if c.Flags().Changed("for") {
				if _, err := shaping.ParseLength(length); err != nil {
					return usageError("--for: %w", err)
				}
			}
			return changeLimits(c, n, admin.SuspendLimit, admin.LimitOrder{To: args[0], For: length, Reason: reason})
		},
	}
	c.Flags().StringVar(&length, "for", "", "how long, such as `2h` (default: until it is resumed)")
	reasonFlag(c, &reason)
	return c
}

// limitsResume is `tarishi limits resume`.
func limitsResume(n *node) *cobra.Command {
	var reason string
	c := &cobra.Command{
		Use:   "resume TO",
		Short: "End a suspension",
		Args:  oneArg("TO"),
		RunE: func(c *cobra.Command, args []string) error {
			return changeLimits(c, n, admin.ResumeLimit, admin.LimitOrder{To: args[0], Reason: reason})
		},
	}
	reasonFlag(c, &reason)
	return c
}

// limitsRollback is `tarishi limits rollback`.
func limitsRollback(n *node) *cobra.Command {
	var reason string
	c := &cobra.Command{
		Use:   "rollback VERSION",
		Short: "Set again what was set at an earlier version (suspensions stay as they are)",
		Args:  oneArg("VERSION"),
		RunE: func(c *cobra.Command, args []string) error {
			v, err := strconv.ParseUint(args[0], 10, 64)
			if err != nil {
				return usageError("%q is no version; see `tarishi limits history`", clean(args[0]))
			}
			return changeLimits(c, n, admin.RollbackLimit, admin.LimitOrder{Version: &v, Reason: reason})
		},
	}
	reasonFlag(c, &reason)
	return c
}

// changeLimits gives the order and says when it is in force everywhere.
func changeLimits(c *cobra.Command, n *node, v admin.LimitVerb, o admin.LimitOrder) error {
	client, err := n.client()
	if err != nil {
		return err
	}
	o.Author = author()
	return followChange(c, n, func(ctx context.Context, each func(admin.LimitProgress)) (admin.LimitProgress, error) {
		return client.ChangeLimits(ctx, v, o, each)
	}, func(p admin.LimitProgress) string { return changeReport(v, p) })
}

// followChange makes a change and shows how it comes into force.
func followChange(c *cobra.Command, n *node, change func(context.Context, func(admin.LimitProgress)) (admin.LimitProgress, error), report func(admin.LimitProgress) string) error {
	// Ctrl-C ends the waiting, not the change; the error says so.
	ctx, stop := untilSignal(c.Context())
	defer stop()
	live := tty(c.ErrOrStderr()) && !n.asJSON
	p, err := change(ctx, func(p admin.LimitProgress) {
		if live && len(p.Waiting) > 0 {
			fmt.Fprintf(c.ErrOrStderr(), "\rversion %d is made; %s…\x1b[K", p.Version, waitingFor(p.Waiting))
		}
	})
	if live {
		fmt.Fprint(c.ErrOrStderr(), "\r\x1b[K")
	}
	if n.asJSON && p.Version > 0 {
		if e := printJSON(c.OutOrStdout(), p); e != nil && err == nil {
			err = e
		}
	}
	switch {
	case err != nil && p.Version > 0:
		s := ""
		if len(p.Waiting) > 0 {
			s = "; " + waitingFor(p.Waiting)
		}
		return partly("%w%s", err, s)
	case err != nil:
		return err
	case p.Error != "":
		return partly("%s", clean(p.Error))
	}
	if !n.asJSON {
		fmt.Fprintln(c.OutOrStdout(), report(p))
	}
	return nil
}

// waitingFor names the nodes that do not work by a change yet.
func waitingFor(ls []admin.Laggard) string {
	const most = 5
	var names []string
	for _, l := range ls[:min(most, len(ls))] {
		names = append(names, clean(l.Node))
	}
	s := "waiting for " + strings.Join(names, ", ")
	if more := len(ls) - most; more > 0 {
		s += fmt.Sprintf(" and %d more", more)
	}
	return s
}

// changeReport says what was changed and since when it holds.
func changeReport(v admin.LimitVerb, p admin.LimitProgress) string {
	if p.What == "" {
		return fmt.Sprintf("Nothing to change; version %d is in force.", p.Version)
	}
	s := fmt.Sprintf("%s\nVersion %d, in force on every node", clean(p.What), p.Version)
	if !p.Since.IsZero() {
		// Up to the second: whoever waits for it must not come too early.
		since := p.Since.UTC()
		if down := since.Truncate(time.Second); !down.Equal(since) {
			since = down.Add(time.Second)
		}
		at := since.Format("2006-01-02 15:04:05Z")
		if v == admin.SuspendLimit || v == admin.ResumeLimit {
			s += " since " + at
		} else {
			s += "; exact for any window that begins after " + at
		}
	}
	return s + "."
}
