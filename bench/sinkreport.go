package bench

import (
	"fmt"
	"strings"
	"time"
)

// SinkReport is what a Sink received.
type SinkReport struct {
	Messages     uint64   `json:"messages"`            // accepted with 250
	Distinct     uint64   `json:"distinct"`            // different ids among them
	Copies       uint64   `json:"copies"`              // recipients among them: one line of the ids file each
	Duplicates   uint64   `json:"duplicates"`          // copies of an id for a recipient who had it already
	NoID         uint64   `json:"without_id"`          //
	BadHash      uint64   `json:"hash_mismatches"`     // bodies that are not what the source sent
	NoHash       uint64   `json:"without_hash"`        // only counted when hashes are verified
	Bytes        uint64   `json:"bytes"`               // message octets, dots unstuffed
	RcptRefused  uint64   `json:"recipients_refused"`  // 550
	RcptDeferred uint64   `json:"recipients_deferred"` // 451
	Connections  uint64   `json:"connections"`         //
	Peak         int64    `json:"connections_peak"`    //
	TurnedAway   uint64   `json:"connections_turned_away"`
	FirstNanos   int64    `json:"first_unix_nanos"`         // when the first message was in
	LastNanos    int64    `json:"last_distinct_unix_nanos"` // when the last new id was in
	Seconds      float64  `json:"seconds"`                  // between the two
	PerSecond    float64  `json:"messages_per_second"`      // distinct ids over Seconds
	CPUMicros    float64  `json:"cpu_us_per_message"`       // the sink's own, user and system
	EachSecond   []uint64 `json:"each_second"`              // messages in each second since the start
	Ran          float64  `json:"ran_seconds"`
}

func (s *Sink) report(ran, cpu time.Duration) *SinkReport {
	c := &s.count
	r := &SinkReport{
		Messages: c.messages.Load(), Distinct: c.distinct.Load(), Copies: c.copies.Load(), Duplicates: c.duplicates.Load(),
		NoID: c.noID.Load(), BadHash: c.badHash.Load(), NoHash: c.noHash.Load(), Bytes: c.bytes.Load(),
		RcptRefused: c.rcptRefused.Load(), RcptDeferred: c.rcptDeferred.Load(),
		Connections: c.connections.Load(), Peak: c.peak.Load(), TurnedAway: c.turnedAway.Load(),
		FirstNanos: c.first.Load(), LastNanos: c.lastDistinct.Load(),
		CPUMicros: perMessage(cpu, c.messages.Load()), EachSecond: c.perSecond, Ran: ran.Seconds(),
	}
	if r.LastNanos > r.FirstNanos {
		took := time.Duration(r.LastNanos - r.FirstNanos)
		r.Seconds, r.PerSecond = took.Seconds(), perSecond(r.Distinct, took)
	}
	return r
}

// String is the report for a terminal.
func (r *SinkReport) String() string {
	var b strings.Builder
	fmt.Fprintf(&b, "sink     %d messages, %d distinct ids in %.2f s: %.0f messages/s, own CPU %.1f µs each\n",
		r.Messages, r.Distinct, r.Seconds, r.PerSecond, r.CPUMicros)
	fmt.Fprintf(&b, "copies   %d, of these %d duplicates; %d messages without an id\n", r.Copies, r.Duplicates, r.NoID)
	fmt.Fprintf(&b, "bodies   %.1f MB, %d hash mismatches, %d without a hash\n", float64(r.Bytes)/1e6, r.BadHash, r.NoHash)
	fmt.Fprintf(&b, "refused  %d recipients for good, %d for now\n", r.RcptRefused, r.RcptDeferred)
	fmt.Fprintf(&b, "conns    %d, %d at most at the same time, %d turned away\n", r.Connections, r.Peak, r.TurnedAway)
	return b.String()
}
