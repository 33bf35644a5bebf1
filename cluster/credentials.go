package cluster

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"os"
	"slices"
	"sync"
	"time"
)

// Credentials are a node's certificate and the authority all nodes' certificates come
// from. The files are read again when they change, so a renewed certificate needs no
// restart. Certificates carry nodes' names, not addresses: nodes may move.
type Credentials struct {
	caFile, certFile, keyFile string

	mu      sync.Mutex
	checked time.Time
	stamps  [3]time.Time
	pool    *x509.CertPool
	cert    *tls.Certificate
}

// LoadCredentials reads the PEM files and checks that they belong together and that the
// certificate carries the node's name.
func LoadCredentials(caFile, certFile, keyFile, node string) (*Credentials, error) {
	c := &Credentials{caFile: caFile, certFile: certFile, keyFile: keyFile}
	pool, cert, err := c.read()
	if err != nil {
		return nil, err
	}
	chain, err := parseChain(cert)
	if err != nil {
		return nil, fmt.Errorf("certificate %s: %w", certFile, err)
	}
	if err := verify(pool, chain, node); err != nil {
		return nil, fmt.Errorf("%s cannot be used by node %s: %w", certFile, node, err)
	}
	c.pool, c.cert, c.stamps = pool, cert, c.times()
	return c, nil
}

func (c *Credentials) read() (*x509.CertPool, *tls.Certificate, error) {
	ca, err := os.ReadFile(c.caFile)
	if err != nil {
		return nil, nil, err
	}
	pool := x509.NewCertPool()
	if !pool.AppendCertsFromPEM(ca) {
		return nil, nil, fmt.Errorf("%s holds no certificate (PEM)", c.caFile)
	}
	cert, err := tls.LoadX509KeyPair(c.certFile, c.keyFile)
	if err != nil {
		return nil, nil, fmt.Errorf("certificate %s with key %s: %w", c.certFile, c.keyFile, err)
	}
	return pool, &cert, nil
}

func parseChain(c *tls.Certificate) (chain []*x509.Certificate, err error) {
	for _, der := range c.Certificate {
		p, err := x509.ParseCertificate(der)
		if err != nil {
			return nil, err
		}
		chain = append(chain, p)
	}
	return chain, nil
}

func (c *Credentials) times() (t [3]time.Time) {
	for i, f := range []string{c.caFile, c.certFile, c.keyFile} {
		if st, err := os.Stat(f); err == nil {
			t[i] = st.ModTime()
		}
	}
	return t
}

// now returns what holds now. Files that cannot be read, as while they are being
// replaced, leave what was read before in force.
func (c *Credentials) now() (*x509.CertPool, *tls.Certificate) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if time.Since(c.checked) > 10*time.Second {
		c.checked = time.Now()
		if t := c.times(); t != c.stamps {
			if pool, cert, err := c.read(); err == nil {
				c.pool, c.cert, c.stamps = pool, cert, t
			}
		}
	}
	return c.pool, c.cert
}

// server is the accepting side of any connection between nodes: TLS 1.3, both sides
// show a certificate. names tells which names are welcome; nil: any of our authority.
func (c *Credentials) server(welcome func(names []string) error) *tls.Config {
	return &tls.Config{
		MinVersion:             tls.VersionTLS13,
		ClientAuth:             tls.RequireAnyClientCert, // verified below, against the pool of now
		SessionTicketsDisabled: true,                     // every connection is verified in full
		GetCertificate: func(*tls.ClientHelloInfo) (*tls.Certificate, error) {
			_, cert := c.now()
			return cert, nil
		},
		VerifyConnection: func(s tls.ConnectionState) error { return c.verify(s, welcome) },
	}
}

// client is the dialling side. It verifies like server does: by node names, not by the
// host dialled, hence InsecureSkipVerify, which leaves verification to us.
func (c *Credentials) client(welcome func(names []string) error) *tls.Config {
	return &tls.Config{
		MinVersion:         tls.VersionTLS13,
		InsecureSkipVerify: true,
		GetClientCertificate: func(*tls.CertificateRequestInfo) (*tls.Certificate, error) {
			_, cert := c.now()
			return cert, nil
		},
		VerifyConnection: func(s tls.ConnectionState) error { return c.verify(s, welcome) },
	}
}

func (c *Credentials) verify(s tls.ConnectionState, welcome func(names []string) error) error {
	pool, _ := c.now()
	if err := verify(pool, s.PeerCertificates, ""); err != nil {
		return err
	}
	if welcome == nil {
		return nil
	}
	return welcome(s.PeerCertificates[0].DNSNames)
}

// verify checks that a certificate comes from the authority and, when a node is named,
// carries its name.
func verify(pool *x509.CertPool, chain []*x509.Certificate, node string) error {
	if len(chain) == 0 {
		return errors.New("no certificate was shown")
	}
	between := x509.NewCertPool()
	for _, c := range chain[1:] {
		between.AddCert(c)
	}
	if _, err := chain[0].Verify(x509.VerifyOptions{
		Roots: pool, Intermediates: between,
		KeyUsages: []x509.ExtKeyUsage{x509.ExtKeyUsageAny},
	}); err != nil {
		return fmt.Errorf("the certificate was not issued by this cluster's authority, or is not valid now: %w", err)
	}
	if node != "" {
		return carries(chain[0].DNSNames, node)
	}
	return nil
}

// carries checks that a node's name is among a certificate's.
func carries(names []string, node string) error {
	if slices.Contains(names, node) {
		return nil
	}
	return fmt.Errorf("the certificate does not carry the node's name %q (it carries %q)", node, names)
}

// ClientTLS is what a client of this cluster's NATS needs (nats.Secure). It talks to
// any node whose certificate comes from the authority.
func (c *Credentials) ClientTLS() *tls.Config { return c.client(nil) }
