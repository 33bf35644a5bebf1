package admin

import (
	"context"
	"net/url"
	"strconv"
)

// Suppressions reads a page of the list; after is Next of the page before.
func (c *Client) Suppressions(ctx context.Context, f SuppressionFilter, after string, most int) (v SuppressionsList, err error) {
	q := url.Values{"max": {strconv.Itoa(most)}}
	for k, s := range map[string]string{"tenant": f.Tenant, "prefix": f.Prefix, "reason": f.Reason, "source": f.Source, "after": after} {
		if s != "" {
			q.Set(k, s)
		}
	}
	if f.Global {
		q.Set("global", "true")
	}
	err = c.read(ctx, "/v1/suppress?"+q.Encode(), &v)
	return v, err
}

// CheckSuppression asks whether a tenant's mail may go to an address.
func (c *Client) CheckSuppression(ctx context.Context, address, tenant string) (v SuppressionCheck, err error) {
	q := url.Values{"address": {address}}
	if tenant != "" {
		q.Set("tenant", tenant)
	}
	err = c.read(ctx, "/v1/suppress/check?"+q.Encode(), &v)
	return v, err
}

// Suppress puts entries on the list, Unsuppress takes them off it.
func (c *Client) Suppress(ctx context.Context, o SuppressOrder) (v SuppressAnswer, err error) {
	err = c.write(ctx, "/v1/suppress/add", o, &v)
	return v, err
}

func (c *Client) Unsuppress(ctx context.Context, o SuppressOrder) (v SuppressAnswer, err error) {
	err = c.write(ctx, "/v1/suppress/rm", o, &v)
	return v, err
}
