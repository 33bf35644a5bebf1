package proto

import (
	"strings"
	"time"

	"github.com/tarishi/tarishi/mail"
)

func us(t time.Time) int64 {
	if t.IsZero() {
		return 0
	}
	return t.UnixMicro()
}

func at(us int64) time.Time {
	if us == 0 {
		return time.Time{}
	}
	return time.UnixMicro(us).UTC()
}

// FromMessage makes the record of a message without deliveries.
func FromMessage(m *mail.Message) *Mail {
	return &Mail{
		Id: m.ID, ReceivedUs: us(m.Received), Sender: m.Sender.Raw, BodyType: string(m.Body),
		Smtputf8: m.SMTPUTF8, EnvelopeId: m.EnvelopeID, Ret: m.Ret, Size: m.Size,
		ClientIp: m.ClientIP, Helo: strings.ToValidUTF8(m.Helo, "\uFFFD"), Protocol: m.Protocol, Origin: m.Origin, Tenant: m.Tenant, Class: uint32(m.Class), Hours: m.Hours,
		SendAtUs: us(m.SendAt), HoldRequest: m.HoldRequest, Notes: m.Notes,
	}
}

// Message returns the message of the record.
func (x *Mail) Message() *mail.Message {
	return &mail.Message{
		ID: x.Id, Received: at(x.ReceivedUs), Sender: mail.NewAddress(x.Sender), Body: mail.BodyType(x.BodyType),
		SMTPUTF8: x.Smtputf8, EnvelopeID: x.EnvelopeId, Ret: x.Ret, Size: x.Size,
		ClientIP: x.ClientIp, Helo: x.Helo, Protocol: x.Protocol, Origin: x.Origin, Tenant: x.Tenant, Class: mail.Class(x.Class).Known(), Hours: x.Hours,
		SendAt: at(x.SendAtUs), HoldRequest: x.HoldRequest, Notes: x.Notes,
	}
}

// FromDelivery makes the record of a delivery.
func FromDelivery(d *mail.Delivery) *Delivery {
	x := &Delivery{
		Index: uint32(d.Index), Destination: string(d.Destination), Attempts: uint32(d.Attempts),
		DueUs: us(d.Due), ExpiresUs: us(d.Expires), LastAttemptUs: us(d.LastAttempt),
		LastHost: d.LastHost, LastReply: FromReply(d.LastReply), LastClass: d.LastClass, DelayNoticed: d.DelayNoticed, Held: d.Held, Generation: uint32(d.Generation), Route: d.Route,
		Recipients: make([]*Recipient, len(d.Recipients)), Operator: FromActionNote(d.Operator),
	}
	rs := make([]Recipient, len(d.Recipients))
	for i, r := range d.Recipients {
		rs[i].Address, rs[i].Notify, rs[i].Orcpt, rs[i].NotBeforeUs = r.Raw, r.Notify, r.ORcpt, us(r.NotBefore)
		x.Recipients[i] = &rs[i]
	}
	return x
}

// Delivery returns the delivery of the record, of message m.
func (x *Delivery) Delivery(m *mail.Message) mail.Delivery {
	d := mail.Delivery{
		Message: m, Index: int(x.Index), Destination: mail.Domain(x.Destination), Attempts: int(x.Attempts),
		Due: at(x.DueUs), Expires: at(x.ExpiresUs), LastAttempt: at(x.LastAttemptUs),
		LastHost: x.LastHost, LastReply: x.LastReply.Reply(), LastClass: x.LastClass, DelayNoticed: x.DelayNoticed, Held: x.Held, Generation: int(x.Generation), Route: x.Route,
		Recipients: make([]mail.Recipient, len(x.Recipients)), Operator: x.Operator.ActionNote(),
	}
	for i, r := range x.Recipients {
		d.Recipients[i] = mail.Recipient{Address: mail.NewAddress(r.Address), Notify: r.Notify, ORcpt: r.Orcpt, NotBefore: at(r.NotBeforeUs)}
	}
	return d
}

// FromActionNote makes the record of an operator's action; nil for nil.
func FromActionNote(n *mail.ActionNote) *ActionNote {
	if n == nil {
		return nil
	}
	return &ActionNote{Action: n.Action, Verb: n.Verb, Author: n.Author, Reason: n.Reason, AtUs: us(n.At)}
}

// ActionNote returns the action of the record; nil for nil.
func (x *ActionNote) ActionNote() *mail.ActionNote {
	if x == nil {
		return nil
	}
	return &mail.ActionNote{Action: x.Action, Verb: x.Verb, Author: x.Author, Reason: x.Reason, At: at(x.AtUs)}
}

// FromReply makes the record of a reply; nil for the zero Reply.
func FromReply(r mail.Reply) *Reply {
	if r == (mail.Reply{}) {
		return nil
	}
	// A remote may say anything; protobuf strings must be UTF-8.
	return &Reply{Code: uint32(r.Code), Enhanced: r.Enhanced.String(), Text: strings.ToValidUTF8(r.Text, "\uFFFD")}
}

// Reply returns the reply of the record; the zero Reply for nil.
func (x *Reply) Reply() mail.Reply {
	if x == nil {
		return mail.Reply{}
	}
	return mail.R(int(x.Code), x.Enhanced, x.Text)
}

// Micros and FromMicros are how records count time.
func Micros(t time.Time) int64     { return us(t) }
func FromMicros(n int64) time.Time { return at(n) }
