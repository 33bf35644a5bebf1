package admintest

import (
	"context"
	"sync"
	"time"

	"github.com/tarishi/tarishi/admin"
	"github.com/tarishi/tarishi/mail"
	"github.com/tarishi/tarishi/shaping"
)

// Limits are limits in memory: changes are made as the leader makes them, and are
// in force after Lag. Fill the fields before use.
type Limits struct {
	InUse []admin.LiveLimit
	Lag   [][]admin.Laggard // whom InForce waits for, one after the other
	Since time.Time         // what InForce answers
	Hosts map[mail.Domain][]string
	Err   error // what every method answers, when set
	// ChangeErr and ForceErr are what Change and InForce answer, when set. The change
	// is made all the same.
	ChangeErr, ForceErr error
	MXErr               error
	// Hold, when set, keeps InForce until it is closed or its context ends.
	Hold chan struct{}

	mu   sync.Mutex
	book *shaping.Book
}

// NewLimits makes Limits of a Book; nil: an empty one.
func NewLimits(b *shaping.Book) *Limits {
	if b == nil {
		b = &shaping.Book{}
	}
	return &Limits{book: b}
}

func (l *Limits) Book(context.Context) (*shaping.Book, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.book, l.Err
}

func (l *Limits) Live(_ context.Context, max int) ([]admin.LiveLimit, int, error) {
	out := append([]admin.LiveLimit{}, l.InUse[:min(max, len(l.InUse))]...)
	return out, len(l.InUse), l.Err
}

func (l *Limits) Change(_ context.Context, c shaping.Change) (uint64, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.Err != nil {
		return 0, l.Err
	}
	next, err := l.book.Apply(c)
	if err != nil {
		return 0, err
	}
	l.book = next
	return next.Version, l.ChangeErr
}

func (l *Limits) InForce(ctx context.Context, _ uint64, waiting func([]admin.Laggard)) (time.Time, error) {
	for _, ls := range l.Lag {
		waiting(ls)
	}
	if l.Hold != nil {
		select {
		case <-l.Hold:
		case <-ctx.Done():
			return time.Time{}, ctx.Err()
		}
	}
	return l.Since, l.ForceErr
}

func (l *Limits) MX(_ context.Context, d mail.Domain) ([]string, error) { return l.Hosts[d], l.MXErr }

// Cluster is a cluster in memory.
type Cluster struct {
	View      admin.NodesView
	Err       error
	mu        sync.Mutex
	removed   []string
	transfers int
}

func (c *Cluster) Nodes(context.Context) (admin.NodesView, error) { return c.View, c.Err }

func (c *Cluster) Remove(_ context.Context, node string) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.Err == nil {
		c.removed = append(c.removed, node)
	}
	return c.Err
}

func (c *Cluster) Transfer(context.Context) (string, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.transfers++
	return "node2", c.Err
}

// Removed lists the nodes that were removed, Transfers counts.
func (c *Cluster) Removed() []string {
	c.mu.Lock()
	defer c.mu.Unlock()
	return append([]string{}, c.removed...)
}

func (c *Cluster) Transfers() int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.transfers
}
