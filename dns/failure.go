package dns

import (
	"errors"
	"fmt"
	"strings"

	"github.com/tarishi/tarishi/mail"
)

// Failure says why a domain has no host to go to. Its Reply is what the
// recipients' outcome and a DSN say; whether mail may try again is the Reply's
// class and nothing else:
//
//	556 5.1.10  the domain accepts no mail: null MX (RFC 7505 §4.2)
//	550 5.1.2   the domain does not exist
//	550 5.4.4   it exists, and has no host that mail can go to
//	550 5.4.6   mail for it loops back to us
//	451 4.4.3   it could not be looked up
//	451 4.4.4   it has too many hosts to look at in one attempt
type Failure struct {
	Reply  mail.Reply
	Domain mail.Domain
	Err    error // the cause, for the log; nil when the Reply says it all
}

func (f *Failure) Error() string {
	s := f.Reply.String()
	if f.Err != nil {
		s += ": " + f.Err.Error()
	}
	return s
}

func (f *Failure) Unwrap() error { return f.Err }

// Temporary tells whether the mail should be tried again later.
func (f *Failure) Temporary() bool { return f.Reply.Transient() }

func fail(d mail.Domain, code int, enhanced, text string, err error) *Failure {
	name := string(d)
	if strings.ContainsFunc(name, func(c rune) bool { return c < ' ' || c > '~' }) {
		name = fmt.Sprintf("%+q", name) // the text goes to people and into logs
	}
	return &Failure{Reply: mail.R(code, enhanced, fmt.Sprintf(text, name)), Domain: d, Err: err}
}

func failNull(d mail.Domain) *Failure {
	return fail(d, 556, "5.1.10", "%s does not accept mail (null MX)", nil)
}

func failNoDomain(d mail.Domain) *Failure {
	return fail(d, 550, "5.1.2", "domain %s does not exist", nil)
}

func failLiteral(d mail.Domain) *Failure {
	return fail(d, 550, "5.1.2", "mail to the address literal %s is not sent from here", nil)
}

func failLoop(d mail.Domain) *Failure {
	return fail(d, 550, "5.4.6", "mail for %s loops back to this system", nil)
}

// failLookup is the temporary one. What exactly went wrong is for the log: the
// sender of the mail has no use for the address of our resolver.
func failLookup(d mail.Domain, err error) *Failure {
	var code rcodeError
	switch {
	case errors.As(err, &code):
		return fail(d, 451, "4.4.3", "DNS lookup for %s failed ("+code.Error()+")", err)
	case timedOut(err):
		return fail(d, 451, "4.4.3", "DNS lookup for %s timed out", err)
	default:
		return fail(d, 451, "4.4.3", "DNS lookup for %s failed", err)
	}
}
