package admin

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"strconv"
	"strings"

	"github.com/tarishi/tarishi/shaping"
)

// Limits, Explain, LimitHistory and Nodes read what the paths of the same names say.
func (c *Client) Limits(ctx context.Context, max int) (v LimitsList, err error) {
	err = c.read(ctx, "/v1/limits?max="+strconv.Itoa(max), &v)
	return v, err
}

func (c *Client) Explain(ctx context.Context, domain string, mx []string, source, tenant string) (v LimitExplanation, err error) {
	q := url.Values{"domain": {domain}}
	for k, s := range map[string]string{"mx": strings.Join(mx, ","), "source": source, "tenant": tenant} {
		if s != "" {
			q.Set(k, s)
		}
	}
	err = c.read(ctx, "/v1/limits/explain?"+q.Encode(), &v)
	return v, err
}

func (c *Client) LimitHistory(ctx context.Context, max int) (v LimitHistory, err error) {
	err = c.read(ctx, "/v1/limits/history?max="+strconv.Itoa(max), &v)
	return v, err
}

func (c *Client) Nodes(ctx context.Context) (v NodesView, err error) {
	err = c.read(ctx, "/v1/nodes", &v)
	return v, err
}

// DiffLimits tells what an apply of rules would change.
func (c *Client) DiffLimits(ctx context.Context, rules []shaping.Rule) (v LimitDiff, err error) {
	if rules == nil {
		rules = []shaping.Rule{} // none is an answer; a missing list is a mistake
	}
	err = c.write(ctx, "/v1/limits/diff", struct {
		Rules []shaping.Rule `json:"rules"`
	}{rules}, &v)
	return v, err
}

// PlanLimits tells what an apply of rules would do to what waits.
func (c *Client) PlanLimits(ctx context.Context, rules []shaping.Rule) (v LimitPlan, err error) {
	if rules == nil {
		rules = []shaping.Rule{} // none is an answer; a missing list is a mistake
	}
	err = c.write(ctx, "/v1/limits/plan", struct {
		Rules []shaping.Rule `json:"rules"`
	}{rules}, &v)
	return v, err
}

// ChangeLimits gives an order and calls each (which may be nil) with every line but
// the last, which it returns. Once a line has come the change is made, whatever err.
func (c *Client) ChangeLimits(ctx context.Context, v LimitVerb, o LimitOrder, each func(LimitProgress)) (LimitProgress, error) {
	if v == ApplyLimits && o.Rules == nil {
		o.Rules = []shaping.Rule{} // none is an order; a missing list is a mistake
	}
	return c.change(ctx, "/v1/limits/"+string(v), o, each)
}

// Reactions lists what replies have brought about.
func (c *Client) Reactions(ctx context.Context) (v ReactionsList, err error) {
	err = c.read(ctx, "/v1/reactions", &v)
	return v, err
}

// ChangeReactions gives an order, as ChangeLimits does.
func (c *Client) ChangeReactions(ctx context.Context, v ReactionVerb, o ReactionOrder, each func(LimitProgress)) (LimitProgress, error) {
	return c.change(ctx, "/v1/reactions/"+string(v), o, each)
}

func (c *Client) change(ctx context.Context, path string, o any, each func(LimitProgress)) (LimitProgress, error) {
	body, err := json.Marshal(o)
	if err != nil {
		return LimitProgress{}, err
	}
	resp, err := c.do(ctx, http.MethodPost, path, string(body), "application/x-ndjson")
	if err != nil {
		return LimitProgress{}, err
	}
	defer func() { _ = resp.Body.Close() }()
	var last LimitProgress
	dec := json.NewDecoder(resp.Body)
	for {
		var p LimitProgress
		if err := dec.Decode(&p); err != nil {
			if ctx.Err() != nil {
				err = ctx.Err()
			}
			return last, fmt.Errorf("%s stopped answering (%w); the change is made (version %d), but not known to be in force on every node", c.base, err, last.Version)
		}
		last = p
		if p.Final {
			return last, nil
		}
		if each != nil {
			each(p)
		}
	}
}

// RemoveNode takes a node that is gone for good out of the cluster's state.
func (c *Client) RemoveNode(ctx context.Context, node, author string) error {
	return c.write(ctx, "/v1/nodes/remove", NodeOrder{Node: node, Author: author}, &NodeAnswer{})
}

// Transfer hands leadership to another node and returns which.
func (c *Client) Transfer(ctx context.Context, author string) (leader string, err error) {
	var v NodeAnswer
	err = c.write(ctx, "/v1/nodes/transfer", NodeOrder{Author: author}, &v)
	return v.Leader, err
}

// write posts in and reads the answer into out.
func (c *Client) write(ctx context.Context, path string, in, out any) error {
	b, err := json.Marshal(in)
	if err != nil {
		return err
	}
	resp, err := c.do(ctx, http.MethodPost, path, string(b), "application/json")
	if err != nil {
		return err
	}
	defer func() { _ = resp.Body.Close() }()
	if err := json.NewDecoder(resp.Body).Decode(out); err != nil {
		return &UnreachableError{c.base, fmt.Errorf("the answer was cut off: %w", err)}
	}
	return nil
}
