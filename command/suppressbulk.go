package command

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/spf13/cobra"

	"github.com/tarishi/tarishi/admin"
)

// importBatch is how many lines go to the node at once.
const importBatch = 2000

func suppressImport(n *node) *cobra.Command {
	var tenant, reason, expires string
	c := &cobra.Command{
		Use:   "import FILE",
		Short: "Put the addresses of a file on the list; - is standard input",
		Long: `Put the addresses of a file on the list; - is standard input.

A line is an address, perhaps with a blank, tab or comma and a reason behind it, or
an entry as ` + "`tarishi suppress export`" + ` writes it. Empty lines and those that begin
with # are skipped. What is wrong with a line is told with its number, and the
others go on the list. An import that was cut off may be made again.`,
		Args: func(c *cobra.Command, args []string) error {
			if len(args) != 1 {
				return usageError("which file? see `%s --help`", c.CommandPath())
			}
			return nil
		},
		RunE: func(c *cobra.Command, args []string) error {
			in, size, err := openList(c, args[0])
			if err != nil {
				return usageError("%w", err)
			}
			defer func() { _ = in.Close() }()
			client, err := n.client()
			if err != nil {
				return err
			}
			ctx, stop := untilSignal(c.Context())
			defer stop()
			im := importing{client: client, name: args[0], errs: c.ErrOrStderr(), show: newCounter(c.ErrOrStderr(), size),
				base: admin.SuppressEntry{Tenant: tenant, Reason: reason, Expires: expires, Source: "operator"}}
			err = im.run(ctx, in)
			im.show.end()
			if n.asJSON {
				if err := printJSON(c.OutOrStdout(), struct {
					Added   int `json:"added"`
					Refused int `json:"refused"`
					Lines   int `json:"lines"`
				}{im.added, im.refused, im.line}); err != nil {
					return err
				}
			} else {
				fmt.Fprintf(c.OutOrStdout(), "%s put on the list.\n", plural(im.added, "address", "addresses"))
			}
			switch {
			case errors.Is(err, context.Canceled) && ctx.Err() != nil:
				return partly("interrupted at line %s; the import may be made again", count(im.line))
			case err != nil:
				return fmt.Errorf("at line %s: %w", count(im.line), err)
			case im.refused > 0:
				return partly("%s refused", plural(im.refused, "line was", "lines were"))
			}
			return nil
		},
	}
	c.Flags().StringVar(&tenant, "tenant", "", "`tenant` for entries that name none; default: everybody's mail")
	c.Flags().StringVar(&reason, "reason", "", "reason for entries that give none")
	c.Flags().StringVar(&expires, "expires", "", "expiry of entries that give none: 2027-01-31, 90d; default: for ever")
	return c
}

// openList opens a file, and tells its size as far as that is known.
func openList(c *cobra.Command, name string) (io.ReadCloser, int64, error) {
	if name == "-" {
		return io.NopCloser(c.InOrStdin()), 0, nil
	}
	f, err := os.Open(name)
	if err != nil {
		return nil, 0, err
	}
	if st, err := f.Stat(); err == nil && st.Mode().IsRegular() {
		return f, st.Size(), nil
	}
	return f, 0, nil
}

// importing is an import under way.
type importing struct {
	client *admin.Client
	name   string
	base   admin.SuppressEntry // what lines leave open
	errs   io.Writer
	show   *counter

	line, added, refused int
	batch                []admin.SuppressEntry
	lines                []int // of the batch
}

// lineMost bounds a line of a list, in octets.
const lineMost = 64 << 10

// mostTold bounds the complaints: a file of the wrong kind has nothing else.
const mostTold = 20

func (im *importing) complain(line int, why string) {
	im.refused++
	switch {
	case im.refused <= mostTold:
		fmt.Fprintf(im.errs, "%s:%d: %s\n", clean(im.name), line, clean(why))
	case im.refused == mostTold+1:
		fmt.Fprintln(im.errs, "Further lines that are refused are only counted.")
	}
}

