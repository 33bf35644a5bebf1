package daemon

import (
	"errors"
	"math"
	"strconv"
	"strings"
	"time"
)

var errDuration = errors.New("wants a duration such as 30s, 1h30m or 5d")

// parseDuration reads "5d", "1h30m", "250ms", "0". Days are 24 hours.
func parseDuration(s string) (time.Duration, error) {
	if s == "0" {
		return 0, nil
	}
	var days time.Duration
	if i := strings.IndexByte(s, 'd'); i > 0 {
		n, err := strconv.ParseUint(s[:i], 10, 32)
		if err != nil || n > 100_000 {
			return 0, errDuration
		}
		days = time.Duration(n) * 24 * time.Hour
		if s = s[i+1:]; s == "" {
			return days, nil
		}
	}
	d, err := time.ParseDuration(s)
	if err != nil || d < 0 || days > math.MaxInt64-d || strings.HasPrefix(s, "+") || strings.HasPrefix(s, "-") {
		return 0, errDuration
	}
	return days + d, nil
}

// formatDuration is the shortest text that parseDuration reads back as d.
func formatDuration(d time.Duration) string {
	if d <= 0 {
		return "0s"
	}
	out := ""
	if days := d / (24 * time.Hour); days > 0 {
		out = strconv.FormatInt(int64(days), 10) + "d"
		if d -= days * 24 * time.Hour; d == 0 {
			return out
		}
	}
	s := d.String() // 1h30m0s
	if strings.HasSuffix(s, "m0s") {
		s = strings.TrimSuffix(s, "0s")
	}
	if strings.HasSuffix(s, "h0m") {
		s = strings.TrimSuffix(s, "0m")
	}
	return out + s
}

var errSize = errors.New("wants a size such as 4096, 64KiB or 50MB")

var sizeUnits = []struct {
	name string
	n    int64
}{
	// Larger first, and binary before decimal, so that 1048576 prints as 1MiB.
	{"TiB", 1 << 40}, {"TB", 1e12}, {"GiB", 1 << 30}, {"GB", 1e9}, {"MiB", 1 << 20}, {"MB", 1e6}, {"KiB", 1 << 10}, {"KB", 1e3}, {"B", 1},
}

// parseSize reads "4096", "64KiB", "50MB".
func parseSize(s string) (Size, error) {
	digits := strings.TrimRight(s, "TGMKiB")
	n, err := strconv.ParseInt(strings.TrimSpace(digits), 10, 64)
	if err != nil || n < 0 || strings.HasPrefix(s, "+") || strings.HasPrefix(s, "-") {
		return 0, errSize
	}
	unit := s[len(digits):]
	if unit == "" {
		return Size(n), nil
	}
	for _, u := range sizeUnits {
		if u.name == unit {
			if n > math.MaxInt64/u.n {
				return 0, errors.New("is larger than any disk")
			}
			return Size(n * u.n), nil
		}
	}
	return 0, errSize
}

// String is the shortest text that reads back as s.
func (s Size) String() string {
	if s > 0 {
		for _, u := range sizeUnits[:len(sizeUnits)-1] {
			if int64(s)%u.n == 0 {
				return strconv.FormatInt(int64(s)/u.n, 10) + u.name
			}
		}
	}
	return strconv.FormatInt(int64(s), 10)
}
