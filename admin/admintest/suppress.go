package admintest

import (
	"context"
	"slices"
	"strings"
	"sync"

	"github.com/tarishi/tarishi/admin"
	"github.com/tarishi/tarishi/mail"
)

// Suppressions is a suppression list in memory.
type Suppressions struct {
	mu   sync.Mutex
	list []admin.Suppression
	Fail error // of every question, if set
}

// Canonical writes an address in lower case.
func (l *Suppressions) Canonical(a mail.Address) string {
	return strings.ToLower(a.Local()) + "@" + string(a.Domain)
}

// Count is exact here.
func (l *Suppressions) Count() (int, bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return len(l.list), true
}

func (l *Suppressions) find(address, tenant string) int {
	return slices.IndexFunc(l.list, func(e admin.Suppression) bool { return e.Address == address && e.Tenant == tenant })
}

func (l *Suppressions) Add(_ context.Context, list []admin.Suppression) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, e := range list {
		if i := l.find(e.Address, e.Tenant); i >= 0 {
			l.list = slices.Delete(l.list, i, i+1)
		}
		l.list = append(l.list, e)
	}
	return l.Fail
}

func (l *Suppressions) Remove(_ context.Context, canonical, tenant string) (bool, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	i := l.find(canonical, tenant)
	if i >= 0 {
		l.list = slices.Delete(l.list, i, i+1)
	}
	return i >= 0, l.Fail
}

func (l *Suppressions) Check(_ context.Context, a mail.Address, tenant string) (admin.Suppression, bool, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	i := l.find(l.Canonical(a), "")
	if i < 0 {
		i = l.find(l.Canonical(a), tenant)
	}
	if i < 0 {
		return admin.Suppression{}, false, l.Fail
	}
	return l.list[i], true, l.Fail
}

func (l *Suppressions) Page(_ context.Context, f admin.SuppressionFilter, after uint64, most int) ([]admin.Suppression, uint64, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	var out []admin.Suppression
	for i := int(after); i < len(l.list); i++ {
		e := l.list[i]
		if f.Global && e.Tenant != "" || f.Tenant != "" && e.Tenant != f.Tenant || !strings.HasPrefix(e.Address, f.Prefix) ||
			!strings.Contains(e.Reason, f.Reason) || f.Source != "" && f.Source != e.Source {
			continue
		}
		if len(out) == most {
			return out, uint64(i), l.Fail
		}
		out = append(out, e)
	}
	return out, 0, l.Fail
}
