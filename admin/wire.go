package admin

import (
	"encoding/json"
	"net/http"
	"time"

	"github.com/tarishi/tarishi/mail"
)

// The types below are the JSON of the API, as the server writes and the Client
// reads them. Fields are only ever added. Times are UTC; a time that is not there
// is left out. Now is the node's clock when it answered: ages are reckoned from
// it, so that the reader's clock may be wrong.

// Reply is an SMTP reply.
type Reply struct {
	Code     int    `json:"code"`
	Enhanced string `json:"enhanced,omitempty"`
	Text     string `json:"text"`
}

// String is the reply on one line.
func (r *Reply) String() string {
	if r == nil {
		return ""
	}
	return mail.R(r.Code, r.Enhanced, r.Text).String()
}

// Recipient is one forward-path that is still open.
type Recipient struct {
	Address string `json:"address"`
	Notify  string `json:"notify,omitempty"`
	ORcpt   string `json:"orcpt,omitempty"`

	NotBefore time.Time `json:"not_before,omitzero"` // a reply asked that this mailbox be left alone until then
}

// Delivery is one queued delivery.
type Delivery struct {
	ID          string      `json:"id"`
	Message     string      `json:"message"`
	State       string      `json:"state"` // ready, waiting, active, held
	Sender      string      `json:"sender"`
	Destination string      `json:"destination"`
	Recipients  []Recipient `json:"recipients"`
	Size        int64       `json:"size"`

	Received    time.Time `json:"received,omitzero"`
	Attempts    int       `json:"attempts"`
	LastAttempt time.Time `json:"last_attempt,omitzero"`
	LastHost    string    `json:"last_host,omitempty"`
	LastReply   *Reply    `json:"last_reply,omitempty"`
	Bounce      string    `json:"bounce_class,omitempty"` // of the last reply
	Due         time.Time `json:"due,omitzero"`           // absent: as soon as there is room
	Expires     time.Time `json:"expires,omitzero"`

	DelayNoticed bool   `json:"delay_noticed,omitempty"`
	ClientIP     string `json:"client_ip,omitempty"`
	Helo         string `json:"helo,omitempty"`
	Protocol     string `json:"protocol,omitempty"`
	Origin       string `json:"origin,omitempty"` // the message this one reports on
	Body         string `json:"body,omitempty"`
	SMTPUTF8     bool   `json:"smtputf8,omitempty"`
	EnvelopeID   string `json:"envid,omitempty"`
	Ret          string `json:"ret,omitempty"`
	Tenant       string `json:"tenant,omitempty"`
	// SendAt is when its client wants it sent, and Hours in which hours it may be attempted.
	SendAt time.Time `json:"send_at,omitzero"`
	Hours  string    `json:"hours,omitempty"`
	Class  string    `json:"class,omitempty"` // high or bulk; absent: normal
	Route  string    `json:"route,omitempty"` // by which a reply has sent it; absent: the usual way

	Operator *ActionNote `json:"operator,omitempty"` // the operator's action that changed it last

	// Notes are what plugins have noted of the message; absent: nothing, or more than
	// belongs in a listing.
	Notes json.RawMessage `json:"notes,omitempty"`
}

// maxNotesShown bounds the notes of one delivery in a listing, in octets.
const maxNotesShown = 4 << 10

// ActionNote says which operator's action changed a delivery.
type ActionNote struct {
	Action string    `json:"action"`
	Verb   string    `json:"verb"`
	Author string    `json:"author,omitempty"`
	Reason string    `json:"reason,omitempty"`
	At     time.Time `json:"at,omitzero"`
}

// Messages answers GET /v1/queue/messages. More tells that the list was cut off; Next is
// then what ?after= goes on from. Unfinished: it was cut off because time was up.
type Messages struct {
	Now        time.Time  `json:"now"`
	Messages   []Delivery `json:"messages"`
	More       bool       `json:"more"`
	Next       string     `json:"next,omitempty"`
	Unfinished bool       `json:"unfinished,omitempty"`
}

// Lane is what is queued for one destination.
type Lane struct {
	Destination string    `json:"destination"`
	Count       int64     `json:"count"`
	Held        int64     `json:"held"`
	Active      int64     `json:"active"`
	Oldest      time.Time `json:"oldest,omitzero"`
	NextDue     time.Time `json:"next_due,omitzero"`
	Suspended   bool      `json:"suspended,omitempty"` // of the first 200, as far as it is known at once
	LastReply   *Reply    `json:"last_reply,omitempty"`
	LastHost    string    `json:"last_host,omitempty"`
	Bounce      string    `json:"bounce_class,omitempty"` // of LastReply
}

