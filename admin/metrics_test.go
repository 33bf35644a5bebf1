package admin_test

import (
	"context"
	"errors"
	"strings"
	"testing"

	"github.com/tarishi/tarishi/admin"
)

// What a leader of the limits has, and why a node is not ready, are numbers to watch.
func TestMetricsOfLimits(t *testing.T) {
	s, _ := sample(t, func(c *admin.Config) {
		c.Stats = func() admin.Stats {
			return admin.Stats{
				Permits: &admin.PermitStats{Live: true, LateStarts: 2},
				Limits:  &admin.LeaderStats{Leading: true, Term: 7, Sessions: 3, Counters: 5, Waiting: 4},
			}
		}
		c.Checks = []admin.Check{
			{Name: "queue", Ask: func(context.Context) error { return nil }},
			{Name: "scheduler", Ask: func(context.Context) error { return errors.New("no leader") }},
		}
	})
	b := ask(s, "GET", "/metrics", "").Body.String()
	for _, want := range []string{
		`tarishi_ready{check="queue"} 1`, `tarishi_ready{check="scheduler"} 0`, "tarishi_session_live 1",
		"tarishi_permits_late_starts_total 2", "tarishi_limits_term 7", "tarishi_limits_sessions 3", "tarishi_limits_counters 5", "tarishi_limits_lines_waiting 4",
	} {
		if !strings.Contains(b, want+"\n") {
			t.Errorf("%s is missing", want)
		}
	}
}
