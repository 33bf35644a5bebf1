package script

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/tarishi/tarishi/mail"
	"github.com/tarishi/tarishi/plugin"
	"github.com/tarishi/tarishi/script/frame"
)

// script is one script as a plugin.
type script struct {
	pool *Pool
	name string
}

// Name is the script's.
func (s *script) Name() string { return s.name }

// Register has the workers start, if this is the pool's first script, and registers
// what the script has registered there.
func (s *script) Register(r *plugin.Registrar) error {
	if err := s.pool.start(); err != nil {
		return err
	}
	if err := s.pool.faults[s.name]; err != nil {
		return err
	}
	for i, f := range s.pool.loaded.Functions {
		if f.Script != s.name {
			continue
		}
		r.Hook(plugin.Hook(f.Hook), f.Priority, f.Name, s.function(uint64(i)))
	}
	return nil
}

// Files are what is read besides the scripts themselves: the scripts are loaded anew
// when one changes.
func (s *script) Files() []string {
	if s.pool.loaded == nil {
		return nil
	}
	return s.pool.loaded.Files
}

// Close gives the pool back.
func (s *script) Close(ctx context.Context) error { return s.pool.leave(ctx) }

// Before notes that a function of a sister comes right behind one of ours: one call
// then does for both.
func (s *script) Before(h plugin.Hook, function string, next plugin.Plugin, nextFunction string) {
	sister, ok := next.(*script)
	if !ok || sister.pool != s.pool {
		return
	}
	a, ok := s.pool.number(h, s.name, function)
	b, ok2 := s.pool.number(h, sister.name, nextFunction)
	if ok && ok2 {
		s.pool.follows[a] = b + 1
	}
}

// retries is how often a call is made anew because the worker died of another one.
const retries = 3

// function is the n-th function as the chain calls it.
func (s *script) function(n uint64) plugin.Func {
	return func(ctx context.Context, e *plugin.Event) plugin.Verdict {
		b := s.pool.bond(e.Connection)
		var a *frame.Answer
		var err error
		for range retries {
			a, err = s.pool.call(ctx, b, e, n)
			var d dead
			if !errors.As(err, &d) || d.of {
				break
			}
		}
		if err != nil {
			return s.failed(e, n, err)
		}
		v := verdict(e.Hook, a)
		if err := b.apply(e, a); err != nil {
			return s.failed(e, n, err)
		}
		return v
	}
}

// dead says that a call came to nothing because its worker died; of is whether it
// died of this call.
type dead struct {
	of  bool
	why string
}

func (d dead) Error() string { return d.why }

// failed is what is said for a script that did not answer for itself.
func (s *script) failed(e *plugin.Event, n uint64, err error) plugin.Verdict {
	f := s.pool.loaded.Functions[n]
	args := []any{"plugin", s.name, "hook", string(e.Hook), "function", f.Name, "error", err}
	if e.Connection != nil {
		args = append(args, "connection", e.Connection.ID)
	}
	if e.Delivery != nil {
		args = append(args, "delivery", e.Delivery.ID())
	}
	s.pool.log.Error("script failed", args...)
	switch e.Hook {
	case plugin.Bounce, plugin.Deferred, plugin.Delivered:
		// A script that fails takes neither the sender's notice nor the next attempt away.
		return plugin.Verdict{}
	}
	return plugin.Verdict{Code: plugin.Defer, Reply: mail.R(451, "4.3.0", "Plugin "+s.name+" failed, try again later")}
}

// call has one function called by the connection's worker, or waits for it if it has
// begun early.
func (p *Pool) call(ctx context.Context, b *bond, e *plugin.Event, n uint64) (*frame.Answer, error) {
	pr, c := b.begun(e, n)
	if c == nil {
		functions := p.with(n, e.Transaction)
		fresh, f, err := b.call(ctx, e, functions)
		if err != nil {
			return nil, err
		}
		calls, err := fresh.begin(f)
		if err != nil {
			b.lose(fresh)
			return nil, dead{false, err.Error()}
		}
		pr, c = fresh, calls[0]
		b.mu.Lock()
		for i, x := range calls[1:] {
			b.ahead = append(b.ahead, early{e, functions[i+1], x, pr})
		}
		b.mu.Unlock()
	}
	defer pr.finish(c)
	a, err := p.await(ctx, b, &message{e: e, habit: &p.asks[n]}, pr, c)
	if err != nil || plugin.Code(a.Code) != plugin.Cont {
		b.drop()
	}
	return a, err
}

