package windows

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"
)

// Rules are what a trace is judged by.
type Rules struct {
	Limits        []Limit
	Connections   []Cap // at the same time
	PerConnection []Cap // messages over one connection

	// What is used of a limit is measured from here to there, times since the begin
	// of the record: while there was always mail to send. 0: from the destination's
	// first start to its last one.
	From, To time.Duration
}

// Report says what a trace came to.
type Report struct {
	Seconds       float64             `json:"seconds"` // from the first line to the last
	Torn          int                 `json:"torn_lines"`
	Unplaced      int                 `json:"unplaced"` // see Trace
	Limits        []LimitReport       `json:"limits,omitempty"`
	Connections   []CapReport         `json:"connections,omitempty"`
	PerConnection []CapReport         `json:"per_connection,omitempty"`
	Destinations  []DestinationReport `json:"destinations"`
}

// LimitReport is how one limit was kept.
type LimitReport struct {
	Limit
	Starts     int           `json:"starts"`
	Most       int           `json:"most"`       // in any one window
	Violations int           `json:"violations"` // starts that came too early
	Worst      time.Duration `json:"worst_nanos"`
	First      []Violation   `json:"first_violations,omitempty"`
	Used       int64         `json:"used"`    // in whole windows of the measured span
	Allowed    int64         `json:"allowed"` // 0: the span is shorter than the window
}

// Utilisation is Used over Allowed; 0 where nothing was allowed.
func (l *LimitReport) Utilisation() float64 { return ratio(l.Used, l.Allowed) }

// CapReport is how a bound of connections was kept.
type CapReport struct {
	Cap
	Most       int         `json:"most"`
	Violations int         `json:"violations"` // connections that were too many, or carried too many
	First      []Violation `json:"first_violations,omitempty"`
	Used       int64       `json:"used_nanos"`    // of all connections, in the measured span
	Allowed    int64       `json:"allowed_nanos"` // Max connections all the time
}

// Utilisation is Used over Allowed; 0 where nothing was allowed.
func (c *CapReport) Utilisation() float64 { return ratio(c.Used, c.Allowed) }

// Violation is one start too many.
type Violation struct {
	At     float64       `json:"at_seconds"` // since the begin of the record
	Early  time.Duration `json:"early_nanos,omitempty"`
	Count  int           `json:"count,omitempty"` // of connections, or of one connection's messages
	Conn   uint64        `json:"connection"`
	Client string        `json:"client"`
	Behind uint64        `json:"behind_connection,omitempty"` // what it came too close behind
}

// DestinationReport is what a destination got, and from whom.
type DestinationReport struct {
	Name        string         `json:"destination"`
	Mails       int            `json:"transactions"`
	Messages    int            `json:"messages"` // accepted
	Copies      int            `json:"copies"`
	Refused     int            `json:"recipients_refused"`
	Connections int            `json:"connections"`
	Pause       float64        `json:"longest_pause_seconds"` // between two transactions of the measured span
	PauseAt     float64        `json:"longest_pause_at_seconds"`
	Clients     []ClientReport `json:"clients"`
}

// ClientReport is one sender's part.
type ClientReport struct {
	Address     string `json:"address"`
	Mails       int    `json:"transactions"`
	Connections int    `json:"connections"`
}

const maxListed = 20

// Judge compares a trace with rules. It is an error if a rule is about a destination
// that got nothing: such a rule would be kept whatever happened.
func Judge(t *Trace, rules Rules) (*Report, error) {
	r := &Report{Seconds: seconds(t.End - t.Begin), Torn: t.Torn, Unplaced: t.Unplaced}
	need := func(name string) (*Destination, error) {
		if d := t.Destinations[name]; d != nil {
			return d, nil
		}
		return nil, fmt.Errorf("nothing in the record went to %s; it has %s", name, strings.Join(slices.Sorted(maps.Keys(t.Destinations)), ", "))
	}
	for _, l := range rules.Limits {
		d, err := need(l.Destination)
		if err != nil {
			return nil, err
		}
		r.Limits = append(r.Limits, judgeLimit(t, d, l, rules))
	}
	for _, c := range rules.Connections {
		d, err := need(c.Destination)
		if err != nil {
			return nil, err
		}
		r.Connections = append(r.Connections, judgeConnections(t, d, c, rules))
	}
	for _, c := range rules.PerConnection {
		d, err := need(c.Destination)
		if err != nil {
			return nil, err
		}
		r.PerConnection = append(r.PerConnection, judgePerConnection(t, d, c))
	}
	for _, name := range slices.Sorted(maps.Keys(t.Destinations)) {
		r.Destinations = append(r.Destinations, describe(t, name, rules))
	}
	return r, nil
}

