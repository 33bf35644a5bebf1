package scheduler

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"github.com/tarishi/tarishi/shaping"
)

// Operator asks the leader on behalf of people, from any node. A call that finds no
// leader looks for one until its context ends.
type Operator struct {
	peers Peers
	log   *slog.Logger
}

// NewOperator makes an Operator.
func NewOperator(p Peers, log *slog.Logger) *Operator {
	if log == nil {
		log = slog.New(slog.DiscardHandler)
	}
	return &Operator{p, log}
}

// Change makes a change and waits until every start in the cluster obeys it: until
// each session works by it or has lapsed. progress, which may be nil, hears of the
// version as soon as the change is made, and then whom it waits for. When ctx ends before, the error comes with the version, and Wait goes
// on from there.
//
// A *shaping.RefusedError says what is wrong with the change. ErrUnknownOutcome
// means that the leader was lost in between: look at the history before trying again.
func (o *Operator) Change(ctx context.Context, c shaping.Change, progress func(Progress)) (Progress, error) {
	p, err := o.change(ctx, changeCall{Change: c}, progress)
	if err == nil && p.InForce.IsZero() {
		// The leader was lost after it had answered; the next one knows the change.
		var q Progress
		if q, err = o.Wait(ctx, p.Version, progress); err == nil {
			p = q
		}
	}
	return p, err
}

// Commit makes a change and does not wait until it is in force.
func (o *Operator) Commit(ctx context.Context, c shaping.Change) (version uint64, err error) {
	p, err := o.change(ctx, changeCall{Change: c, Async: true}, nil)
	return p.Version, err
}

// change returns with a Version as soon as the change is known to be made, even if
// the stream then breaks; a broken stream before that is ErrUnknownOutcome.
func (o *Operator) change(ctx context.Context, q changeCall, progress func(Progress)) (last Progress, err error) {
	err = ask(ctx, o, callChange, q, false, func(p Progress, end bool) {
		if last = p; !end && progress != nil {
			progress(p)
		}
	})
	if last.Version != 0 && errors.Is(err, ErrUnknownOutcome) {
		err = nil
	}
	return last, err
}

// Wait waits until a change that was made before is in force.
func (o *Operator) Wait(ctx context.Context, version uint64, progress func(Progress)) (last Progress, err error) {
	err = ask(ctx, o, callWait, waitCall{version}, true, func(p Progress, end bool) {
		if last = p; !end && progress != nil {
			progress(p)
		}
	})
	return last, err
}

// Book is the limits with all changes that were answered before.
func (o *Operator) Book(ctx context.Context) (*shaping.Book, error) {
	return one[*shaping.Book](ctx, o, callBook, struct{}{})
}

// Live is how the windows and the limits of connections stand.
func (o *Operator) Live(ctx context.Context, q LiveQuery) (LiveAnswer, error) {
	return one[LiveAnswer](ctx, o, callLive, q)
}

// Why is what holds the mail of one destination, tenant and class.
func (o *Operator) Why(ctx context.Context, q LaneQuery) (LaneAnswer, error) {
	return one[LaneAnswer](ctx, o, callWhy, q)
}

// Sessions lists the deliverers' sessions.
func (o *Operator) Sessions(ctx context.Context) ([]SessionStatus, error) {
	return one[[]SessionStatus](ctx, o, callSessions, struct{}{})
}

// SubmitFile brings the limits of a configuration file, as often as it takes. The
// state takes them over only if this node has not brought the same file before.
func (o *Operator) SubmitFile(ctx context.Context, c shaping.Change) error {
	for {
		_, err := o.Commit(ctx, c)
		if !errors.Is(err, ErrUnknownOutcome) || ctx.Err() != nil {
			return err // the same file twice changes nothing, so that trying again is safe
		}
	}
}

// one asks for a single answer.
func one[T any](ctx context.Context, o *Operator, what string, q any) (T, error) {
	var out T
	err := ask(ctx, o, what, q, true, func(v T, _ bool) { out = v })
	return out, err
}

// ask calls the leader, wherever it is, and hands each answer to take. again says
// that it may be asked twice, so that a stream that breaks is not the end of it.
func ask[T any](ctx context.Context, o *Operator, what string, q any, again bool, take func(v T, last bool)) error {
	enc, err := json.Marshal(q)
	if err != nil {
		return fmt.Errorf("ask the scheduler: %w", err)
	}
	find := finder{peers: o.peers}
	last := errors.New("none was asked")
	for {
		where := find.next()
		a := asking[T]{take: take}
		err := a.ask(ctx, o.peers, where, &nodeFrame{call: &callFrame{what, enc}})
		var pause time.Duration
		switch {
		case a.over:
			return err
		case a.sent && !again && (a.elsewhere == nil || a.answered):
			return fmt.Errorf("%w: %w", ErrUnknownOutcome, errors.Join(err, context.Cause(ctx)))
		case ctx.Err() != nil:
			return fmt.Errorf("no scheduler has answered: %w (%w)", context.Cause(ctx), last)
		case a.elsewhere != nil:
			find.redirected(a.elsewhere.addr)
			if a.elsewhere.why != "" {
				err = errors.New(a.elsewhere.why)
			}
			pause = find.moved()
		default:
			pause = find.failed()
		}
		last = err
		o.log.Debug("no answer from a scheduler", "addr", where, "err", err)
		select {
		case <-ctx.Done():
		case <-time.After(pause):
		}
	}
}

// asking is one call to one scheduler.
type asking[T any] struct {
	take      func(v T, last bool)
	sent      bool      // it may have been heard
	answered  bool      // something has come back
	over      bool      // all has
	elsewhere *redirect // it does not lead
}

func (a *asking[T]) ask(ctx context.Context, p Peers, where string, f *nodeFrame) error {
	dial, cancel := context.WithTimeout(ctx, silence)
	link, err := p.open(dial, where, 10*time.Second)
	cancel()
	if err != nil {
		return err
	}
	defer link.Close()
	defer context.AfterFunc(ctx, func() { link.Close() })()
	a.sent = true
	if err := link.Send(f); err != nil {
		return err
	}
	for {
		f, err := link.Recv()
		switch {
		case err != nil:
			return err
		case f.redirect != nil:
			a.elsewhere = f.redirect
			return errRedirect
		case f.reply == nil:
			return malformed("no answer to a call")
		case f.reply.err != "":
			a.over = true
			return f.reply.fault()
		}
		a.answered = true
		var v T
		if err := json.Unmarshal(f.reply.json, &v); err != nil {
			return malformed("an answer: %v", err)
		}
		a.take(v, f.reply.last)
		if a.over = f.reply.last; a.over {
			return nil
		}
	}
}

// fault is the error that a reply carries.
func (r *replyFrame) fault() error {
	switch r.kind {
	case kindRefused:
		return &shaping.RefusedError{Field: r.field, What: r.err, Mend: r.mend}
	case kindUnknown:
		return fmt.Errorf("%w: %s", ErrUnknownOutcome, r.err)
	}
	return errors.New(r.err)
}
