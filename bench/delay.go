package bench

import (
	"errors"
	"fmt"
	"io"
	"time"
)

// DelayReport says how long mail was on its way: from its acknowledgement to its first
// arrival, by the clock of one machine.
type DelayReport struct {
	Sent    int     `json:"sent"`    // copies acknowledged
	Arrived int     `json:"arrived"` // of these
	Delay   Latency `json:"delay"`   // of those that arrived
}

// String is the report for a terminal.
func (r *DelayReport) String() string {
	d := r.Delay
	return fmt.Sprintf("delay    %d sent, %d arrived; ms: mean %.1f, p50 %.1f, p90 %.1f, p99 %.1f, max %.1f\n",
		r.Sent, r.Arrived, d.Mean, d.P50, d.P90, d.P99, d.Max)
}

// Delay reads the source's file and the sinks', as Check does. A copy that arrived
// before its 250 was read took no time.
func Delay(sent io.Reader, received ...io.Reader) (*DelayReport, error) {
	acked := map[string]int64{}
	if err := readEvidence(sent, func(id, rcpt string, at int64) { acked[key(id, rcpt)] = at }); err != nil {
		return nil, fmt.Errorf("sent: %w", err)
	}
	first := map[string]int64{}
	for _, r := range received {
		err := readEvidence(r, func(id, rcpt string, at int64) {
			k := key(id, rcpt)
			if _, ours := acked[k]; !ours {
				return
			}
			if was, again := first[k]; !again || at < was {
				first[k] = at
			}
		})
		if err != nil {
			return nil, fmt.Errorf("received: %w", err)
		}
	}
	var h histogram
	for k, at := range first {
		if at == 0 || acked[k] == 0 {
			return nil, errors.New("the files name no times")
		}
		h.add(time.Duration(at - acked[k]))
	}
	return &DelayReport{Sent: len(acked), Arrived: len(first), Delay: h.latency()}, nil
}
