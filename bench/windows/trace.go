package windows

import (
	"cmp"
	"fmt"
	"io"
	"net"
	"slices"

	"github.com/tarishi/tarishi/bench"
)

// Trace is what reached one or more sinks of one machine, sorted by destination and time.
type Trace struct {
	Begin, End int64 // the first and the last stamp, nanoseconds
	Torn       int   // lines that killed sinks left unfinished

	// What has no recipient and came over a connection, and to an address, that
	// does not tell its destination either. No limit is judged by it.
	Unplaced int

	Destinations map[string]*Destination
}

// Destination is what one destination got.
type Destination struct {
	Mails, Recipients, Opens []Start // each in order of time
	Messages                 []Start // accepted: the time of the final dot
	Connections              []*Conn // in the order of their begins
	Copies, Refused          int     // recipients of accepted messages; recipients refused
}

// Start is one MAIL FROM, RCPT TO, final dot or connection.
type Start struct {
	At   int64
	Conn *Conn
}

// Conn is one connection.
type Conn struct {
	ID          uint64
	Client      string // without the port
	Listener    string
	Open, Close int64 // Close is the end of the record where the connection outlived it
	Mails       int

	dests []string // in the order of the first MAIL for each
}

// Read reads records and joins the domains of groups.
func Read(groups Groups, records ...io.Reader) (*Trace, error) {
	t := &Trace{Destinations: map[string]*Destination{}}
	b := &builder{t: t, groups: groups, names: map[string]string{}, listeners: map[string][]string{}}
	for i, r := range records {
		b.generation()
		torn, err := bench.ReadRecord(r, b.line)
		t.Torn += torn
		if err != nil {
			return nil, fmt.Errorf("record %d: %w", i+1, err)
		}
	}
	if err := b.finish(); err != nil {
		return nil, err
	}
	return t, nil
}

// builder makes a Trace from lines. Between two starts they may come in any order.
type builder struct {
	t      *Trace
	groups Groups
	names  map[string]string // domain to destination, so that each name is kept once

	conns     map[uint64]*Conn // of the sink that writes now
	all       []*Conn
	listeners map[string][]string // by address: the destinations seen there
	bare      []Start             // MAILs without a recipient
	messages  []message
}

type message struct {
	Start
	copies int
}

// generation begins with another sink's lines: connection numbers start again.
func (b *builder) generation() { b.conns = map[uint64]*Conn{} }

func (b *builder) conn(id uint64) *Conn {
	c := b.conns[id]
	if c == nil {
		c = &Conn{ID: id, Open: -1, Close: -1}
		b.conns[id] = c
		b.all = append(b.all, c)
	}
	return c
}

func (b *builder) line(l bench.RecordLine) error {
	if b.t.Begin == 0 || l.At < b.t.Begin {
		b.t.Begin = l.At
	}
	b.t.End = max(b.t.End, l.At)
	if l.Event == "start" {
		for _, c := range b.conns {
			if c.Close < 0 {
				c.Close = l.At // its sink is gone
			}
		}
		b.generation()
		return nil
	}
	c := b.conn(l.Conn)
	switch l.Event {
	case "open":
		if c.Open >= 0 {
			return fmt.Errorf("connection %d opens twice", l.Conn)
		}
		c.Open, c.Listener, c.Client = l.At, string(l.Listener), string(l.Client)
		if host, _, err := net.SplitHostPort(c.Client); err == nil {
			c.Client = host
		}
	case "close":
		c.Close = l.At
	case "mail":
		c.Mails++
		if len(l.Destination) == 0 {
			b.bare = append(b.bare, Start{l.At, c})
			break
		}
		name := b.name(l.Destination)
		if !slices.Contains(c.dests, name) {
			c.dests = append(c.dests, name)
		}
		d := b.t.at(name)
		d.Mails = append(d.Mails, Start{l.At, c})
	case "rcpt":
		d := b.t.at(b.name(domainOf(l.Recipient)))
		d.Recipients = append(d.Recipients, Start{l.At, c})
		if l.Code/100 != 2 {
			d.Refused++
		}
	case "data":
		b.messages = append(b.messages, message{Start{l.At, c}, l.Copies})
	}
	return nil
}

