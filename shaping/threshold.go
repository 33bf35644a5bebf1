package shaping

import (
	"fmt"
	"strconv"
	"strings"
	"time"
)

// Threshold says how many such replies it takes within how long. The zero value
// takes one.
type Threshold struct {
	Count  int
	Within time.Duration
}

// maxThreshold bounds what whoever counts has to keep of one threshold.
const maxThreshold = 1000

// ParseThreshold reads "3 in 10m".
func ParseThreshold(s string) (Threshold, error) {
	mend := `write how many within how long, such as "3 in 10m"`
	words := strings.Fields(s)
	if len(words) != 3 || words[1] != "in" {
		return Threshold{}, refuse("", fmt.Sprintf("%q is no threshold", s), mend)
	}
	n, err := strconv.Atoi(words[0])
	if err != nil {
		return Threshold{}, refuse("", fmt.Sprintf("%q is no number of replies", words[0]), mend)
	}
	d, err := ParseLength(words[2])
	if err != nil {
		return Threshold{}, err
	}
	t := Threshold{n, d}
	return t, t.Check()
}

// Check says what is wrong with the threshold, if anything.
func (t Threshold) Check() error {
	switch {
	case t == Threshold{}:
		return nil
	case t.Count < 1 || t.Count > maxThreshold:
		return refuse("", fmt.Sprintf("%d replies", t.Count), fmt.Sprintf("write 1 to %d", maxThreshold))
	case t.Within < time.Second || t.Within > 7*24*time.Hour:
		return refuse("", fmt.Sprintf("replies within %s", FormatLength(t.Within)), "write 1s to 7d")
	}
	return nil
}

// String is "3 in 10m"; empty for the zero value.
func (t Threshold) String() string {
	if t == (Threshold{}) {
		return ""
	}
	return fmt.Sprintf("%d in %s", t.Count, FormatLength(t.Within))
}

// MarshalText writes the threshold as String does.
func (t Threshold) MarshalText() ([]byte, error) { return []byte(t.String()), nil }

// UnmarshalText reads it.
func (t *Threshold) UnmarshalText(b []byte) error {
	if len(b) == 0 {
		*t = Threshold{}
		return nil
	}
	v, err := ParseThreshold(string(b))
	*t = v
	return err
}
