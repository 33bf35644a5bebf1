package command

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/tarishi/tarishi/admin"
)

// topCommand is `tarishi top`: status and the longest lanes, again and again.
func topCommand() *cobra.Command {
	n := &node{}
	var interval time.Duration
	c := &cobra.Command{
		Use:   "top",
		Short: "Watch rates and the longest queues (q quits)",
		Args:  noArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			if interval < 100*time.Millisecond {
				return usageError("--interval %s is too short; give at least 100ms", interval)
			}
			client, err := n.client()
			if err != nil {
				return err
			}
			t := &top{client: client, asJSON: n.asJSON}
			in, inOK := c.InOrStdin().(*os.File)
			out, outOK := c.OutOrStdout().(*os.File)
			if n.asJSON || !inOK || !outOK || !tty(in) || !tty(out) {
				return t.once(c.Context(), c.OutOrStdout(), interval)
			}
			return watch(c.Context(), in, out, interval, t.screen)
		},
	}
	n.flags(c)
	c.Flags().DurationVar(&interval, "interval", 2*time.Second, "time between two looks")
	return operator(c)
}

// top keeps the look before, to reckon rates from.
type top struct {
	client *admin.Client
	asJSON bool
	before *admin.Status
}

// sight is what one look at a node shows.
type sight struct {
	view
	lanes  admin.Lanes
	limits *admin.LimitsList // nil: the node cannot tell
	nodes  *admin.NodesView  // likewise
}

// look asks the node once.
func (t *top) look(ctx context.Context, rows int) (sight, error) {
	st, err := t.client.Status(ctx)
	if err != nil {
		return sight{}, err
	}
	s := sight{view: view{status: st}}
	if t.before != nil {
		s.rates = ratesOf(*t.before, st)
	}
	t.before = &st
	if s.lanes, err = t.client.Lanes(ctx, rows); err != nil {
		return s, err
	}
	// A node that knows of no limits or nodes says so with a refusal; the rest is
	// worth showing all the same.
	var refused *admin.RefusedError
	l, err := t.client.Limits(ctx, topLimits)
	if err == nil {
		s.limits = &l
	} else if !errors.As(err, &refused) {
		return s, err
	}
	v, err := t.client.Nodes(ctx)
	if err == nil {
		s.nodes = &v
	} else if !errors.As(err, &refused) {
		return s, err
	}
	return s, nil
}

// topLimits is how many limits top has room for.
const topLimits = 8

// once prints a single look, with rates over one interval: for pipes and logs.
func (t *top) once(ctx context.Context, w io.Writer, interval time.Duration) error {
	if _, err := t.look(ctx, 1); err != nil {
		return err
	}
	if err := pause(ctx, interval); err != nil {
		return err
	}
	s, err := t.look(ctx, 20)
	if err != nil {
		return err
	}
	if t.asJSON {
		return printJSON(w, struct {
			admin.Status
			Rates  *rates            `json:"rates_per_second,omitempty"`
			Queue  admin.Lanes       `json:"queue"`
			Limits *admin.LimitsList `json:"limits,omitempty"`
			Nodes  *admin.NodesView  `json:"nodes,omitempty"`
		}{s.status, s.rates, s.lanes, s.limits, s.nodes})
	}
	s.print(w, 0)
	return nil
}

// screen is one look for a terminal.
func (t *top) screen(ctx context.Context, w io.Writer, columns, lines int) error {
	// What stands round the queue: status, headings, limits, nodes.
	s, err := t.look(ctx, max(3, min(1000, lines-18-topLimits)))
	if err != nil {
		return err
	}
	s.print(w, columns)
	return nil
}

func (s sight) print(w io.Writer, width int) {
	s.printStatus(w)
	if s.nodes != nil && s.nodes.Cluster != "" {
		fmt.Fprintln(w, nodesLine(*s.nodes))
	}
	fmt.Fprintln(w)
	printLanes(w, s.lanes, width)
	fmt.Fprintln(w, totals(s.lanes))
	if s.limits != nil && len(s.limits.Live)+len(s.limits.Suspensions)+s.limits.Reactions > 0 {
		fmt.Fprintln(w)
		printLiveLimits(w, *s.limits, width)
	}
}

// nodesLine is the cluster in one line.
func nodesLine(v admin.NodesView) string {
	var items []string
	for _, n := range v.Nodes {
		s := clean(n.Node)
		switch state, _, _ := raftState(v.Now, n); {
		case n.Error != "":
			s += " UNREACHABLE"
		case state != "":
			s += " " + state
		}
		items = append(items, s)
	}
	line := "Nodes: " + strings.Join(items, ", ") + "."
	for _, r := range v.Reasons {
		line += "\nWRONG  " + clean(r)
	}
	return line
}

// watch redraws the terminal until q, Ctrl-C or the end of ctx. A node that stops
// answering is shown as such; it may come back.
func watch(ctx context.Context, in, out *os.File, interval time.Duration, look func(ctx context.Context, w io.Writer, columns, lines int) error) error {
	ctx, stop := untilSignal(ctx)
	defer stop()
	restore, raw := keys(in)
	defer restore()
	fmt.Fprint(out, "\x1b[?1049h\x1b[?25l")       // a screen of our own, no cursor
	defer fmt.Fprint(out, "\x1b[?25h\x1b[?1049l") // and back to the shell's
	quit := make(chan struct{})
	read := make(chan struct{})
	go func() { // ends with quit, or within 0.2 s of ctx (see keys)
		defer close(read)
		if raw { // else a Read would not come back: Ctrl-C quits
			waitForQ(ctx, in, quit)
		}
	}()
	defer func() { stop(); <-read }()

	tick := time.NewTicker(interval)
	defer tick.Stop()
	for first := true; ; first = false {
		columns, lines := ttySize(out)
		var b bytes.Buffer
		err := look(ctx, &b, columns, lines)
		switch {
		case ctx.Err() != nil:
			return nil
		case err != nil && first:
			return err // most likely a wrong address: say so where it can be read
		case err != nil:
			b.Reset()
			fmt.Fprintln(&b, clean(err.Error()))
		}
		draw(out, frame(b.String(), columns, lines))
		select {
		case <-tick.C:
		case <-quit:
			return nil
		case <-ctx.Done():
			return nil
		}
	}
}

// frame is one screen, line by line, cut to the terminal's size.
func frame(text string, columns, lines int) []string {
	out := strings.Split(strings.TrimRight(text, "\n"), "\n")
	if lines > 1 && len(out) > lines-1 {
		out = out[:lines-1]
	}
	for i := range out {
		out[i] = cut(out[i], columns)
	}
	return append(out, "q quits")
}

// draw writes the lines over what stands there, which flickers less than clearing first.
func draw(w io.Writer, lines []string) {
	fmt.Fprint(w, "\x1b[H"+strings.Join(lines, "\x1b[K\n")+"\x1b[K\x1b[J")
}

func waitForQ(ctx context.Context, in *os.File, quit chan<- struct{}) {
	b := make([]byte, 16)
	for ctx.Err() == nil {
		n, err := in.Read(b)
		if bytes.ContainsAny(b[:n], "qQ\x03\x04") {
			close(quit)
			return
		}
		if err != nil && err != io.EOF { // EOF: no key within 0.2 s
			return
		}
	}
}
