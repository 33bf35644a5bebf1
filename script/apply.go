package script

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/tarishi/tarishi/mail"
	"github.com/tarishi/tarishi/plugin"
	"github.com/tarishi/tarishi/script/frame"
	"github.com/tarishi/tarishi/smtp"
)

// apply does what the script has done to connection and transaction.
func (b *bond) apply(e *plugin.Event, a *frame.Answer) error {
	b.mu.Lock()
	defer b.mu.Unlock()
	if c := b.conn; c != nil {
		x := &a.Connection
		if x.Changed&frame.ChangedHost != 0 {
			c.SetHost(x.Host)
			b.host = x.Host
		}
		if x.Changed&frame.ChangedFlags != 0 {
			c.SetRelaying(x.Relaying)
			b.relaying = x.Relaying
			if x.Early {
				c.SetEarlyTalker()
				b.early = true
			}
		}
		if x.Changed&frame.ChangedCapabilities != 0 {
			for _, k := range x.Capabilities {
				c.AddCapability(k)
			}
			b.capabilities = c.Capabilities()
		}
		b.notes = setNotes(&c.Notes, x.Notes, b.notes)
		b.results = setResults(&c.Results, x.Results, b.results)
	}
	tx := e.Transaction
	if tx == nil {
		return nil
	}
	x := &a.Transaction
	b.txNotes = setNotes(&tx.Notes, x.Notes, b.txNotes)
	b.txResults = setResults(&tx.Results, x.Results, b.txResults)
	if b.conn == nil { // of a delivery only its notes can be changed
		return nil
	}
	if x.Changed&frame.ChangedFrom != 0 {
		from, err := mailbox(x.From)
		if err != nil {
			return fmt.Errorf("mail_from: %w", err)
		}
		tx.SetFrom(from)
		b.from = from
	}
	if x.Changed&frame.ChangedRecipients != 0 {
		rs, err := recipients(x.Recipients, tx.Recipients())
		if err != nil {
			return err
		}
		tx.SetRecipients(rs)
		b.recipients = rs
	}
	if x.Changed&frame.ChangedMessage != 0 && x.Discard {
		tx.Discard()
	}
	for _, name := range a.Skip {
		tx.SkipPlugin(name)
	}
	return b.amend(tx, a.Header)
}

// amend changes the header.
func (b *bond) amend(tx *plugin.Transaction, edits []frame.HeaderEdit) error {
	if len(edits) == 0 {
		return nil
	}
	m := tx.Message()
	known := m != nil && b.message && m.Header().Version() == b.header
	for _, h := range edits {
		var err error
		switch h.Kind {
		case frame.HeaderAdd:
			err = tx.AddField(h.Name, h.Value)
		case frame.HeaderLead:
			err = tx.AddLeadingField(h.Name, h.Value)
		case frame.HeaderRemove:
			err = tx.RemoveField(h.Name)
		default:
			err = fmt.Errorf("there is no change of the header %d", h.Kind)
		}
		if err != nil {
			return err
		}
	}
	if known { // the worker has done the same to its copy
		b.header = m.Header().Version()
	}
	return nil
}

// setNotes remembers, and returns the version up to which the worker knows the notes.
func setNotes(n *plugin.Notes, ps []frame.Pair, known uint64) uint64 {
	if len(ps) == 0 {
		return known
	}
	current := n.Version() == known
	for _, p := range ps {
		n.Set(p.Key, frame.Decoded(p.Value))
	}
	if current {
		return n.Version()
	}
	return known
}

func setResults(r *plugin.Results, es []frame.ResultEdit, known uint64) uint64 {
	if len(es) == 0 {
		return known
	}
	_, before := r.Changes(known)
	for _, x := range es {
		edit(r, x)
	}
	if before == known {
		_, known = r.Changes(known)
	}
	return known
}

// recipients makes those that a script wants of their paths. One that was there keeps
// what the client has asked for it.
func recipients(paths []string, were []mail.Recipient) ([]mail.Recipient, error) {
	out := make([]mail.Recipient, 0, len(paths))
	for i, raw := range paths {
		// One that stands where it stood was rewritten, if it is not the same.
		if i < len(were) && were[i].Raw == raw {
			out = append(out, were[i])
			continue
		}
		if j := slices.IndexFunc(were, func(r mail.Recipient) bool { return r.Raw == raw }); j >= 0 {
			out = append(out, were[j])
			continue
		}
		a, err := mailbox(raw)
		if err != nil || a.IsNull() {
			return nil, fmt.Errorf("rcpt_to: %q is no recipient", raw)
		}
		r := mail.Recipient{Address: a}
		if i < len(were) && len(paths) == len(were) {
			r.Notify, r.ORcpt = were[i].Notify, were[i].ORcpt
		}
		out = append(out, r)
	}
	return out, nil
}

var errNoMailbox = errors.New("is no address")

func mailbox(raw string) (mail.Address, error) {
	if raw == "" {
		return mail.Address{}, nil
	}
	if strings.EqualFold(raw, "postmaster") { // RFC 5321 §4.5.1
		return mail.NewAddress(raw), nil
	}
	a, err := smtp.ParseMailbox(raw)
	if err != nil {
		return mail.Address{}, fmt.Errorf("%q %w: %w", raw, errNoMailbox, err)
	}
	return a, nil
}
