package command

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/tarishi/tarishi/admin"
	"github.com/tarishi/tarishi/daemon"
	"github.com/tarishi/tarishi/deliverer"
	"github.com/tarishi/tarishi/ingress"
	"github.com/tarishi/tarishi/mail"
	"github.com/tarishi/tarishi/queue"
)

// suppressions is the suppression list as the deliverer sees it.
type suppressions struct {
	list  *queue.SuppressionList
	c     daemon.Suppress
	local []string // domains whose mailboxes our own operator makes
	node  string
	now   func() time.Time
}

func newSuppressions(c *daemon.Config, q *queue.Queue) deliverer.Suppressions {
	return suppressions{list: q.Suppressions(), c: c.Suppress, local: c.Local.Domains, node: cmp.Or(c.Cluster.Node, c.Hostname), now: time.Now}
}

func (s suppressions) Maybe(to mail.Address, tenant string) bool { return s.list.Maybe(to, tenant) }

func (s suppressions) Look(ctx context.Context, to mail.Address, tenant string) (string, error) {
	e, found, err := s.list.Look(ctx, to, tenant)
	if err != nil || !found {
		return "", err
	}
	return whySuppressed(e), nil
}

// Bounced puts a mailbox on the list that its host says is not there; not one of a
// local domain, which may be there tomorrow, and would get no mail for months.
func (s suppressions) Bounced(env *mail.Delivery, attempt int, o *mail.Outcome) {
	address := queue.CanonicalAddress(o.Recipient.Address)
	if s.c.Bounces == "off" || address == "" || s.isLocal(o.Recipient.Domain) {
		return
	}
	e := queue.Suppression{
		Address: address, Reason: oneLine(o.Reply.String(), 400), Class: o.Class, Source: queue.SourceBounce,
		Event: fmt.Sprintf("%s/%d", env.ID(), attempt), Author: s.node, At: s.now(),
	}
	if s.c.Bounces == "tenant" {
		e.Tenant = env.Message.Tenant
	}
	if s.c.Keep > 0 {
		e.Expires = e.At.Add(s.c.Keep)
	}
	s.list.AddSoon(e)
}

func (s suppressions) isLocal(d mail.Domain) bool {
	return slices.ContainsFunc(s.local, func(name string) bool { return mail.CanonicalDomain(name) == d })
}

// suppressedAtAccept is the list as the ingress asks it; nil: it does not.
func suppressedAtAccept(c *daemon.Config, q *queue.Queue) ingress.Suppressed {
	if c.Suppress.AtAccept != "refuse" {
		return nil
	}
	s := suppressions{list: q.Suppressions()}
	return s.Look
}

// whySuppressed is what a sender is told of an entry: since when, and what the host
// had said if it was one.
func whySuppressed(e queue.Suppression) string {
	var b strings.Builder
	b.WriteString("The recipient is on the suppression list of this host")
	if !e.At.IsZero() {
		b.WriteString(" since " + e.At.UTC().Format(time.DateOnly))
	}
	if e.Reason != "" {
		b.WriteString(": " + oneLine(e.Reason, 200))
	}
	return b.String()
}

// oneLine makes a text fit for a reply or a listing.
func oneLine(s string, most int) string {
	s = strings.Map(func(r rune) rune {
		if r < ' ' || r == 0x7f {
			return ' '
		}
		return r
	}, s)
	if len(s) > most {
		s = strings.ToValidUTF8(s[:most], "") + "..."
	}
	return s
}

// operatorSuppressions is the list as the admin port sees it.
type operatorSuppressions struct{ list *queue.SuppressionList }

func (s operatorSuppressions) Canonical(a mail.Address) string { return queue.CanonicalAddress(a) }
func (s operatorSuppressions) Count() (int, bool)              { return s.list.Len() }

func (s operatorSuppressions) Add(ctx context.Context, list []admin.Suppression) error {
	in := make([]queue.Suppression, len(list))
	for i, e := range list {
		in[i] = queue.Suppression(e)
	}
	return s.list.Add(ctx, in...)
}

func (s operatorSuppressions) Remove(ctx context.Context, canonical, tenant string) (bool, error) {
	return s.list.Remove(ctx, canonical, tenant)
}

func (s operatorSuppressions) Check(ctx context.Context, a mail.Address, tenant string) (admin.Suppression, bool, error) {
	e, found, err := s.list.Look(ctx, a, tenant)
	return admin.Suppression(e), found, err
}

func (s operatorSuppressions) Page(ctx context.Context, f admin.SuppressionFilter, after uint64, most int) ([]admin.Suppression, uint64, error) {
	list, next, err := s.list.Page(ctx, queue.SuppressionQuery(f), after, most)
	out := make([]admin.Suppression, len(list))
	for i, e := range list {
		out[i] = admin.Suppression(e)
	}
	return out, next, err
}
