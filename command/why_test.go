package command

import (
	"testing"

	"github.com/tarishi/tarishi/admin"
)

// Each recipient's last word counts, whichever attempt brought it.
func TestOutcomesOfAllAttempts(t *testing.T) {
	first := []admin.OutcomeLine{{Recipient: "a", Status: "delivered"}, {Recipient: "b", Status: "deferred"}}
	got := outcomes(outcomes(nil, first), []admin.OutcomeLine{{Recipient: "b", Status: "failed"}})
	if len(got) != 2 || got[0] != first[0] || got[1].Status != "failed" {
		t.Error(got)
	}
}
