package smtp

import (
	"bytes"
	"crypto/tls"
	"time"

	"github.com/tarishi/tarishi/mail"
)

// serverTLS returns a copy of cfg fit for SMTP: TLS 1.2 at least unless cfg says
// otherwise, no session tickets (they cost more than the handshakes they save
// between hosts that meet once, and their keys weaken forward secrecy), and no
// ALPN, so that a client which offers an odd protocol still gets through.
func serverTLS(cfg *tls.Config) *tls.Config {
	cfg = cfg.Clone()
	cfg.SessionTicketsDisabled = true
	cfg.NextProtos = nil
	if cfg.MinVersion == 0 {
		cfg.MinVersion = tls.VersionTLS12
	}
	return cfg
}

func (c *Conn) doStartTLS(args []byte) {
	switch {
	case !c.noArgs(args): // RFC 3207 §4: 501
		return
	case c.srv.tls == nil:
		c.mistake(notDone)
		return
	case c.tlsState != nil:
		c.mistake(mail.R(503, "5.5.1", "TLS is active already"))
		return
	case c.body != nil:
		c.mistake(inChunks)
		return
	case c.hello == "":
		c.mistake(helloFirst)
		return
	case len(c.wire.buffered()) > 0:
		// Commands behind STARTTLS could be an attacker's, to be run as if they
		// had come through TLS (CVE-2011-0411). RFC 3207 §4 makes it the last of a group.
		c.say(mail.R(554, "5.5.0", "Commands sent behind STARTTLS, closing connection"))
		c.closing, c.lingering = true, true
		return
	}
	c.say(mail.R(220, "2.0.0", "Ready to start TLS"))
	if c.wire.flush() != nil || !c.handshake() {
		c.closing = true
		return
	}
	// RFC 3207 §4.2: what was learned before TLS is forgotten.
	c.hello, c.esmtp, c.identity, c.trusted = "", false, "", false
	c.endTransaction()
}

// handshake turns the connection into a TLS one. After a failure nothing more is
// said on it: the client may be in the middle of anything.
func (c *Conn) handshake() bool {
	nc := c.nc
	if b := c.wire.buffered(); len(b) > 0 { // a proxy sends its header and the ClientHello in one
		nc = &aheadConn{nc, bytes.Clone(b)}
	}
	t := tls.Server(nc, c.srv.tls)
	_ = c.nc.SetDeadline(time.Now().Add(c.srv.timeouts.Handshake))
	if err := t.HandshakeContext(c.ctx); err != nil {
		c.srv.log.Info("smtp: TLS handshake failed", "conn", c.id, "client", c.remote, "error", err)
		return false
	}
	_ = c.nc.SetDeadline(time.Time{})
	state := t.ConnectionState()
	c.tlsState = &state
	c.wire.nc = t
	c.wire.shrink()
	return true
}