// Lanes answers GET /v1/queue. Ready, Waiting and Held are the whole queue; those
// Active, being sent just now, are among the first two.
type Lanes struct {
	Now          time.Time `json:"now"`
	Lanes        []Lane    `json:"lanes"`
	Destinations int       `json:"destinations"`
	Ready        int64     `json:"ready"`
	Waiting      int64     `json:"waiting"`
	Held         int64     `json:"held"`
	Active       int64     `json:"active"`
	ReadySorted  bool      `json:"ready_sorted"`
}

// Doubts answers GET /v1/queue/doubts.
type Doubts struct {
	Now    time.Time   `json:"now"`
	Doubts []DoubtLine `json:"doubts"`
}

// DoubtLine is one attempt whose mail may arrive twice.
type DoubtLine struct {
	Delivery    string    `json:"delivery"`
	Attempt     int       `json:"attempt"`
	Destination string    `json:"destination"`
	Host        string    `json:"host"`
	At          time.Time `json:"at,omitzero"`
	Found       time.Time `json:"found,omitzero"`
}

// Readiness answers GET /readyz.
type Readiness struct {
	Ready   bool     `json:"ready"`
	Reasons []string `json:"reasons"`
}

// Status answers GET /v1/status.
type Status struct {
	Now     time.Time `json:"now"`
	Version string    `json:"version"`
	Node    string    `json:"node"`
	Roles   []string  `json:"roles"`
	Started time.Time `json:"started,omitzero"`
	Uptime  int64     `json:"uptime_seconds"`
	Ready   bool      `json:"ready"`
	Reasons []string  `json:"reasons"`
	Stats   Stats     `json:"stats"`
}

// Order is the body of POST /v1/queue/<verb>. Author is who the caller says he is; he
// and the Reason are kept with the action, in the log, and for a bounce in the notice.
type Order struct {
	Selection
	Author string `json:"author,omitempty"`
	Reason string `json:"reason,omitempty"`
	Detach bool   `json:"detach,omitempty"` // answer as soon as the action is stored
}

// Progress is one line of the NDJSON answer to an Order, and one action of a listing.
// The last line has Final set; a stream that ends without it was cut off, and the
// action goes on.
type Progress struct {
	ID        string    `json:"id"`
	Action    Verb      `json:"action"`
	Filter    string    `json:"filter"` // in words
	Author    string    `json:"author,omitempty"`
	Reason    string    `json:"reason,omitempty"`
	Begun     time.Time `json:"begun,omitzero"`
	State     string    `json:"state"`              // running, done, cancelled
	Matched   int       `json:"matched"`            // deliveries met so far, Busy and Ordered included
	Changed   int       `json:"changed"`            // done
	Unchanged int       `json:"unchanged"`          // nothing to do, or held and not asked to be released
	Busy      int       `json:"busy"`               // being sent just then: done when they come back unsent
	Planned   int       `json:"planned,omitempty"`  // of Changed: due only when their delivery hours, or their client's time, have come
	AtLeast   bool      `json:"at_least,omitempty"` // a node died with it: what it did last is not counted
	// Ordered are ready to go on some node of a cluster: whichever takes them carries the
	// action out instead of sending them.
	Ordered int `json:"ordered,omitempty"`

	Share     float64   `json:"share"`                  // how much is done, of Expected or of what is looked through
	Expected  int64     `json:"expected,omitempty"`     // deliveries it may mean, by the counts when it began
	Rate      float64   `json:"rate"`                   // deliveries a second
	Left      int64     `json:"left_seconds,omitempty"` // about so long
	Ended     time.Time `json:"ended,omitzero"`
	Cancelled string    `json:"cancelled_by,omitempty"`

	Final bool   `json:"final,omitempty"`
	Error string `json:"error,omitempty"` // what stands in its way; it is tried again
}

// ActionsList answers GET /v1/queue/actions, the newest first.
type ActionsList struct {
	Now     time.Time  `json:"now"`
	Actions []Progress `json:"actions"`
}

