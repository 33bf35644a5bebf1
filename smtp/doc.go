// Package smtp speaks SMTP on a connection: what is allowed on the wire now, and
// what did the other side say?
//
// The server side (Server, Conn, Body) reads commands and message octets from
// strangers, keeps the order RFC 5321 asks for, and hands each decision to a
// Session made by a Handler: this sender, this recipient, this message, yes or
// no. It offers PIPELINING (RFC 2920), 8BITMIME (6152), SMTPUTF8 (6531), SIZE
// (1870), CHUNKING (3030, without BINARYMIME), ENHANCEDSTATUSCODES (2034), DSN (3461)
// and STARTTLS (3207). Each connection is one goroutine, the one that calls the
// Session, so a Session needs no locks.
//
// Three rules make message smuggling impossible. A message ends at CR LF . CR LF
// and at nothing else. A message with a bare CR, a bare LF or a NUL is refused,
// after its true end. And when the true end cannot be found, the connection is
// closed: no octet of a body is ever run as a command.
//
// The package never decides whether mail is welcome, never stores any, and never
// looks inside a message.
package smtp