func (b *builder) name(domain []byte) string {
	if name, ok := b.names[string(domain)]; ok {
		return name
	}
	name := b.groups.name(string(domain))
	b.names[string(domain)] = name
	return name
}

func domainOf(address []byte) []byte {
	for i := len(address) - 1; i >= 0; i-- {
		if address[i] == '@' {
			address = address[i+1:]
			break
		}
	}
	lower := make([]byte, len(address))
	for i, c := range address {
		if 'A' <= c && c <= 'Z' {
			c += 'a' - 'A'
		}
		lower[i] = c
	}
	return lower
}

func (t *Trace) at(name string) *Destination {
	d := t.Destinations[name]
	if d == nil {
		d = &Destination{}
		t.Destinations[name] = d
	}
	return d
}

// finish places what did not say itself where it belongs, and puts everything in order.
func (b *builder) finish() error {
	for _, c := range b.all {
		if c.Open < 0 {
			return fmt.Errorf("connection %d was never opened: the beginning of a record is missing", c.ID)
		}
		if c.Close < 0 {
			c.Close = b.t.End
		}
		for _, name := range c.dests {
			if seen := b.listeners[c.Listener]; !slices.Contains(seen, name) {
				b.listeners[c.Listener] = append(seen, name)
			}
		}
	}
	for _, m := range b.bare {
		if dests := b.destinations(m.Conn); len(dests) == 1 {
			d := b.t.at(dests[0])
			d.Mails = append(d.Mails, m)
		} else {
			b.t.Unplaced++
		}
	}
	for _, c := range b.all {
		// One that carried mail for several destinations counts for each of them.
		dests := b.destinations(c)
		if len(c.dests) == 0 && len(dests) != 1 {
			b.t.Unplaced++
			continue
		}
		for _, name := range dests {
			d := b.t.at(name)
			d.Opens = append(d.Opens, Start{c.Open, c})
			d.Connections = append(d.Connections, c)
		}
	}
	for _, d := range b.t.Destinations {
		slices.SortStableFunc(d.Mails, byTime)
	}
	for _, m := range b.messages {
		d, err := b.carried(m)
		if err != nil {
			return err
		}
		d.Messages = append(d.Messages, m.Start)
		d.Copies += m.copies
	}
	for _, d := range b.t.Destinations {
		slices.SortStableFunc(d.Recipients, byTime)
		slices.SortStableFunc(d.Opens, byTime)
		slices.SortStableFunc(d.Messages, byTime)
		slices.SortStableFunc(d.Connections, func(a, b *Conn) int { return cmp.Compare(a.Open, b.Open) })
	}
	return nil
}

func byTime(a, b Start) int { return cmp.Compare(a.At, b.At) }

// carried is the destination of a message: that of the last MAIL before it.
func (b *builder) carried(m message) (*Destination, error) {
	switch len(m.Conn.dests) {
	case 0:
		return nil, fmt.Errorf("a message on connection %d, which had no MAIL with a recipient", m.Conn.ID)
	case 1:
		return b.t.at(m.Conn.dests[0]), nil
	}
	var found *Destination
	var at int64 = -1
	for _, name := range m.Conn.dests {
		d := b.t.at(name)
		for i := len(d.Mails) - 1; i >= 0; i-- {
			if s := d.Mails[i]; s.Conn == m.Conn && s.At <= m.At {
				if s.At > at {
					found, at = d, s.At
				}
				break
			}
		}
	}
	if found == nil {
		return nil, fmt.Errorf("a message on connection %d before any of its MAILs", m.Conn.ID)
	}
	return found, nil
}

// destinations tells where a connection belongs: by what it carried, else by what came to the
// address it was made to.
func (b *builder) destinations(c *Conn) []string {
	if len(c.dests) > 0 {
		return c.dests
	}
	return b.listeners[c.Listener]
}
