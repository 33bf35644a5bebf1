package admin

import (
	"context"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/tarishi/tarishi/mail"
)

// shutFor and shutRows bound what a listing spends on saying which of its destinations
// are suspended: it is the first thing that people ask when something is wrong.
const (
	shutFor  = 400 * time.Millisecond
	shutRows = 200
)

// markShut notes which of the first rows are suspended, as far as that is known in time.
func (s *Server) markShut(ctx context.Context, lanes []Lane) {
	if s.c.Limits == nil || len(lanes) == 0 {
		return
	}
	ctx, cancel := context.WithTimeout(ctx, shutFor)
	defer cancel()
	book, err := s.c.Limits.Book(ctx)
	if err != nil {
		return
	}
	table, err := book.Table()
	if err != nil {
		return
	}
	var g errgroup.Group
	g.SetLimit(siteLookups)
	for i := range lanes[:min(shutRows, len(lanes))] {
		l := &lanes[i]
		g.Go(func() error {
			if d, err := s.destinationOf(ctx, table, mail.Domain(l.Destination)); err == nil {
				b := table.Bounds(d, "", "")
				l.Suspended = b.Suspended != nil
			}
			return nil
		})
	}
	_ = g.Wait() // what could not be found out is not marked
}
