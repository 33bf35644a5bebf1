package replies

import "github.com/tarishi/tarishi/mail"

// phrase is what many receivers say in the same words, whatever their software.
type phrase struct {
	class Class
	text  string
}

// strongPhrases stand before the enhanced code, the first that is found decides.
// They are those that contradict a code often sent with them, above all a code that
// would put an address on the suppression list: "550 5.1.1 mailbox is full".
var strongPhrases = []phrase{
	{Greylisted, "greylist"}, {Greylisted, "graylist"}, {Greylisted, "grey listed"}, {Greylisted, "grey-listed"}, {Greylisted, "postgrey"},
	{QuotaIssues, "over quota"}, {QuotaIssues, "overquota"}, {QuotaIssues, "over-quota"}, {QuotaIssues, "quota exceeded"}, {QuotaIssues, "exceeded quota"},
	{QuotaIssues, "exceeds quota"}, {QuotaIssues, "mailbox full"}, {QuotaIssues, "mailbox is full"}, {QuotaIssues, "mailfolder is full"}, {QuotaIssues, "inbox is full"},
	{QuotaIssues, "out of storage space"}, {QuotaIssues, "exceeded its quota"}, {QuotaIssues, "quota full"}, {QuotaIssues, "storage quota"}, {QuotaIssues, "mailbox size limit exceeded"},
	{QuotaIssues, "quota violation"}, {QuotaIssues, "boite du destinataire pleine"}, {QuotaIssues, "exceeded the disk quota"}, {QuotaIssues, "mailbox quota"},
	{SpamBlock, "spamhaus"}, {SpamBlock, "spamcop"}, {SpamBlock, "barracudacentral"}, {SpamBlock, "sorbs.net"}, {SpamBlock, "uceprotect"},
	{SpamBlock, "cloudmark.com/reset"}, {SpamBlock, "dnsbl"}, {SpamBlock, "rblhost"}, {SpamBlock, "psbl.org"}, {SpamBlock, "abuseat.org"}, {SpamBlock, "senderscore"},
	{SpamBlock, "invaluement"}, {SpamBlock, "ivmsip"}, {SpamBlock, "proofpoint.com/dnsbl"}, {SpamBlock, "ipcheck.proofpoint"}, {SpamBlock, "realtime blacklist"}, {SpamBlock, "real-time blackhole"},
	{SpamBlock, "blackhole list"}, {SpamBlock, "blocklist"}, {SpamBlock, "block list"}, {SpamBlock, "blacklist"}, {SpamBlock, "black list"}, {SpamBlock, "denylist"},
	{SpamBlock, "poor reputation"}, {SpamBlock, "bad reputation"}, {SpamBlock, "low reputation"}, {SpamBlock, "ip reputation"}, {SpamBlock, "banned sending ip"}, {SpamBlock, "talosintelligence"}, {SpamBlock, "senderbase"},
	{ProtocolErrors, "duplicate header"},
	{AuthenticationFailed, "dmarc"}, {AuthenticationFailed, "spf check"}, {AuthenticationFailed, "spf fail"}, {AuthenticationFailed, "spf validation"}, {AuthenticationFailed, "sender policy framework"},
	{AuthenticationFailed, "spf record"}, {AuthenticationFailed, "not allowed by spf"}, {AuthenticationFailed, "openspf.org"}, {AuthenticationFailed, "openspf.net"}, {AuthenticationFailed, "dkim"},
	{AuthenticationFailed, "reverse dns"}, {AuthenticationFailed, "reverse lookup"}, {AuthenticationFailed, "ptr record"}, {AuthenticationFailed, "reverse hostname"}, {AuthenticationFailed, "no rdns"},
	{AuthenticationFailed, "starttls command first"}, {AuthenticationFailed, "must use tls"}, {AuthenticationFailed, "requires encryption"}, {AuthenticationFailed, "authentication required"},
	{AuthenticationFailed, "unauthenticated email"}, {AuthenticationFailed, "authentication is required"}, {AuthenticationFailed, "smtp authentication"},
	{PolicyRelated, "policy violation"},
	{InvalidSender, "sender address rejected"}, {InvalidSender, "sender rejected"}, {InvalidSender, "invalid sender"}, {InvalidSender, "sender domain"}, {InvalidSender, "domain of sender"}, {InvalidSender, "sender verify failed"},
	{InvalidSender, "sender verification"}, {InvalidSender, "unable to verify sender"}, {InvalidSender, "sender is not allowed"}, {InvalidSender, "bad sender"}, {InvalidSender, "envelope sender"}, {InvalidSender, "emetteur invalide"},
	{InvalidSender, "return path"}, {InvalidSender, "could not verify sender"},
	{SpamContent, "virus"}, {SpamContent, "malware"}, {SpamContent, "phish"}, {SpamContent, "spam content"}, {SpamContent, "message is spam"}, {SpamContent, "looks like spam"}, {SpamContent, "classified as spam"},
	{SpamContent, "identified as spam"}, {SpamContent, "considered spam"}, {SpamContent, "detected as spam"}, {SpamContent, "spam message"}, {SpamContent, "spam detected"}, {SpamContent, "spam score"}, {SpamContent, "high probability of spam"},
	{SpamContent, "spam-like"}, {SpamContent, "suspected spam"}, {SpamContent, "likely unsolicited"}, {SpamContent, "content rejected"}, {SpamContent, "content denied"}, {SpamContent, "rejected due to content"},
	{SpamContent, "message content"}, {SpamContent, "unsolicited bulk"}, {SpamContent, "surbl"}, {SpamContent, "uribl"},
	{RateLimited, "sent to too many recipients"}, {TransientFailure, "too many recipients"},
	{RateLimited, "too many connections"}, {RateLimited, "too many concurrent"}, {RateLimited, "too many simultaneous"}, {RateLimited, "too many sessions"}, {RateLimited, "concurrent connections"},
	{RateLimited, "connection rate"}, {RateLimited, "rate limit"}, {RateLimited, "ratelimit"}, {RateLimited, "too many messages"}, {RateLimited, "too many emails"}, {RateLimited, "too many mails"}, {RateLimited, "too quickly"},
	{RateLimited, "too fast"}, {RateLimited, "throttl"}, {RateLimited, "slow down"}, {RateLimited, "frequency limit"}, {RateLimited, "messages per connection"}, {RateLimited, "message per connection"}, {RateLimited, "excessive volume"},
	{RateLimited, "unexpected volume"}, {RateLimited, "sending limit"}, {RateLimited, "max connections"}, {RateLimited, "maximum number of connections"}, {RateLimited, "exceeded the maximum number of messages"}, {RateLimited, "trop de connexions"},
	{MessageTooLarge, "message too large"}, {MessageTooLarge, "message is too large"}, {MessageTooLarge, "message too big"}, {MessageTooLarge, "message size exceeds"}, {MessageTooLarge, "exceeds maximum message size"},
	{MessageTooLarge, "maximum message size"}, {MessageTooLarge, "exceeds size limit"}, {MessageTooLarge, "size limit exceeded"}, {MessageTooLarge, "message exceeds maximum"}, {MessageTooLarge, "message size limit"}, {MessageTooLarge, "maximum email size"},
	{MessageTooLarge, "message exceeds fixed maximum"}, {MessageTooLarge, "max message size"}, {MessageTooLarge, "message size limits"},
	{RoutingErrors, "relay access denied"}, {RoutingErrors, "relaying denied"}, {RoutingErrors, "relay denied"}, {RoutingErrors, "relaying not allowed"}, {RoutingErrors, "relay not permitted"}, {RoutingErrors, "unable to relay"},
	{RoutingErrors, "not permitted to relay"}, {RoutingErrors, "we do not relay"}, {RoutingErrors, "not allowed to relay"}, {RoutingErrors, "relaying to"}, {RoutingErrors, "allowed rcpthosts"}, {RoutingErrors, "hop count exceeded"}, {RoutingErrors, "too many hops"},
	{RoutingErrors, "mail loop"}, {RoutingErrors, "routing loop"}, {RoutingErrors, "loops back to myself"}, {RoutingErrors, "open relay"},
	{BadDomain, "null mx"}, {BadDomain, "does not accept mail"}, {BadDomain, "domain has been disabled"},
	{InactiveMailbox, "mailbox is disabled"}, {InactiveMailbox, "mailbox disabled"}, {InactiveMailbox, "account is disabled"}, {InactiveMailbox, "account disabled"}, {InactiveMailbox, "account has been disabled"},
	{InactiveMailbox, "account that you tried to reach is disabled"}, {InactiveMailbox, "account is inactive"}, {InactiveMailbox, "inactive account"}, {InactiveMailbox, "mailbox is inactive"}, {InactiveMailbox, "inactive mailbox"}, {InactiveMailbox, "inactive user"},
	{InactiveMailbox, "user is inactive"}, {InactiveMailbox, "account is suspended"}, {InactiveMailbox, "account has been suspended"}, {InactiveMailbox, "user suspended"}, {InactiveMailbox, "account is not active"}, {InactiveMailbox, "account closed"},
	{InactiveMailbox, "account is closed"}, {InactiveMailbox, "account expired"}, {InactiveMailbox, "account is locked"}, {InactiveMailbox, "mailbox is blocked"}, {InactiveMailbox, "mailbox has been blocked"}, {InactiveMailbox, "disableduser"},
	{InactiveMailbox, "deactivated mailbox"}, {InactiveMailbox, "mailbox has been deactivated"}, {InactiveMailbox, "recipient account isblocked"}, {InactiveMailbox, "is no longer valid"}, {InactiveMailbox, "inactive email address"}, {InactiveMailbox, "no longer accepts mail"},
	{InactiveMailbox, "archived recipient"}, {InactiveMailbox, "no longer on server"}, {InactiveMailbox, "not collecting email"}, {InactiveMailbox, "user account not activated"}, {InactiveMailbox, "mailbox not active"}, {InactiveMailbox, "mailbox is frozen"},
}

