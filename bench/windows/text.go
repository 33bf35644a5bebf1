package windows

import (
	"errors"
	"fmt"
	"strings"
	"time"
)

// ErrBroken says that a limit was not kept.
var ErrBroken = errors.New("a limit was broken")

// Err is ErrBroken when any limit was.
func (r *Report) Err() error {
	n := 0
	for _, l := range r.Limits {
		n += l.Violations
	}
	for _, c := range append(r.Connections[:len(r.Connections):len(r.Connections)], r.PerConnection...) {
		n += c.Violations
	}
	if n > 0 {
		return fmt.Errorf("%w: %d violations", ErrBroken, n)
	}
	return nil
}

// String is the report for a terminal.
func (r *Report) String() string {
	var b strings.Builder
	fmt.Fprintf(&b, "record   %.3f s, %d destinations", r.Seconds, len(r.Destinations))
	if r.Torn > 0 {
		fmt.Fprintf(&b, ", %d lines cut off", r.Torn)
	}
	if r.Unplaced > 0 {
		fmt.Fprintf(&b, ", %d transactions or connections of no known destination", r.Unplaced)
	}
	b.WriteString("\n")
	for _, l := range r.Limits {
		fmt.Fprintf(&b, "limit    %v: %s, %d starts, %d at most in a window, %s\n", l.Limit, kept(l.Violations), l.Starts, l.Most, used(l.Used, l.Allowed))
		for _, v := range l.First {
			fmt.Fprintf(&b, "         at %.6f s, connection %d from %s: %v too early behind connection %d\n", v.At, v.Conn, v.Client, v.Early, v.Behind)
		}
		more(&b, l.Violations-len(l.First))
	}
	for _, c := range r.Connections {
		fmt.Fprintf(&b, "limit    %s: %d connections at a time: %s, %d at most, %s\n", c.Destination, c.Max, kept(c.Violations), c.Most, used(c.Used, c.Allowed))
		for _, v := range c.First {
			fmt.Fprintf(&b, "         at %.6f s, connection %d from %s is number %d\n", v.At, v.Conn, v.Client, v.Count)
		}
		more(&b, c.Violations-len(c.First))
	}
	for _, c := range r.PerConnection {
		fmt.Fprintf(&b, "limit    %s: %d messages a connection: %s, %d at most\n", c.Destination, c.Max, kept(c.Violations), c.Most)
		for _, v := range c.First {
			fmt.Fprintf(&b, "         at %.6f s, connection %d from %s carries one more\n", v.At, v.Conn, v.Client)
		}
		more(&b, c.Violations-len(c.First))
	}
	for _, d := range r.Destinations {
		fmt.Fprintf(&b, "to       %s: %d transactions, %d messages, %d copies, %d recipients refused, %d connections; longest pause %.3f s at %.3f s\n",
			d.Name, d.Mails, d.Messages, d.Copies, d.Refused, d.Connections, d.Pause, d.PauseAt)
		for _, c := range d.Clients {
			fmt.Fprintf(&b, "         from %s: %d transactions, %d connections\n", c.Address, c.Mails, c.Connections)
		}
	}
	return b.String()
}

func kept(violations int) string {
	if violations == 0 {
		return "kept"
	}
	return fmt.Sprintf("BROKEN %d times", violations)
}

func used(n, of int64) string {
	if of == 0 {
		return "no whole window to measure its use"
	}
	return fmt.Sprintf("%.2f %% used", 100*float64(n)/float64(of))
}

func more(b *strings.Builder, n int) {
	if n > 0 {
		fmt.Fprintf(b, "         and %d more\n", n)
	}
}

// Since is a stamp as Rules and reports count time: from the begin of the record.
func (t *Trace) Since(at int64) time.Duration { return time.Duration(at - t.Begin) }