// QueueSummary answers GET /v1/queue/summary. Ready, Waiting and Held are the whole
// queue; those Active are among the first two. The rest counts what waits or is held.
type QueueSummary struct {
	Now          time.Time        `json:"now"`
	Ready        int64            `json:"ready"`
	Waiting      int64            `json:"waiting"`
	Held         int64            `json:"held"`
	Active       int64            `json:"active"`
	Destinations int              `json:"destinations"`
	Lines        int              `json:"lines"` // one for each destination, tenant and class
	Tenants      map[string]int64 `json:"tenants"`
	Classes      map[string]int64 `json:"classes"`
	Due          []DueLine        `json:"due"`
}

// DueLine is how much waits that is due within so long: "0s" is now, "" later.
type DueLine struct {
	Within string `json:"within"`
	Count  int64  `json:"count"`
}

// Failure is the body of every answer that is not 2xx: one sentence, with the mend.
type Failure struct {
	Error string `json:"error"`
}

func wireReply(r mail.Reply) *Reply {
	if r.IsZero() && r.Text == "" {
		return nil
	}
	return &Reply{Code: r.Code, Enhanced: r.Enhanced.String(), Text: r.Text}
}

func wireDelivery(e Entry) Delivery {
	m := e.Message
	if m == nil { // a damaged record still has a destination and a state worth showing
		m = &mail.Message{}
	}
	d := Delivery{
		ID: mail.DeliveryID(m.ID, e.Index), Message: m.ID, State: e.State,
		Sender: showSender(m.Sender), Destination: string(e.Destination),
		Recipients: make([]Recipient, len(e.Recipients)), Size: m.Size,
		Received: utc(m.Received), Attempts: e.Attempts, LastAttempt: utc(e.LastAttempt),
		LastHost: e.LastHost, LastReply: wireReply(e.LastReply), Due: utc(e.Due), Expires: utc(e.Expires),
		DelayNoticed: e.DelayNoticed, ClientIP: m.ClientIP, Helo: m.Helo, Protocol: m.Protocol,
		Origin: m.Origin, Body: string(m.Body), SMTPUTF8: m.SMTPUTF8, EnvelopeID: m.EnvelopeID, Ret: m.Ret, Tenant: m.Tenant, SendAt: utc(m.SendAt), Hours: m.Hours,
		Bounce: e.LastClass, Route: e.Route,
	}
	if m.Class != mail.Normal {
		d.Class = m.Class.String()
	}
	if len(m.Notes) <= maxNotesShown && json.Valid(m.Notes) {
		d.Notes = m.Notes
	}
	if n := e.Operator; n != nil {
		d.Operator = &ActionNote{Action: n.Action, Verb: n.Verb, Author: n.Author, Reason: n.Reason, At: utc(n.At)}
	}
	for i, r := range e.Recipients {
		d.Recipients[i] = Recipient{Address: r.Raw, Notify: r.Notify, ORcpt: r.ORcpt, NotBefore: utc(r.NotBefore)}
	}
	return d
}

func showSender(a mail.Address) string {
	if a.IsNull() {
		return "<>"
	}
	return a.Raw
}

func wireLane(l LaneInfo) Lane {
	return Lane{
		Destination: string(l.Destination), Count: l.Count, Held: l.Held, Active: l.Active,
		Oldest: utc(l.Oldest), NextDue: utc(l.NextDue), LastReply: wireReply(l.LastReply), LastHost: l.LastHost, Bounce: l.Bounce,
	}
}

func wireDoubt(d Doubt) DoubtLine {
	return DoubtLine{
		Delivery: d.DeliveryID, Attempt: d.Attempt, Destination: string(d.Destination), Host: d.Host,
		At: utc(d.At), Found: utc(d.Found),
	}
}

func utc(t time.Time) time.Time {
	if t.IsZero() {
		return time.Time{}
	}
	return t.UTC()
}

// answer writes v as JSON with the given status.
func answer(w http.ResponseWriter, code int, v any) {
	h := w.Header()
	h.Set("Content-Type", "application/json")
	h.Set("Cache-Control", "no-store")
	h.Set("X-Content-Type-Options", "nosniff")
	w.WriteHeader(code)
	enc := json.NewEncoder(w)
	enc.SetEscapeHTML(false) // "<>" is a sender; the type above keeps it from being read as a page
	_ = enc.Encode(v)        // a client that went away is its own matter
}

// fail writes the one-sentence error that every refusal has.
func fail(w http.ResponseWriter, code int, sentence string) {
	answer(w, code, Failure{Error: sentence})
}