// phrases are asked when the enhanced code says nothing in particular.
var phrases = []phrase{
	{InvalidRecipient, "user unknown"}, {InvalidRecipient, "unknown user"}, {InvalidRecipient, "no such user"}, {InvalidRecipient, "recipient unknown"}, {InvalidRecipient, "unknown recipient"}, {InvalidRecipient, "no such recipient"},
	{InvalidRecipient, "no such mailbox"}, {InvalidRecipient, "no such account"}, {InvalidRecipient, "no such address"}, {InvalidRecipient, "no such person"}, {InvalidRecipient, "no such local user"}, {InvalidRecipient, "no such domain user"},
	{InvalidRecipient, "mailbox unavailable"}, {InvalidRecipient, "mailbox not found"}, {InvalidRecipient, "mailbox does not exist"}, {InvalidRecipient, "mailbox doesn't exist"}, {InvalidRecipient, "mailbox unknown"}, {InvalidRecipient, "invalid mailbox"},
	{InvalidRecipient, "user not found"}, {InvalidRecipient, "user not exist"}, {InvalidRecipient, "addressee unknown"}, {InvalidRecipient, "not our customer"}, {InvalidRecipient, "user does not exist"}, {InvalidRecipient, "user doesn't exist"}, {InvalidRecipient, "user doesn't have a"}, {InvalidRecipient, "account does not exist"}, {InvalidRecipient, "email account that you tried to reach does not exist"},
	{InvalidRecipient, "address does not exist"}, {InvalidRecipient, "address unknown"}, {InvalidRecipient, "unknown address"}, {InvalidRecipient, "address not found"}, {InvalidRecipient, "recipient not found"}, {InvalidRecipient, "recipientnotfound"}, {InvalidRecipient, "recipient does not exist"},
	{InvalidRecipient, "invalid recipient"}, {InvalidRecipient, "invalid user"}, {InvalidRecipient, "invalid address"}, {InvalidRecipient, "recipient invalid"}, {InvalidRecipient, "not a valid recipient"}, {InvalidRecipient, "not a valid mailbox"}, {InvalidRecipient, "not a valid user"},
	{InvalidRecipient, "not a known user"}, {InvalidRecipient, "unrouteable address"}, {InvalidRecipient, "unroutable address"}, {InvalidRecipient, "no mailbox here by that name"}, {InvalidRecipient, "no mailbox by that name"}, {InvalidRecipient, "not listed in"},
	{InvalidRecipient, "user is unknown"}, {InvalidRecipient, "undeliverable address"}, {InvalidRecipient, "adresse d au moins un destinataire invalide"}, {InvalidRecipient, "utilisateur inconnu"}, {InvalidRecipient, "destinatario desconocido"}, {InvalidRecipient, "empfaenger unbekannt"},
	{InvalidRecipient, "unknown or illegal alias"}, {InvalidRecipient, "recipient address rejected: undeliverable"}, {InvalidRecipient, "no account by that name"}, {InvalidRecipient, "not a local user"},
	{BadDomain, "domain not found"}, {BadDomain, "unknown domain"}, {BadDomain, "no such domain"}, {BadDomain, "domain does not exist"}, {BadDomain, "host not found"}, {BadDomain, "host unknown"}, {BadDomain, "unknown host"}, {BadDomain, "domain name not found"}, {BadDomain, "invalid domain"},
	{DNSFailure, "dns lookup"}, {DNSFailure, "name server"}, {DNSFailure, "dns query"}, {DNSFailure, "dns error"},
	{NoAnswerFromHost, "connection timed out"}, {NoAnswerFromHost, "connection refused"}, {NoAnswerFromHost, "no route to host"}, {NoAnswerFromHost, "unable to connect"},
	{BadConnection, "connection dropped"}, {BadConnection, "connection lost"}, {BadConnection, "connection reset"}, {BadConnection, "timeout - closing"}, {BadConnection, "timeout waiting"}, {BadConnection, "timeout exceeded"}, {BadConnection, "connection expired"}, {BadConnection, "idle timeout"},
	{SpamBlock, "blocked using"}, {SpamBlock, "client host blocked"}, {SpamBlock, "ip address blocked"}, {SpamBlock, "ip blocked"}, {SpamBlock, "your ip"}, {SpamBlock, "blocked for spam"}, {SpamBlock, "listed in"}, {SpamBlock, "listed at"}, {SpamBlock, "listed by"}, {SpamBlock, "banned"}, {SpamBlock, "reputation"},
	{SpamBlock, "connection refused due to abuse"}, {SpamBlock, "abusive"}, {SpamBlock, "suspicious activity"}, {SpamBlock, "bloquee pour"}, {SpamBlock, "client host rejected"},
	{SpamContent, "spam"}, {SpamContent, "attachment"}, {SpamContent, "unsolicited"}, {SpamContent, "junk"}, {SpamContent, "url in"}, {SpamContent, "links in"},
	{MessageExpired, "message expired"}, {MessageExpired, "queue expired"},
	{TransientFailure, "try again"}, {TransientFailure, "try later"}, {TransientFailure, "temporarily unavailable"}, {TransientFailure, "temporarily deferred"}, {TransientFailure, "temporarily rejected"}, {TransientFailure, "temporary failure"}, {TransientFailure, "temporary error"}, {TransientFailure, "temporary problem"}, {TransientFailure, "local error"},
	{TransientFailure, "insufficient system"}, {TransientFailure, "insufficient disk"}, {TransientFailure, "out of memory"}, {TransientFailure, "system error"}, {TransientFailure, "internal error"}, {TransientFailure, "resources"}, {TransientFailure, "service unavailable"}, {TransientFailure, "service not available"}, {TransientFailure, "currently unavailable"},
	{TransientFailure, "server busy"}, {TransientFailure, "too busy"}, {TransientFailure, "overload"}, {TransientFailure, "load too high"}, {TransientFailure, "server error"}, {TransientFailure, "configuration error"}, {TransientFailure, "shutting down"}, {TransientFailure, "maintenance"},
	{ProtocolErrors, "syntax error"}, {ProtocolErrors, "command not recognized"}, {ProtocolErrors, "command unrecognized"}, {ProtocolErrors, "unrecognized command"}, {ProtocolErrors, "not implemented"}, {ProtocolErrors, "bad sequence"}, {ProtocolErrors, "helo"}, {ProtocolErrors, "bare lf"}, {ProtocolErrors, "bare newline"}, {ProtocolErrors, "rfc 5322"}, {ProtocolErrors, "rfc compliant"},
	{PolicyRelated, "policy"}, {PolicyRelated, "access denied"}, {PolicyRelated, "administrative prohibition"}, {PolicyRelated, "not allowed"}, {PolicyRelated, "not permitted"}, {PolicyRelated, "not authorized"}, {PolicyRelated, "restricted"}, {PolicyRelated, "prohibited"}, {PolicyRelated, "refused"}, {PolicyRelated, "rejected"}, {PolicyRelated, "blocked"}, {PolicyRelated, "denied"},
}

