package command

import (
	"fmt"
	"io"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"
)

// clean makes a stranger's text (a remote's reply, a sender's address) harmless
// on a terminal: no escape sequences, no line of its own, no reversed writing.
func clean(s string) string {
	return strings.Map(func(r rune) rune {
		switch {
		case r == '\n' || r == '\t':
			return ' '
		case !unicode.IsPrint(r), unicode.Is(unicode.Bidi_Control, r):
			return '\uFFFD'
		}
		return r
	}, s)
}

// spell is a duration in its largest unit, rounded down: 42s, 3m, 2h, 5d.
func spell(d time.Duration) string {
	switch {
	case d < 0:
		return "0s"
	case d < time.Minute:
		return fmt.Sprintf("%ds", d/time.Second)
	case d < time.Hour:
		return fmt.Sprintf("%dm", d/time.Minute)
	case d < 48*time.Hour:
		return fmt.Sprintf("%dh", d/time.Hour)
	default:
		return fmt.Sprintf("%dd", d/(24*time.Hour))
	}
}

// ago says how long before now t was; empty when there is no t.
func ago(now, t time.Time) string {
	switch d := now.Sub(t); {
	case t.IsZero():
		return ""
	case d < time.Second:
		return "now"
	default:
		return spell(d) + " ago"
	}
}

// until says how far t lies ahead of now; empty when there is no t.
func until(now, t time.Time) string {
	switch d := t.Sub(now); {
	case t.IsZero():
		return ""
	case d < time.Second:
		return "now"
	default:
		return "in " + spell(d)
	}
}

// stamp is an instant with its distance from now.
func stamp(t time.Time, distance string) string {
	return t.UTC().Format("2006-01-02 15:04:05Z") + " (" + distance + ")"
}

// count writes a number with its thousands apart: 1,204,112.
func count[N int | int64 | uint64](n N) string {
	s := fmt.Sprint(n)
	for i := len(s) - 3; i > 0 && s[i-1] != '-'; i -= 3 {
		s = s[:i] + "," + s[i:]
	}
	return s
}

// plural is "1 delivery", "2 deliveries".
func plural[N int | int64 | uint64](n N, one, many string) string {
	if n == 1 {
		return "1 " + one
	}
	return count(n) + " " + many
}

// size is octets in the unit people think in.
func size[N int64 | uint64](n N) string {
	f, unit := float64(n), "B"
	for _, u := range []string{"KiB", "MiB", "GiB", "TiB"} {
		if f < 1024 {
			break
		}
		f, unit = f/1024, u
	}
	if unit == "B" || f >= 100 {
		return fmt.Sprintf("%.0f %s", f, unit)
	}
	return fmt.Sprintf("%.1f %s", f, unit)
}

// table prints rows in aligned columns. A column whose heading begins with > is
// set to the right; one with ~ may be shortened to leave room for the last, which
// is cut to the width when there is one. Ids are never shortened: people copy them.
type table struct {
	head []string
	rows [][]string
}

func (t *table) add(cells ...string) {
	for i, c := range cells {
		cells[i] = clean(c)
	}
	t.rows = append(t.rows, cells)
}

// write prints the table; width is the terminal's, 0 when there is none.
func (t *table) write(w io.Writer, width int) {
	wide := make([]int, len(t.head))
	right := make([]bool, len(t.head))
	head := make([]string, len(t.head))
	for i, h := range t.head {
		head[i], right[i] = strings.CutPrefix(h, ">")
		head[i] = strings.TrimPrefix(head[i], "~")
	}
	all := append([][]string{head}, t.rows...)
	for _, r := range all {
		for i, c := range r {
			wide[i] = max(wide[i], utf8.RuneCountInString(c))
		}
	}
	t.shrink(wide, width)
	for _, r := range all {
		var b strings.Builder
		for i, c := range r {
			c = cut(c, wide[i])
			pad := strings.Repeat(" ", wide[i]-utf8.RuneCountInString(c))
			switch {
			case right[i]:
				b.WriteString(pad + c)
			case i == len(r)-1:
				b.WriteString(c)
			default:
				b.WriteString(c + pad)
			}
			if i < len(r)-1 {
				b.WriteString("  ")
			}
		}
		fmt.Fprintln(w, cut(strings.TrimRight(b.String(), " "), width))
	}
}

// shrink narrows columns marked ~, the widest first, until the last column has
// its width or lastRoom of it.
func (t *table) shrink(wide []int, width int) {
	const lastRoom, least = 36, 12
	if width <= 0 {
		return
	}
	last := len(wide) - 1
	for {
		need, widest := min(wide[last], lastRoom), -1
		for i := range last {
			need += wide[i] + 2
			if strings.HasPrefix(t.head[i], "~") && wide[i] > least && (widest < 0 || wide[i] > wide[widest]) {
				widest = i
			}
		}
		if need <= width || widest < 0 {
			return
		}
		wide[widest]--
	}
}

// cut shortens s to width characters, the last one an ellipsis; 0 leaves it whole.
func cut(s string, width int) string {
	if width <= 0 || utf8.RuneCountInString(s) <= width {
		return s
	}
	r := []rune(s)
	return string(r[:max(0, width-1)]) + "…"
}
