package frame

// Answer is what came of a Call: the verdict, and what the script has changed.
type Answer struct {
	Seq  uint64
	Code byte // as package plugin counts them
	// Fault: the script did not answer for itself. Everything else is empty then.
	Fault string
	Took  uint64 // microseconds, from the function's beginning to its answer

	ReplyCode uint64 // 0: what is usual
	Enhanced  string
	Text      string
	Number    float64 // DELAY, DENYSOFT at deferred: seconds
	Value     any     // OK at lookup_rdns, get_mx: what was asked for

	Changes
}

// Changes are what a script has done to a connection and its transaction.
type Changes struct {
	Connection, Transaction Edits
	Header                  []HeaderEdit
	Skip                    []string // plugins not to be asked any more
}

// Edits are changes of a connection or a transaction. Changed says which fields count.
type Edits struct {
	Changed      uint64
	Host         string
	Relaying     bool
	Early        bool
	Capabilities []string
	Notes        []Pair
	Results      []ResultEdit
	From         string
	Recipients   []string
	Discard      bool   // with ChangedMessage
	Recipient    string // with ChangedRecipient: of hook rcpt
}

// ChangedRecipient is a change of the recipient that hook rcpt is about.
const ChangedRecipient = ChangedMessage << 1

// What a ResultEdit does.
const (
	ResultAppend byte = iota // to a list
	ResultSet
	ResultIncrease
)

// ResultEdit is one change of a plugin's results.
type ResultEdit struct {
	Plugin string
	Kind   byte
	Key    string
	Value  any
}

// What a HeaderEdit does.
const (
	HeaderAdd byte = iota
	HeaderLead
	HeaderRemove
)

// HeaderEdit is one change of the header.
type HeaderEdit struct {
	Kind        byte
	Name, Value string
}

func (*Answer) kind() Type { return TypeAnswer }

func (a *Answer) put(b *Buffer) {
	b.uint(a.Seq)
	b.B = append(b.B, a.Code)
	b.text(a.Fault)
	b.uint(a.Took)
	if a.Fault != "" {
		return
	}
	b.uint(a.ReplyCode)
	b.text(a.Enhanced)
	b.text(a.Text)
	b.value(a.Number)
	b.value(a.Value)
	a.Connection.put(b)
	a.Transaction.put(b)
	b.uint(uint64(len(a.Header)))
	for _, h := range a.Header {
		b.B = append(b.B, h.Kind)
		b.text(h.Name)
		b.text(h.Value)
	}
	b.texts(a.Skip)
}

func getAnswer(f *fields) *Answer {
	a := &Answer{Seq: f.uint(), Code: f.byte(), Fault: f.text(), Took: f.uint()}
	if a.Fault != "" {
		return a
	}
	a.ReplyCode, a.Enhanced, a.Text = f.uint(), f.text(), f.text()
	a.Number, _ = f.value().(float64)
	a.Value = f.value()
	a.Connection.get(f)
	a.Transaction.get(f)
	for range f.count() {
		h := HeaderEdit{f.byte(), f.text(), f.text()}
		if f.err != nil {
			return a
		}
		a.Header = append(a.Header, h)
	}
	a.Skip = f.texts()
	return a
}

func (e *Edits) put(b *Buffer) {
	b.uint(e.Changed)
	has := func(x uint64) bool { return e.Changed&x != 0 }
	if has(ChangedHost) {
		b.text(e.Host)
	}
	if has(ChangedFlags) {
		b.bool(e.Relaying)
		b.bool(e.Early)
	}
	if has(ChangedCapabilities) {
		b.texts(e.Capabilities)
	}
	if has(ChangedNotes) {
		putPairs(b, e.Notes)
	}
	if has(ChangedResults) {
		b.uint(uint64(len(e.Results)))
		for _, r := range e.Results {
			b.text(r.Plugin)
			b.B = append(b.B, r.Kind)
			b.text(r.Key)
			b.value(r.Value)
		}
	}
	if has(ChangedFrom) {
		b.text(e.From)
	}
	if has(ChangedRecipients) {
		b.texts(e.Recipients)
	}
	if has(ChangedMessage) {
		b.bool(e.Discard)
	}
	if has(ChangedRecipient) {
		b.text(e.Recipient)
	}
}

func (e *Edits) get(f *fields) {
	e.Changed = f.uint()
	has := func(x uint64) bool { return e.Changed&x != 0 }
	if has(ChangedHost) {
		e.Host = f.text()
	}
	if has(ChangedFlags) {
		e.Relaying, e.Early = f.bool(), f.bool()
	}
	if has(ChangedCapabilities) {
		e.Capabilities = f.texts()
	}
	if has(ChangedNotes) {
		e.Notes = getPairs(f)
	}
	if has(ChangedResults) {
		for range f.count() {
			r := ResultEdit{f.text(), f.byte(), f.text(), f.value()}
			if f.err != nil {
				return
			}
			e.Results = append(e.Results, r)
		}
	}
	if has(ChangedFrom) {
		e.From = f.text()
	}
	if has(ChangedRecipients) {
		e.Recipients = f.texts()
	}
	if has(ChangedMessage) {
		e.Discard = f.bool()
	}
	if has(ChangedRecipient) {
		e.Recipient = f.text()
	}
}