// sure is the class of an enhanced code that says one thing (RFC 3463, RFC 7372,
// RFC 7504, RFC 7505 and the IANA registry).
func sure(e mail.EnhancedCode) (Class, bool) {
	c, ok := sureCodes[[2]uint16{e[1], e[2]}]
	return c, ok
}

var sureCodes = map[[2]uint16]Class{
	{1, 1}: InvalidRecipient, {1, 3}: InvalidRecipient, {1, 4}: InvalidRecipient, {1, 6}: InvalidRecipient,
	{1, 2}: BadDomain, {1, 10}: BadDomain, {1, 7}: InvalidSender, {1, 8}: InvalidSender,
	{2, 1}: InactiveMailbox, {2, 2}: QuotaIssues, {2, 3}: MessageTooLarge, {3, 4}: MessageTooLarge,
	{3, 1}: TransientFailure, {3, 2}: TransientFailure, {3, 3}: ProtocolErrors, {3, 5}: TransientFailure,
	{4, 3}: DNSFailure, {4, 4}: BadDomain, {4, 5}: TransientFailure, {4, 6}: RoutingErrors, {4, 7}: MessageExpired,
	{5, 1}: ProtocolErrors, {5, 2}: ProtocolErrors, {5, 3}: TransientFailure, {5, 4}: ProtocolErrors, {5, 5}: ProtocolErrors, {5, 6}: ProtocolErrors,
	{6, 1}: ProtocolErrors, {6, 2}: ProtocolErrors, {6, 3}: ProtocolErrors, {6, 4}: ProtocolErrors, {6, 5}: ProtocolErrors, {6, 6}: ProtocolErrors, {6, 7}: ProtocolErrors,
	{7, 4}: AuthenticationFailed, {7, 5}: AuthenticationFailed, {7, 7}: AuthenticationFailed, {7, 8}: AuthenticationFailed, {7, 9}: AuthenticationFailed, {7, 10}: AuthenticationFailed, {7, 11}: AuthenticationFailed,
	{7, 20}: AuthenticationFailed, {7, 21}: AuthenticationFailed, {7, 22}: AuthenticationFailed, {7, 23}: AuthenticationFailed, {7, 24}: AuthenticationFailed, {7, 25}: AuthenticationFailed, {7, 26}: AuthenticationFailed, {7, 29}: AuthenticationFailed, {7, 30}: AuthenticationFailed,
	{7, 13}: InactiveMailbox, {7, 17}: InvalidRecipient, {7, 18}: BadDomain, {7, 27}: InvalidSender, {7, 28}: RateLimited, {7, 3}: PolicyRelated, {7, 2}: PolicyRelated,
}

