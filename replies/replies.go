// Package replies answers one question: what does a receiver's reply mean? It
// gives each reply to an attempt a bounce class, which says what was wrong, and an
// action, which says what comes of it; and where a rule was written for the reply,
// it names the remedies that the rule asks for, and how often the reply must come
// before they are due.
//
// Rules are the operator's, then those of the pack that comes with the program,
// then general knowledge of codes and phrases; the first that fits decides.
//
// The package holds values and looks at values. It never counts replies, never
// changes a limit and never touches the network or the queue.
package replies

import (
	"github.com/tarishi/tarishi/mail"
	"github.com/tarishi/tarishi/shaping"
)

// Phase is where in the dialogue the reply came.
type Phase string

// The phases. The empty one is any, or not known.
const (
	Connect Phase = "connect" // the greeting
	Hello   Phase = "hello"   // EHLO, HELO, LHLO, STARTTLS
	Mail    Phase = "mail"    // MAIL FROM, RSET
	Rcpt    Phase = "rcpt"
	Data    Phase = "data" // DATA
	Dot     Phase = "dot"  // after the message
)

// Phases are all of them, in the order of a dialogue.
var Phases = []Phase{Connect, Hello, Mail, Rcpt, Data, Dot}

// Reply is what an attempt came to, with all that a rule may ask about.
type Reply struct {
	mail.Reply
	Ours        bool // our own words: nobody answered, or we gave up
	Phase       Phase
	Domain      mail.Domain         // of the recipient
	Destination shaping.Destination // zero: nobody named it
	Host        string              // the name of the mail host that said it; empty: ours
}

// Verdict is what a reply means.
type Verdict struct {
	Class  Class
	Action Action
	Rule   string // the name of the rule that decided; empty: general knowledge
	Hits   []Hit  // what the rule asks for
}

// Hit is a remedy that a rule asks for once its replies have come often enough.
type Hit struct {
	Rule      string
	Threshold shaping.Threshold
	Remedy    shaping.Remedy
	To        string // the named destination that said it, if the rule is for one; empty: the reply's own
}
