package replies

// Class is a bounce class: what was wrong.
type Class string

// The classes.
const (
	InvalidRecipient     Class = "InvalidRecipient"
	InactiveMailbox      Class = "InactiveMailbox"
	QuotaIssues          Class = "QuotaIssues"
	MessageTooLarge      Class = "MessageTooLarge"
	BadDomain            Class = "BadDomain"
	DNSFailure           Class = "DNSFailure"
	NoAnswerFromHost     Class = "NoAnswerFromHost"
	BadConnection        Class = "BadConnection"
	RoutingErrors        Class = "RoutingErrors"
	TransientFailure     Class = "TransientFailure"
	ProtocolErrors       Class = "ProtocolErrors"
	Greylisted           Class = "Greylisted"
	RateLimited          Class = "RateLimited"
	AuthenticationFailed Class = "AuthenticationFailed"
	InvalidSender        Class = "InvalidSender"
	PolicyRelated        Class = "PolicyRelated"
	SpamBlock            Class = "SpamBlock"
	SpamContent          Class = "SpamContent"
	MessageExpired       Class = "MessageExpired"
	NotTried             Class = "NotTried"
	Suppressed           Class = "Suppressed"
	ByOperator           Class = "ByOperator"
	Unclassified         Class = "Unclassified"
)

// Action is what comes of a reply for the delivery, its recipient or its sender.
// Whatever it is, a 4yz is tried again by the schedule and a 5yz goes back to the
// sender: an action says what is to be done besides.
type Action string

// The actions.
const (
	Retry    Action = "retry"    // nothing: the schedule sees to it
	Delay    Action = "delay"    // this mailbox wants to be left alone for longer; the destination is well
	Slow     Action = "slow"     // the receiver wants less from us: go on hammering and it gets worse
	Return   Action = "return"   // nothing: this message is over, the address may be written to again
	Suppress Action = "suppress" // write to this address no more
	Fix      Action = "fix"      // somebody on our side has to mend something first
)

// Actions are all of them, with their meaning.
var Actions = []struct {
	Action  Action
	Meaning string
}{
	{Retry, "nothing more: the schedule tries again"},
	{Delay, "this mailbox wants to be left alone for longer; the destination is well"},
	{Slow, "the receiver wants less from us"},
	{Return, "nothing more: this message goes back to its sender, the address stays good"},
	{Suppress, "the address goes on the suppression list"},
	{Fix, "somebody on the sending side has to mend something"},
}

// ClassInfo describes a class.
type ClassInfo struct {
	Class     Class
	Transient Action // of a 4yz
	Permanent Action // of a 5yz
	Meaning   string
}

// Classes are all of them. Suppress stands where the words are about the address
// itself, and nowhere else: a full mailbox, a policy or a filter says nothing about
// whether the next message may come; and a domain that is missing today may be a
// fault of our resolver, which must not cost thousands of addresses.
var Classes = [...]ClassInfo{
	{InvalidRecipient, Retry, Suppress, "there is no such mailbox"},
	{InactiveMailbox, Retry, Suppress, "the mailbox is disabled, closed or abandoned"},
	{QuotaIssues, Delay, Return, "the mailbox is full"},
	{MessageTooLarge, Retry, Return, "the message is larger than the host or the mailbox takes"},
	{BadDomain, Retry, Return, "the recipient's domain does not exist or takes no mail (null MX)"},
	{DNSFailure, Retry, Return, "the hosts of the domain could not be looked up"},
	{NoAnswerFromHost, Retry, Return, "no connection to any host"},
	{BadConnection, Retry, Return, "the connection or its TLS broke"},
	{RoutingErrors, Retry, Fix, "the host does not know where to send it on: relaying denied, a loop, no route"},
	{TransientFailure, Retry, Return, "the host is in trouble or busy, whoever writes to it"},
	{ProtocolErrors, Retry, Fix, "the host did not understand us, or we it: syntax, sequence, an extension that is missing"},
	{Greylisted, Retry, Return, "come again later, said to everybody new"},
	{RateLimited, Slow, Slow, "too much from us: messages, connections, recipients"},
	{AuthenticationFailed, Fix, Fix, "SPF, DKIM, DMARC, reverse DNS, TLS or a login is missing or wrong"},
	{InvalidSender, Fix, Fix, "the sender's address or domain is refused"},
	{PolicyRelated, Retry, Return, "the receiver's rules forbid it, for another reason than spam"},
	{SpamBlock, Slow, Fix, "our address, network or domain is on a block list or has a bad name"},
	{SpamContent, Retry, Return, "the message itself looks like spam, phishing or a virus"},
	{MessageExpired, Return, Return, "it could not be delivered in time; what was said last is in the reply"},
	{NotTried, Retry, Return, "we did not try, or not to the end: a limit, a suspension or trouble of ours"},
	{Suppressed, Return, Return, "the address is on our suppression list: no attempt was made"},
	{ByOperator, Return, Return, "an operator of ours ended it"},
	{Unclassified, Retry, Return, "nothing that is known"},
}

// Info describes c; a class that only a newer version knows is as Unclassified.
func (c Class) Info() ClassInfo {
	if i, ok := c.Index(); ok {
		return Classes[i]
	}
	return ClassInfo{Class: c, Transient: Retry, Permanent: Return, Meaning: "not known to this version"}
}

// Index is the place of c among Classes; false: it is none of them.
func (c Class) Index() (int, bool) {
	for i := range Classes {
		if Classes[i].Class == c {
			return i, true
		}
	}
	return 0, false
}

// Known tells whether c is one of Classes.
func (c Class) Known() bool { _, ok := c.Index(); return ok }
