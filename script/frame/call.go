package frame

// Call has a worker call functions of scripts, one after the other until one decides.
// Each answers for itself, and takes the next Seq.
type Call struct {
	Seq        uint64
	Hook       string
	Functions  []uint64 // by their numbers
	Connection Connection
	// Transaction is the connection's; No 0: it has none.
	Transaction Transaction
	Args        Args
	Delivery    *Delivery // hooks of a delivery: what it is about
}

// Pair is one entry of notes. A nil Value: it is gone.
type Pair struct {
	Key   string
	Value any
}

// Which parts of a Connection or Transaction have changed.
const (
	ChangedBirth = 1 << iota // all of it: the worker has not heard of it
	ChangedHost
	ChangedHello
	ChangedTLS
	ChangedUser
	ChangedFlags
	ChangedCapabilities
	ChangedNotes
	ChangedResults
	ChangedFrom
	ChangedRecipients
	ChangedMessage
)

// Connection is what has changed of one. ID 0: there is none.
type Connection struct {
	ID      uint64
	Changed uint64

	// With ChangedBirth.
	Name                       string
	RemoteIP, LocalIP, ProxyIP string
	RemotePort, LocalPort      uint64
	StartedMilliseconds        uint64
	Host, HelloName, HelloVerb string
	TLS                        bool
	TLSVersion, TLSCipher      string
	TLSServer, TLSPeer         string
	User                       string
	Secret                     bool // the password is there to be asked for
	Relaying, Early            bool
	Messages                   uint64
	Capabilities               []string
	Notes                      []Pair
	Results                    []string
}

func (c *Connection) put(b *Buffer) {
	b.uint(c.ID)
	if c.ID == 0 {
		return
	}
	b.uint(c.Changed)
	has := func(x uint64) bool { return c.Changed&x != 0 }
	if has(ChangedBirth) {
		b.text(c.Name)
		b.text(c.RemoteIP)
		b.uint(c.RemotePort)
		b.text(c.LocalIP)
		b.uint(c.LocalPort)
		b.text(c.ProxyIP)
		b.uint(c.StartedMilliseconds)
	}
	if has(ChangedHost) {
		b.text(c.Host)
	}
	if has(ChangedHello) {
		b.text(c.HelloName)
		b.text(c.HelloVerb)
	}
	if has(ChangedTLS) {
		b.bool(c.TLS)
		b.text(c.TLSVersion)
		b.text(c.TLSCipher)
		b.text(c.TLSServer)
		b.text(c.TLSPeer)
	}
	if has(ChangedUser) {
		b.text(c.User)
		b.bool(c.Secret)
	}
	if has(ChangedFlags) {
		b.bool(c.Relaying)
		b.bool(c.Early)
		b.uint(c.Messages)
	}
	if has(ChangedCapabilities) {
		b.texts(c.Capabilities)
	}
	if has(ChangedNotes) {
		putPairs(b, c.Notes)
	}
	if has(ChangedResults) {
		b.texts(c.Results)
	}
}

func (c *Connection) get(f *fields) {
	if c.ID = f.uint(); c.ID == 0 {
		return
	}
	c.Changed = f.uint()
	has := func(x uint64) bool { return c.Changed&x != 0 }
	if has(ChangedBirth) {
		c.Name, c.RemoteIP, c.RemotePort = f.text(), f.text(), f.uint()
		c.LocalIP, c.LocalPort, c.ProxyIP = f.text(), f.uint(), f.text()
		c.StartedMilliseconds = f.uint()
	}
	if has(ChangedHost) {
		c.Host = f.text()
	}
	if has(ChangedHello) {
		c.HelloName, c.HelloVerb = f.text(), f.text()
	}
	if has(ChangedTLS) {
		c.TLS, c.TLSVersion, c.TLSCipher, c.TLSServer, c.TLSPeer = f.bool(), f.text(), f.text(), f.text(), f.text()
	}
	if has(ChangedUser) {
		c.User, c.Secret = f.text(), f.bool()
	}
	if has(ChangedFlags) {
		c.Relaying, c.Early, c.Messages = f.bool(), f.bool(), f.uint()
	}
	if has(ChangedCapabilities) {
		c.Capabilities = f.texts()
	}
	if has(ChangedNotes) {
		c.Notes = getPairs(f)
	}
	if has(ChangedResults) {
		c.Results = f.texts()
	}
}

// Transaction is what has changed of one. No 0: there is none.
type Transaction struct {
	No      uint64 // which one of its connection, from 1
	Changed uint64

	Name       string // with ChangedBirth
	From       string
	Recipients []string
	Size       uint64 // with ChangedMessage: the message is in
	Header     uint64 // and the version of its header
	// What the worker is likely to ask for goes along: the header, and the body.
	HeaderOctets, BodyOctets []byte
	HasHeader, HasBody       bool
	Notes                    []Pair
	Results                  []string
}

func (t *Transaction) put(b *Buffer) {
	b.uint(t.No)
	if t.No == 0 {
		return
	}
	b.uint(t.Changed)
	has := func(x uint64) bool { return t.Changed&x != 0 }
	if has(ChangedBirth) {
		b.text(t.Name)
	}
	if has(ChangedFrom) {
		b.text(t.From)
	}
	if has(ChangedRecipients) {
		b.texts(t.Recipients)
	}
	if has(ChangedMessage) {
		b.uint(t.Size)
		b.uint(t.Header)
		b.bool(t.HasHeader)
		b.octets(t.HeaderOctets)
		b.bool(t.HasBody)
		b.octets(t.BodyOctets)
	}
	if has(ChangedNotes) {
		putPairs(b, t.Notes)
	}
	if has(ChangedResults) {
		b.texts(t.Results)
	}
}

