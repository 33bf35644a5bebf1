package scheduler

import (
	"context"
	"errors"
	"fmt"
	"math"
	"testing"
	"time"

	"github.com/anishathalye/porcupine"

	"github.com/tarishi/tarishi/shaping"
)

// The limits are a register: what a change was answered with is seen by everybody
// who asks later, on any node, whoever leads and whoever still thinks so. A change
// whose outcome is not known may be made at any time after, or never.
func TestLimitsAreLinearizable(t *testing.T) {
	for seed := range uint64(6) {
		t.Run(fmt.Sprint(seed), func(t *testing.T) {
			var history []porcupine.Operation
			unknown := 0
			made := versions{}
			inWorld(t, seed, func(w *world) {
				ctx, stop := context.WithCancel(w.ctx)
				defer stop()
				for id := range 4 {
					op := w.operator(fmt.Sprintf("op%d", id))
					w.run.Go(func() {
						for n := 1; ctx.Err() == nil; n++ {
							o := w.operate(ctx, op, id, n, made)
							w.mu.Lock()
							if o.Return == math.MaxInt64 {
								unknown++
							}
							if o.Return != 0 {
								history = append(history, o)
							}
							w.mu.Unlock()
							time.Sleep(time.Duration(w.randN(int64(300 * time.Millisecond))))
						}
					})
				}
				for round := range 8 {
					time.Sleep(2 * time.Second)
					i := w.leads()
					next := w.servers[(i+1+int(w.randN(2)))%3].node
					switch round % 4 {
					case 0:
						w.raft.elect(next)
					case 1: // the old leader goes on thinking that it leads
						w.raft.part(w.servers[i].node, true)
						time.Sleep(time.Second)
						w.raft.elect(next)
						time.Sleep(5 * time.Second)
						w.raft.part(w.servers[i].node, false)
					case 2:
						w.killServer(i)
						w.raft.elect(next)
						w.reviveServer(i)
					case 3: // half of the operators see the old leader only
						w.raft.part(w.servers[i].node, true)
						w.raft.elect(next)
						for id := range 2 {
							w.net.cut(fmt.Sprintf("op%d", id), next.name, true)
						}
						time.Sleep(5 * time.Second)
						for id := range 2 {
							w.net.cut(fmt.Sprintf("op%d", id), next.name, false)
						}
						w.raft.part(w.servers[i].node, false)
					}
				}
				time.Sleep(6 * time.Second)
				stop()
				time.Sleep(6 * time.Second)
				last, err := w.operator("op").Book(w.ctx)
				if err != nil {
					t.Fatal(err)
				}
				w.mu.Lock()
				defer w.mu.Unlock()
				made.note(last)
				history = resolve(history, made)
			})
			if r := porcupine.CheckOperationsTimeout(bookModel, history, 20*time.Second); r != porcupine.Ok {
				t.Errorf("the history is not that of a register: %s", r)
			}
			if len(history) < 200 || unknown < 3 {
				t.Errorf("%d operations, %d of unknown outcome: too few to say anything", len(history), unknown)
			}
			t.Logf("%d operations, %d of unknown outcome", len(history), unknown)
		})
	}
}

// bookOp is one operation on the number of connections of a.test; 0 asks for it.
type bookOp struct{ set int }

type bookState struct {
	version uint64
	value   int
}

// bookModel is that register: it counts its changes, and no two set the same value.
var bookModel = porcupine.Model{
	Init: func() any { return bookState{version: 1} }, // a file without limits
	Step: func(state, input, output any) (bool, any) {
		s, o, out := state.(bookState), input.(bookOp), output.(bookState)
		if o.set == 0 {
			return out == s, s
		}
		next := bookState{s.version + 1, o.set}
		return out == next, next
	},
}

// versions tells under which version a value was set, by the book's own history.
type versions map[int]uint64

func (v versions) note(b *shaping.Book) {
	for _, e := range b.History {
		for _, d := range e.Set {
			v[*d.After.Connections] = e.Version
		}
	}
}

// resolve gives changes of unknown outcome the version under which they were made,
// and leaves out those that were not: else there are too many ways to look at in
// which they may have been.
func resolve(history []porcupine.Operation, made versions) []porcupine.Operation {
	kept := history[:0]
	for _, o := range history {
		if in := o.Input.(bookOp); o.Return == math.MaxInt64 {
			v, ok := made[in.set]
			if !ok {
				continue
			}
			o.Output = bookState{v, in.set}
		}
		kept = append(kept, o)
	}
	return kept
}

// operate makes one change or asks. What nobody answered, for certain, is no
// operation: its Return is 0.
func (w *world) operate(ctx context.Context, op *Operator, id, n int, made versions) porcupine.Operation {
	ctx, cancel := context.WithTimeout(ctx, 3*time.Second)
	defer cancel()
	o := porcupine.Operation{ClientId: id, Call: time.Now().UnixNano()}
	for {
		if w.randN(2) == 0 {
			b, err := op.Book(ctx)
			if err != nil {
				if ctx.Err() != nil { // an answer that never came says nothing
					return o
				}
				w.t.Errorf("book: %v", err)
				continue
			}
			w.mu.Lock()
			made.note(b)
			w.mu.Unlock()
			out := bookState{version: b.Version}
			if len(b.Set) > 0 {
				out.value = *b.Set[0].Connections
			}
			o.Input, o.Output, o.Return = bookOp{}, out, time.Now().UnixNano()
			return o
		}
		value := 1 + id*10_000 + n
		v, err := op.Commit(ctx, shaping.Change{Op: shaping.OpSet, Rule: &shaping.Rule{To: "a.test", Connections: &value}})
		o.Input = bookOp{value}
		switch {
		case err == nil:
			o.Output, o.Return = bookState{v, value}, time.Now().UnixNano()
			return o
		case errors.Is(err, ErrUnknownOutcome):
			o.Output, o.Return = bookState{}, math.MaxInt64
			return o
		case ctx.Err() != nil: // never asked
			return o
		}
		w.t.Errorf("change: %v", err)
	}
}
