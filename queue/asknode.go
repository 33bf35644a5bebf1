package queue

import (
	"context"
	"time"
)

// NodeAnswer is what one node answers to a question that is not the queue's own.
type NodeAnswer struct {
	Node string
	Body []byte // nil: it did not answer, or does not know the question
}

// nodePatience is how long a node may take for such an answer.
const nodePatience = time.Second

// AskNodes puts a question to all nodes that are alive, this one too, and returns what
// each says by its Options.Answer. On a node alone there is one.
func (q *Queue) AskNodes(ctx context.Context, what string, body []byte) ([]NodeAnswer, error) {
	if q.team == nil {
		a := NodeAnswer{Node: q.o.Node}
		if q.o.Answer != nil {
			a.Body = q.o.Answer(ctx, what, body)
		}
		return []NodeAnswer{a}, nil
	}
	rs, err := q.actions.liveNodes(ctx)
	if err != nil {
		return nil, err
	}
	answers, missing, err := q.askAll(ctx, rs, question{Op: "node", ID: what, Body: body}, nodePatience, nil)
	if err != nil {
		return nil, err
	}
	var out []NodeAnswer
	for _, r := range answers {
		out = append(out, NodeAnswer{r.Node, r.Body})
	}
	for _, r := range missing {
		out = append(out, NodeAnswer{Node: r.node})
	}
	return out, nil
}
