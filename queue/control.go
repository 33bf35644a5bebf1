package queue

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/tarishi/tarishi/mail"
)

// The nodes of a cluster ask one another over plain NATS messages: who has what in
// hand, to drop what another has been offered, and how far an operator's action is. A node that does not answer is taken for dead, frozen or cut off.

const subjectControl = "tarishi.ctl"

// question goes to every node.
type question struct {
	Op    string   `json:"op"`           // state, taken, action, lookup, fate, node
	ID    string   `json:"id,omitempty"` // of an action
	Body  []byte   `json:"body,omitempty"`
	Taken []string `json:"taken,omitempty"` // offers of READY's records to the node that asks
}

// report is one node's answer.
type report struct {
	Node  string   `json:"node"`
	Run   string   `json:"run"`             // subject of its mark
	Parts []uint32 `json:"parts,omitempty"` // partitions that work there
	Ready []uint64 `json:"ready,omitempty"` // sequences of READY in its hand
	Wait  []uint64 `json:"wait,omitempty"`  // and of WAIT
	Done  bool     `json:"done"`

	Passes map[string]passReport `json:"passes,omitempty"` // of the action asked about
	Body   []byte                `json:"body,omitempty"`
	Looked *looked               `json:"looked,omitempty"` // what was found here of the message asked about; nil: nobody could look
}

// control answers questions.
type control struct {
	q   *Queue
	sub *nats.Subscription

	mu   sync.Mutex
	wg   sync.WaitGroup
	quit bool
}

func (t *team) answer() (err error) {
	c := &control{q: t.q}
	t.control = c
	c.sub, err = t.q.get.Subscribe(subjectControl, c.asked)
	return err
}

// stop ends what is being carried out.
func (c *control) stop() {
	if c == nil {
		return
	}
	_ = c.sub.Unsubscribe()
	c.mu.Lock()
	c.quit = true
	c.mu.Unlock()
	c.wg.Wait()
}

func (c *control) asked(m *nats.Msg) {
	var ask question
	if err := json.Unmarshal(m.Data, &ask); err != nil {
		c.q.log.Warn("a question from another node is not understood", "error", err)
		return
	}
	switch ask.Op {
	case "state":
		r := c.state()
		r.Ready, r.Wait = c.q.claims.inHand()
		c.tell(m, r)
	case "taken":
		for _, s := range ask.Taken {
			if seq, o, ok := parseOffered(s); ok {
				c.q.claims.taken(seq, o)
			}
		}
		c.tell(m, c.state())
	case "action":
		c.beside(answerWait, func(ctx context.Context) {
			if err := c.q.actions.load(ctx); err != nil {
				c.q.log.Warn("an operator's action could not be read; tried again", "error", err)
			}
			c.q.actions.stopped(ctx, ask.ID) // one that is cancelled tells of all it did
			r := c.state()
			r.Passes = c.q.actions.passes(ask.ID)
			c.tell(m, r)
		})
	case "node":
		c.beside(nodePatience, func(ctx context.Context) {
			r := c.state()
			if c.q.o.Answer != nil {
				r.Body = c.q.o.Answer(ctx, ask.ID, ask.Body)
			}
			c.tell(m, r)
		})
	case opLookup, opFate:
		c.beside(lookupWait, func(ctx context.Context) {
			r := c.state()
			if came, ok := mail.IDTime(ask.ID); ok && c.q.o.Lookup != nil {
				if l, err := c.q.lookHere(ctx, ask.ID, came, ask.Op); err == nil {
					r.Looked = &l
				}
			}
			c.tell(m, r)
		})
	}
}

// beside answers a question that takes a while, beside those that come meanwhile.
func (c *control) beside(most time.Duration, answer func(context.Context)) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.quit {
		return
	}
	c.wg.Go(func() {
		ctx, cancel := context.WithTimeout(c.q.life, most)
		defer cancel()
		answer(ctx)
	})
}

func (c *control) state() report {
	return report{Node: c.q.o.Node, Run: c.q.team.mark, Parts: c.q.Held(), Done: true}
}

func (c *control) tell(m *nats.Msg, r report) {
	b, err := json.Marshal(r)
	if err == nil {
		err = m.Respond(b)
	}
	if err != nil {
		c.q.log.Debug("another node's question could not be answered", "error", err)
	}
}

