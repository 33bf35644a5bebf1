package script

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/tarishi/tarishi/mail"
	"github.com/tarishi/tarishi/plugin"
	"github.com/tarishi/tarishi/script/frame"
	"github.com/tarishi/tarishi/smtp"
)

// bond ties a connection to a worker, and remembers what the worker knows of it, so
// that no call says it again. A delivery has none: each of its calls says everything.
type bond struct {
	pool *Pool
	id   uint64
	conn *plugin.Connection // nil: calls about deliveries

	mu    sync.Mutex
	tied  bool     // the connection's end will be told of
	pr    *process // nil: none yet
	known bool     // what follows is what pr knows
	ahead []early

	host, hello, verb, user string
	tls                     plugin.TLS
	relaying, early         bool
	messages                int
	capabilities            []string
	notes, results          uint64

	tx                 *plugin.Transaction
	no                 uint64
	from               mail.Address
	recipients         []mail.Recipient
	message            bool
	header             uint64
	txNotes, txResults uint64
}

// bond is the connection's; a new one the first time.
func (p *Pool) bond(c *plugin.Connection) *bond {
	if c == nil {
		return &bond{pool: p}
	}
	return c.Attached(p, func() any {
		return &bond{pool: p, id: p.ids.Add(1), conn: c}
	}).(*bond)
}

// lose forgets what the worker knows, and with pr also the worker itself.
func (b *bond) lose(pr *process) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.known = false
	if pr != nil && b.pr == pr {
		b.pr.bonds.Add(-1)
		b.pr = nil
	}
}

// forget tells the worker that the connection is over.
func (b *bond) forget() {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.pr != nil {
		b.pr.w.Send(&frame.Forget{Connection: b.id})
		b.pr.bonds.Add(-1)
		b.pr = nil
	}
	b.known = false
}

// early is a call that has begun before its turn: the worker goes on with it when the
// one before it has said CONT.
type early struct {
	e  *plugin.Event
	n  uint64
	c  *call
	pr *process
}

// begun is the call of a function that has begun early; nil: it has not. What else
// has begun early is not wanted any more then.
func (b *bond) begun(e *plugin.Event, n uint64) (*process, *call) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if len(b.ahead) > 0 && b.ahead[0].e == e && b.ahead[0].n == n {
		x := b.ahead[0]
		b.ahead = b.ahead[1:]
		return x.pr, x.c
	}
	b.dropEarly()
	return nil, nil
}

// drop gives up what has begun early.
func (b *bond) drop() {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.dropEarly()
}

func (b *bond) dropEarly() {
	for _, x := range b.ahead {
		x.pr.finish(x.c)
	}
	b.ahead = nil
}

// call makes the frame for a call, with what the worker does not know. functions are
// n, and those that follow it in the chain.
func (b *bond) call(ctx context.Context, e *plugin.Event, functions []uint64) (*process, *frame.Call, error) {
	b.mu.Lock()
	pr := b.pr
	b.mu.Unlock()
	if pr == nil || pr.isDead() || pr.stuck() {
		fresh, err := b.pool.pick(ctx)
		if err != nil {
			return nil, nil, err
		}
		b.mu.Lock()
		if b.conn != nil && !b.tied {
			b.tied = true
			b.conn.OnEnd(b.forget)
		}
		if b.pr != nil {
			b.pr.bonds.Add(-1)
		}
		b.pr, b.known = fresh, false
		if b.conn != nil {
			fresh.bonds.Add(1)
		}
		b.mu.Unlock()
		pr = fresh
	}
	k := uint64(len(functions))
	f := &frame.Call{Seq: b.pool.ids.Add(k) - k + 1, Hook: string(e.Hook), Functions: functions}
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.conn != nil {
		b.news(&f.Connection)
		if err := b.newsOf(&f.Transaction, e.Transaction, functions); err != nil {
			return nil, nil, err
		}
		b.known = true
	}
	args(&f.Args, e)
	if e.Delivery != nil {
		f.Delivery = delivery(e)
	}
	return pr, f, nil
}

