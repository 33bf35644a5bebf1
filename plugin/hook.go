package plugin

import "slices"

// Hook names a moment at which plugins are asked.
type Hook string

// The hooks of a connection, in the order of a dialogue.
const (
	ConnectInit      Hook = "connect_init" // the client is connected; every function runs, none decides
	LookupRDNS       Hook = "lookup_rdns"  // its host name is wanted: OK with it as Value
	Connect          Hook = "connect"      // before the banner
	Helo             Hook = "helo"
	Ehlo             Hook = "ehlo"
	Capabilities     Hook = "capabilities" // functions add to Connection.Capabilities
	UnknownCommand   Hook = "unrecognized_command"
	Mail             Hook = "mail"
	Rcpt             Hook = "rcpt"    // OK: we take mail for it. Nobody's OK: refused, unless the client may relay
	RcptOK           Hook = "rcpt_ok" // after it: the last chance to refuse
	Data             Hook = "data"    // before the message comes in
	MaxDataExceeded  Hook = "max_data_exceeded"
	DataPost         Hook = "data_post"            // it is in, and not stored yet
	Queue            Hook = "queue"                // OK: the plugin has taken it over
	QueueOutbound    Hook = "queue_outbound"       // the same for a client that may relay
	QueueOK          Hook = "queue_ok"             // it is stored; the 250 comes next
	ResetTransaction Hook = "reset_transaction"    // every function runs, none decides
	PreSend          Hook = "pre_send_trans_email" // right before it is stored: the last header fields
	Rset             Hook = "rset"
	Vrfy             Hook = "vrfy"
	Noop             Hook = "noop"
	Quit             Hook = "quit"
	Disconnect       Hook = "disconnect" // every function runs, none decides
	Deny             Hook = "deny"       // a function has refused: OK overrules it
)

// The hooks of a delivery.
const (
	SendEmail Hook = "send_email" // before an attempt: DELAY puts it off
	GetMX     Hook = "get_mx"     // its hosts are wanted: OK with them as Value
	Delivered Hook = "delivered"
	Deferred  Hook = "deferred"
	Bounce    Hook = "bounce"
)

// Hooks are all of them, in the order of a message's life.
var Hooks = []Hook{
	ConnectInit, LookupRDNS, Connect, Helo, Ehlo, Capabilities, UnknownCommand, Mail, Rcpt, RcptOK, Data,
	MaxDataExceeded, DataPost, Queue, QueueOutbound, PreSend, QueueOK, ResetTransaction, Rset, Vrfy, Noop, Quit, Disconnect,
	Deny, SendEmail, GetMX, Delivered, Deferred, Bounce,
}

// inbound tells whether the hook's moment is one of a connection to us.
func (h Hook) inbound() bool { return slices.Index(Hooks, h) < slices.Index(Hooks, SendEmail) }

// Known tells whether there is such a hook.
func (h Hook) Known() bool { return slices.Contains(Hooks, h) }

// all tells whether every function of the hook runs, whatever the others say.
func (h Hook) all() bool { return h == ConnectInit || h == ResetTransaction || h == Disconnect }

// overruled tells whether a refusal at the hook is put before the deny hook.
func (h Hook) overruled() bool {
	switch h {
	case LookupRDNS, Connect, UnknownCommand, Helo, Ehlo, Mail, Rcpt, RcptOK, Data, DataPost, Rset, Vrfy, Noop, Quit:
		return true
	}
	return false
}
