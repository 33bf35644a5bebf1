package admin_test

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/tarishi/tarishi/admin"
	"github.com/tarishi/tarishi/admin/admintest"
)

func suppressServer(t *testing.T) (*admin.Client, *admintest.Suppressions, string) {
	t.Helper()
	l := &admintest.Suppressions{}
	s := admin.New(admin.Config{Queue: admintest.New(), Suppressions: l, Now: func() time.Time { return admintest.Now }})
	srv := httptest.NewServer(s.Handler())
	t.Cleanup(srv.Close)
	c, err := admin.NewClient(srv.URL)
	if err != nil {
		t.Fatal(err)
	}
	return c, l, srv.URL
}

func TestSuppressAPI(t *testing.T) {
	c, l, _ := suppressServer(t)
	ctx := context.Background()
	v, err := c.Suppress(ctx, admin.SuppressOrder{Author: "ann", Entries: []admin.SuppressEntry{
		{Address: "Bob@X.test", Reason: "asked", Expires: "90d"},
		{Address: "u@x.test", Tenant: "acme", Source: "bounce", Event: "M.0/1", Class: "InvalidRecipient", Author: "mx1", At: admintest.Now.Add(-time.Hour), Expires: "2030-01-01"},
		{Address: "no address"},
		{Address: "u@x.test", Tenant: "a b"},
		{Address: "u@x.test", Expires: "2001-01-01"},
		{Address: "u@x.test", Expires: "soon"},
		{Address: "u@x.test", Source: "hearsay"},
		{Address: "u@x.test", Reason: "two\nlines"},
		{Address: ""},
	}})
	if err != nil || v.Changed != 2 || len(v.Bad) != 7 {
		t.Fatalf("%+v, %v", v, err)
	}
	for i, want := range []string{"is no address", "is no name of a tenant", "lies in the past", "is neither a time", `source "hearsay"`, "one line", "the address is missing"} {
		if b := v.Bad[i]; b.Index != i+2 || !strings.Contains(b.Error, want) {
			t.Errorf("entry %d: %+v, want %q", i+2, b, want)
		}
	}
	page, err := c.Suppressions(ctx, admin.SuppressionFilter{}, "", 1)
	if err != nil || len(page.Entries) != 1 || page.Next == "" || page.Count != 2 || !page.Counted {
		t.Fatalf("%+v, %v", page, err)
	}
	if e := page.Entries[0]; e.Address != "bob@x.test" || e.Author != "ann" || e.Source != "api" || !e.At.Equal(admintest.Now) || !e.Expires.Equal(admintest.Now.Add(90*24*time.Hour)) {
		t.Errorf("%+v", e)
	}
	page, err = c.Suppressions(ctx, admin.SuppressionFilter{}, page.Next, 1)
	if err != nil || len(page.Entries) != 1 || page.Next != "" {
		t.Fatalf("%+v, %v", page, err)
	}
	if e := page.Entries[0]; e.Tenant != "acme" || e.Author != "mx1" || e.Source != "bounce" || !e.At.Equal(admintest.Now.Add(-time.Hour)) {
		t.Errorf("%+v", e)
	}
	if v, err := c.CheckSuppression(ctx, "u@x.test", "acme"); err != nil || !v.Suppressed || v.Entry.Event != "M.0/1" {
		t.Errorf("%+v, %v", v, err)
	}
	if v, err := c.CheckSuppression(ctx, "u@x.test", ""); err != nil || v.Suppressed || v.Entry != nil {
		t.Errorf("%+v, %v", v, err)
	}
	if v, err := c.Unsuppress(ctx, admin.SuppressOrder{Entries: []admin.SuppressEntry{{Address: "BOB@x.test"}, {Address: "nobody@x.test"}}}); err != nil || v.Changed != 1 {
		t.Errorf("%+v, %v", v, err)
	}
	l.Fail = errors.New("no majority")
	var refused *admin.RefusedError
	if _, err := c.CheckSuppression(ctx, "u@x.test", ""); !errors.As(err, &refused) || refused.Code != http.StatusServiceUnavailable {
		t.Errorf("a list that does not answer: %v", err)
	}
}

func TestSuppressBadOrders(t *testing.T) {
	_, _, url := suppressServer(t)
	many := `{"entries":[` + strings.Repeat(`{"address":"u@x.test"},`, 5000) + `{"address":"u@x.test"}]}`
	for _, x := range []struct{ method, path, body, says string }{
		{"GET", "?max=0", "", "out of range"},
		{"GET", "?tennant=acme", "", "takes no parameter"},
		{"GET", "?after=x", "", "after is the next"},
		{"GET", "?global=maybe", "", "true or false"},
		{"GET", "?global=true&tenant=acme", "", "leave one of the two out"},
		{"GET", "/check", "", "the address is missing"},
		{"GET", "/check?address=x", "", "is no address"},
		{"POST", "/add", `{}`, "no entries"},
		{"POST", "/add", `{"entries":[{"adress":"u@x.test"}]}`, "unknown field"},
		{"POST", "/add", many, "give up to 5000"},
		{"POST", "/rm", `{"entries":[]}`, "no entries"},
		{"POST", "/rm", `[]`, "it looks like"},
	} {
		req, err := http.NewRequest(x.method, url+"/v1/suppress"+x.path, strings.NewReader(x.body))
		if err != nil {
			t.Fatal(err)
		}
		req.Header.Set("Content-Type", "application/json")
		resp, err := http.DefaultClient.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		var b strings.Builder
		_, _ = fmt.Fprint(&b, resp.Status)
		buf := make([]byte, 4096)
		n, _ := resp.Body.Read(buf)
		b.Write(buf[:n])
		resp.Body.Close()
		if resp.StatusCode != http.StatusBadRequest || !strings.Contains(b.String(), x.says) {
			t.Errorf("%s %s: %s; want %q", x.method, x.path, b.String(), x.says)
		}
	}
}
