package conformance

var extensions = Section{"SIZE, 8BITMIME, SMTPUTF8, DSN, REQUIRETLS, LIMITS, AUTH, submission (RFC 1870, 6152, 6531, 3461, 8689, 9422, 4954, 6409, 8314)", []Rule{
	{ID: "D1", What: "`SIZE` over the limit, however large a number: 552 at MAIL; one that is no number: 501; no room: 452 4.3.1."},
	{ID: "D2", What: "An 8-bit message never goes raw to a host without 8BITMIME: it is returned with 5.6.3."},
	{ID: "D3", What: "A non-ASCII address without SMTPUTF8: 553 5.6.7. With it: 250; to a host without it: 5.6.7. Domains are compared as A-labels."},
	{ID: "D4", What: "`NOTIFY=NEVER,FAILURE`, `RET=X`, `ENVID=+G0`, `ORCPT=rfc822`: 501. Good ones reach a host with DSN octet for octet; for others `NOTIFY=SUCCESS` brings Action: relayed."},
	{ID: "D5", What: "`NOTIFY=NEVER` and a 550 from the next host: no notice at all."},
	{ID: "D6", What: "`REQUIRETLS` is never 250 in plaintext. Towards a host without it: 5.7.30, and nothing in plaintext.",
		Not: "REQUIRETLS is not offered, on TLS connections either (555 everywhere), so no message has the demand and `TLS-Required: No` has nothing to relax. The client's half is there for when policies for outbound TLS are."},
	{ID: "D7", What: "Outbound keeps LIMITS (RCPTMAX, MAILMAX, RCPTDOMAINMAX); after 452 the other recipients go in the next transaction of the same attempt."},
	{ID: "D8", What: "Submission: MAIL without AUTH is 530. AUTH is not offered in plaintext, and 538; a wrong password is 535 after a delay; AUTH twice or in a transaction 503."},
	{ID: "D9", What: "`AUTH PLAIN` for somebody else: 535. Empty, cancelled, not base64: 501. A line of 12 KiB is read."},
	{ID: "D10", What: "Submission: a sender that the login does not own is 553 5.7.1."},
	{ID: "D11", What: "Submission adds Date and Message-ID and drops Bcc; port 25 changes nothing but trace fields."},
}}

var startTLS = Section{"STARTTLS (RFC 3207) and TLS", []Rule{
	{ID: "E1", What: "Commands behind STARTTLS in its segment: 554 and close; plaintext behind the 220 is never run. `STARTTLS x` is 501, `STARTTLSX` 500. The client's half: plaintext behind the host's 220 is never read as a reply."},
	{ID: "E2", What: "After TLS EHLO is needed again, STARTTLS is gone and 503, and nothing of before is remembered."},
	{ID: "E3", What: "Garbage or a stall in place of a handshake: closed. No name, or an unknown one: the default certificate."},
	{ID: "E4", What: "TLS 1.0 and 1.1 are refused; no session tickets; ALPN is ignored; renegotiation is refused."},
}}

var relay = Section{"Relay and address tricks", []Rule{
	{ID: "F1", What: "No form of address makes us relay for a stranger: `u%other@local`, `other!u@local`, source routes, quoted and doubled `@`, literals, trailing dots, localhost."},
	{ID: "F2", What: "Sender, HELO and reverse DNS give no rights."},
	{ID: "F3", What: "A quoted local part goes on as it came, as one address, whatever it looks like."},
	{ID: "F4", What: "PROXY from a peer that is not on the list is garbage and changes no address; a header that is too long, malformed or dripped is closed within 3 s. XCLIENT from strangers is 550 and not in EHLO."},
	{ID: "F5", What: "Whether an address or a user exists is not told by VRFY or by what AUTH costs."},
}}

var abuse = Section{"Resource abuse", []Rule{
	{ID: "G1", What: "An octet every ten seconds, in a command, a message, a TLS record, a PROXY header: closed by its own deadline. Thousands of idle connections leave the new one served."},
	{ID: "G2", What: "Over the limit of connections, in all or of an address: 421 4.7.0 before anything is allocated. A thousand NOOP or RSET: 421."},
	{ID: "G3", What: "100 recipients always; one over the limit is 452 4.5.3 and the others stand; one named twice gets one delivery."},
	{ID: "G4", What: "A header of 1 MB, of ten thousand fields, of 200,000 folded lines, 1000 nested multiparts, 500 signatures: bounded work and memory; too large is 552."},
	{ID: "G5", What: "A hostile next host (endless replies, octet by octet, resets, no reading) costs an attempt its deadline, and no memory."},
}}

var headers = Section{"Header, loops, notices (RFC 5321 §4.4, §6; 3464, 6522, 3834, 8601)", []Rule{
	{ID: "H1", What: "`Received: from helo (rdns [ip]) by us with ESMTPSA id Q for <r>`, `for` only with one recipient; whatever HELO says, one field."},
	{ID: "H2", What: "Return-Path and strangers' Authentication-Results in our name are taken out; nothing that is no field becomes part of the header."},
	{ID: "H3", What: "More than 100 Received: 554 5.4.6. A next host that is ourselves: 5.4.6 at once, and no connection."},
	{ID: "H4", What: "Mail from `<>` that fails brings no notice. Who is known not to be there is refused at RCPT, what a plugin finds in a message at its dot; neither is accepted and returned.",
		Not: "Which mailboxes a local domain has, only the host behind it knows, unless a list or a plugin does: without one, mail to a mailbox that is not there is accepted and returned ([local.md](local.md))."},
	{ID: "H5", What: "A notice is multipart/report with all that RFC 3464 asks, from `<>`, Auto-Submitted, bounded in size, and other programs read it.",
		Not: "Notices are not signed with DKIM: there is no signing yet. RET=FULL brings the header only, as no RET does: a notice stays small."},
	{ID: "H6", What: "450 is retried by the schedule, 550 brings one notice and no retry, 421, a timeout and a break are not the message's fault, expiry brings one notice; mixed replies are told apart."},
	{ID: "H7", What: "A notice that is refused brings no notice. Nothing else of ours answers mail by itself."},
	{ID: "H8", What: "Bulk mail: List-Unsubscribe fields under the DKIM signature; abuse reports are read.",
		Not: "There is no DKIM signing and no reading of abuse reports (RFC 5965) yet. List-Unsubscribe fields of the client pass unchanged, as all fields do."},
}}
