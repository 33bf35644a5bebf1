package shaping

import "time"

// Book is every limit of the cluster: the named destinations, the rules of the
// configuration file, those set at run time, what is suspended, and how it came
// to be so. All nodes hold the same one, since each gets the same changes in the
// same order; see Apply.
//
// A Book is a value: Apply returns a new one and leaves the old as it was.
type Book struct {
	Version      uint64            `json:"version"` // counts the changes
	Destinations map[string]Group  `json:"destinations,omitempty"`
	File         []Rule            `json:"file,omitempty"`        // of the configuration file, in its order
	Shares       Shares            `json:"shares,omitzero"`       // of the configuration file
	Set          []Rule            `json:"set,omitempty"`         // set at run time, sorted by To and Per
	Suspensions  []Suspension      `json:"suspensions,omitempty"` // sorted by To
	Reactions    []Reaction        `json:"reactions,omitempty"`   // oldest first
	LastReaction uint64            `json:"last_reaction,omitempty"`
	History      []Entry           `json:"history,omitempty"`     // oldest first
	FileHashes   map[string]string `json:"file_hashes,omitempty"` // by node: the file it last brought
	FileHash     string            `json:"file_hash,omitempty"`   // of the file whose rules are File
}

// Group is a named destination: its domains count together, wherever they are
// listed or whatever their MX.
type Group struct {
	MX      []string `json:"mx,omitempty"`      // "*.google.com" or a host
	Domains []string `json:"domains,omitempty"` // "gmail.com" or "*.example.net"
}

// Suspension keeps a destination from being sent anything.
type Suspension struct {
	To     string    `json:"to"`
	Reason string    `json:"reason,omitempty"`
	Author string    `json:"author,omitempty"`
	At     time.Time `json:"at,omitzero"`
	Until  time.Time `json:"until,omitzero"` // zero: until it is resumed

	byReaction bool // of Bounds alone: it is no operator's
}

// Op is the kind of a Change.
type Op string

// The changes.
const (
	OpSet      Op = "set"      // Rule's fields replace those set at run time for its To and Per
	OpUnset    Op = "unset"    // Fields (none: all) of To and Per (nil: every one) are set no more
	OpApply    Op = "apply"    // Rules replace everything set at run time
	OpSuspend  Op = "suspend"  // To is sent nothing, until Until if given
	OpResume   Op = "resume"   // and is again
	OpExpire   Op = "expire"   // suspensions whose Until is not after At end
	OpRollback Op = "rollback" // what is set at run time becomes what it was at Version
	OpFile     Op = "file"     // Node brings its file's Destinations, Rules and Shares, whose hash is Hash
	OpReact    Op = "react"    // Triggers add reactions, or deepen those that are there
	OpRecover  Op = "recover"  // reactions take the steps of recovery that are due at At, or are over
	OpUndo     Op = "undo"     // the reactions IDs end
)

// Change is one change of the Book, as it is written to the log.
type Change struct {
	Op     Op        `json:"op"`
	Author string    `json:"author,omitempty"`
	At     time.Time `json:"at,omitzero"`
	Reason string    `json:"reason,omitempty"`
	Base   uint64    `json:"base,omitempty"` // refused when the Book's Version is another; 0: whatever it is

	Rule         *Rule            `json:"rule,omitempty"`
	To           string           `json:"to,omitempty"`
	Per          *Per             `json:"per,omitempty"`
	Fields       []Field          `json:"fields,omitempty"`
	Shadow       bool             `json:"shadow,omitempty"` // OpUnset: of the rules in shadow
	Rules        []Rule           `json:"rules,omitempty"`
	Until        time.Time        `json:"until,omitzero"`
	Version      *uint64          `json:"version,omitempty"`
	Node         string           `json:"node,omitempty"`
	Hash         string           `json:"hash,omitempty"`
	Destinations map[string]Group `json:"destinations,omitempty"`
	Shares       Shares           `json:"shares,omitzero"`
	Triggers     []Trigger        `json:"triggers,omitempty"`
	IDs          []uint64         `json:"ids,omitempty"`
}

// Entry is one change that was made.
type Entry struct {
	Version uint64       `json:"version"` // the Book's, from then on
	At      time.Time    `json:"at,omitzero"`
	Author  string       `json:"author,omitempty"`
	Op      Op           `json:"op"`
	What    string       `json:"what"` // in words
	Reason  string       `json:"reason,omitempty"`
	Set     []Difference `json:"set,omitempty"` // what became of the rules set at run time
}

// Difference is what became of the rule for one To and Per. Before nil: it is
// new; After nil: it is gone.
type Difference struct {
	Before *Rule `json:"before,omitempty"`
	After  *Rule `json:"after,omitempty"`
}
