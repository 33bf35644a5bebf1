package plugin

import (
	"io"
	"slices"
	"sync"

	"github.com/tarishi/tarishi/mail"
)

// Transaction is one message on its way in. Its methods are safe for concurrent use.
type Transaction struct {
	ID string // of the message, as the 250 will name it

	Notes   Notes // travel with the deliveries
	Results Results

	mu      sync.Mutex
	conn    *Connection
	from    mail.Address
	rcpts   []mail.Recipient
	tenant  string
	class   mail.Class
	classed bool
	discard bool
	skip    []string
	message Message
	amends  []amend
}

// Message is the message itself, from data_post on.
type Message interface {
	// Header is its header, which may be changed until the message is stored.
	Header() *Header
	// Size is its octets as they came in.
	Size() int64
	// Body reads what follows the header and its empty line; each call from the start.
	Body() (io.Reader, error)
}

// Connection is the one it came in by.
func (t *Transaction) Connection() *Connection { return t.conn }

// From is the reverse-path.
func (t *Transaction) From() mail.Address {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.from
}

// SetFrom changes the reverse-path, before the message is stored.
func (t *Transaction) SetFrom(a mail.Address) { t.with(func() { t.from = a }) }

// Recipients are those accepted so far.
func (t *Transaction) Recipients() []mail.Recipient {
	t.mu.Lock()
	defer t.mu.Unlock()
	return slices.Clone(t.rcpts)
}

// SetRecipients changes who gets the message, before it is stored.
func (t *Transaction) SetRecipients(rs []mail.Recipient) {
	t.with(func() { t.rcpts = slices.Clone(rs) })
}

// AddRecipient adds one.
func (t *Transaction) AddRecipient(r mail.Recipient) { t.with(func() { t.rcpts = append(t.rcpts, r) }) }

// DropRecipient takes the last one back.
func (t *Transaction) DropRecipient() { t.with(func() { t.rcpts = t.rcpts[:max(len(t.rcpts)-1, 0)] }) }

// Count is how many there are.
func (t *Transaction) Count() int {
	t.mu.Lock()
	defer t.mu.Unlock()
	return len(t.rcpts)
}

// Keep drops those behind the first n.
func (t *Transaction) Keep(n int) { t.with(func() { t.rcpts = t.rcpts[:min(n, len(t.rcpts))] }) }

// LastRecipient is the one that was added last.
func (t *Transaction) LastRecipient() (r mail.Recipient, ok bool) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if n := len(t.rcpts); n > 0 {
		return t.rcpts[n-1], true
	}
	return r, false
}

// Tenant is whose mail it is, as a plugin said; empty: none has.
func (t *Transaction) Tenant() string {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.tenant
}

// SetTenant says whose mail it is.
func (t *Transaction) SetTenant(name string) { t.with(func() { t.tenant = name }) }

// Class is the mail's class, if a plugin has said it.
func (t *Transaction) Class() (c mail.Class, said bool) {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.class, t.classed
}

// SetClass says which class the mail is of.
func (t *Transaction) SetClass(c mail.Class) { t.with(func() { t.class, t.classed = c, true }) }

// Discard has the message accepted and stored nowhere.
func (t *Transaction) Discard() { t.with(func() { t.discard = true }) }

// Discarded tells whether it is to be.
func (t *Transaction) Discarded() bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.discard
}

// SkipPlugin has a plugin not asked any more for this message.
func (t *Transaction) SkipPlugin(name string) { t.with(func() { t.skip = append(t.skip, name) }) }

// Skips tells whether a plugin is not asked any more for this message.
func (t *Transaction) Skips(name string) bool { return t.skips(name) }

func (t *Transaction) skips(name string) bool {
	if t == nil {
		return false
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	return slices.Contains(t.skip, name)
}

// Message is the message; nil before it is in.
func (t *Transaction) Message() Message {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.message
}

// SetMessage is called when the message is in. What was amended before is done now.
func (t *Transaction) SetMessage(m Message) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.message = m
	if m == nil {
		return
	}
	h := m.Header()
	for _, a := range t.amends {
		a.to(h)
	}
	t.amends = nil
}

// amend is a change of the header that waits for the message.
type amend struct {
	remove, leading bool
	name, value     string
}

func (a amend) to(h *Header) error {
	switch {
	case a.remove:
		h.Remove(a.name)
		return nil
	case a.leading:
		return h.AddLeading(a.name, a.value)
	}
	return h.Add(a.name, a.value)
}

// AddField puts a field below the others of the header, or will do so when the
// message is in. It is an error where Header.Add says so.
func (t *Transaction) AddField(name, value string) error {
	return t.amend(amend{name: name, value: value})
}

// AddLeadingField puts a field above the others.
func (t *Transaction) AddLeadingField(name, value string) error {
	return t.amend(amend{name: name, value: value, leading: true})
}

// RemoveField takes all fields of that name away.
func (t *Transaction) RemoveField(name string) error {
	return t.amend(amend{name: name, remove: true})
}

func (t *Transaction) amend(a amend) error {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.message != nil {
		return a.to(t.message.Header())
	}
	if !a.remove {
		if _, err := newField(a.name, a.value); err != nil {
			return err
		}
	}
	t.amends = append(t.amends, a)
	return nil
}

// Amended tells whether the header of a message that is not in yet is to be changed,
// so that it must be kept until it is whole.
func (t *Transaction) Amended() bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	return len(t.amends) > 0
}

func (t *Transaction) with(f func()) {
	t.mu.Lock()
	defer t.mu.Unlock()
	f()
}
