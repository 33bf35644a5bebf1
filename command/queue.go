package command

import (
	"fmt"
	"io"
	"time"

	"github.com/spf13/cobra"

	"github.com/tarishi/tarishi/admin"
)

// queueCommand is `tarishi queue`: see and change what is queued, through a
// node's admin port.
func queueCommand() *cobra.Command {
	n := &node{}
	c := &cobra.Command{
		Use:   "queue",
		Short: "See what is queued, and retry, hold, release, remove or bounce it",
		Long: `See what is queued, and retry, hold, release, remove or bounce it.

Exit codes: 0 done; 1 nothing matched, some was being sent just then, or it
stopped half-way; 2 the command line is wrong; 3 no node answers.`,
		Example: `  tarishi queue ls
  tarishi queue ls --destination example.org
  tarishi queue show 01K9ABCDEFGH12345678
  tarishi queue retry --destination example.org
  tarishi queue bounce --sender spammer@example.net --reason "sent by a stolen account"
  tarishi queue rm --tenant acme --bounce-class InvalidRecipient --older 2d
  tarishi queue actions ls`,
		RunE: func(c *cobra.Command, args []string) error {
			if len(args) > 0 {
				return usageError("there is no `tarishi queue %s`; see `tarishi queue --help`", clean(args[0]))
			}
			return c.Help()
		},
	}
	n.flags(c)
	c.AddCommand(queueLs(n), queueSummary(n), queueShow(n), queueDoubts(n), queueActions(n))
	for _, v := range verbs {
		c.AddCommand(queueAct(n, v))
	}
	return operator(c)
}

// queueLs lists destinations, or with a selection the deliveries in it.
func queueLs(n *node) *cobra.Command {
	var s selection
	var rows int
	var after string
	c := &cobra.Command{
		Use:     "ls",
		Aliases: []string{"list"},
		Short:   "List destinations, or with --destination, --sender and the like deliveries",
		Args:    noArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			if rows < 1 || rows > 1000 {
				return usageError("--max %d is out of range; give a number from 1 to 1000", rows)
			}
			if s.given(c) {
				return listDeliveries(c, n, &s, rows, after)
			}
			if after != "" {
				return usageError("--after goes on with a list of deliveries; say which, as with --destination")
			}
			client, err := n.client()
			if err != nil {
				return err
			}
			l, err := client.Lanes(c.Context(), rows)
			if err != nil {
				return err
			}
			if n.asJSON {
				return printJSON(c.OutOrStdout(), l)
			}
			width, _ := ttySize(c.OutOrStdout())
			printLanes(c.OutOrStdout(), l, width)
			fmt.Fprintln(c.OutOrStdout(), totals(l))
			return nil
		},
	}
	s.flags(c)
	c.Flags().IntVar(&rows, "max", 100, "rows to list, at most 1000")
	c.Flags().StringVar(&after, "after", "", "go on at the `place` where the list before ended")
	return c
}

func listDeliveries(c *cobra.Command, n *node, s *selection, rows int, after string) error {
	sels, names, err := s.selections(c, nil)
	if err != nil {
		return err
	}
	client, err := n.client()
	if err != nil {
		return err
	}
	m, err := client.Messages(c.Context(), sels[0], rows, after)
	if err != nil {
		return err
	}
	if n.asJSON {
		if err := printJSON(c.OutOrStdout(), m); err != nil {
			return err
		}
	} else if len(m.Messages) > 0 {
		width, _ := ttySize(c.OutOrStdout())
		printDeliveries(c.OutOrStdout(), m, width)
	}
	if m.More && !n.asJSON {
		fmt.Fprintln(c.OutOrStdout(), moreOf(m))
	}
	if len(m.Messages) == 0 && !m.More {
		return partly("nothing matched %s", names[0])
	}
	return nil
}

// moreOf says how a list that was cut off goes on.
func moreOf(m admin.Messages) string {
	why := "There are more"
	if m.Unfinished {
		why = "The queue has not been looked through to its end"
	}
	return fmt.Sprintf("%s; go on with --after %s.", why, m.Next)
}

