package admin

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
)

// Begin stores an action and does not wait for it.
func (c *Client) Begin(ctx context.Context, v Verb, o Order) (p Progress, err error) {
	o.Detach = true
	err = c.write(ctx, "/v1/queue/"+string(v), o, &p)
	return p, err
}

// Act gives an order and calls each (which may be nil) with every progress line but the
// last, which it returns. When it ends early the action goes on; ID tells which, once a
// line has come.
func (c *Client) Act(ctx context.Context, v Verb, o Order, each func(Progress)) (Progress, error) {
	b, err := json.Marshal(o)
	if err != nil {
		return Progress{}, err
	}
	return c.progress(ctx, http.MethodPost, "/v1/queue/"+string(v), string(b), each)
}

// Watch is Act for an action that was begun before.
func (c *Client) Watch(ctx context.Context, id string, each func(Progress)) (Progress, error) {
	return c.progress(ctx, http.MethodGet, "/v1/queue/actions/"+url.PathEscape(id)+"/progress", "", each)
}

func (c *Client) progress(ctx context.Context, method, path, body string, each func(Progress)) (last Progress, err error) {
	resp, err := c.do(ctx, method, path, body, "application/x-ndjson")
	if err != nil {
		return last, err
	}
	defer func() { _ = resp.Body.Close() }()
	dec := json.NewDecoder(resp.Body)
	for {
		var p Progress
		if err := dec.Decode(&p); err != nil {
			if ctx.Err() != nil {
				return last, ctx.Err()
			}
			return last, fmt.Errorf("%s stopped answering after %d were done (%w); the action goes on, see `tarishi queue actions ls`", c.base, last.Changed, err)
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

// Actions lists the operators' actions, the newest first.
func (c *Client) Actions(ctx context.Context) (v ActionsList, err error) {
	err = c.read(ctx, "/v1/queue/actions", &v)
	return v, err
}

// Cancel ends an action; what it has done stays done.
func (c *Client) Cancel(ctx context.Context, id, author string) (p Progress, err error) {
	err = c.write(ctx, "/v1/queue/actions/"+url.PathEscape(id)+"/cancel", struct {
		Author string `json:"author"`
	}{author}, &p)
	return p, err
}
