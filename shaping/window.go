package shaping

import (
	"encoding/json"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"
)

// Window allows Max starts in any stretch of time of Length: sliding, not by the
// clock's hours. Max 0 allows none.
type Window struct {
	Max    int
	Length time.Duration
}

// Bounds of a window. A shorter one would waste more on its guard than it is
// worth; a longer one would keep more history than anybody remembers the reason for.
const (
	MinWindow = time.Second
	MaxWindow = 30 * 24 * time.Hour
	MaxCount  = 1_000_000_000
)

// ParseWindow reads "1000/1h", "20/s" or "500/1d12h".
func ParseWindow(s string) (Window, error) {
	text := strings.TrimSpace(s)
	number, length, ok := strings.Cut(text, "/")
	if !ok {
		return Window{}, refuse("", fmt.Sprintf("%q has no window", s), `write how many in how long, such as 1000/1h or 20/s`)
	}
	n, err := strconv.Atoi(strings.TrimSpace(number))
	if err != nil {
		return Window{}, refuse("", fmt.Sprintf("%q does not begin with a whole number", s), `write how many in how long, such as 1000/1h or 20/s`)
	}
	d, err := ParseLength(strings.TrimSpace(length))
	if err != nil {
		return Window{}, err
	}
	w := Window{Max: n, Length: d}
	return w, unplaced(w.check())
}

// ParseWindows reads one or more windows with commas between them: "1000/1h,20/1s".
func ParseWindows(s string) ([]Window, error) {
	var out []Window
	for item := range strings.SplitSeq(s, ",") {
		w, err := ParseWindow(item)
		if err != nil {
			return nil, err
		}
		out = append(out, w)
	}
	return out, unplaced(checkWindows(out))
}

// unplaced takes the place from an error about a text, which is the place.
func unplaced(err error) error {
	if re, ok := err.(*RefusedError); ok {
		return &RefusedError{"", re.What, re.Mend}
	}
	return err
}

// String is the window as ParseWindow reads it.
func (w Window) String() string { return strconv.Itoa(w.Max) + "/" + FormatLength(w.Length) }

// FormatWindows is "1000/1h, 20/1s".
func FormatWindows(ws []Window) string {
	items := make([]string, len(ws))
	for i, w := range ws {
		items[i] = w.String()
	}
	return strings.Join(items, ", ")
}

func (w Window) check() error {
	switch {
	case w.Max < 0:
		return refuse("max", fmt.Sprintf("%d is negative", w.Max), "write 0 to suspend, or leave the limit out")
	case w.Max > MaxCount:
		return refuse("max", fmt.Sprintf("%d is no limit anybody reaches", w.Max), fmt.Sprintf("at most %d, or leave the limit out", MaxCount))
	case w.Length < MinWindow:
		return refuse("window", fmt.Sprintf("%s is too short", FormatLength(w.Length)), "at least "+FormatLength(MinWindow))
	case w.Length > MaxWindow:
		return refuse("window", fmt.Sprintf("%s is too long", FormatLength(w.Length)), "at most "+FormatLength(MaxWindow))
	}
	return nil
}

// checkWindows holds one field's windows against each other. The error's Field
// begins with the position: "[1].max".
func checkWindows(ws []Window) error {
	for i, w := range ws {
		if err := w.check(); err != nil {
			re := err.(*RefusedError)
			return refuse(fmt.Sprintf("[%d].%s", i, re.Field), re.What, re.Mend)
		}
		if j := slices.IndexFunc(ws, func(o Window) bool { return o.Length == w.Length }); j < i {
			return refuse(fmt.Sprintf("[%d].window", i), fmt.Sprintf("%s and %s are limits of the same window", ws[j], w), "keep the smaller one")
		}
	}
	return nil
}

// units are what a length may be written in; the first name of each is the one we print.
var units = []struct {
	d     time.Duration
	names []string
}{
	{24 * time.Hour, []string{"d", "day", "days"}},
	{time.Hour, []string{"h", "hour", "hours"}},
	{time.Minute, []string{"m", "min", "minute", "minutes"}},
	{time.Second, []string{"s", "sec", "second", "seconds"}},
	{time.Millisecond, []string{"ms"}},
	{time.Microsecond, []string{"us"}},
	{time.Nanosecond, []string{"ns"}},
}

// ParseLength reads a window's length: "1h", "1d12h", "90s", or a unit alone ("h"
// is one hour).
func ParseLength(s string) (time.Duration, error) {
	mend := "write a length such as 1s, 30m, 1h or 1d"
	if s == "" {
		return 0, refuse("", "the window has no length", mend)
	}
	var d time.Duration
	for rest := s; rest != ""; {
		i := 0
		for i < len(rest) && '0' <= rest[i] && rest[i] <= '9' {
			i++
		}
		n := int64(1)
		if i > 0 {
			v, err := strconv.ParseInt(rest[:i], 10, 32)
			if err != nil {
				return 0, refuse("", fmt.Sprintf("%q is too long", s), "at most "+FormatLength(MaxWindow))
			}
			n = v
		}
		j := i
		for j < len(rest) && (rest[j] < '0' || rest[j] > '9') {
			j++
		}
		unit := rest[i:j]
		if unit == "" {
			return 0, refuse("", fmt.Sprintf("%q has no unit", s), mend)
		}
		u, ok := unitOf(unit)
		if !ok {
			return 0, refuse("", fmt.Sprintf("%q is no unit of time", unit), mend)
		}
		if i == 0 && rest != s {
			return 0, refuse("", fmt.Sprintf("%q is no length", s), mend)
		}
		d += time.Duration(n) * u
		if d > 100*MaxWindow || time.Duration(n) > 100*MaxWindow/u {
			return 0, refuse("", fmt.Sprintf("%q is too long", s), "at most "+FormatLength(MaxWindow))
		}
		rest = rest[j:]
	}
	return d, nil
}

func unitOf(name string) (time.Duration, bool) {
	for _, u := range units {
		if slices.Contains(u.names, name) {
			return u.d, true
		}
	}
	return 0, false
}

// FormatLength is the shortest text that ParseLength reads back as d.
func FormatLength(d time.Duration) string {
	if d <= 0 {
		return "0s"
	}
	out := ""
	for _, u := range units {
		if n := d / u.d; n > 0 {
			out += strconv.FormatInt(int64(n), 10) + u.names[0]
			d -= n * u.d
		}
	}
	return out
}

type windowJSON struct {
	Max    *int   `json:"max"`
	Window string `json:"window"`
}

// MarshalJSON writes {"max":1000,"window":"1h"}, the form of the configuration.
func (w Window) MarshalJSON() ([]byte, error) {
	return json.Marshal(windowJSON{&w.Max, FormatLength(w.Length)})
}

// UnmarshalJSON reads that form, and "1000/1h".
func (w *Window) UnmarshalJSON(b []byte) error {
	var text string
	if json.Unmarshal(b, &text) == nil {
		v, err := ParseWindow(text)
		*w = v
		return err
	}
	var v windowJSON
	if err := json.Unmarshal(b, &v); err != nil {
		return fmt.Errorf("a window: %w", err)
	}
	if v.Max == nil {
		return refuse("max", "a window without max", `write {"max": 1000, "window": "1h"}`)
	}
	d, err := ParseLength(v.Window)
	*w = Window{Max: *v.Max, Length: d}
	return err
}
