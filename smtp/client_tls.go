package smtp

import (
	"crypto/tls"
	"errors"
	"strings"
	"time"

	"github.com/tarishi/tarishi/mail"
)

// TLSPolicy says what a Client insists on. Who the remote must prove to be is in
// ClientOptions.TLSConfig; without one it is as said at each policy.
type TLSPolicy int

const (
	TLSOpportunistic TLSPolicy = iota // STARTTLS where offered; any certificate (RFC 7435)
	TLSRequired                       // STARTTLS or a *TLSError; a certificate for Host from a system root
	TLSNever                          // plaintext
	TLSImplicit                       // TLS before the greeting (RFC 8314); certificate as with TLSRequired
)

// TLSError says that TLS was wanted and did not come about. Nothing of a message
// was sent, and the connection is closed.
type TLSError struct {
	Reply mail.Reply // the refusal of STARTTLS; zero when the handshake failed
	Err   error
}

func (e *TLSError) Error() string {
	if e.Reply.IsZero() {
		return "starttls: " + e.Err.Error()
	}
	return "starttls: " + e.Err.Error() + ": " + e.Reply.String()
}
func (e *TLSError) Unwrap() error { return e.Err }

var (
	// ErrNoStartTLS means that TLS is required and the host does not do STARTTLS.
	ErrNoStartTLS = errors.New("STARTTLS is required and not to be had")
	// ErrStartTLSInjection means that plaintext followed the 220 to STARTTLS: somebody
	// in the middle tries to have it read as if it had come through TLS (CVE-2011-0411).
	ErrStartTLSInjection = errors.New("plaintext after the reply to STARTTLS")
)

// startTLS does RFC 3207 as the policy says.
func (c *Client) startTLS() error {
	switch {
	case c.o.TLS == TLSNever || c.o.TLS == TLSImplicit:
		return nil
	case !c.ext.StartTLS && c.o.TLS == TLSRequired:
		return &TLSError{Err: ErrNoStartTLS}
	case !c.ext.StartTLS:
		return nil
	}
	if err := c.writeCommand(StageStartTLS, c.t.TLS, "STARTTLS\r\n"); err != nil {
		return err
	}
	raw, err := c.readReply(StageStartTLS, c.t.TLS)
	if err != nil {
		return err
	}
	if raw.code/100 != 2 {
		c.startTLSReply = raw.reply()
		if c.o.TLS == TLSRequired || raw.code == 421 {
			return &TLSError{Reply: c.startTLSReply, Err: ErrNoStartTLS}
		}
		// Offered and refused: no handshake was begun, so the dialogue is intact.
		return nil
	}
	if c.r.buffered() > 0 {
		return &TLSError{Err: ErrStartTLSInjection}
	}
	if err := c.handshake(); err != nil {
		return err
	}
	// RFC 3207 §4.2: what was learnt in plaintext is forgotten.
	c.ext = Extensions{}
	return c.hello()
}

// handshake puts TLS over the connection. After it failed nothing may be sent.
func (c *Client) handshake() error {
	t := tls.Client(c.raw, c.tlsConfig())
	err := c.raw.SetDeadline(time.Now().Add(c.t.TLS))
	if err == nil {
		err = c.ctx.Err() // after the deadline: see readReply
	}
	if err == nil {
		err = t.Handshake()
	}
	if err != nil {
		return &TLSError{Err: c.broken(StageStartTLS, err)}
	}
	c.conn = t
	return nil
}

func (c *Client) tlsConfig() *tls.Config {
	config := c.o.TLSConfig
	if config == nil {
		config = &tls.Config{}
		if c.o.TLS == TLSOpportunistic {
			config = opportunisticTLS
		}
	}
	if config.ServerName == "" && c.o.Host != "" {
		config = config.Clone()
		config.ServerName = strings.TrimSuffix(c.o.Host, ".")
	}
	return config
}

// opportunisticTLS takes what is better than plaintext: any certificate, old
// versions, and the suites without forward secrecy that Go no longer offers by
// itself but that old hosts still have only.
var opportunisticTLS = &tls.Config{
	InsecureSkipVerify: true,
	MinVersion:         tls.VersionTLS10,
	CipherSuites: []uint16{
		tls.TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256, tls.TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256,
		tls.TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384, tls.TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384,
		tls.TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256, tls.TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305_SHA256,
		tls.TLS_ECDHE_ECDSA_WITH_AES_128_CBC_SHA, tls.TLS_ECDHE_RSA_WITH_AES_128_CBC_SHA,
		tls.TLS_ECDHE_ECDSA_WITH_AES_256_CBC_SHA, tls.TLS_ECDHE_RSA_WITH_AES_256_CBC_SHA,
		tls.TLS_RSA_WITH_AES_128_GCM_SHA256, tls.TLS_RSA_WITH_AES_256_GCM_SHA384,
		tls.TLS_RSA_WITH_AES_128_CBC_SHA, tls.TLS_RSA_WITH_AES_256_CBC_SHA,
	},
}
