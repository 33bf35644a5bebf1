package command

import (
	"crypto/tls"
	"fmt"
	"io"
	"log/slog"
	"time"

	"github.com/tarishi/tarishi/admin"
	"github.com/tarishi/tarishi/auth"
	"github.com/tarishi/tarishi/certs"
	"github.com/tarishi/tarishi/daemon"
	"github.com/tarishi/tarishi/ingress"
	"github.com/tarishi/tarishi/mail"
	"github.com/tarishi/tarishi/smtp"
)

// listenersOf are the addresses for SMTP and what each is for.
func listenersOf(c *daemon.Config) []ingress.Listener {
	var out []ingress.Listener
	for _, l := range c.SMTP.Listeners() {
		out = append(out, ingress.Listener{Address: l.Address, Port: smtp.Port{
			TLS: l.Implicit(), Submission: l.Submission, Proxies: l.ProxyFrom, XClients: c.SMTP.XClientFrom,
		}})
	}
	return out
}

// openCerts reads the certificates; nil: there are none, and no TLS.
func openCerts(c *daemon.Config, log *slog.Logger) (*certs.Store, error) {
	t := c.SMTP.TLS
	if !t.HasCertificate() {
		return nil, nil
	}
	s, err := certs.Open(certs.Options{Cert: t.Cert, Key: t.Key, Folder: t.Folder, Name: c.SMTP.Hostname, Log: log})
	if err != nil {
		return nil, fmt.Errorf("smtp.tls: %w", err)
	}
	return s, nil
}

func tlsConfig(s *certs.Store) *tls.Config {
	if s == nil {
		return nil
	}
	return &tls.Config{GetCertificate: s.Get}
}

// certificateStats tell how long the certificates will do.
func certificateStats(s *certs.Store) []admin.Certificate {
	if s == nil {
		return nil
	}
	var out []admin.Certificate
	for _, c := range s.List() {
		out = append(out, admin.Certificate{File: c.File, Names: c.Names, NotAfter: c.NotAfter.UTC().Truncate(time.Second), Default: c.Default, Problem: c.Problem})
	}
	return out
}

// owns reads the file of senders; nil: users may send as anybody.
func owns(c *daemon.Config, log *slog.Logger) (func(user string, from mail.Address) bool, error) {
	if c.SMTP.Auth.Senders == "" {
		return nil, nil
	}
	f, err := auth.OpenSenders(c.SMTP.Auth.Senders, log)
	if err != nil {
		return nil, fmt.Errorf("smtp.auth.senders: %w", err)
	}
	return f.Owns, nil
}

// certificateLines tell people when certificates run out, and which files are no good.
func certificateLines(w io.Writer, list []admin.Certificate) {
	first, _ := admin.FirstExpiry(list)
	fmt.Fprintf(w, "Certificates: %d; the first, %s, runs out on %s.\n", len(list), clean(first.File), first.NotAfter.Format(time.DateOnly))
	for _, c := range list {
		if c.Problem != "" {
			fmt.Fprintf(w, "CERTIFICATE NOT REPLACED  %s\n", clean(c.Problem))
		}
	}
}
