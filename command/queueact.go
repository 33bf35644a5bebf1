package command

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"os"
	"os/user"
	"strings"

	"github.com/spf13/cobra"

	"github.com/tarishi/tarishi/admin"
)

// verb is one action on the queue, as the command line words it.
type verb struct {
	action   admin.Verb
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

// verbOf finds how an action is worded.
func verbOf(a admin.Verb) verb {
	for _, v := range verbs {
		if v.action == a {
			return v
		}
	}
	return verb{action: a, done: string(a)}
}

// What a signal does to an action that is being watched.
const (
	interruptAsk    = "ask"
	interruptCancel = "cancel"
	interruptDetach = "detach"
)

// acting is how an action is asked for and watched.
type acting struct {
	yes, detach bool
	reason      string
	interrupt   string
}

// queueAct is `tarishi queue retry|hold|release|rm|bounce`.
func queueAct(n *node, v verb) *cobra.Command {
	var s selection
	var a acting
	c := &cobra.Command{
		Use:   string(v.action) + " [ID...]",
		Short: v.short,
		Long: v.short + `.

Several flags combine: what matches all of them is meant, of the mail that has come in
by now. The action is kept by the nodes and goes on whatever becomes of this command or
of a node; see it with ` + "`tarishi queue actions`" + `. Ctrl-C asks whether it is to stop or to
go on alone (--interrupt says so beforehand; without a terminal it stops).`,
		RunE: func(c *cobra.Command, ids []string) error {
			sels, names, err := s.selections(c, ids)
			if err != nil {
				return err
			}
			switch a.interrupt {
			case interruptAsk, interruptCancel, interruptDetach:
			default:
				return usageError("--interrupt %s: write ask, cancel or detach", clean(a.interrupt))
			}
			client, err := n.client()
			if err != nil {
				return err
			}
			if v.question != "" && !a.yes && tty(c.InOrStdin()) {
				ok, err := confirm(c, client, v, sels, names)
				if err != nil {
					return err
				}
				if !ok {
					return partly("nothing was changed")
				}
			}
			return actAll(c, n, client, v, sels, a)
		},
	}
	s.flags(c)
	if v.question != "" {
		c.Flags().BoolVarP(&a.yes, "yes", "y", false, "do not ask")
	}
	what := "why, for the log"
	if v.action == admin.Bounce {
		what = "why, for the log and the notice"
	}
	c.Flags().StringVar(&a.reason, "reason", "", what)
	c.Flags().BoolVar(&a.detach, "detach", false, "do not wait until it is done")
	c.Flags().StringVar(&a.interrupt, "interrupt", interruptAsk, "what Ctrl-C does: `ask`, cancel or detach")
	return c
}

// confirm asks the person at the terminal, naming how much is at stake.
func confirm(c *cobra.Command, client *admin.Client, v verb, sels []admin.Selection, names []string) (bool, error) {
	const most = 1000
	total, more := 0, ""
	for _, s := range sels {
		m, err := client.Messages(c.Context(), s, most, "")
		if err != nil {
			return false, err
		}
		total += len(m.Messages)
		if m.More {
			more = "more than "
		}
	}
	if total == 0 && more == "" {
		return false, partly("nothing matched %s", strings.Join(names, "; "))
	}
	fmt.Fprintf(c.ErrOrStderr(), v.question+" [y/N] ", more+plural(total, "delivery", "deliveries"), strings.Join(names, "; "))
	line, err := bufio.NewReader(c.InOrStdin()).ReadString('\n')
	if err != nil {
		fmt.Fprintln(c.ErrOrStderr())
	}
	line = strings.ToLower(strings.TrimSpace(line))
	return line == "y" || line == "yes", nil
}

// actAll gives one order per selection and sums up what came of them.
func actAll(c *cobra.Command, n *node, client *admin.Client, v verb, sels []admin.Selection, a acting) error {
	sum := admin.Progress{Action: v.action}
	var unknown []string // ids that nothing queued has
	for _, s := range sels {
		o := admin.Order{Selection: s, Author: author(), Reason: a.reason}
		var p admin.Progress
		var err error
		if a.detach {
			p, err = client.Begin(c.Context(), v.action, o)
			if err == nil && !n.asJSON {
				fmt.Fprintf(c.OutOrStdout(), "Action %s has begun; see `tarishi queue actions watch %[1]s`.\n", p.ID)
			}
		} else {
			p, err = attend(c, n, client, v, a, func(ctx context.Context, each func(admin.Progress)) (admin.Progress, error) {
				return client.Act(ctx, v.action, o, each)
			})
		}
		if err == nil && !a.detach && p.Matched == 0 && s.ID != "" {
			unknown = append(unknown, clean(s.ID))
		}
		sum = plus(sum, p)
		if err != nil {
			if n.asJSON && sum.ID != "" {
				_ = printJSON(c.OutOrStdout(), sum) // the error below is the one that counts
			}
			return err
		}
	}
	if n.asJSON {
		if err := printJSON(c.OutOrStdout(), sum); err != nil {
			return err
		}
	}
	if a.detach {
		return nil
	}
	err := concluded(c, n, v, sum)
	if len(unknown) == 0 || sum.Matched == 0 && len(unknown) < 2 {
		return err
	}
	missing := "nothing matched " + strings.Join(unknown, ", ")
	if err != nil && sum.Matched > 0 {
		missing = err.Error() + "; " + missing
	}
	return partly("%s", missing)
}

// plus sums up what came of two orders.
func plus(sum, p admin.Progress) admin.Progress {
	p.Matched += sum.Matched
	p.Changed += sum.Changed
	p.Unchanged += sum.Unchanged
	p.Busy += sum.Busy
	p.Ordered += sum.Ordered
	p.Planned += sum.Planned
	p.AtLeast = p.AtLeast || sum.AtLeast
	if p.Error == "" {
		p.Error = sum.Error
	}
	if p.ID == "" {
		p.ID = sum.ID
	}
	return p
}

// concluded says what came of an action that has ended, and how the command does.
func concluded(c *cobra.Command, n *node, v verb, p admin.Progress) error {
	switch {
	case p.State == "cancelled":
		return partly("cancelled by %s after %s%s %s; what was done stays done", clean(p.Cancelled), least(p), plural(p.Changed, "delivery was", "deliveries were"), v.done)
	case p.Error != "":
		return partly("%s", clean(p.Error))
	case p.Matched == 0:
		return partly("nothing matched")
	}
	if !n.asJSON {
		fmt.Fprintln(c.OutOrStdout(), report(v, p))
	}
	if p.Busy > 0 {
		return partly("%s being sent just then%s", plural(p.Busy, "was", "were"), map[bool]string{
			true: " and not touched; ask again in a minute", false: "; what comes back unsent is " + v.done + " then",
		}[v.action == admin.Retry || v.action == admin.Release])
	}
	return nil
}

// report is the line that says what was done.
func report(v verb, p admin.Progress) string {
	changed := p.Changed
	if v.action == admin.Retry { // these are not due now, whatever an operator wants
		changed -= p.Planned
	}
	s := fmt.Sprintf("%s%s %s", least(p), plural(changed, "delivery", "deliveries"), v.done)
	if p.Planned > 0 {
		s += fmt.Sprintf("; %s %s for delivery hours or the time that the client gave", count(p.Planned), map[bool]string{true: "of them still waits", false: "of them still wait"}[p.Planned == 1])
		if v.action == admin.Retry {
			s = strings.Replace(s, " of them", " more", 1)
		}
	}
	if p.Unchanged > 0 {
		why := map[admin.Verb]string{
			admin.Retry:   "due already, planned or held",
			admin.Hold:    "held already, or released since",
			admin.Release: "not held, or held again since",
		}[v.action]
		s += fmt.Sprintf("; %s left alone (%s)", count(p.Unchanged), why)
	}
	if p.Ordered > 0 {
		s += fmt.Sprintf("; %s ready to go and will be when a node takes %s", plural(p.Ordered, "more is", "more are"), map[bool]string{true: "it", false: "them"}[p.Ordered == 1])
	}
	return s + "."
}

// least says that more may have been done than was counted.
func least(p admin.Progress) string {
	if p.AtLeast {
		return "at least "
	}
	return ""
}

// attend follows an action until it ends. What a signal does, a asks for.
func attend(c *cobra.Command, n *node, client *admin.Client, v verb, a acting,
	follow func(context.Context, func(admin.Progress)) (admin.Progress, error)) (admin.Progress, error) {
	ctx, stop := untilSignal(c.Context())
	defer stop()
	show := newActionLine(c.ErrOrStderr(), v, n.asJSON)
	var last admin.Progress
	p, err := follow(ctx, func(p admin.Progress) { last = p; show.tell(p) })
	show.end()
	if p.ID == "" {
		p = last
	}
	if err == nil || !errors.Is(err, context.Canceled) || ctx.Err() == nil {
		return p, err
	}
	stop()
	if p.ID == "" {
		return p, partly("interrupted before the node had answered; see `tarishi queue actions ls`")
	}
	return p, interrupted(c, client, v, a, p)
}

// interrupted cancels an action or leaves it to the nodes.
func interrupted(c *cobra.Command, client *admin.Client, v verb, a acting, p admin.Progress) error {
	cancel := a.interrupt == interruptCancel
	if a.interrupt == interruptAsk {
		cancel = true
		if tty(c.InOrStdin()) {
			fmt.Fprintf(c.ErrOrStderr(), "%s so far. Stop it (s), or let it go on alone (Enter)? ", report(v, p))
			line, _ := bufio.NewReader(c.InOrStdin()).ReadString('\n')
			cancel = strings.HasPrefix(strings.ToLower(strings.TrimSpace(line)), "s")
		}
	}
	if !cancel {
		return partly("action %s goes on; see `tarishi queue actions watch %[1]s`", p.ID)
	}
	end, err := client.Cancel(context.WithoutCancel(c.Context()), p.ID, author())
	if err != nil {
		return fmt.Errorf("action %s could not be cancelled and goes on: %w", p.ID, err)
	}
	return partly("action %s is cancelled; %s", p.ID, strings.TrimSuffix(report(v, end), "."))
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