// news is what has changed of the connection.
func (b *bond) news(f *frame.Connection) {
	c := b.conn
	f.ID = b.id
	all := !b.known
	if all {
		f.Changed |= frame.ChangedBirth
		f.Name = c.ID
		f.RemoteIP, f.RemotePort = ip(c.Remote), uint64(c.Remote.Port())
		f.LocalIP, f.LocalPort = ip(c.Local), uint64(c.Local.Port())
		f.ProxyIP = ip(c.Proxy)
		f.StartedMilliseconds = uint64(time.Now().UnixMilli())
		b.tx = nil
		b.no, b.notes, b.results = 0, 0, 0
	}
	if host := c.Host(); all || host != b.host {
		f.Changed |= frame.ChangedHost
		f.Host, b.host = host, host
	}
	if hello, verb := c.Hello(); all || hello != b.hello || verb != b.verb {
		f.Changed |= frame.ChangedHello
		f.HelloName, f.HelloVerb, b.hello, b.verb = hello, verb, hello, verb
	}
	if t := c.TLS(); all || t != b.tls {
		f.Changed |= frame.ChangedTLS
		f.TLS, f.TLSVersion, f.TLSCipher, f.TLSServer, f.TLSPeer = t.Enabled, t.Version, t.Cipher, t.ServerName, t.PeerSubject
		b.tls = t
	}
	if user := c.User(); all || user != b.user {
		f.Changed |= frame.ChangedUser
		f.User, f.Secret, b.user = user, c.Password() != "", user
	}
	if r, early, m := c.Relaying(), c.EarlyTalker(), c.Messages(); all || r != b.relaying || early != b.early || m != b.messages {
		f.Changed |= frame.ChangedFlags
		f.Relaying, f.Early, f.Messages = r, early, uint64(m)
		b.relaying, b.early, b.messages = r, early, m
	}
	if caps := c.Capabilities(); all || !slices.Equal(caps, b.capabilities) {
		f.Changed |= frame.ChangedCapabilities
		f.Capabilities, b.capabilities = caps, caps
	}
	if f.Notes, b.notes = changedNotes(&c.Notes, b.notes); f.Notes != nil {
		f.Changed |= frame.ChangedNotes
	}
	if f.Results, b.results = c.Results.Changes(b.results); f.Results != nil {
		f.Changed |= frame.ChangedResults
	}
}

// newsOf is what has changed of the transaction.
func (b *bond) newsOf(f *frame.Transaction, tx *plugin.Transaction, functions []uint64) error {
	if tx == nil {
		b.tx = nil
		return nil
	}
	all := tx != b.tx
	if all {
		b.tx = tx
		b.no++
		b.message, b.txNotes, b.txResults = false, 0, 0
		f.Changed |= frame.ChangedBirth
		f.Name = tx.ID
	}
	f.No = b.no
	if from := tx.From(); all || from != b.from {
		f.Changed |= frame.ChangedFrom
		f.From, b.from = from.Raw, from
	}
	if rs := tx.Recipients(); all || !slices.Equal(rs, b.recipients) {
		f.Changed |= frame.ChangedRecipients
		for _, r := range rs {
			f.Recipients = append(f.Recipients, r.Raw)
		}
		b.recipients = rs
	}
	if m := tx.Message(); m != nil {
		// What the worker has of the header is good as long as the version is.
		version := m.Header().Version()
		fresh := !b.message || version != b.header
		if fresh {
			f.Changed |= frame.ChangedMessage
			f.Size, f.Header = uint64(m.Size()), version
			header, body := b.pool.habits(functions)
			if err := ahead(m, f, header, body && !b.message); err != nil {
				return err
			}
		}
		b.message, b.header = true, version
	}
	if f.Notes, b.txNotes = changedNotes(&tx.Notes, b.txNotes); f.Notes != nil {
		f.Changed |= frame.ChangedNotes
	}
	if f.Results, b.txResults = tx.Results.Changes(b.txResults); f.Results != nil {
		f.Changed |= frame.ChangedResults
	}
	return nil
}

func changedNotes(n *plugin.Notes, since uint64) ([]frame.Pair, uint64) {
	changed, now := n.Changes(since)
	if len(changed) == 0 {
		return nil, now
	}
	out := make([]frame.Pair, 0, len(changed))
	for k, v := range changed {
		out = append(out, frame.Pair{Key: k, Value: v})
	}
	return out, now
}

