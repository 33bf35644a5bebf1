package admin

import "time"

// Why answers GET /v1/queue/why/{id}: what holds a message's deliveries, or what became
// of them.
type Why struct {
	Now        time.Time     `json:"now"`
	ID         string        `json:"id"`
	Deliveries []WhyDelivery `json:"deliveries"`      // queued ones
	Past       []PastLine    `json:"past"`            // what the journal tells, in order
	Whole      bool          `json:"whole"`           // the journal was looked through to its end
	Notes      []string      `json:"notes,omitempty"` // what could not be found out
}

// WhyDelivery is what holds one delivery. Cause is one of the words of why.go, for
// scripts; Says is the same for people.
type WhyDelivery struct {
	Delivery
	Cause    string      `json:"cause"`
	Says     string      `json:"says"`
	Until    time.Time   `json:"until,omitzero"`      // when that ends; absent: nobody knows
	Besides  []WhyReason `json:"besides,omitempty"`   // what would hold it then
	Node     string      `json:"node,omitempty"`      // that has it in hand
	CountsAs string      `json:"counts_as,omitempty"` // whose limits bind it
	Place    *WhyWait    `json:"place,omitempty"`
	Expected time.Time   `json:"expected,omitzero"`  // absent: not known
	Reckoned string      `json:"reckoned,omitempty"` // how that was reckoned, or why not
}

// WhyReason is one further thing that holds it.
type WhyReason struct {
	Cause string    `json:"cause"`
	Says  string    `json:"says"`
	Until time.Time `json:"until,omitzero"`
}

// WhyWait is its place among what waits for its destination.
type WhyWait struct {
	Line   string `json:"line"`
	Before int64  `json:"before"` // in its line
	Due    int64  `json:"due"`    // of these, due by now
	Of     int64  `json:"of"`     // the line's length
	Others int64  `json:"others"` // in other lines of the destination
	Higher int64  `json:"higher"` // of these, of a higher class
}

// PastLine is one thing that happened to a delivery.
type PastLine struct {
	Delivery string        `json:"delivery"`
	At       time.Time     `json:"at,omitzero"`
	Node     string        `json:"node,omitempty"`
	What     string        `json:"what"` // attempted, ended, sending, doubt
	Attempt  int           `json:"attempt,omitempty"`
	Host     string        `json:"host,omitempty"`
	Outcomes []OutcomeLine `json:"outcomes,omitempty"`
	Note     string        `json:"note,omitempty"`
}

// OutcomeLine is what an attempt came to for one recipient.
type OutcomeLine struct {
	Recipient string `json:"recipient"`
	Status    string `json:"status"` // delivered, deferred, failed
	Reply     *Reply `json:"reply,omitempty"`
	Bounce    string `json:"bounce_class,omitempty"`
}
