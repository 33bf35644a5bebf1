package admin

import (
	"context"
	"fmt"
	"strings"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/tarishi/tarishi/mail"
	"github.com/tarishi/tarishi/shaping"
)

// A site is a named destination or one that some domains share by their MX. Which of
// the queued domains belong to it is found out once, when it is asked for: by the
// limits' own rule, and where that goes by MX, by looking them up.

// Bounds of that: so many lookups at a time, so long in all, so many domains.
const (
	siteLookups = 64
	siteFor     = 30 * time.Second
	siteDomains = 20000
)

// site finds out the domains that a filter's Site means.
func (s *Server) site(ctx context.Context, f *Filter) error {
	if f.Site == "" {
		return nil
	}
	if s.c.Limits == nil {
		return fmt.Errorf("this node cannot tell what counts as %s; name the destinations, or ask a node with the scheduler or deliverer role", f.Site)
	}
	b, err := s.c.Limits.Book(ctx)
	if err != nil {
		return err
	}
	t, err := b.Table()
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, siteFor)
	defer cancel()
	want := shaping.Destination{Key: "name:" + f.Site}
	_, named := b.Destinations[f.Site]
	if !named {
		if !strings.Contains(f.Site, ".") {
			return &unknownSite{f.Site}
		}
		if want, err = s.destinationOf(ctx, t, mail.CanonicalDomain(f.Site)); err != nil {
			return fmt.Errorf("the MX of %s could not be looked up: %w", f.Site, err)
		}
	}
	lines, err := s.c.Queue.Lines(ctx)
	if err != nil {
		return err
	}
	domains := map[mail.Domain]bool{}
	for l := range lines {
		domains[l.Destination] = true
	}
	var mu sync.Mutex
	f.Destinations = []mail.Domain{}
	var g errgroup.Group
	g.SetLimit(siteLookups)
	for d := range domains {
		g.Go(func() error {
			got, err := s.destinationOf(ctx, t, d)
			if ctx.Err() != nil {
				return fmt.Errorf("the MX of %d queued domains could not all be looked up within %s; name the destinations, or list them under `domains` of %s", len(domains), siteFor, f.Site)
			}
			// A domain whose MX cannot be looked up now has not been sent to lately either.
			if err == nil && (got.Key == want.Key || named && got.Name == f.Site) {
				mu.Lock()
				f.Destinations = append(f.Destinations, d)
				mu.Unlock()
			}
			return nil
		})
	}
	if err := g.Wait(); err != nil {
		return err
	}
	if len(f.Destinations) > siteDomains {
		return fmt.Errorf("%d queued domains count as %s, more than the %d that one action may name; narrow it down", len(f.Destinations), f.Site, siteDomains)
	}
	return nil
}

type unknownSite struct{ name string }

func (e *unknownSite) Error() string {
	return fmt.Sprintf("no destination is named %q; see `tarishi limits ls`, or give a domain", e.name)
}

// destinationOf tells what a domain counts as. Its MX is only asked for where it matters.
func (s *Server) destinationOf(ctx context.Context, t *shaping.Table, d mail.Domain) (shaping.Destination, error) {
	// Two sets of hosts that nobody has: where they make no difference, none does.
	a, b := t.Destination(d, []string{"a.invalid"}), t.Destination(d, []string{"b.invalid"})
	if a == b {
		return a, nil
	}
	mx, err := s.c.Limits.MX(ctx, d)
	if err != nil {
		return shaping.Destination{}, err
	}
	return t.Destination(d, mx), nil
}
