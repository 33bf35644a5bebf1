package command

import (
	"strings"
	"testing"
	"time"

	"github.com/tarishi/tarishi/admin"
	"github.com/tarishi/tarishi/shaping"
)

// A limit in shadow says what it would have held, and does not hide the one in force.
func TestLimitsInShadowAreShown(t *testing.T) {
	now := time.Date(2026, 11, 25, 12, 0, 0, 0, time.UTC)
	real := shaping.Rule{To: "a.test", Messages: []shaping.Window{{Max: 100, Length: time.Hour}}}
	tried := shaping.Rule{To: "a.test", Shadow: true, Messages: []shaping.Window{{Max: 10, Length: time.Minute}}}
	l := admin.LimitsList{Now: now, Rules: []admin.LimitRule{{Rule: real, Layer: shaping.LayerFile}, {Rule: tried, Layer: shaping.LayerSet}},
		Live: []admin.LiveLimit{{Destination: "a.test", Field: shaping.Messages, Max: 10, Window: "1m", Used: 10, Shadow: true, Started: 600, Held: 300, Since: now.Add(-2 * time.Minute)}}}
	var b strings.Builder
	printLimits(&b, l, 200)
	for _, want := range []string{"messages 100/1h  ", "messages 10/1m in shadow", "would have held 300 of 600 in 2m"} {
		if !strings.Contains(b.String(), want) {
			t.Errorf("no %q in\n%s", want, b.String())
		}
	}
	if strings.Contains(b.String(), "(messages") {
		t.Errorf("the one in force is said to be overridden:\n%s", b.String())
	}
}
