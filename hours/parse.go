package hours

import (
	"cmp"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"
)

// Example is what error messages show.
const Example = "Mon-Fri 09:00-18:00 Europe/Berlin"

// Longest is how many octets hours may be written in.
const Longest = 250

// shortest is the shortest range that is taken: in a shorter one hardly anything
// could start.
const shortest = 5

// Parse reads days and ranges, and at the end the zone:
//
//	Mon-Fri 09:00-12:00 13:00-18:00 Sat 10:00-14:00 Europe/Berlin
//	22:00-06:00 UTC
//
// Ranges go with the days before them, or with every day. One that ends before it
// begins goes on into the next day. Commas and semicolons may stand for blanks.
func Parse(text string) (*Hours, error) {
	if len(text) > Longest {
		return nil, fmt.Errorf("hours of %d characters; %d are the most", len(text), Longest)
	}
	words := strings.FieldsFunc(text, func(r rune) bool { return r == ' ' || r == '\t' || r == ',' || r == ';' })
	if len(words) == 0 {
		return nil, errors.New("no hours; write them as in " + Example)
	}
	zone, err := parseZone(words[len(words)-1])
	if err != nil {
		return nil, err
	}
	h := &Hours{zone: zone}
	var days []int
	fresh := false // days have been named that no range has gone with yet
	ranges := 0
	for _, w := range words[:len(words)-1] {
		if named, ok := parseDays(w); ok {
			if !fresh {
				days = nil
			}
			days, fresh = append(days, named...), true
			continue
		}
		from, to, err := parseRange(w)
		if err != nil {
			return nil, err
		}
		if days == nil {
			days = []int{0, 1, 2, 3, 4, 5, 6}
		}
		for _, d := range days {
			h.add(d*day+from, d*day+to)
		}
		ranges++
		fresh = false
	}
	switch {
	case ranges == 0:
		return nil, errors.New("hours without a range of time; write them as in " + Example)
	case fresh:
		return nil, errors.New("no range of time goes with the last day; write it behind it, as in " + Example)
	}
	h.merge()
	return h, nil
}

// add adds a range, which may go on into the next week.
func (h *Hours) add(from, to int) {
	if to > week {
		h.open = append(h.open, span{0, to - week})
		to = week
	}
	h.open = append(h.open, span{from, to})
}

func (h *Hours) merge() {
	slices.SortFunc(h.open, func(a, b span) int { return cmp.Or(cmp.Compare(a.from, b.from), cmp.Compare(a.to, b.to)) })
	merged := h.open[:1]
	for _, s := range h.open[1:] {
		if last := &merged[len(merged)-1]; s.from <= last.to {
			last.to = max(last.to, s.to)
		} else {
			merged = append(merged, s)
		}
	}
	h.open = merged
}

var dayNames = [...]string{"mon", "tue", "wed", "thu", "fri", "sat", "sun"}

func dayOf(s string) int {
	s = strings.ToLower(s)
	for i, name := range dayNames {
		if s == name || s == longDays[i] {
			return i
		}
	}
	return -1
}

var longDays = [...]string{"monday", "tuesday", "wednesday", "thursday", "friday", "saturday", "sunday"}

// parseDays reads a day or a range of days, such as Fri-Mon.
func parseDays(w string) (days []int, ok bool) {
	first, last, isRange := strings.Cut(w, "-")
	from := dayOf(first)
	if from < 0 {
		return nil, false
	}
	to := from
	if isRange {
		if to = dayOf(last); to < 0 {
			return nil, false
		}
	}
	for d := from; ; d = (d + 1) % 7 {
		if days = append(days, d); d == to {
			return days, true
		}
	}
}

// parseRange reads 09:00-18:00 in minutes of the day; to may be of the next one.
func parseRange(w string) (from, to int, err error) {
	a, b, ok := strings.Cut(w, "-")
	from, okFrom := parseClock(a)
	to, okTo := parseClock(b)
	switch {
	case !ok || !okFrom || !okTo || from == day:
		return 0, 0, fmt.Errorf("%q is neither a day nor a range of time; write them as in %s", short(w), Example)
	case from == to:
		return 0, 0, fmt.Errorf("%q begins when it ends; the whole day is 00:00-24:00", w)
	case to < from:
		to += day
	}
	if to-from < shortest {
		return 0, 0, fmt.Errorf("%q is shorter than %d minutes", w, shortest)
	}
	return from, to, nil
}

// parseClock reads 9:00, 09:00 or 24:00.
func parseClock(s string) (int, bool) {
	h, m, ok := strings.Cut(s, ":")
	if !ok || len(h) < 1 || len(h) > 2 || len(m) != 2 {
		return 0, false
	}
	n := [2]int{}
	for i, part := range [2]string{h, m} {
		for j := range len(part) {
			if part[j] < '0' || part[j] > '9' {
				return 0, false
			}
			n[i] = n[i]*10 + int(part[j]-'0')
		}
	}
	at := n[0]*60 + n[1]
	return at, n[1] < 60 && at <= day
}

// parseZone reads the name of a place's time. Local is refused: what it means
// depends on the node that reads it.
func parseZone(w string) (*time.Location, error) {
	if _, isDay := parseDays(w); isDay || strings.Contains(w, ":") || '0' <= w[0] && w[0] <= '9' || w == "Local" {
		return nil, errors.New("hours must end with whose time they are, such as Europe/Berlin or UTC, as in " + Example)
	}
	zone, err := time.LoadLocation(w)
	if err != nil {
		return nil, fmt.Errorf("%q is no time zone; write it as in %s, or UTC", short(w), Example)
	}
	return zone, nil
}

func short(s string) string { return s[:min(len(s), 40)] }
