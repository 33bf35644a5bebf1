package main

import (
	"bufio"
	"fmt"
	"os"
	"os/user"
	"strings"

	"github.com/spf13/cobra"

	"github.com/tarishi/tarishi/admin"
)

// verb is one action on the queue, as the command line words it.
type verb struct {
	action   admin.Action
	short    string
	done     string // "retried": what has become of each
	question string // asked on a terminal; empty: not asked
}

var verbs = []verb{
	{admin.Retry, "Attempt now, ahead of schedule (held mail stays held)", "due now", ""},
	{admin.Hold, "Keep from being attempted until released", "held", ""},
	{admin.Release, "Let held mail go again, now", "released", ""},
	{admin.Rm, "Remove without telling the senders", "removed", "Remove %s (%s) without telling the senders?"},
	{admin.Bounce, "Remove and send the senders a failure notice", "bounced", "Bounce %s (%s) to the senders?"},
}

// queueAct is `tarishi queue retry|hold|release|rm|bounce`.
func queueAct(n *node, v verb) *cobra.Command {
	var s selection
	var yes bool
	var reason string
	c := &cobra.Command{
		Use:   string(v.action) + " [ID...]",
		Short: v.short,
		RunE: func(c *cobra.Command, ids []string) error {
			fs, err := s.filters(c, ids)
			if err != nil {
				return err
			}
			client, err := n.client()
			if err != nil {
				return err
			}
			if v.question != "" && !yes && tty(c.InOrStdin()) {
				ok, err := confirm(c, client, v, fs)
				if err != nil {
					return err
				}
				if !ok {
					return partly("nothing was changed")
				}
			}
			return actAll(c, n, client, v, fs, reason)
		},
	}
	s.flags(c)
	if v.question != "" {
		c.Flags().BoolVarP(&yes, "yes", "y", false, "do not ask")
	}
	what := "why, for the log"
	if v.action == admin.Bounce {
		what = "why, for the log and the notice"
	}
	c.Flags().StringVar(&reason, "reason", "", what)
	return c
}

// confirm asks the person at the terminal, naming how much is at stake.
func confirm(c *cobra.Command, client *admin.Client, v verb, fs []admin.Filter) (bool, error) {
	const most = 1000
	total, more := 0, ""
	var names []string
	for _, f := range fs {
		m, err := client.Messages(c.Context(), f, most)
		if err != nil {
			return false, err
		}
		total += len(m.Messages)
		if m.More {
			more = "more than "
		}
		names = append(names, f.String())
	}
	if total == 0 {
		return false, partly("nothing matched %s", clean(strings.Join(names, "; ")))
	}
	fmt.Fprintf(c.ErrOrStderr(), v.question+" [y/N] ", more+plural(total, "delivery", "deliveries"), clean(strings.Join(names, "; ")))
	line, err := bufio.NewReader(c.InOrStdin()).ReadString('\n')
	if err != nil {
		fmt.Fprintln(c.ErrOrStderr())
	}
	line = strings.ToLower(strings.TrimSpace(line))
	return line == "y" || line == "yes", nil
}

// actAll gives one order per filter and sums up what came of them.
func actAll(c *cobra.Command, n *node, client *admin.Client, v verb, fs []admin.Filter, reason string) error {
	sum := admin.Progress{Action: v.action, Final: true}
	// A terminal gets one moving line; a log file gets none.
	live := tty(c.ErrOrStderr()) && !n.asJSON
	var err error
	for _, f := range fs {
		o := admin.Order{ID: f.ID, Destination: string(f.Destination), Sender: f.Sender, Author: author(), Reason: reason}
		var p admin.Progress
		p, err = client.Act(c.Context(), v.action, o, func(p admin.Progress) {
			if live {
				fmt.Fprintf(c.ErrOrStderr(), "\r%s %s…\x1b[K", count(sum.Changed+p.Changed), v.done)
			}
		})
		sum.Matched += p.Matched
		sum.Changed += p.Changed
		sum.Unchanged += p.Unchanged
		sum.Busy += p.Busy
		sum.Ordered += p.Ordered
		sum.Error = p.Error
		if err != nil || p.Error != "" {
			break
		}
	}
	if live {
		fmt.Fprint(c.ErrOrStderr(), "\r\x1b[K")
	}
	if n.asJSON && (err == nil || sum.Changed > 0) {
		if e := printJSON(c.OutOrStdout(), sum); e != nil && err == nil {
			err = e
		}
	}
	switch {
	case err != nil:
		return err
	case sum.Error != "":
		return partly("%s", clean(sum.Error))
	case sum.Matched == 0:
		return partly("nothing matched")
	}
	if !n.asJSON {
		fmt.Fprintln(c.OutOrStdout(), report(v, sum))
	}
	if sum.Busy > 0 {
		return partly("%s being sent just then and not touched; ask again in a minute", plural(sum.Busy, "was", "were"))
	}
	return nil
}

// report is the line that says what was done.
func report(v verb, p admin.Progress) string {
	s := fmt.Sprintf("%s %s", plural(p.Changed, "delivery", "deliveries"), v.done)
	if p.Unchanged > 0 {
		why := map[admin.Action]string{
			admin.Retry:   "due already or held",
			admin.Hold:    "held already",
			admin.Release: "not held",
		}[v.action]
		s += fmt.Sprintf("; %s left alone (%s)", count(p.Unchanged), why)
	}
	if p.Ordered > 0 {
		s += fmt.Sprintf("; %s ready to go and will be when a node takes %s", plural(p.Ordered, "more is", "more are"), map[bool]string{true: "it", false: "them"}[p.Ordered == 1])
	}
	return s + "."
}

// author is who gives the order, for the node's log: a claim, not a proof.
func author() string {
	name := "unknown"
	if u, err := user.Current(); err == nil {
		name = u.Username
	}
	if host, err := os.Hostname(); err == nil {
		name += "@" + host
	}
	return strings.Map(func(r rune) rune {
		if r < ' ' || r > '~' {
			return '?'
		}
		return r
	}, name[:min(len(name), 128)])
}
