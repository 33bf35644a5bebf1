// Package windows answers one question: did what reached a sink keep within its limits?
//
// It reads the record of `tarishi bench sink --record` and judges it exactly: a window
// of N in W is kept if, for every start i, the start N places later comes at least W
// after it. That covers every sliding window, whatever its beginning, and not only
// those of a calendar. Connections at a time are judged by sweeping over their begins
// and ends. It knows nothing of who sent the mail, or of how the limits are kept.
package windows

import (
	"fmt"
	"strconv"
	"strings"
	"time"
)

// Unit is what a window counts.
type Unit string

// The units. A start is MAIL FROM, RCPT TO or an accepted connection, whatever was
// answered to it.
const (
	Messages       Unit = "messages"
	Recipients     Unit = "recipients"
	NewConnections Unit = "new connections"
)

// Limit allows Max starts in any time of length Window: [t, t+Window) for every t.
// Max 0 is a suspension: any start breaks it.
type Limit struct {
	Destination string        `json:"destination"`
	Unit        Unit          `json:"unit"`
	Max         int           `json:"max"`
	Window      time.Duration `json:"window_nanos"`

	// Where a limit held for part of the time only: the starts in [Since, Until) are
	// judged, by all that went before them. 0: from the beginning, to the end.
	Since int64 `json:"since,omitempty"`
	Until int64 `json:"until,omitempty"`
}

func (l Limit) String() string {
	return fmt.Sprintf("%s: %d %s in %v", l.Destination, l.Max, l.Unit, l.Window)
}

// Cap bounds connections: at the same time, or the messages of each.
type Cap struct {
	Destination string `json:"destination"`
	Max         int    `json:"max"`
}

// ParseLimit reads "destination=MAX/WINDOW", as in "example.net=1000/1h".
func ParseLimit(unit Unit, s string) (Limit, error) {
	dest, rule, _ := strings.Cut(s, "=")
	most, length, ok := strings.Cut(rule, "/")
	n, err := strconv.Atoi(most)
	if dest == "" || !ok || err != nil || n < 0 {
		return Limit{}, fmt.Errorf("%q is not destination=MAX/WINDOW, as in example.net=1000/1h", s)
	}
	w, err := duration(length)
	if err != nil {
		return Limit{}, fmt.Errorf("%q: %w", s, err)
	}
	return Limit{Destination: strings.ToLower(dest), Unit: unit, Max: n, Window: w}, nil
}

// duration is time.ParseDuration that knows days and wants more than nothing.
func duration(s string) (time.Duration, error) {
	if days, ok := strings.CutSuffix(s, "d"); ok {
		if n, err := strconv.ParseUint(days, 10, 16); err == nil && n > 0 {
			return time.Duration(n) * 24 * time.Hour, nil
		}
	}
	d, err := time.ParseDuration(s)
	if err != nil || d <= 0 {
		return 0, fmt.Errorf("a window of %q: write 10s, 1h or 1d", s)
	}
	return d, nil
}

// ParseCap reads "destination=N".
func ParseCap(s string) (Cap, error) {
	dest, most, ok := strings.Cut(s, "=")
	n, err := strconv.Atoi(most)
	if dest == "" || !ok || err != nil || n < 0 {
		return Cap{}, fmt.Errorf("%q is not destination=N, as in example.net=3", s)
	}
	return Cap{Destination: strings.ToLower(dest), Max: n}, nil
}

// Groups says which domains are one destination together: domain to name.
type Groups map[string]string

// Add reads "name=domain,domain".
func (g Groups) Add(s string) error {
	name, domains, ok := strings.Cut(s, "=")
	if name == "" || !ok || domains == "" {
		return fmt.Errorf("%q is not name=domain,domain", s)
	}
	for d := range strings.SplitSeq(strings.ToLower(domains), ",") {
		if other, taken := g[d]; taken && other != name {
			return fmt.Errorf("%s belongs to %s and to %s", d, other, name)
		}
		g[d] = strings.ToLower(name)
	}
	return nil
}

func (g Groups) name(domain string) string {
	if name, ok := g[domain]; ok {
		return name
	}
	return domain
}
