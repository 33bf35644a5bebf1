package command

import (
	"context"
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/tarishi/tarishi/admin"
)

// statusCommand is `tarishi status`: is this node well, and is mail moving?
func statusCommand() *cobra.Command {
	n := &node{}
	var interval time.Duration
	c := &cobra.Command{
		Use:   "status",
		Short: "Show whether a node is ready and mail is moving (exit 1: it is not ready)",
		Args:  noArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			client, err := n.client()
			if err != nil {
				return err
			}
			a, err := client.Status(c.Context())
			if err != nil {
				return err
			}
			v := view{status: a}
			if interval > 0 {
				if err := pause(c.Context(), interval); err != nil {
					return err
				}
				b, err := client.Status(c.Context())
				if err != nil {
					return err
				}
				v = view{status: b, rates: ratesOf(a, b)}
			}
			reactions := 0
			if l, err := client.Limits(c.Context(), 1); err == nil { // a node without limits says so, and is well all the same
				reactions = l.Reactions
			}
			if n.asJSON {
				err = printJSON(c.OutOrStdout(), struct {
					admin.Status
					Rates     *rates `json:"rates_per_second,omitempty"`
					Reactions int    `json:"reactions,omitempty"`
				}{v.status, v.rates, reactions})
			} else {
				v.printStatus(c.OutOrStdout())
				if reactions > 0 {
					fmt.Fprintf(c.OutOrStdout(), "Reactions to replies: %s; see `tarishi reactions ls`.\n", count(reactions))
				}
			}
			if err == nil && !v.status.Ready {
				err = partly("%s is not ready", clean(v.status.Node))
			}
			return err
		},
	}
	n.flags(c)
	c.Flags().DurationVar(&interval, "interval", time.Second, "time over which rates are measured (0: none)")
	return operator(c)
}

func pause(ctx context.Context, d time.Duration) error {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// rates are what changed per second between two statuses.
type rates struct {
	Accepted  float64 `json:"accepted"`
	Delivered float64 `json:"delivered"`
	Deferred  float64 `json:"deferred"`
	Failed    float64 `json:"failed"`
}

// ratesOf compares two statuses of one node, a before b; nil when they cannot be
// compared: no time between them, or a restart.
func ratesOf(a, b admin.Status) *rates {
	seconds := b.Now.Sub(a.Now).Seconds()
	if seconds <= 0 || !a.Started.Equal(b.Started) {
		return nil
	}
	per := func(x, y uint64) float64 {
		if y < x {
			return 0
		}
		return float64(y-x) / seconds
	}
	var r rates
	if x, y := a.Stats.SMTP, b.Stats.SMTP; x != nil && y != nil {
		r.Accepted = per(x.Accepted, y.Accepted)
	}
	if x, y := a.Stats.Delivery, b.Stats.Delivery; x != nil && y != nil {
		r.Delivered, r.Deferred, r.Failed = per(x.Delivered, y.Delivered), per(x.Deferred, y.Deferred), per(x.Failed, y.Failed)
	}
	return &r
}

// view is one look at a node.
type view struct {
	status admin.Status
	rates  *rates // nil: not known (yet)
}

// printStatus prints the node, its readiness, counters and rates.
func (v view) printStatus(w io.Writer) {
	st := v.status
	fmt.Fprintf(w, "%s  tarishi %s  up %s  %s\n", clean(st.Node), clean(st.Version), spell(time.Duration(st.Uptime)*time.Second), strings.Join(st.Roles, ", "))
	if st.Ready {
		fmt.Fprintln(w, "Ready: accepting mail.")
	}
	for _, r := range st.Reasons {
		fmt.Fprintf(w, "NOT READY  %s\n", clean(r))
	}
	fmt.Fprintln(w)
	t := table{head: []string{"", ">PER SECOND", ">SINCE START"}}
	row := func(name string, rate func(*rates) float64, total uint64) {
		per := "-"
		if v.rates != nil {
			per = fmt.Sprintf("%.1f", rate(v.rates))
		}
		t.add(name, per, count(total))
	}
	var conns []string
	if s := st.Stats.SMTP; s != nil {
		row("accepted", func(r *rates) float64 { return r.Accepted }, s.Accepted)
		conns = append(conns, count(s.Connections)+" in")
	}
	if d := st.Stats.Delivery; d != nil {
		row("delivered", func(r *rates) float64 { return r.Delivered }, d.Delivered)
		row("deferred", func(r *rates) float64 { return r.Deferred }, d.Deferred)
		row("failed", func(r *rates) float64 { return r.Failed }, d.Failed)
		conns = append(conns, count(d.Connections)+" out")
	}
	if len(t.rows) > 0 {
		t.write(w, 0)
		fmt.Fprintln(w)
	}
	if len(conns) > 0 {
		fmt.Fprintf(w, "Connections: %s.\n", strings.Join(conns, ", "))
	}
	if s := st.Stats.SMTP; s != nil && len(s.Certificates) > 0 {
		certificateLines(w, s.Certificates)
	}
	if q := st.Stats.Queue; q != nil {
		fmt.Fprintf(w, "Queue: %s ready, %s waiting, %s held; %s being sent; %s stored", count(q.Ready), count(q.Waiting), count(q.Held), count(q.Active), size(q.Bytes))
		if q.MaxBytes > 0 {
			fmt.Fprintf(w, " of %s", size(q.MaxBytes))
		}
		fmt.Fprintln(w, ".")
		if q.Part {
			fmt.Fprintln(w, "Waiting and held are this node's part of the cluster's queue; `tarishi queue ls` counts all.")
		}
	}
}
