// Package smtptest answers one question for tests: what does a remote do to us?
// It has two remotes. A script plays one dialogue, line by line, with waits, cuts,
// resets and garbage; a test of the wire reads like a telnet session. A Sink takes
// mail from any number of connections, records every octet of every transaction,
// and answers as it is told: refuse, defer, greylist, stall, hang up.
//
// Both work over net.Pipe, inside testing/synctest bubbles, and on a listener. The
// package is an independent peer: it never uses our SMTP engine, and it never
// connects to anything.
package smtptest