func judgeLimit(t *Trace, d *Destination, l Limit, rules Rules) LimitReport {
	starts := map[Unit][]Start{Messages: d.Mails, Recipients: d.Recipients, NewConnections: d.Opens}[l.Unit]
	at := times(starts)
	r := LimitReport{Limit: l, Starts: len(at)}
	r.Most, _ = most(at, int64(l.Window))
	for i := range breaks(at, l.Max, int64(l.Window)) {
		late := starts[i+l.Max]
		if late.At < l.Since || l.Until != 0 && late.At >= l.Until {
			continue
		}
		early := l.Window - time.Duration(late.At-at[i])
		r.Violations++
		r.Worst = max(r.Worst, early)
		if len(r.First) < maxListed {
			r.First = append(r.First, Violation{At: seconds(late.At - t.Begin), Early: early, Conn: late.Conn.ID, Client: late.Conn.Client, Behind: starts[i].Conn.ID})
		}
	}
	if len(at) > 0 {
		begin, end := rules.span(t, at[0], at[len(at)-1])
		r.Used, r.Allowed = use(at, l.Max, int64(l.Window), begin, end)
	}
	return r
}

func judgeConnections(t *Trace, d *Destination, c Cap, rules Rules) CapReport {
	r := CapReport{Cap: c}
	lives := make([]life, len(d.Connections))
	var first, last int64
	for i, conn := range d.Connections {
		lives[i] = life{conn.Open, conn.Close}
		if i == 0 {
			first = conn.Open
		}
		last = max(last, conn.Close)
	}
	sweep(lives, func(i, open int) {
		r.Most = max(r.Most, open)
		if open <= c.Max {
			return
		}
		r.Violations++
		if conn := d.Connections[i]; len(r.First) < maxListed {
			r.First = append(r.First, Violation{At: seconds(conn.Open - t.Begin), Count: open, Conn: conn.ID, Client: conn.Client})
		}
	})
	begin, end := rules.span(t, first, last)
	r.Used, r.Allowed = busy(lives, begin, end), (end-begin)*int64(c.Max)
	return r
}

func judgePerConnection(t *Trace, d *Destination, c Cap) CapReport {
	r := CapReport{Cap: c}
	carried := map[*Conn]int{}
	for _, m := range d.Mails {
		carried[m.Conn]++
		n := carried[m.Conn]
		r.Most = max(r.Most, n)
		if n == c.Max+1 {
			r.Violations++
			if len(r.First) < maxListed {
				r.First = append(r.First, Violation{At: seconds(m.At - t.Begin), Count: n, Conn: m.Conn.ID, Client: m.Conn.Client})
			}
		}
	}
	return r
}

func describe(t *Trace, name string, rules Rules) DestinationReport {
	d := t.Destinations[name]
	r := DestinationReport{Name: name, Mails: len(d.Mails), Messages: len(d.Messages), Copies: d.Copies, Refused: d.Refused, Connections: len(d.Connections)}
	clients := map[string]*ClientReport{}
	client := func(c *Conn) *ClientReport {
		if clients[c.Client] == nil {
			clients[c.Client] = &ClientReport{Address: c.Client}
		}
		return clients[c.Client]
	}
	for _, m := range d.Mails {
		client(m.Conn).Mails++
	}
	for _, c := range d.Connections {
		client(c).Connections++
	}
	for _, c := range clients {
		r.Clients = append(r.Clients, *c)
	}
	slices.SortFunc(r.Clients, func(a, b ClientReport) int { return cmp.Compare(a.Address, b.Address) })
	if at := times(d.Mails); len(at) > 0 {
		begin, end := rules.span(t, at[0], at[len(at)-1])
		longest, from := pause(at, begin, end)
		r.Pause, r.PauseAt = seconds(longest), seconds(from-t.Begin)
	}
	return r
}

// span is the measured part of the record.
func (r Rules) span(t *Trace, first, last int64) (begin, end int64) {
	if r.From > 0 {
		first = t.Begin + int64(r.From)
	}
	if r.To > 0 {
		last = t.Begin + int64(r.To)
	}
	return first, max(first, last)
}

func times(s []Start) []int64 {
	t := make([]int64, len(s))
	for i := range s {
		t[i] = s[i].At
	}
	return t
}

func seconds(nanos int64) float64 { return float64(nanos) / 1e9 }

func ratio(used, allowed int64) float64 {
	if allowed <= 0 {
		return 0
	}
	return float64(used) / float64(allowed)
}