// printLanes prints the queue by destination.
func printLanes(w io.Writer, l admin.Lanes, width int) {
	if len(l.Lanes) == 0 {
		return
	}
	t := table{head: []string{"~DESTINATION", ">QUEUED", ">HELD", ">SENDING", "OLDEST", "NEXT TRY", "LAST REPLY"}}
	for _, x := range l.Lanes {
		t.add(x.Destination, count(x.Count), count(x.Held), count(x.Active),
			ago(l.Now, x.Oldest), laneNext(l.Now, x), lastReply(x.Bounce, x.LastReply))
	}
	t.write(w, width)
}

// laneNext is when something of a destination may go.
func laneNext(now time.Time, x admin.Lane) string {
	if x.Suspended {
		return "suspended"
	}
	return until(now, x.NextDue)
}

// totals is the line under the queue by destination.
func totals(l admin.Lanes) string {
	all := l.Ready + l.Waiting + l.Held
	if all == 0 {
		return "The queue is empty."
	}
	s := fmt.Sprintf("%s to %s: %s ready, %s waiting, %s held; %s being sent.",
		plural(all, "delivery", "deliveries"), plural(l.Destinations, "destination", "destinations"),
		count(l.Ready), count(l.Waiting), count(l.Held), count(l.Active))
	if more := l.Destinations - len(l.Lanes); more > 0 {
		s += fmt.Sprintf(" %s not shown; see --max.", plural(more, "destination is", "destinations are"))
	}
	if !l.ReadySorted {
		s += " Those ready are too many to sort by destination and stand in no row."
	}
	return s
}

// printDeliveries prints one row per delivery.
func printDeliveries(w io.Writer, m admin.Messages, width int) {
	t := table{head: []string{"ID", "STATE", "ARRIVED", ">SIZE", ">TRIES", "NEXT TRY", "~SENDER", "~RECIPIENTS", "LAST REPLY"}}
	for _, d := range m.Messages {
		t.add(d.ID, d.State, ago(m.Now, d.Received), size(d.Size), count(d.Attempts), nextTry(m, d),
			d.Sender, recipients(d.Recipients), lastReply(d.Bounce, d.LastReply))
	}
	t.write(w, width)
}

// lastReply is a reply behind its bounce class.
func lastReply(class string, r *admin.Reply) string {
	if class == "" {
		return r.String()
	}
	return "[" + class + "] " + r.String()
}

// nextTry is when d will be attempted, in words.
func nextTry(m admin.Messages, d admin.Delivery) string {
	switch {
	case d.State == "held":
		return "when released"
	case d.State == "active":
		return "being sent"
	case d.SendAt.After(m.Now):
		return "send at " + d.SendAt.UTC().Format("2006-01-02 15:04Z")
	case d.Due.IsZero():
		return "now"
	default:
		return until(m.Now, d.Due)
	}
}

func recipients(rs []admin.Recipient) string {
	switch len(rs) {
	case 0:
		return ""
	case 1:
		return rs[0].Address
	default:
		return fmt.Sprintf("%s +%d", rs[0].Address, len(rs)-1)
	}
}

// queueDoubts lists mail that may arrive twice.
func queueDoubts(n *node) *cobra.Command {
	return &cobra.Command{
		Use:   "doubts",
		Short: "List attempts cut off between the final dot and its reply: their mail may arrive twice",
		Args:  noArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			client, err := n.client()
			if err != nil {
				return err
			}
			d, err := client.Doubts(c.Context())
			if err != nil {
				return err
			}
			w := c.OutOrStdout()
			if n.asJSON {
				return printJSON(w, d)
			}
			if len(d.Doubts) == 0 {
				fmt.Fprintln(w, "No attempt is in doubt.")
				return nil
			}
			t := table{head: []string{"DELIVERY", ">ATTEMPT", "~DESTINATION", "DOT SENT", "FOUND", "HOST"}}
			for _, x := range d.Doubts {
				t.add(x.Delivery, count(x.Attempt), x.Destination, ago(d.Now, x.At), ago(d.Now, x.Found), x.Host)
			}
			width, _ := ttySize(w)
			t.write(w, width)
			fmt.Fprintf(w, "%s may have been accepted without our knowing; each was tried again, so it may arrive twice.\n",
				plural(len(d.Doubts), "message", "messages"))
			return nil
		},
	}
}
