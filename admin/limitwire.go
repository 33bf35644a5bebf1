package admin

import (
	"time"

	"github.com/tarishi/tarishi/shaping"
)

// LimitsList answers GET /v1/limits.
type LimitsList struct {
	Now          time.Time                `json:"now"`
	Version      uint64                   `json:"version"`
	Rules        []LimitRule              `json:"rules"`
	Suspensions  []shaping.Suspension     `json:"suspensions"`
	Reactions    int                      `json:"reactions,omitempty"` // how many are in force, see /v1/reactions
	Destinations map[string]shaping.Group `json:"destinations,omitempty"`
	Live         []LiveLimit              `json:"live"`
	Total        int                      `json:"total"` // of those in use, the ones not in Live included
}

// LimitRule is one rule and where it was written. A rule of the file some of whose
// fields are overridden at run time still shows all of them.
type LimitRule struct {
	shaping.Rule
	Layer shaping.Layer `json:"layer"`
}

// LimitExplanation answers GET /v1/limits/explain. Defaults hold where no value does.
type LimitExplanation struct {
	Now time.Time `json:"now"`
	shaping.Explanation
	Defaults *Defaults `json:"defaults,omitempty"`
}

// Defaults bound a destination on each node where no limit does.
type Defaults struct {
	Connections   int `json:"connections"`
	PerConnection int `json:"per_connection"`
}

// LimitHistory answers GET /v1/limits/history. Oldest is the version that can still
// be gone back to.
type LimitHistory struct {
	Now     time.Time       `json:"now"`
	Version uint64          `json:"version"`
	Oldest  uint64          `json:"oldest"`
	Entries []shaping.Entry `json:"entries"` // the newest first
	More    bool            `json:"more"`
}

// LimitDiff answers POST /v1/limits/diff: what an apply of the same rules would do.
type LimitDiff struct {
	Version     uint64               `json:"version"`
	Differences []shaping.Difference `json:"differences"`
}

// LimitVerb is an operator's verb for the limits.
type LimitVerb string

// The verbs, each with the keys of its order in limitKeys.
const (
	SetLimit      LimitVerb = "set"
	UnsetLimit    LimitVerb = "unset"
	ApplyLimits   LimitVerb = "apply"
	SuspendLimit  LimitVerb = "suspend"
	ResumeLimit   LimitVerb = "resume"
	RollbackLimit LimitVerb = "rollback"
)

// LimitOrder is the body of POST /v1/limits/<verb>. Author is who the caller says he
// is; both he and Reason stay in the history.
type LimitOrder struct {
	Rule    *shaping.Rule   `json:"rule,omitempty"`    // set
	To      string          `json:"to,omitempty"`      // unset, suspend, resume
	Per     *shaping.Per    `json:"per,omitempty"`     // unset; absent: every scope
	Fields  []shaping.Field `json:"fields,omitempty"`  // unset; absent: all
	Shadow  bool            `json:"shadow,omitempty"`  // unset: of the limits in shadow
	Rules   []shaping.Rule  `json:"rules,omitzero"`    // apply, diff; an empty list takes everything back
	For     string          `json:"for,omitempty"`     // suspend: "2h"; absent: until it is resumed
	Version *uint64         `json:"version,omitempty"` // rollback
	Base    uint64          `json:"base,omitempty"`    // refuse if the version is another by then; 0: whichever it is
	Author  string          `json:"author,omitempty"`
	Reason  string          `json:"reason,omitempty"`
}

// LimitProgress is one line of the NDJSON answer to a LimitOrder. The first comes
// when the change is made, the last, with Final set, when every node works by it.
type LimitProgress struct {
	Version uint64    `json:"version"`
	What    string    `json:"what,omitempty"`    // has changed, in words; empty: nothing has
	Waiting []Laggard `json:"waiting,omitempty"` // nodes that do not work by it yet
	Final   bool      `json:"final,omitempty"`
	Since   time.Time `json:"since,omitzero"` // limits are exact for any window that begins after it
	Error   string    `json:"error,omitempty"`
}

// NodeOrder is the body of POST /v1/nodes/remove and /v1/nodes/transfer.
type NodeOrder struct {
	Node   string `json:"node,omitempty"` // remove
	Author string `json:"author,omitempty"`
}

// NodeAnswer answers it.
type NodeAnswer struct {
	Leader string `json:"leader,omitempty"` // transfer
	Node   string `json:"node,omitempty"`   // remove
}