func (im *importing) run(ctx context.Context, in io.Reader) error {
	s := bufio.NewScanner(in)
	s.Buffer(make([]byte, lineMost), lineMost)
	for s.Scan() {
		im.line++
		im.show.octets += int64(len(s.Bytes())) + 1
		e, err := im.entry(s.Text())
		switch {
		case err != nil:
			im.complain(im.line, err.Error())
			continue
		case e.Address == "":
			continue
		}
		im.batch, im.lines = append(im.batch, e), append(im.lines, im.line)
		if len(im.batch) == importBatch {
			if err := im.send(ctx); err != nil {
				return err
			}
		}
	}
	if err := s.Err(); errors.Is(err, bufio.ErrTooLong) {
		im.line++
		return fmt.Errorf("the line has more than %d octets; is it a list of addresses, one a line?", lineMost)
	} else if err != nil {
		return err
	}
	return im.send(ctx)
}

// entry reads one line; an entry without address is none.
func (im *importing) entry(line string) (e admin.SuppressEntry, err error) {
	line = strings.TrimSpace(strings.TrimPrefix(line, "\ufeff"))
	if line == "" || line[0] == '#' {
		return e, nil
	}
	if !utf8.ValidString(line) {
		return e, errors.New("the line is not UTF-8; convert the file, as in iconv -f latin1 -t utf-8")
	}
	e = im.base
	if line[0] == '{' {
		dec := json.NewDecoder(strings.NewReader(line))
		dec.DisallowUnknownFields()
		if err := dec.Decode(&e); err != nil {
			return e, fmt.Errorf("no entry as export writes them: %w", err)
		}
		if e.Address == "" {
			return e, errors.New("the entry has no address")
		}
		return e, nil
	}
	end := strings.IndexAny(line, " \t,;")
	if line[0] == '"' { // a quoted local part may hold any of these
		if q := strings.LastIndex(line, `"@`); q > 0 {
			if end = strings.IndexAny(line[q:], " \t,;"); end >= 0 {
				end += q
			}
		}
	}
	if end < 0 {
		e.Address = line
		return e, nil
	}
	e.Address = line[:end]
	if why := strings.Trim(line[end:], " \t,;"); why != "" {
		e.Reason = why
	}
	return e, nil
}

func (im *importing) send(ctx context.Context) error {
	if len(im.batch) == 0 {
		return nil
	}
	v, err := im.client.Suppress(ctx, admin.SuppressOrder{Entries: im.batch, Author: author()})
	if err != nil {
		return err
	}
	im.added += v.Changed
	for _, b := range v.Bad {
		if b.Index < len(im.lines) {
			im.complain(im.lines[b.Index], b.Error)
		}
	}
	im.batch, im.lines = im.batch[:0], im.lines[:0]
	im.show.tell(im.added)
	return nil
}

func suppressExport(n *node) *cobra.Command {
	var f admin.SuppressionFilter
	c := &cobra.Command{
		Use:   "export",
		Short: "Write the list, one entry a line, as import reads it",
		Args:  noArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			client, err := n.client()
			if err != nil {
				return err
			}
			ctx, stop := untilSignal(c.Context())
			defer stop()
			out := bufio.NewWriter(c.OutOrStdout())
			show := newCounter(c.ErrOrStderr(), 0)
			written := 0
			enc := json.NewEncoder(out)
			enc.SetEscapeHTML(false)
			for after := ""; ; {
				v, err := client.Suppressions(ctx, f, after, 1000)
				if err == nil {
					for _, e := range v.Entries {
						if err = enc.Encode(e); err != nil {
							break
						}
						written++
					}
				}
				if err == nil && v.Next == "" {
					err = out.Flush()
					show.end()
					return err
				}
				if err != nil {
					_ = out.Flush()
					show.end()
					return fmt.Errorf("after %s: %w", plural(written, "entry", "entries"), err)
				}
				after = v.Next
				show.tell(written)
			}
		},
	}
	suppressFlags(c, &f)
	return c
}

// counter shows on a terminal how far something long has come.
type counter struct {
	w      io.Writer
	shown  bool
	size   int64 // of what is read; 0: not known
	octets int64 // of it so far
	told   time.Time
}

func newCounter(w io.Writer, size int64) *counter { return &counter{w: w, size: size} }

func (t *counter) tell(n int) {
	if !tty(t.w) || time.Since(t.told) < 200*time.Millisecond {
		return
	}
	t.told, t.shown = time.Now(), true
	part := ""
	if t.size > 0 {
		part = fmt.Sprintf(" (%d %%)", min(100*t.octets/t.size, 100))
	}
	fmt.Fprintf(t.w, "\r%s%s ", count(n), part)
}

func (t *counter) end() {
	if t.shown {
		fmt.Fprint(t.w, "\r\033[K")
	}
}