// vague is the class of a reply of which neither words nor enhanced code say more.
// 5.1.0 and 5.2.0 are said for anything, so they are no class that suppresses.
func vague(code int, e mail.EnhancedCode, p Phase) Class {
	switch e[1] {
	case 1:
		if p == Mail {
			return InvalidSender
		}
		return Unclassified
	case 2:
		if e[0] == 4 {
			return TransientFailure
		}
		return Unclassified
	case 3:
		return TransientFailure
	case 4:
		switch e[2] {
		case 1:
			return NoAnswerFromHost
		case 2:
			return BadConnection
		}
		return RoutingErrors
	case 5, 6:
		return ProtocolErrors
	case 7:
		return PolicyRelated
	}
	switch code {
	case 421, 450, 451, 452:
		return TransientFailure
	case 454, 530, 534, 535, 538:
		return AuthenticationFailed
	case 500, 501, 502, 503, 504, 455, 555:
		return ProtocolErrors
	case 521, 556: // RFC 7504
		return BadDomain
	case 551:
		return InvalidRecipient
	case 554:
		if p == Connect { // RFC 5321 §3.1: no service here
			return PolicyRelated
		}
	case 552:
		if p == Mail {
			return MessageTooLarge
		}
		return QuotaIssues
	}
	return Unclassified
}
