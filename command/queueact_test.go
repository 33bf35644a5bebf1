package command

import (
	"testing"

	"github.com/tarishi/tarishi/admin"
)

// What waits for its hours is not called due, and what is not known is not counted.
func TestReportSaysWhatIsTrue(t *testing.T) {
	for want, p := range map[string]admin.Progress{
		"3 deliveries due now.": {Action: admin.Retry, Changed: 3},
		"1 delivery due now; 2 more still wait for delivery hours or the time that the client gave.":       {Action: admin.Retry, Changed: 3, Planned: 2},
		"0 deliveries due now; 1 more still waits for delivery hours or the time that the client gave.":    {Action: admin.Retry, Changed: 1, Planned: 1},
		"6 deliveries released; 6 of them still wait for delivery hours or the time that the client gave.": {Action: admin.Release, Changed: 6, Planned: 6},
		"at least 4,902 deliveries removed.":                                          {Action: admin.Rm, Changed: 4902, AtLeast: true},
		"0 deliveries held; 2 left alone (held already, or released since).":          {Action: admin.Hold, Unchanged: 2},
		"1 delivery held; 2 more are ready to go and will be when a node takes them.": {Action: admin.Hold, Changed: 1, Ordered: 2},
		"0 deliveries released; 1 left alone (not held, or held again since).":        {Action: admin.Release, Unchanged: 1},
		"2 deliveries due now; 1 left alone (due already, planned or held).":          {Action: admin.Retry, Changed: 2, Unchanged: 1},
	} {
		if got := report(verbOf(p.Action), p); got != want {
			t.Errorf("%q, want %q", got, want)
		}
	}
}
