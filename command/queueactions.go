package command

import (
	"context"
	"fmt"
	"io"
	"time"

	"github.com/spf13/cobra"

	"github.com/tarishi/tarishi/admin"
)

// queueActions is `tarishi queue actions`: what operators have asked for, and how far
// it is.
func queueActions(n *node) *cobra.Command {
	c := &cobra.Command{
		Use:   "actions",
		Short: "List the actions on the queue, watch or cancel one",
		RunE: func(c *cobra.Command, args []string) error {
			if len(args) > 0 {
				return usageError("there is no `tarishi queue actions %s`; see `tarishi queue actions --help`", clean(args[0]))
			}
			return c.Help()
		},
	}
	ls := &cobra.Command{
		Use:     "ls",
		Aliases: []string{"list"},
		Short:   "List actions, the newest first: who asked for what, and how far it is",
		Args:    noArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			client, err := n.client()
			if err != nil {
				return err
			}
			l, err := client.Actions(c.Context())
			if err != nil {
				return err
			}
			if n.asJSON {
				return printJSON(c.OutOrStdout(), l)
			}
			width, _ := ttySize(c.OutOrStdout())
			printActions(c.OutOrStdout(), l, width)
			return nil
		},
	}
	var a acting
	watch := &cobra.Command{
		Use:   "watch ID",
		Short: "Follow an action until it ends",
		Args:  oneArg("ID"),
		RunE: func(c *cobra.Command, args []string) error {
			client, err := n.client()
			if err != nil {
				return err
			}
			a.interrupt = interruptDetach // who only looks on does not stop it
			var v verb
			p, err := attend(c, n, client, v, a, func(ctx context.Context, each func(admin.Progress)) (admin.Progress, error) {
				return client.Watch(ctx, args[0], each)
			})
			if err != nil {
				return err
			}
			if n.asJSON {
				if err := printJSON(c.OutOrStdout(), p); err != nil {
					return err
				}
			}
			return concluded(c, n, verbOf(p.Action), p)
		},
	}
	cancel := &cobra.Command{
		Use:   "cancel ID",
		Short: "End an action; what it has done stays done",
		Args:  oneArg("ID"),
		RunE: func(c *cobra.Command, args []string) error {
			client, err := n.client()
			if err != nil {
				return err
			}
			p, err := client.Cancel(c.Context(), args[0], author())
			if err != nil {
				return err
			}
			if n.asJSON {
				return printJSON(c.OutOrStdout(), p)
			}
			fmt.Fprintf(c.OutOrStdout(), "Cancelled: %s\n", report(verbOf(p.Action), p))
			return nil
		},
	}
	c.AddCommand(ls, watch, cancel)
	for _, sub := range c.Commands() {
		sub.SilenceUsage = true
	}
	return c
}

// printActions prints one row per action.
func printActions(w io.Writer, l admin.ActionsList, width int) {
	if len(l.Actions) == 0 {
		fmt.Fprintln(w, "No action is known; they are kept for a week.")
		return
	}
	t := table{head: []string{"ID", "BEGUN", "STATE", "ACTION", "~MEANT", ">DONE", ">MATCHED", "LEFT", "BY", "REASON"}}
	for _, x := range l.Actions {
		state, left := x.State, ""
		if x.State == "running" {
			state = fmt.Sprintf("%d %%", int(100*x.Share))
			left = about(x.Left)
		}
		by := x.Author
		if x.Cancelled != "" {
			by += ", cancelled by " + x.Cancelled
		}
		t.add(x.ID, ago(l.Now, x.Begun), state, string(x.Action), x.Filter, map[bool]string{true: "≥ "}[x.AtLeast]+count(x.Changed), count(x.Matched), left, by, x.Reason)
	}
	t.write(w, width)
	for _, x := range l.Actions {
		if x.Error != "" && x.State == "running" {
			fmt.Fprintf(w, "%s: %s\n", x.ID, clean(x.Error))
		}
	}
}

func about(seconds int64) string {
	if seconds <= 0 {
		return ""
	}
	return spell(time.Duration(seconds) * time.Second)
}

// actionLine tells how far an action is: on a terminal in one line that moves, in a log
// file with a line now and then.
type actionLine struct {
	w    io.Writer
	v    verb
	live bool
	off  bool
	told time.Time
}

// plainEvery is how often a log file gets a line.
const plainEvery = 10 * time.Second

func newActionLine(w io.Writer, v verb, off bool) *actionLine {
	return &actionLine{w: w, v: v, live: tty(w), off: off, told: time.Now()}
}

func (l *actionLine) tell(p admin.Progress) {
	v := l.v
	if v.action == "" {
		v = verbOf(p.Action)
	}
	switch {
	case l.off:
	case l.live:
		fmt.Fprintf(l.w, "\r%s\x1b[K", cutTo(l.w, actionProgress(v, p)))
	case time.Since(l.told) >= plainEvery:
		l.told = time.Now()
		fmt.Fprintln(l.w, actionProgress(v, p))
	}
}

func (l *actionLine) end() {
	if l.live && !l.off {
		fmt.Fprint(l.w, "\r\x1b[K")
	}
}

// actionProgress is how far an action is, in one line.
func actionProgress(v verb, p admin.Progress) string {
	s := fmt.Sprintf("%s: %s", p.ID, count(p.Changed))
	if p.Expected > 0 {
		s += " of " + count(p.Expected)
	}
	s += " " + v.done
	if p.Rate >= 1 {
		s += fmt.Sprintf(", %s/s", count(int64(p.Rate)))
	}
	if p.Share > 0 {
		s += fmt.Sprintf(", %d %%", int(100*p.Share))
	}
	if left := about(p.Left); left != "" {
		s += ", " + left + " left"
	}
	if p.Error != "" {
		s += ": " + clean(p.Error)
	}
	return s
}

// cutTo cuts a line to a terminal's width.
func cutTo(w io.Writer, s string) string {
	width, _ := ttySize(w)
	return cut(s, max(width-1, 0))
}
