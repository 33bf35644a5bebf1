package conformance

var session = Section{"Session and syntax (RFC 5321, 2034, 3463, 7504)", []Rule{
	{ID: "A1", What: "The banner is `220 name ESMTP`, at once. Every reply line ends in CRLF, has at most 512 octets, all printable ASCII; what a client sent never comes back."},
	{ID: "A2", What: "`EHLO x` lists keywords in upper case; `EHLO [192.0.2.1]` and `EHLO [IPv6:::1]` are fine; `EHLO` alone is 501; `HELO x` is one line."},
	{ID: "A3", What: "MAIL before EHLO, RCPT before MAIL, DATA before RCPT: 503 (554 where all recipients were refused). A second MAIL is 503 and leaves the first transaction as it was."},
	{ID: "A4", What: "EHLO, HELO or RSET in a transaction: 250, and the transaction is gone with all its recipients."},
	{ID: "A5", What: "`RCPT TO:<postmaster>` in any case and `MAIL FROM:<>` are taken; `RCPT TO:<>` is not."},
	{ID: "A6", What: "`MAIL FROM:a@b` and `MAIL FROM: <a@b>` are 501, or 250 with `smtp.lax_paths`; `<a@b>X` is 501; an unknown parameter 555."},
	{ID: "A7", What: "A parameter given twice is 501."},
	{ID: "A8", What: "VRFY 252, HELP 214, EXPN, ETRN, TURN 502, unknown verbs 500; too many errors: 421 and close. A 421 of any kind closes."},
	{ID: "A9", What: "A command of 512 octets is run, one over the limit is 500 and the next line is read from its start; one without end is cut off, and costs no memory."},
	{ID: "A10", What: "NUL, a bare CR or a bare LF in a command: 500, or 421 and close; never run."},
	{ID: "A11", What: "Local part 64, domain 255, path 256 octets at most; empty labels, hyphens at the edge of one, `..` and trailing dots are refused."},
	{ID: "A12", What: "`GET`, `POST`, `CONNECT`, or TLS on a plaintext port: 554 and close at once."},
	{ID: "A13", What: "Octets before the banner are never run before it; with a greeting pause they are the end: 554."},
	{ID: "A14", What: "QUIT: 221, then FIN. Idle for 5 minutes: 421 4.4.2. At a shutdown idle clients get 421 4.3.2, open transactions finish."},
	{ID: "A15", What: "The enhanced code stands on every line of a reply and has the class of its first digit. 521 instead of a banner where no mail is taken."},
}}

var data = Section{"DATA, line ends, smuggling (RFC 5321 §2.3.8, §4.1.1.4; CVE-2023-51764, -51765, -51766)", []Rule{
	{ID: "B1", What: "A false end of data (`\\n.\\n`, `\\n.\\r\\n`, `\\r\\n.\\n`, `\\r\\n.\\r`, `\\r.\\r\\n`, `\\r.\\r`, `\\n.\\r`, `\\r.\\n`, NULs or blanks around the dot, `\\r\\n.\\r\\r\\n`) with commands behind it, then the true end: one reply, no second transaction. Nor does any of them become two messages on the way through us, from or to Postfix and Exim. (Postfix before us with `smtpd_forbid_bare_newline = no` takes some of them for two itself; we then get two, and add none.)"},
	{ID: "B2", What: "`\\r\\r\\n.\\r\\n` is an end: a reply comes at once, and it is 550."},
	{ID: "B3", What: "A bare CR or LF anywhere in a message: 550 5.5.2 after the true end, and the next command is run as usual."},
	{ID: "B4", What: "Dot-stuffing is undone (`..x` is `.x`), a dot first is an empty message, and all else arrives octet for octet."},
	{ID: "B5", What: "A stall in a message ends in 421 4.4.2 and close; what is sent later is not run."},
	{ID: "B6", What: "1 KB/s for ten minutes is accepted, a message below the minimum rate is cut off, and none takes longer than the total deadline."},
	{ID: "B7", What: "Lines up to the limit arrive unchanged, longer ones are 554 5.6.0."},
	{ID: "B8", What: "NUL in a message is 550 5.6.0; 8-bit octets are accepted, declared or not."},
	{ID: "B9", What: "Too large: 552 5.3.4, and close when the rest is too much to discard; a message of exactly the offered size is taken."},
	{ID: "B10", What: "Cut off before the dot: nothing is queued. Cut off behind it: once or not at all, and never half."},
	{ID: "B11", What: "The 250 carries the queue id and comes after durable storage, also through `kill -9` and a power cut."},
	{ID: "B12", What: "Every accepted message goes on with CRLF line ends only, rightly stuffed, and its end is CRLF.CRLF."},
}}

var pipelining = Section{"PIPELINING, CHUNKING (RFC 2920, 3030)", []Rule{
	{ID: "C1", What: "MAIL, 100 RCPT and DATA in one segment: 102 replies in order, in at most three segments."},
	{ID: "C2", What: "DATA after nothing but refused recipients: 554, and no 354."},
	{ID: "C3", What: "Message octets behind DATA before the 354: 503 and close for strangers, allowed to clients we trust."},
	{ID: "C4", What: "Commands behind the final dot in its segment are run."},
	{ID: "C5", What: "Chunks of any size, also empty ones, ones that hold `\\r\\n.\\r\\n`, a line of a megabyte, or that come octet by octet."},
	{ID: "C6", What: "A refused chunk is swallowed to its last octet; one too long to swallow closes the connection."},
	{ID: "C7", What: "A BDAT without a size that can be read: 501 and close. MAIL, RCPT, DATA between chunks: 503. RSET between them drops the message."},
	{ID: "C8", What: "BINARYMIME is not offered: 555, and no transaction is open behind it."},
}}