// inHand returns the sequences of what is in hand. Of READY only what has been
// decided to be ours to deliver.
func (c *claims) inHand() (ready, wait []uint64) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for seq, r := range c.ready {
		if !r.undecided.Load() {
			ready = append(ready, seq)
		}
	}
	for seq := range c.wait {
		wait = append(wait, seq)
	}
	return ready, wait
}

// answerWait is for how long a node may say nothing before it counts as absent.
const answerWait = 5 * time.Second

// live lists the runs that have set their mark lately.
func (q *Queue) live(ctx context.Context) ([]run, error) {
	live, _, err := q.liveAndDead(ctx, 4*beatEvery)
	return live, err
}

// liveAndDead parts the runs by whether they have been silent for longer than silence.
func (q *Queue) liveAndDead(ctx context.Context, silence time.Duration) (live, dead []run, err error) {
	end, err := q.beat(ctx)
	if err != nil {
		return nil, nil, err
	}
	rs, err := q.runs(ctx, end)
	if err != nil {
		return nil, nil, err
	}
	var now time.Time // by the clock that stamps the marks: our own is new
	for _, r := range rs {
		if r.subject == q.team.mark {
			now = r.at
		}
	}
	for _, r := range rs {
		if now.Sub(r.at) > silence {
			dead = append(dead, r)
		} else {
			live = append(live, r)
		}
	}
	return live, dead, nil
}

// askAll asks some nodes, until all have answered or what has come is enough (nil: only
// all are). It returns the last report of each, and those that did not answer: that
// said nothing for as long as patience.
func (q *Queue) askAll(ctx context.Context, rs []run, ask question, patience time.Duration, enough func(map[string]report) bool) (map[string]report, []run, error) {
	body, err := json.Marshal(ask)
	if err != nil {
		return nil, nil, err
	}
	inbox := q.get.NewInbox()
	sub, err := q.get.SubscribeSync(inbox)
	if err != nil {
		return nil, nil, fmt.Errorf("%w: %w", ErrUnavailable, err)
	}
	defer func() { _ = sub.Unsubscribe() }()
	if err := q.get.PublishRequest(subjectControl, inbox, body); err != nil {
		return nil, nil, fmt.Errorf("%w: %w", ErrUnavailable, err)
	}
	answers := map[string]report{}
	heard := map[string]time.Time{}
	began := time.Now()
	for {
		var missing []run
		waiting := false
		for _, r := range rs {
			if answers[r.subject].Done {
				continue
			}
			missing = append(missing, r)
			last := began
			if t, ok := heard[r.subject]; ok {
				last = t
			}
			waiting = waiting || time.Since(last) < patience
		}
		if !waiting || ctx.Err() != nil {
			return answers, missing, ctx.Err()
		}
		m, err := sub.NextMsg(min(patience, 200*time.Millisecond))
		if err != nil {
			continue
		}
		var r report
		if err := json.Unmarshal(m.Data, &r); err != nil || r.Run == "" {
			continue // 503, when not even we listen
		}
		answers[r.Run], heard[r.Run] = r, time.Now()
		if enough != nil && enough(answers) {
			return answers, nil, nil
		}
	}
}

// hands are the records that some node has in hand, and which.
type hands struct{ ready, wait map[uint64]string }

// of is the node that has a record in hand; "": none that is known.
func (h hands) of(stream string, seq uint64) string {
	if stream == streamReady {
		return h.ready[seq]
	}
	return h.wait[seq]
}

// handsNow asks the nodes what they have in hand. One that does not answer soon has,
// for a listing, nothing.
func (q *Queue) handsNow(ctx context.Context) (hands, error) {
	h := hands{map[uint64]string{}, map[uint64]string{}}
	rs, err := q.live(ctx)
	if err != nil {
		return h, err
	}
	answers, _, err := q.askAll(ctx, rs, question{Op: "state"}, time.Second, nil)
	for _, r := range answers {
		for _, seq := range r.Ready {
			h.ready[seq] = r.Node
		}
		for _, seq := range r.Wait {
			h.wait[seq] = r.Node
		}
	}
	return h, err
}

// missingNodes is the error that names who did not answer.
func missingNodes(rs []run) error {
	if len(rs) == 0 {
		return nil
	}
	names := make([]string, len(rs))
	for i, r := range rs {
		names[i] = r.node
	}
	slices.Sort(names)
	return fmt.Errorf("%w: no answer from %s; what it holds was not touched", ErrUnavailable, strings.Join(slices.Compact(names), ", "))
}
