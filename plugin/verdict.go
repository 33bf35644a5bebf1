package plugin

import (
	"fmt"
	"time"

	"github.com/tarishi/tarishi/mail"
)

// Code is what a function says; the zero one is Cont.
type Code uint8

// The codes, by Haraka's names where these are words of ours: DENY is Refuse,
// DENYSOFT Defer, DISCONNECT Hangup.
const (
	Cont             Code = iota // the next function is asked
	OK                           // yes; nobody further is asked
	Refuse                       // 5yz
	Defer                        // 4yz: try again
	RefuseDisconnect             // 5yz, and the connection ends
	DeferDisconnect              // 4yz, and the connection ends
	Hangup                       // the connection ends without a word
	NextHook                     // nobody further is asked, and nothing is decided
	Delay                        // send_email: not now
	Stop                         // as NextHook
)

var codeNames = [...]string{
	Cont: "CONT", OK: "OK", Refuse: "DENY", Defer: "DENYSOFT", RefuseDisconnect: "DENYDISCONNECT",
	DeferDisconnect: "DENYSOFTDISCONNECT", Hangup: "DISCONNECT", NextHook: "NEXT_HOOK", Delay: "DELAY", Stop: "STOP",
}

// String is Haraka's name of the code.
func (c Code) String() string {
	if int(c) < len(codeNames) {
		return codeNames[c]
	}
	return fmt.Sprintf("code %d", uint8(c))
}

// Refuses tells whether the code is a refusal.
func (c Code) Refuses() bool { return c >= Refuse && c <= Hangup }

// Ends tells whether the connection is to end.
func (c Code) Ends() bool { return c >= RefuseDisconnect && c <= Hangup }

// Verdict is what a function says. The zero one has the next function asked.
type Verdict struct {
	Code  Code
	Reply mail.Reply    // what the client is told; zero: what is usual at the hook
	Delay time.Duration // with Delay, and with Defer at deferred
	Value any           // what the hook asks for: a host name, hosts

	// How long the function took, if it knows better than the chain, which else counts
	// the time until the answer was there.
	Took time.Duration

	// Who said so; the chain fills it in.
	Plugin, Function string
}

// Denied is DENY with that text.
func Denied(text string) Verdict { return Verdict{Code: Refuse, Reply: mail.R(550, "5.7.1", text)} }

// DeniedSoft is DENYSOFT with that text.
func DeniedSoft(text string) Verdict { return Verdict{Code: Defer, Reply: mail.R(450, "4.7.1", text)} }
