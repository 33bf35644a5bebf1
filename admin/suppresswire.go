package admin

import "time"

// Suppression is one entry of the list of those who are sent nothing.
type Suppression struct {
	Address string    `json:"address"`
	Tenant  string    `json:"tenant,omitempty"` // whose mail it concerns; empty: everybody's
	Reason  string    `json:"reason,omitempty"`
	Class   string    `json:"class,omitempty"` // the bounce class, of a bounce
	Source  string    `json:"source"`          // bounce, api or operator
	Event   string    `json:"event,omitempty"` // of a bounce: the delivery and its attempt
	Author  string    `json:"author,omitempty"`
	At      time.Time `json:"at"`
	Expires time.Time `json:"expires,omitzero"`
}

// SuppressionsList is the answer to GET /v1/suppress.
type SuppressionsList struct {
	Now     time.Time     `json:"now"`
	Count   int           `json:"count"`   // entries of all scopes, more or less
	Counted bool          `json:"counted"` // false: the node is still reading them
	Entries []Suppression `json:"entries"`
	Next    string        `json:"next,omitempty"` // give it as after; empty: there are no more
}

// SuppressionCheck is the answer to GET /v1/suppress/check.
type SuppressionCheck struct {
	Address    string       `json:"address"` // as the list has it
	Suppressed bool         `json:"suppressed"`
	Entry      *Suppression `json:"entry,omitempty"`
}

// SuppressOrder is what POST /v1/suppress/add and rm take.
type SuppressOrder struct {
	Entries []SuppressEntry `json:"entries"`
	Author  string          `json:"author,omitempty"`
}

// SuppressEntry is an entry as people and scripts write it; rm looks at address and
// tenant. An entry of a list or an export is one too.
type SuppressEntry struct {
	Address string    `json:"address"`
	Tenant  string    `json:"tenant,omitempty"`
	Reason  string    `json:"reason,omitempty"`
	Expires string    `json:"expires,omitempty"` // a time, a day or how long
	Class   string    `json:"class,omitempty"`
	Source  string    `json:"source,omitempty"`
	Event   string    `json:"event,omitempty"`
	Author  string    `json:"author,omitempty"` // empty: the order's
	At      time.Time `json:"at,omitzero"`
}

// SuppressAnswer tells what became of an order.
type SuppressAnswer struct {
	Changed int        `json:"changed"`
	Bad     []BadEntry `json:"bad,omitempty"` // those that were left out
}

// BadEntry is an entry that says nothing that can be followed.
type BadEntry struct {
	Index   int    `json:"index"` // in the order, from 0
	Address string `json:"address"`
	Error   string `json:"error"`
}