// await waits for an answer, and answers questions meanwhile.
func (p *Pool) await(ctx context.Context, b *bond, m *message, pr *process, c *call) (*frame.Answer, error) {
	for {
		select {
		case x := <-c.ch:
			switch x := x.(type) {
			case *frame.Answer:
				if x.Fault != "" {
					// What the worker knows of the connection and what is so may differ now.
					b.lose(nil)
					return nil, errors.New(x.Fault)
				}
				return x, nil
			case *frame.Ask:
				pr.w.Send(m.answer(x))
			case death:
				b.lose(pr)
				return nil, dead(x)
			}
		case <-ctx.Done():
			b.lose(nil)
			pr.giveUp(c)
			return nil, fmt.Errorf("not back in time: %w", ctx.Err())
		}
	}
}

// pieceSize is how much of a body goes at a time.
const pieceSize = 64 << 10

// message answers a worker's questions about the message of one call.
type message struct {
	e     *plugin.Event
	habit *habit
	body  io.Reader
	at    uint64
}

func (m *message) answer(a *frame.Ask) *frame.Piece {
	p := &frame.Piece{Seq: a.Seq}
	if err := m.fill(p, a); err != nil {
		p.Fault = err.Error()
	}
	return p
}

func (m *message) fill(p *frame.Piece, a *frame.Ask) error {
	c, tx := m.e.Connection, m.e.Transaction
	p.Last = true
	switch {
	case a.What == frame.AskResult && c != nil:
		r, _ := c.Results.Get(a.Name)
		p.Octets = []byte(resultJSON(r))
		return nil
	case a.What == frame.AskSecret && c != nil:
		p.Octets = []byte(c.Password())
		return nil
	case tx == nil:
		return errors.New("there is no transaction")
	case a.What == frame.AskTxResult:
		r, _ := tx.Results.Get(a.Name)
		p.Octets = []byte(resultJSON(r))
		return nil
	}
	msg := tx.Message()
	if msg == nil {
		return errors.New("the message is not in yet")
	}
	switch a.What {
	case frame.AskHeader:
		m.habit.header.Store(true)
		p.Octets = msg.Header().Bytes()
		return nil
	case frame.AskBody:
		m.habit.body.Store(true)
		return m.piece(msg, p, a.Offset)
	}
	return fmt.Errorf("there is no question %d", a.What)
}

// piece reads on where the last piece ended, or else from the start.
func (m *message) piece(msg plugin.Message, p *frame.Piece, offset uint64) error {
	if m.body == nil || m.at != offset {
		r, err := msg.Body()
		if err != nil {
			return err
		}
		m.body, m.at = r, offset
		if _, err := io.CopyN(io.Discard, r, int64(offset)); err != nil && err != io.EOF {
			return err
		}
	}
	buf := make([]byte, pieceSize)
	n, err := io.ReadFull(m.body, buf)
	p.Octets = buf[:n]
	m.at += uint64(n)
	if err == io.EOF || err == io.ErrUnexpectedEOF {
		return nil
	}
	p.Last = false
	return err
}

// ahead puts to a call what its functions are likely to ask for.
func ahead(msg plugin.Message, t *frame.Transaction, header, body bool) error {
	if header {
		t.HeaderOctets, t.HasHeader = msg.Header().Bytes(), true
	}
	if !body || msg.Size() > pieceSize {
		return nil
	}
	r, err := msg.Body()
	if err != nil {
		return err
	}
	var b bytes.Buffer
	b.Grow(int(msg.Size()))
	if _, err := b.ReadFrom(r); err != nil {
		return err
	}
	t.BodyOctets, t.HasBody = b.Bytes(), true
	return nil
}

// verdict is an answer's.
func verdict(h plugin.Hook, a *frame.Answer) plugin.Verdict {
	v := plugin.Verdict{Code: plugin.Code(a.Code), Took: time.Duration(a.Took) * time.Microsecond, Delay: time.Duration(a.Number * float64(time.Second)), Value: frame.Decoded(a.Value)}
	enhanced, _ := mail.ParseEnhancedCode(a.Enhanced)
	v.Reply = mail.Reply{Code: int(a.ReplyCode), Enhanced: enhanced, Text: a.Text}
	if v.Code == plugin.OK && v.Reply.Text != "" && v.Reply.Code == 0 {
		v.Reply.Code = 250
	}
	return v
}
