package queue

import (
	"context"
	"strings"
	"time"
)

// SuppressionQuery says which entries are meant; every field that is set must match.
type SuppressionQuery struct {
	Global bool   // only those that concern everybody's mail
	Tenant string // only those that concern this tenant's
	Prefix string // how the address begins; "@example.net": its domain
	Reason string // occurs in the reason, letter case ignored
	Source string
}

func (f *SuppressionQuery) subject() string {
	switch {
	case f.Tenant != "":
		return scopeSubject(f.Tenant) + "*"
	case f.Global:
		return scopeSubject("") + "*"
	}
	return subjectSuppress + ">"
}

func (f *SuppressionQuery) match(s *Suppression) bool {
	if domain, ok := strings.CutPrefix(f.Prefix, "@"); ok {
		i := strings.LastIndexByte(s.Address, '@')
		if !strings.EqualFold(s.Address[i+1:], domain) {
			return false
		}
	} else if !strings.HasPrefix(s.Address, strings.ToLower(f.Prefix)) {
		return false
	}
	return (f.Reason == "" || strings.Contains(strings.ToLower(s.Reason), strings.ToLower(f.Reason))) &&
		(f.Source == "" || f.Source == s.Source)
}

// Each calls fn for the entries that f means, as they came on the list, from behind a
// place on: 0 is the beginning. place is where it can go on after the entry. When fn
// returns false or an error, it ends.
func (l *SuppressionList) Each(ctx context.Context, f SuppressionQuery, after uint64, fn func(s Suppression, place uint64) (bool, error)) error {
	in := l.q.newStreamReader(streamSuppress, after+1, f.subject())
	defer in.close()
	for {
		ms, err := in.read(ctx, readMax)
		if err != nil || len(ms) == 0 {
			return err
		}
		now := time.Now()
		for _, m := range ms {
			if marker(m.header) {
				continue
			}
			s, err := readSuppression(m)
			if err != nil {
				l.q.log.Error("an entry of the suppression list cannot be read", "sequence", m.seq, "error", err)
				continue
			}
			if !s.lives(now) || !f.match(&s) {
				continue
			}
			if on, err := fn(s, m.seq); err != nil || !on {
				return err
			}
		}
	}
}

// pageTime bounds the search for one page: the list may be long, and what is looked
// for rare.
const pageTime = 3 * time.Second

// Page returns up to most entries behind a place, and the place behind them; 0: there
// are no more. A page may be short, or empty, and others follow.
func (l *SuppressionList) Page(ctx context.Context, f SuppressionQuery, after uint64, most int) (list []Suppression, next uint64, err error) {
	in := l.q.newStreamReader(streamSuppress, after+1, f.subject())
	defer in.close()
	for began := time.Now(); ; {
		ms, err := in.read(ctx, min(readMax, max(2*most, 16)))
		if err != nil {
			return nil, 0, err
		}
		if len(ms) == 0 {
			return list, 0, nil
		}
		now := time.Now()
		for _, m := range ms {
			if marker(m.header) {
				continue
			}
			if s, err := readSuppression(m); err == nil && s.lives(now) && f.match(&s) {
				if list = append(list, s); len(list) == most {
					return list, m.seq, nil
				}
			}
		}
		if now.Sub(began) > pageTime {
			return list, ms[len(ms)-1].seq, nil
		}
	}
}
