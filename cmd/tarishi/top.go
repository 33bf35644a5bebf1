package main

import (
	"bytes"
	"context"
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
			return t.watch(c.Context(), in, out, interval)
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

// look asks the node once.
func (t *top) look(ctx context.Context, rows int) (view, admin.Lanes, error) {
	st, err := t.client.Status(ctx)
	if err != nil {
		return view{}, admin.Lanes{}, err
	}
	v := view{status: st}
	if t.before != nil {
		v.rates = ratesOf(*t.before, st)
	}
	t.before = &st
	l, err := t.client.Lanes(ctx, rows)
	return v, l, err
}

// once prints a single look, with rates over one interval: for pipes and logs.
func (t *top) once(ctx context.Context, w io.Writer, interval time.Duration) error {
	if _, _, err := t.look(ctx, 1); err != nil {
		return err
	}
	if err := pause(ctx, interval); err != nil {
		return err
	}
	v, l, err := t.look(ctx, 20)
	if err != nil {
		return err
	}
	if t.asJSON {
		return printJSON(w, struct {
			admin.Status
			Rates *rates      `json:"rates_per_second,omitempty"`
			Queue admin.Lanes `json:"queue"`
		}{v.status, v.rates, l})
	}
	v.printStatus(w)
	fmt.Fprintln(w)
	printLanes(w, l, 0)
	fmt.Fprintln(w, totals(l))
	return nil
}

// watch redraws the terminal until q, Ctrl-C or the end of ctx. A node that stops
// answering is shown as such; it may come back.
func (t *top) watch(ctx context.Context, in, out *os.File, interval time.Duration) error {
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
	var last error
	for first := true; ; first = false {
		columns, lines := ttySize(out)
		v, l, err := t.look(ctx, max(1, min(1000, lines-15)))
		switch {
		case ctx.Err() != nil:
			return nil
		case err != nil && first:
			return err // most likely a wrong address: say so where it can be read
		case err != nil:
			last = err
		default:
			last = nil
		}
		draw(out, frame(v, l, last, columns, lines))
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
func frame(v view, l admin.Lanes, err error, columns, lines int) []string {
	var b bytes.Buffer
	if err != nil {
		fmt.Fprintf(&b, "%s\n", clean(err.Error()))
	} else {
		v.printStatus(&b)
		fmt.Fprintln(&b)
		printLanes(&b, l, columns)
		fmt.Fprintln(&b, totals(l))
	}
	out := strings.Split(strings.TrimRight(b.String(), "\n"), "\n")
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
