package command

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/tarishi/tarishi/admin"
)

// queueShow prints all that is known of one message, or its octets.
func queueShow(n *node) *cobra.Command {
	var body, headers bool
	c := &cobra.Command{
		Use:   "show ID",
		Short: "Show one message: envelope, state, attempts, last reply",
		Args: func(c *cobra.Command, args []string) error {
			if len(args) != 1 {
				return usageError("`tarishi queue show` takes one ID, as `tarishi queue ls --destination …` lists them")
			}
			if body && headers || n.asJSON && (body || headers) {
				return usageError("choose one of --body, --headers and --json")
			}
			return nil
		},
		RunE: func(c *cobra.Command, args []string) error {
			sels, _, err := (&selection{}).selections(c, args)
			if err != nil {
				return err
			}
			client, err := n.client()
			if err != nil {
				return err
			}
			w := c.OutOrStdout()
			if body || headers {
				return showOctets(c, client, sels[0].ID, headers)
			}
			m, err := client.Messages(c.Context(), sels[0], 1000, "")
			if err != nil {
				return err
			}
			if len(m.Messages) == 0 {
				return partly("nothing of id %s is queued; see `tarishi why %[1]s` for what became of it", clean(sels[0].ID))
			}
			if n.asJSON {
				return printJSON(w, m)
			}
			printMessage(w, m)
			return nil
		},
	}
	c.Flags().BoolVar(&body, "body", false, "print the whole message as it will be sent")
	c.Flags().BoolVar(&headers, "headers", false, "print its header alone")
	return c
}

// showOctets copies a stored message to the output: octet for octet into a file
// or pipe, made harmless on a terminal.
func showOctets(c *cobra.Command, client *admin.Client, id string, headers bool) error {
	r, err := client.Body(c.Context(), id, headers)
	if err != nil {
		var refused *admin.RefusedError
		if errors.As(err, &refused) && refused.Code == 404 {
			return partly("%w", err)
		}
		return err
	}
	defer func() { _ = r.Close() }() // read only
	w := c.OutOrStdout()
	if tty(w) {
		err = copyClean(w, r)
	} else {
		_, err = io.Copy(w, r)
	}
	if err != nil {
		return partly("the message was cut off: %w", err)
	}
	return nil
}

// copyClean copies text line by line, without what could command a terminal.
func copyClean(w io.Writer, r io.Reader) error {
	br := bufio.NewReaderSize(r, 64<<10)
	for {
		line, more, err := br.ReadLine() // long lines come in pieces
		if err == io.EOF {
			return nil
		}
		if err != nil {
			return err
		}
		end := "\n"
		if more {
			end = ""
		}
		if _, err := io.WriteString(w, clean(string(line))+end); err != nil {
			return err
		}
	}
}

// printMessage prints the message's facts once and then each of its deliveries.
func printMessage(w io.Writer, m admin.Messages) {
	field := func(name, value string) {
		if value != "" {
			fmt.Fprintf(w, "%-13s%s\n", name, clean(value))
		}
	}
	d := m.Messages[0]
	field("Message", d.Message)
	field("From", angle(d.Sender))
	field("Arrived", stamp(d.Received, ago(m.Now, d.Received)))
	field("Size", size(d.Size))
	field("Came by", strings.Join(strings.Fields(cameBy(d)), " "))
	field("Reports on", d.Origin)
	field("Body type", d.Body)
	if d.SMTPUTF8 {
		field("SMTPUTF8", "yes")
	}
	field("Tenant", d.Tenant)
	field("Class", d.Class)
	if !d.SendAt.IsZero() {
		field("Send at", stamp(d.SendAt, until(m.Now, d.SendAt)))
	}
	field("Hours", d.Hours)
	field("Envelope id", d.EnvelopeID)
	field("Return", d.Ret)
	field("Notes", string(d.Notes))
	for _, d := range m.Messages {
		fmt.Fprintln(w)
		field("Delivery", d.ID)
		field("Destination", d.Destination)
		field("Route", d.Route)
		field("State", d.State)
		for i, r := range d.Recipients {
			name := ""
			if i == 0 {
				name = "To"
			}
			s := angle(r.Address)
			if r.Notify != "" {
				s += " NOTIFY=" + r.Notify
			}
			if r.ORcpt != "" {
				s += " ORCPT=" + r.ORcpt
			}
			if !r.NotBefore.IsZero() {
				s += ", not before " + stamp(r.NotBefore, until(m.Now, r.NotBefore))
			}
			field(name, s)
		}
		field("Attempts", attempts(m, d))
		field("Last reply", d.LastReply.String())
		field("Bounce class", d.Bounce)
		if d.Due.IsZero() || d.State == "held" || d.State == "active" {
			field("Next try", nextTry(m, d))
		} else {
			field("Next try", stamp(d.Due, until(m.Now, d.Due)))
		}
		if !d.Expires.IsZero() {
			field("Expires", stamp(d.Expires, until(m.Now, d.Expires)))
		}
		if o := d.Operator; o != nil {
			field("Operator", operatedOn(m.Now, o))
		}
		if d.DelayNoticed {
			field("Delay notice", "sent")
		}
	}
}

func angle(address string) string { return "<" + strings.Trim(address, "<>") + ">" }

func cameBy(d admin.Delivery) string {
	s := d.Protocol
	if d.ClientIP != "" {
		s += " from " + d.ClientIP
	}
	if d.Helo != "" {
		s += " (helo " + d.Helo + ")"
	}
	return s
}

func attempts(m admin.Messages, d admin.Delivery) string {
	s := count(d.Attempts)
	if !d.LastAttempt.IsZero() {
		s += ", the last " + ago(m.Now, d.LastAttempt)
		if d.LastHost != "" {
			s += " at " + d.LastHost
		}
	}
	return s
}

// operatedOn says which operator's action changed a delivery last.
func operatedOn(now time.Time, o *admin.ActionNote) string {
	done := map[string]string{"hold": "held", "release": "released", "retry": "made due"}[o.Verb]
	if done == "" {
		done = o.Verb
	}
	s := done + " by " + o.Author + " " + ago(now, o.At)
	if o.Reason != "" {
		s += ": " + o.Reason
	}
	return s + " (action " + o.Action + ")"
}
