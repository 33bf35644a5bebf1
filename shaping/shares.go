package shaping

import (
	"fmt"
	"maps"
	"slices"

	"github.com/tarishi/tarishi/mail"
)

// Shares say who gets how much of a window when not all of the mail can go. They come
// with the configuration file, and all nodes hold the same ones.
type Shares struct {
	High    int            `json:"high,omitempty"`    // percent of every window of messages and recipients that only class high may use
	Tenants map[string]int `json:"tenants,omitempty"` // by tenant, for those whose weight is not 1
}

// Bounds of Shares.
const (
	MaxHigh   = 90
	MaxWeight = 100
)

// Weight is a tenant's: of two tenants that both have mail for a full window, one with
// twice the weight gets twice as much of it.
func (s *Shares) Weight(tenant string) int {
	if w, ok := s.Tenants[tenant]; ok {
		return w
	}
	return 1
}

// Heaviest is the largest weight of any tenant.
func (s *Shares) Heaviest() int {
	most := 1
	for _, w := range s.Tenants {
		most = max(most, w)
	}
	return most
}

// Kept is how many of a window's starts only class high may use. It is rounded down, so
// that a small window may keep none, and the others always have the rest of 100 %.
func (s *Shares) Kept(max int) int { return int(int64(max) * int64(s.High) / 100) }

// For is how many of a window's starts mail of a class may use.
func (s *Shares) For(c mail.Class, max int) int {
	if c == mail.High {
		return max
	}
	return max - s.Kept(max)
}

// CheckShares finds everything that is wrong with them. The fields are "classes.high.share"
// and "tenants.acme.weight".
func CheckShares(s Shares) []*RefusedError {
	var out []*RefusedError
	if s.High < 0 || s.High > MaxHigh {
		out = append(out, &RefusedError{"classes.high.share", fmt.Sprintf("%d%% of a window cannot be kept for one class", s.High), fmt.Sprintf("0%% to %d%%", MaxHigh)})
	}
	if len(s.Tenants) > MaxRules {
		out = append(out, &RefusedError{"tenants", fmt.Sprintf("%d tenants with a weight are too many", len(s.Tenants)), fmt.Sprintf("at most %d; those with a weight of 1 need not be named", MaxRules)})
	}
	for _, t := range slices.Sorted(maps.Keys(s.Tenants)) {
		field := "tenants." + t
		if t == "" {
			out = append(out, &RefusedError{field, "mail without a tenant has a weight of 1", "give the tenant a name"})
		}
		if err := checkText(t); err != nil {
			out = append(out, &RefusedError{"tenants", fmt.Sprintf("%q is not one line", t), err.(*RefusedError).Mend})
		}
		if w := s.Tenants[t]; w < 1 || w > MaxWeight {
			out = append(out, &RefusedError{field + ".weight", fmt.Sprintf("%d is no weight", w), fmt.Sprintf("1 to %d", MaxWeight)})
		}
	}
	return out
}

// same tells whether two Shares say the same.
func (s Shares) same(o Shares) bool { return s.High == o.High && maps.Equal(s.Tenants, o.Tenants) }

func (s Shares) clone() Shares {
	s.Tenants = maps.Clone(s.Tenants)
	return s
}

// IsZero tells whether they say nothing: no reserve, and all tenants alike.
func (s Shares) IsZero() bool { return s.High == 0 && len(s.Tenants) == 0 }
