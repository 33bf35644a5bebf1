package bench

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"
)

// Latency is a distribution in milliseconds.
type Latency struct {
	Mean float64 `json:"mean_ms"`
	P50  float64 `json:"p50_ms"`
	P90  float64 `json:"p90_ms"`
	P99  float64 `json:"p99_ms"`
	P999 float64 `json:"p999_ms"`
	Max  float64 `json:"max_ms"`
}

func (h *histogram) latency() Latency {
	ms := func(d time.Duration) float64 { return float64(d) / float64(time.Millisecond) }
	return Latency{ms(h.mean()), ms(h.quantile(.5)), ms(h.quantile(.9)), ms(h.quantile(.99)), ms(h.quantile(.999)), ms(h.max)}
}

// SourceReport is what a Source did. Attempted = Acked + Refused + Unsent + Unknown.
type SourceReport struct {
	Run         string  `json:"run"`
	Attempted   uint64  `json:"attempted"`
	Acked       uint64  `json:"acked"`                 // 250 to the final dot
	Refused     uint64  `json:"refused"`               // settled by a 4yz or 5yz reply
	Unsent      uint64  `json:"unsent"`                // given up before the final dot; nobody has them
	Unknown     uint64  `json:"unacknowledged"`        // the connection broke after the final dot; the server may have them
	RcptRefused uint64  `json:"recipients_refused"`    //
	Connects    uint64  `json:"connects"`              //
	ConnLost    uint64  `json:"connections_lost"`      // broken, closed with 421, or never opened
	Seconds     float64 `json:"seconds"`               // from the first MAIL to the last 250
	PerSecond   float64 `json:"messages_per_second"`   // acknowledged, over Seconds
	CPUMicros   float64 `json:"cpu_us_per_message"`    // the source's own, user and system
	FirstMail   int64   `json:"first_mail_unix_nanos"` //
	LastAck     int64   `json:"last_ack_unix_nanos"`   //
	Latency     Latency `json:"accept_latency"`        // from MAIL to the 250 to the final dot

	Replies map[stage]map[int]uint64 `json:"replies"`           // by step and code
	Samples map[int]string           `json:"samples,omitempty"` // the first text seen of each 4yz and 5yz
	Error   string                   `json:"error,omitempty"`   // the last one that ended a connection
}

func (w *work) report(workers []*worker, run string, cpu time.Duration) *SourceReport {
	r := &SourceReport{
		Run: run, Acked: w.acked.Load(), Unknown: w.unknown.Load(),
		FirstMail: w.firstMail.Load(), LastAck: w.lastAck.Load(),
		Replies: map[stage]map[int]uint64{}, Samples: map[int]string{},
	}
	var latency histogram
	for _, wk := range workers {
		latency.merge(&wk.latency)
		r.Attempted += wk.attempted
		r.Unsent += wk.unsent
		r.RcptRefused += wk.rcptRefused
		r.Connects += wk.connects
		r.ConnLost += wk.lost
		for at, codes := range wk.replies {
			if r.Replies[at] == nil {
				r.Replies[at] = map[int]uint64{}
			}
			for code, n := range codes {
				r.Replies[at][code] += n
			}
		}
		for code, text := range wk.samples {
			if _, seen := r.Samples[code]; !seen {
				r.Samples[code] = text
			}
		}
		if wk.lastErr != nil {
			r.Error = wk.lastErr.Error()
		}
	}
	r.Refused = w.failed.Load() - r.Unsent
	if r.LastAck > 0 {
		took := time.Duration(r.LastAck - r.FirstMail)
		r.Seconds, r.PerSecond = took.Seconds(), perSecond(r.Acked, took)
	}
	r.CPUMicros = perMessage(cpu, r.Acked)
	r.Latency = latency.latency()
	return r
}

// lostError says why a run ended before its work was done.
func (r *SourceReport) lostError() error {
	why := r.Error
	if why == "" {
		for _, text := range r.Samples {
			why = text
		}
	}
	if r.Acked == 0 {
		return fmt.Errorf("source: nothing was acknowledged: %s", why)
	}
	return errors.New("source: all connections were lost: " + why)
}

// String is the report for a terminal.
func (r *SourceReport) String() string {
	var b strings.Builder
	fmt.Fprintf(&b, "source   %d acknowledged in %.2f s: %.0f messages/s, own CPU %.1f µs each\n",
		r.Acked, r.Seconds, r.PerSecond, r.CPUMicros)
	l := r.Latency
	fmt.Fprintf(&b, "accept   mean %.2f  p50 %.2f  p90 %.2f  p99 %.2f  p99.9 %.2f  max %.2f ms\n", l.Mean, l.P50, l.P90, l.P99, l.P999, l.Max)
	fmt.Fprintf(&b, "others   %d refused, %d unsent, %d unacknowledged, %d recipients refused\n", r.Refused, r.Unsent, r.Unknown, r.RcptRefused)
	fmt.Fprintf(&b, "conns    %d opened, %d lost\n", r.Connects, r.ConnLost)
	b.WriteString("replies ")
	for _, at := range []stage{atConnect, atHello, atTLS, atMail, atRcpt, atData, atDot, atRset} {
		for _, code := range slices.Sorted(maps.Keys(r.Replies[at])) {
			fmt.Fprintf(&b, " %s %d×%d", at, r.Replies[at][code], code)
		}
	}
	b.WriteByte('\n')
	for _, code := range slices.Sorted(maps.Keys(r.Samples)) {
		fmt.Fprintf(&b, "first    %s\n", r.Samples[code])
	}
	if r.Error != "" {
		fmt.Fprintf(&b, "error    %s\n", r.Error)
	}
	return b.String()
}
