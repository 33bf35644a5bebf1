package script

import (
	"context"
	"slices"
	"sync"
	"time"

	"github.com/tarishi/tarishi/mail"
	"github.com/tarishi/tarishi/plugin"
	"github.com/tarishi/tarishi/script/frame"
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
			b.pr.w.Add(&frame.Forget{Connection: b.id}) // goes out with whatever goes next
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