// apply does what the script has done to connection and transaction.
func (b *bond) apply(e *plugin.Event, a *frame.Answer) error {
	b.mu.Lock()
	defer b.mu.Unlock()
	if c := b.conn; c != nil {
		x := &a.Connection
		if x.Changed&frame.ChangedHost != 0 {
			c.SetHost(x.Host)
			b.host = x.Host
		}
		if x.Changed&frame.ChangedFlags != 0 {
			c.SetRelaying(x.Relaying)
			b.relaying = x.Relaying
			if x.Early {
				c.SetEarlyTalker()
				b.early = true
			}
		}
		if x.Changed&frame.ChangedCapabilities != 0 {
			for _, k := range x.Capabilities {
				c.AddCapability(k)
			}
			b.capabilities = c.Capabilities()
		}
		b.notes = setNotes(&c.Notes, x.Notes, b.notes)
		b.results = setResults(&c.Results, x.Results, b.results)
	}
	tx := e.Transaction
	if tx == nil {
		return nil
	}
	x := &a.Transaction
	b.txNotes = setNotes(&tx.Notes, x.Notes, b.txNotes)
	b.txResults = setResults(&tx.Results, x.Results, b.txResults)
	if b.conn == nil { // of a delivery only its notes can be changed
		return nil
	}
	if x.Changed&frame.ChangedFrom != 0 {
		from, err := mailbox(x.From)
		if err != nil {
			return fmt.Errorf("mail_from: %w", err)
		}
		tx.SetFrom(from)
		b.from = from
	}
	if x.Changed&frame.ChangedRecipients != 0 {
		rs, err := recipients(x.Recipients, tx.Recipients())
		if err != nil {
			return err
		}
		tx.SetRecipients(rs)
		b.recipients = rs
	}
	if x.Changed&frame.ChangedMessage != 0 && x.Discard {
		tx.Discard()
	}
	for _, name := range a.Skip {
		tx.SkipPlugin(name)
	}
	return b.amend(tx, a.Header)
}

// amend changes the header.
func (b *bond) amend(tx *plugin.Transaction, edits []frame.HeaderEdit) error {
	if len(edits) == 0 {
		return nil
	}
	m := tx.Message()
	known := m != nil && b.message && m.Header().Version() == b.header
	for _, h := range edits {
		var err error
		switch h.Kind {
		case frame.HeaderAdd:
			err = tx.AddField(h.Name, h.Value)
		case frame.HeaderLead:
			err = tx.AddLeadingField(h.Name, h.Value)
		case frame.HeaderRemove:
			err = tx.RemoveField(h.Name)
		default:
			err = fmt.Errorf("there is no change of the header %d", h.Kind)
		}
		if err != nil {
			return err
		}
	}
	if known { // the worker has done the same to its copy
		b.header = m.Header().Version()
	}
	return nil
}

// setNotes remembers, and returns the version up to which the worker knows the notes.
func setNotes(n *plugin.Notes, ps []frame.Pair, known uint64) uint64 {
	if len(ps) == 0 {
		return known
	}
	current := n.Version() == known
	for _, p := range ps {
		n.Set(p.Key, frame.Decoded(p.Value))
	}
	if current {
		return n.Version()
	}
	return known
}

func setResults(r *plugin.Results, es []frame.ResultEdit, known uint64) uint64 {
	if len(es) == 0 {
		return known
	}
	_, before := r.Changes(known)
	for _, x := range es {
		edit(r, x)
	}
	if before == known {
		_, known = r.Changes(known)
	}
	return known
}

// recipients makes those that a script wants of their paths. One that was there keeps
// what the client has asked for it.
func recipients(paths []string, were []mail.Recipient) ([]mail.Recipient, error) {
	out := make([]mail.Recipient, 0, len(paths))
	for i, raw := range paths {
		// One that stands where it stood was rewritten, if it is not the same.
		if i < len(were) && were[i].Raw == raw {
			out = append(out, were[i])
			continue
		}
		if j := slices.IndexFunc(were, func(r mail.Recipient) bool { return r.Raw == raw }); j >= 0 {
			out = append(out, were[j])
			continue
		}
		a, err := mailbox(raw)
		if err != nil || a.IsNull() {
			return nil, fmt.Errorf("rcpt_to: %q is no recipient", raw)
		}
		r := mail.Recipient{Address: a}
		if i < len(were) && len(paths) == len(were) {
			r.Notify, r.ORcpt = were[i].Notify, were[i].ORcpt
		}
		out = append(out, r)
	}
	return out, nil
}

var errNoMailbox = errors.New("is no address")

func mailbox(raw string) (mail.Address, error) {
	if raw == "" {
		return mail.Address{}, nil
	}
	if strings.EqualFold(raw, "postmaster") { // RFC 5321 §4.5.1
		return mail.NewAddress(raw), nil
	}
	a, err := smtp.ParseMailbox(raw)
	if err != nil {
		return mail.Address{}, fmt.Errorf("%q %w: %w", raw, errNoMailbox, err)
	}
	return a, nil
}
