package queue

import (
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/tarishi/tarishi/proto"
)

// An action is a few records of EVENT under a subject of its own, event.action.<id>: its
// beginning, before anything is done; now and then how far some node has come with the
// partitions it holds; and its end. Whoever reads them in order knows what is left to
// do, so that the death of a node, or of all, is an interruption and no end.

const subjectAction = "event.action"

// actionRecord is one of them.
type actionRecord struct {
	Format int       `json:"format"`
	Kind   string    `json:"kind"`
	At     time.Time `json:"at"`
	Node   string    `json:"node,omitempty"`

	// begin
	Action   *Action `json:"action,omitempty"`
	UpTo     uint64  `json:"up_to,omitempty"`    // READY's last sequence then
	Parts    int     `json:"parts,omitempty"`    // how many partitions there are: 1 on a node alone
	Expected int64   `json:"expected,omitempty"` // by the counts of the lines

	// pass, and ready: what was found in READY
	Pass   string   `json:"pass,omitempty"` // names it; the last record of a pass stands for it
	Of     []uint32 `json:"of,omitempty"`   // its partitions
	Seq    uint64   `json:"seq,omitempty"`  // up to where in WAIT it has been done
	Done   bool     `json:"done,omitempty"`
	Last   bool     `json:"last,omitempty"` // the pass is over, and tells of all it did
	Result *Result  `json:"result,omitempty"`

	Author string `json:"author,omitempty"` // cancel
}

const (
	actionFormat = 2

	actBegin  = "begin"
	actReady  = "ready"
	actPass   = "pass"
	actCancel = "cancel"
	actEnd    = "end"
)

func readActionRecord(m stored) (actionRecord, error) {
	var r actionRecord
	if err := json.Unmarshal(m.data, &r); err != nil {
		return r, fmt.Errorf("operator's action, record %d of the journal: %w: %w", m.seq, proto.ErrDamaged, err)
	}
	if r.Format > actionFormat {
		return r, fmt.Errorf("operator's action, record %d of the journal: %w", m.seq, proto.ErrNewer)
	}
	return r, nil
}

// acting is an action as its records tell of it.
type acting struct {
	Action
	seq      uint64 // of its begin
	upTo     uint64
	parts    int
	expected int64
	passes   map[string]Result // by pass
	under    map[string]bool   // passes that have begun; false: they have told of all they did
	done     map[uint32]bool   // partitions
	at       map[uint32]uint64 // up to where in WAIT each has been done
	ready    *Result           // what was found in READY; nil: it has not been looked into
	canceler string
	ended    time.Time

	m, wide *matcher // of its filter; wide asks not whether mail is held
}

func newActing(seq uint64, r actionRecord) *acting {
	wide := r.Action.Filter
	wide.Held = nil
	return &acting{Action: *r.Action, seq: seq, upTo: r.UpTo, parts: max(r.Parts, 1), expected: r.Expected,
		m: newMatcher(r.Action.Filter), wide: newMatcher(wide), passes: map[string]Result{}, under: map[string]bool{}, done: map[uint32]bool{}, at: map[uint32]uint64{}}
}

// note takes in one further record.
func (x *acting) note(r actionRecord) {
	switch r.Kind {
	case actReady:
		x.ready = r.Result
		x.under[r.Pass] = false
	case actPass:
		if r.Result != nil {
			x.passes[r.Pass] = *r.Result
		}
		x.under[r.Pass] = !r.Done && !r.Last
		for _, p := range r.Of {
			x.at[p] = max(x.at[p], r.Seq)
			if r.Done {
				x.done[p] = true // and no other has an entry: they are counted
			}
		}
	case actCancel:
		if x.ended.IsZero() {
			x.canceler, x.ended = r.Author, r.At
		}
	case actEnd:
		if x.ended.IsZero() {
			x.ended = r.At
		}
	}
}

func (x *acting) open() bool { return x.ended.IsZero() }

// left are the partitions of ps that are not done.
func (x *acting) left(ps []uint32) []uint32 {
	return slices.DeleteFunc(slices.Clone(ps), func(p uint32) bool { return x.done[p] })
}

// from is where a pass over some partitions goes on.
func (x *acting) from(ps []uint32) uint64 {
	var from uint64
	for i, p := range ps {
		if at := x.at[p]; i == 0 || at < from {
			from = at
		}
	}
	return from + 1
}

// complete tells that nothing is left to do.
func (x *acting) complete() bool { return len(x.done) >= x.parts && x.ready != nil }

// sum is what the action has come to. live are passes under way, by what their node
// says of them; they stand for what the journal has of them.
func (x *acting) sum(live map[string]passReport) (r Result, share float64) {
	if x.ready != nil {
		r.add(*x.ready)
	}
	all := maps.Clone(x.passes)
	parts := float64(len(x.done))
	for id, p := range live {
		if under, known := x.under[id]; known && !under {
			continue // it has ended since we asked
		}
		all[id] = p.Result
		for _, n := range p.Of {
			if !x.done[n] {
				parts += p.Share
			}
		}
	}
	for _, p := range all {
		r.add(p)
	}
	return r, min(parts/float64(x.parts), 1)
}

// passReport is how far a pass is.
type passReport struct {
	Of     []uint32 `json:"of"`
	Share  float64  `json:"share"`
	Error  string   `json:"error,omitempty"`
	Result Result   `json:"result"`
}

// shareMost is how much of an action is done at most before it has ended: what is ready
// to go, or comes back from a hand, was not expected.
const shareMost = 0.99

// state is the action as operators see it.
func (x *acting) state(live map[string]passReport) ActionState {
	st := ActionState{Action: x.Action, State: ActionRunning, Expected: x.expected, Ended: x.ended, Cancelled: x.canceler}
	st.Result, st.Share = x.sum(live)
	if x.expected > 0 {
		st.Share = min(float64(st.Matched)/float64(x.expected), shareMost)
	}
	for id, under := range x.under {
		if _, ok := live[id]; under && !ok {
			st.AtLeast = true
		}
	}
	for _, p := range live {
		if p.Error != "" {
			st.Error = p.Error
		}
	}
	switch {
	case x.open():
	case x.canceler != "":
		st.State = ActionCancelled
	default:
		st.State, st.Share = ActionDone, 1
	}
	return st
}
