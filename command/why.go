package command

import (
	"errors"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/tarishi/tarishi/admin"
)

// whyCommand is `tarishi why`: what holds a message, or what became of it?
func whyCommand() *cobra.Command {
	n := &node{}
	c := &cobra.Command{
		Use:   "why ID",
		Short: "Say what holds a message, its place and when it may be expected to go; or what became of it",
		Args:  oneArg("ID"),
		Example: `  tarishi why 01K9ABCDEFGH12345678
  tarishi why 01K9ABCDEFGH12345678.2 --json`,
		RunE: func(c *cobra.Command, args []string) error {
			sels, _, err := (&selection{}).selections(c, args)
			if err != nil {
				return err
			}
			client, err := n.client()
			if err != nil {
				return err
			}
			y, err := client.Why(c.Context(), sels[0].ID)
			var refused *admin.RefusedError
			if errors.As(err, &refused) && refused.Code == http.StatusNotFound {
				return partly("%w", err)
			}
			if err != nil {
				return err
			}
			if n.asJSON {
				return printJSON(c.OutOrStdout(), y)
			}
			printWhy(c.OutOrStdout(), y)
			return nil
		},
	}
	n.flags(c)
	return operator(c)
}

// printWhy answers for each delivery in a few lines, and for those that have gone with
// what the journal tells.
func printWhy(w io.Writer, y admin.Why) {
	queued := map[string]bool{}
	for i, d := range y.Deliveries {
		if i > 0 {
			fmt.Fprintln(w)
		}
		queued[d.ID] = true
		printHeld(w, y, d)
	}
	first := len(y.Deliveries) == 0
	last, became := map[string]admin.PastLine{}, map[string][]admin.OutcomeLine{}
	var order []string
	for _, p := range y.Past {
		if queued[p.Delivery] {
			continue
		}
		if _, ok := last[p.Delivery]; !ok {
			order = append(order, p.Delivery)
		}
		last[p.Delivery] = p
		became[p.Delivery] = outcomes(became[p.Delivery], p.Outcomes)
	}
	for _, id := range order {
		if !first {
			fmt.Fprintln(w)
		}
		first = false
		fmt.Fprintln(w, clean(becameOf(y, last[id])))
		for _, o := range became[id] {
			fmt.Fprintln(w, "  "+clean(outcome(o)))
		}
	}
	if !y.Whole {
		fmt.Fprintln(w, "Note: the journal was not looked through to its end.")
	}
	for _, s := range y.Notes {
		fmt.Fprintln(w, "Note:", clean(s)+".")
	}
}

// printHeld says what holds one delivery.
func printHeld(w io.Writer, y admin.Why, d admin.WhyDelivery) {
	fmt.Fprintf(w, "%s to %s: %s.\n", d.ID, clean(d.Destination), clean(d.Says))
	for _, b := range d.Besides {
		fmt.Fprintf(w, "  Besides: %s.\n", clean(b.Says))
	}
	field := func(name, value string) {
		if value != "" {
			fmt.Fprintf(w, "  %-10s%s\n", name, clean(value))
		}
	}
	if d.CountsAs != d.Destination {
		field("Counts as", d.CountsAs)
	}
	if p := d.Place; p != nil {
		s := fmt.Sprintf("%s of %s in its line (%s)", count(p.Before+1), count(max(p.Of, p.Before+1)), p.Line)
		if p.Others > 0 {
			s += fmt.Sprintf("; %s in other lines of the destination", count(p.Others))
			if p.Higher > 0 {
				s += fmt.Sprintf(", %s of a higher class", count(p.Higher))
			}
		}
		field("Place", s)
	}
	if !d.Expected.IsZero() {
		field("Expected", stamp(d.Expected, until(y.Now, d.Expected))+", "+d.Reckoned)
	} else if d.Reckoned != "" {
		field("Expected", "not known: "+d.Reckoned)
	}
	if d.Attempts > 0 && d.Cause != admin.WhyRetry {
		s := count(d.Attempts)
		if d.LastReply != nil {
			s += ", the last " + ago(y.Now, d.LastAttempt) + ": " + d.LastReply.String()
		}
		field("Attempts", s)
	}
	if !d.Expires.IsZero() {
		field("Expires", stamp(d.Expires, until(y.Now, d.Expires)))
	}
}

// becameOf is what became of a delivery that is not queued.
func becameOf(y admin.Why, p admin.PastLine) string {
	when := stamp(p.At, ago(y.Now, p.At))
	switch {
	case p.What == "ended" && len(p.Outcomes) == 0 && p.Note != "":
		return fmt.Sprintf("%s is not queued: %s, %s.", p.Delivery, p.Note, when)
	case p.What == "ended":
		s := fmt.Sprintf("%s is not queued: it ended with attempt %d, %s", p.Delivery, p.Attempt, when)
		if p.Host != "" {
			s += ", at " + p.Host
		}
		if p.Note != "" {
			s += " (" + p.Note + ")"
		}
		return s + "."
	case p.What == "attempted":
		return fmt.Sprintf("%s was attempted %s and is not found in the queue; it may be moving just now: ask again.", p.Delivery, when)
	default:
		return fmt.Sprintf("%s was about to be sent, %s, and nothing is known since; see `tarishi queue doubts`.", p.Delivery, when)
	}
}

// outcomes adds later ones to what is known of each recipient: one is settled at the
// first attempt, another at the fifth.
func outcomes(known, later []admin.OutcomeLine) []admin.OutcomeLine {
	for _, o := range later {
		if i := slices.IndexFunc(known, func(k admin.OutcomeLine) bool { return k.Recipient == o.Recipient }); i >= 0 {
			known[i] = o
		} else {
			known = append(known, o)
		}
	}
	return known
}

func outcome(o admin.OutcomeLine) string {
	s := angle(o.Recipient) + " " + o.Status
	if o.Bounce != "" {
		s += " [" + o.Bounce + "]"
	}
	if o.Reply != nil {
		s += ": " + strings.TrimSpace(o.Reply.String())
	}
	return s
}