func (t *Transaction) get(f *fields) {
	if t.No = f.uint(); t.No == 0 {
		return
	}
	t.Changed = f.uint()
	has := func(x uint64) bool { return t.Changed&x != 0 }
	if has(ChangedBirth) {
		t.Name = f.text()
	}
	if has(ChangedFrom) {
		t.From = f.text()
	}
	if has(ChangedRecipients) {
		t.Recipients = f.texts()
	}
	if has(ChangedMessage) {
		t.Size, t.Header = f.uint(), f.uint()
		t.HasHeader, t.HeaderOctets = f.bool(), append([]byte(nil), f.octets()...)
		t.HasBody, t.BodyOctets = f.bool(), append([]byte(nil), f.octets()...)
	}
	if has(ChangedNotes) {
		t.Notes = getPairs(f)
	}
	if has(ChangedResults) {
		t.Results = f.texts()
	}
}

func putPairs(b *Buffer, ps []Pair) {
	b.uint(uint64(len(ps)))
	for _, p := range ps {
		b.text(p.Key)
		b.value(p.Value)
	}
}

func getPairs(f *fields) (out []Pair) {
	for range f.count() {
		p := Pair{f.text(), f.value()}
		if f.err != nil {
			return nil
		}
		out = append(out, p)
	}
	return out
}

// Args are what the hook's functions are told besides; which of them goes by the hook.
type Args struct {
	Name     string // helo, ehlo, get_mx; the verb's arguments at unrecognized_command
	Verb     string
	Address  string // mail, rcpt, rcpt_ok, vrfy
	Params   []Param
	Text     string // queue_ok
	At       string // deny: the hook of the refusal
	Code     byte   // and the code
	Plugin   string // and who refused
	Function string
	DenyArgs bool // Address is a parameter of what was refused
	Lines    []string
	Expected uint64 // deferred: milliseconds until the next attempt
	Host     string // delivered, deferred, bounce: who said so
	Outcomes []Outcome

	Secured, Authenticated bool // delivered: over TLS; after AUTH
}

// Param is one ESMTP parameter.
type Param struct{ Key, Value string }

// Outcome is what an attempt came to for one recipient.
type Outcome struct {
	Recipient string
	Reply     string
}

func (a *Args) put(b *Buffer) {
	b.text(a.Name)
	b.text(a.Verb)
	b.text(a.Address)
	b.uint(uint64(len(a.Params)))
	for _, p := range a.Params {
		b.text(p.Key)
		b.text(p.Value)
	}
	b.text(a.Text)
	b.text(a.At)
	b.B = append(b.B, a.Code)
	b.text(a.Plugin)
	b.text(a.Function)
	b.bool(a.DenyArgs)
	b.texts(a.Lines)
	b.uint(a.Expected)
	b.text(a.Host)
	b.uint(uint64(len(a.Outcomes)))
	for _, o := range a.Outcomes {
		b.text(o.Recipient)
		b.text(o.Reply)
	}
	b.bool(a.Secured)
	b.bool(a.Authenticated)
}

func (a *Args) get(f *fields) {
	a.Name, a.Verb, a.Address = f.text(), f.text(), f.text()
	for range f.count() {
		a.Params = append(a.Params, Param{f.text(), f.text()})
		if f.err != nil {
			return
		}
	}
	a.Text, a.At, a.Code, a.Plugin, a.Function = f.text(), f.text(), f.byte(), f.text(), f.text()
	a.DenyArgs, a.Lines, a.Expected, a.Host = f.bool(), f.texts(), f.uint(), f.text()
	for range f.count() {
		a.Outcomes = append(a.Outcomes, Outcome{f.text(), f.text()})
		if f.err != nil {
			return
		}
	}
	a.Secured, a.Authenticated = f.bool(), f.bool()
}

// Delivery is what the hooks of a delivery are told.
type Delivery struct {
	Name       string // its id
	Message    string // its message's
	Domain     string
	From       string
	Recipients []string
	Failures   uint64
	Queued     uint64 // milliseconds since 1970
	Notes      []Pair
}

func (d *Delivery) put(b *Buffer) {
	b.text(d.Name)
	b.text(d.Message)
	b.text(d.Domain)
	b.text(d.From)
	b.texts(d.Recipients)
	b.uint(d.Failures)
	b.uint(d.Queued)
	putPairs(b, d.Notes)
}

func getDelivery(f *fields) *Delivery {
	return &Delivery{f.text(), f.text(), f.text(), f.text(), f.texts(), f.uint(), f.uint(), getPairs(f)}
}

func (*Call) kind() Type { return TypeCall }

func (c *Call) put(b *Buffer) {
	b.uint(c.Seq)
	b.text(c.Hook)
	b.uint(uint64(len(c.Functions)))
	for _, n := range c.Functions {
		b.uint(n)
	}
	c.Connection.put(b)
	c.Transaction.put(b)
	c.Args.put(b)
	b.bool(c.Delivery != nil)
	if c.Delivery != nil {
		c.Delivery.put(b)
	}
}

func getCall(f *fields) *Call {
	c := &Call{Seq: f.uint(), Hook: f.text()}
	for range f.count() {
		c.Functions = append(c.Functions, f.uint())
		if f.err != nil {
			return c
		}
	}
	c.Connection.get(f)
	c.Transaction.get(f)
	c.Args.get(f)
	if f.bool() {
		c.Delivery = getDelivery(f)
	}
	return c
}
