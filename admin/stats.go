package admin

import "time"

// Stats are the counters of one node. Whoever assembles the node fills them from
// its parts' own snapshots; a part that does not run here stays nil. Counters
// start at zero with the process and only grow; the rest are gauges.
type Stats struct {
	SMTP     *SMTPStats     `json:"smtp,omitempty"`
	Delivery *DeliveryStats `json:"delivery,omitempty"`
	Queue    *QueueStats    `json:"queue,omitempty"`
	Permits  *PermitStats   `json:"permits,omitempty"` // of the deliverer
	Limits   *LeaderStats   `json:"limits,omitempty"`  // of who leads the limits
}

// PermitStats count what a deliverer has of the scheduler, and whether it kept to it.
type PermitStats struct {
	Live        bool   `json:"live"`  // something may start: the session lives
	Taken       uint64 `json:"taken"` // permits, for transactions and new connections
	Used        uint64 `json:"used"`
	Returned    uint64 `json:"returned"`    // given back unused
	Expired     uint64 `json:"expired"`     // void when they were to be used
	Refused     uint64 `json:"refused"`     // deliveries given back because their window was shut
	LateStarts  uint64 `json:"late_starts"` // begun later than allowed: a limit may have been exceeded
	Slots       int    `json:"slots"`       // connections held under a limit, now
	LeasesCut   uint64 `json:"leases_cut"`  // connections cut because their lease ran out
	LostSession uint64 `json:"sessions_lost"`
}

// LeaderStats count what a leader has granted in its term.
type LeaderStats struct {
	Leading  bool   `json:"leading"`
	Term     uint64 `json:"term"`
	Sessions int    `json:"sessions"`
	Granted  uint64 `json:"granted"`
	Started  uint64 `json:"started"`
	Late     uint64 `json:"late"`     // of those started, by a deliverer's stall
	Counters int    `json:"counters"` // of limits, in use
	Waiting  int    `json:"waiting"`  // lines of mail that wait for a permit

	Reactions int `json:"reactions"` // to replies, in force
}

// SMTPStats count what comes in.
type SMTPStats struct {
	Connections int64  `json:"connections"` // open now
	Connected   uint64 `json:"connected"`   // since the start
	Refused     uint64 `json:"refused"`     // turned away at the door: a limit was reached
	Accepted    uint64 `json:"accepted"`    // messages answered 250 after the dot
	Bytes       uint64 `json:"bytes"`       // octets of those
	// Certificates are those that TLS clients are shown.
	Certificates []Certificate `json:"certificates,omitempty"`
	Replies2xx   uint64        `json:"replies_2xx"`
	Replies3xx   uint64        `json:"replies_3xx"`
	Replies4xx   uint64        `json:"replies_4xx"`
	Replies5xx   uint64        `json:"replies_5xx"`
}

// Certificate is one that TLS clients are shown.
type Certificate struct {
	File     string    `json:"file"`
	Names    []string  `json:"names"`
	NotAfter time.Time `json:"not_after"`
	Default  bool      `json:"default,omitempty"` // for who asks for no name, or for nobody's
	Problem  string    `json:"problem,omitempty"` // why what is in the file now is not in force
}

// FirstExpiry is the one that runs out first, and how many cannot be replaced by what is
// in their files now.
func FirstExpiry(list []Certificate) (first Certificate, bad int) {
	for i, c := range list {
		if i == 0 || c.NotAfter.Before(first.NotAfter) {
			first = c
		}
		if c.Problem != "" {
			bad++
		}
	}
	return first, bad
}

// DeliveryStats count what goes out. Delivered, Deferred and Failed count
// recipients: one attempt may have several, with an outcome each.
type DeliveryStats struct {
	Attempts    uint64 `json:"attempts"`
	Delivered   uint64 `json:"delivered"`
	Deferred    uint64 `json:"deferred"`
	Failed      uint64 `json:"failed"`
	Connections int64  `json:"connections"` // open now
	Opened      uint64 `json:"opened"`
	Reused      uint64 `json:"reused"`  // transactions on a connection that had carried one before
	Notices     uint64 `json:"notices"` // failure and delay notices stored

	PutOff  uint64 `json:"put_off"` // deliveries that plugins have put off
	Dropped uint64 `json:"dropped"` // recipients that plugins have dropped
	Unasked uint64 `json:"unasked"` // attempts after which plugins were not asked, since too many waited for them
	Untold  uint64 `json:"untold"`  // deliveries that plugins were not told of, since they could not follow

	Classes []BounceClass `json:"classes,omitempty"` // those that were seen
}

// BounceClass counts the recipients whose outcome was of one bounce class.
type BounceClass struct {
	Class    string `json:"class"`
	Deferred uint64 `json:"deferred"`
	Failed   uint64 `json:"failed"`
}

// QueueStats count what the store does and holds. Ready, Waiting and Held are the
// whole queue; those Active are among the first two.
type QueueStats struct {
	// Part tells that Waiting and Held are what lies in the node's own partitions of a
	// cluster's queue; `tarishi queue ls` counts all.
	Part    bool  `json:"part,omitempty"`
	Ready   int64 `json:"ready"`   // may go at once
	Waiting int64 `json:"waiting"` // retry due later, or no room at the destination
	Held    int64 `json:"held"`
	Active  int64 `json:"active"` // in a deliverer's hand

	Bytes    uint64 `json:"bytes"`     // stored
	MaxBytes uint64 `json:"max_bytes"` // 0: no limit is known

	Barriers       uint64     `json:"barriers"`        // fsync barriers done
	BarrierSizes   *Histogram `json:"-"`               // messages that shared one barrier; nil: not measured
	BarrierSeconds *Histogram `json:"-"`               // how long a barrier took; nil: not measured
	Stored         uint64     `json:"stored"`          // messages made durable
	Direct         uint64     `json:"direct"`          // messages stored in WAIT at the door
	JournalRecords uint64     `json:"journal_records"` // written
	JournalEntries uint64     `json:"journal_entries"` // in those records
}

// Histogram is a snapshot of a distribution. Counts[i] counts what is at most
// Bounds[i] and above the bound before it; one more count holds what is above the last.
type Histogram struct {
	Bounds []float64
	Counts []uint64
	Sum    float64
}
