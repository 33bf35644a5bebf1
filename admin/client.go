package admin

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"
)

// Client asks a node's admin port. It is safe for concurrent use.
type Client struct {
	base string
	hc   *http.Client
}

// NewClient makes a Client of a URL such as http://127.0.0.1:8025.
func NewClient(base string) (*Client, error) {
	u, err := url.Parse(base)
	if err != nil || u.Scheme != "http" && u.Scheme != "https" || u.Host == "" || u.RawQuery != "" || u.Fragment != "" {
		return nil, fmt.Errorf("%q is no address of an admin port; it looks like http://127.0.0.1:8025", base)
	}
	t := http.DefaultTransport.(*http.Transport).Clone()
	// The operator named the node; a proxy from the environment would be another one.
	t.Proxy = nil
	// No deadline on the whole answer (an action may run for minutes), only on its
	// beginning: longer than a listing may take there.
	t.ResponseHeaderTimeout = listTime + 10*time.Second
	return &Client{base: strings.TrimSuffix(base, "/"), hc: &http.Client{Transport: t}}, nil
}

// UnreachableError says that nobody, or nobody of ours, answers at URL.
type UnreachableError struct {
	URL string
	Err error
}

func (e *UnreachableError) Error() string {
	var t net.Error
	if errors.As(e.Err, &t) && t.Timeout() && strings.Contains(e.Err.Error(), "awaiting response headers") {
		return fmt.Sprintf("the node at %s took the question and has not answered in time; see its /readyz and its log (%v)", e.URL, e.Err)
	}
	return fmt.Sprintf("no Tarishi answers at %s; is `tarishi serve` running? (%v)", e.URL, e.Err)
}

func (e *UnreachableError) Unwrap() error { return e.Err }

// RefusedError is an answer other than 2xx, in the node's own words.
type RefusedError struct {
	Code     int // HTTP
	Sentence string
}

func (e *RefusedError) Error() string { return e.Sentence }

// Lanes, Messages, Doubts and Status read what the paths of the same names say.
func (c *Client) Lanes(ctx context.Context, max int) (v Lanes, err error) {
	err = c.read(ctx, "/v1/queue?max="+strconv.Itoa(max), &v)
	return v, err
}

// Messages lists a page of what is queued; after is Next of the page before.
func (c *Client) Messages(ctx context.Context, sel Selection, max int, after string) (v Messages, err error) {
	q := sel.query()
	q.Set("max", strconv.Itoa(max))
	if after != "" {
		q.Set("after", after)
	}
	err = c.read(ctx, "/v1/queue/messages?"+q.Encode(), &v)
	return v, err
}

// query is the Selection as the parameters of a listing.
func (s Selection) query() url.Values {
	q := url.Values{}
	for k, v := range map[string]string{"id": s.ID, "destination": s.Destination, "site": s.Site, "sender": s.Sender, "recipient": s.Recipient,
		"tenant": s.Tenant, "class": s.Class, "bounce": s.Bounce, "reply": s.Reply, "older": s.Older, "younger": s.Younger} {
		if v != "" {
			q.Set(k, v)
		}
	}
	for k, n := range map[string]*int{"min_attempts": s.MinAttempts, "max_attempts": s.MaxAttempts} {
		if n != nil {
			q.Set(k, strconv.Itoa(*n))
		}
	}
	if s.Held != nil {
		q.Set("held", strconv.FormatBool(*s.Held))
	}
	if s.All {
		q.Set("all", "true")
	}
	return q
}

// Summary reads the queue in a few numbers.
func (c *Client) Summary(ctx context.Context) (v QueueSummary, err error) {
	err = c.read(ctx, "/v1/queue/summary", &v)
	return v, err
}

func (c *Client) Doubts(ctx context.Context) (v Doubts, err error) {
	err = c.read(ctx, "/v1/queue/doubts", &v)
	return v, err
}

func (c *Client) Status(ctx context.Context) (v Status, err error) {
	err = c.read(ctx, "/v1/status", &v)
	return v, err
}

// Body opens the octets of a queued message, or its header block alone. A read
// error means that they are incomplete.
func (c *Client) Body(ctx context.Context, id string, headersOnly bool) (io.ReadCloser, error) {
	p := "/v1/queue/messages/" + url.PathEscape(id) + "/body"
	if headersOnly {
		p += "?part=headers"
	}
	resp, err := c.do(ctx, http.MethodGet, p, "", "message/rfc822")
	if err != nil {
		return nil, err
	}
	return resp.Body, nil
}

func (c *Client) read(ctx context.Context, path string, v any) error {
	resp, err := c.do(ctx, http.MethodGet, path, "", "application/json")
	if err != nil {
		return err
	}
	defer func() { _ = resp.Body.Close() }()
	if err := json.NewDecoder(resp.Body).Decode(v); err != nil {
		return &UnreachableError{c.base, fmt.Errorf("the answer was cut off: %w", err)}
	}
	return nil
}

// do sends a request and returns a 2xx answer of the given type, its body open.
func (c *Client) do(ctx context.Context, method, path, body, media string) (*http.Response, error) {
	req, err := http.NewRequestWithContext(ctx, method, c.base+path, strings.NewReader(body))
	if err != nil {
		return nil, err
	}
	if body != "" {
		req.Header.Set("Content-Type", "application/json")
	}
	req.Header.Set(ClientHeader, "cli")
	resp, err := c.hc.Do(req)
	if err != nil {
		var ue *url.Error
		if errors.As(err, &ue) {
			err = ue.Err // the URL is said once, by UnreachableError
		}
		if ctx.Err() != nil {
			return nil, ctx.Err()
		}
		return nil, &UnreachableError{c.base, err}
	}
	good := resp.StatusCode/100 == 2
	if good && resp.Header.Get("Content-Type") == media {
		return resp, nil
	}
	defer func() { _ = resp.Body.Close() }()
	var f Failure
	if good || json.NewDecoder(io.LimitReader(resp.Body, 64<<10)).Decode(&f) != nil || f.Error == "" {
		return nil, &UnreachableError{c.base, fmt.Errorf("something else answers there: HTTP %s", resp.Status)}
	}
	return nil, &RefusedError{resp.StatusCode, f.Error}
}
