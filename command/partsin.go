package command

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/netip"
	"slices"

	"github.com/tarishi/tarishi/auth"
	"github.com/tarishi/tarishi/certs"
	"github.com/tarishi/tarishi/daemon"
	"github.com/tarishi/tarishi/dns"
	"github.com/tarishi/tarishi/ingress"
	"github.com/tarishi/tarishi/mail"
	"github.com/tarishi/tarishi/queue"
	"github.com/tarishi/tarishi/smtp"
)

func newPolicy(c *daemon.Config, q *queue.Queue, p *pluginHost, folder string, resolver *dns.Resolver, log *slog.Logger) (*ingress.Handler, error) {
	logins, err := newAuth(c, log)
	if err != nil {
		return nil, err
	}
	policy := policyOf(c, resolver, log)
	if policy.Owns, err = owns(c, log); err != nil {
		return nil, err
	}
	policy.Auth, policy.Suppressed, policy.Plugins, policy.Spool = logins, suppressedAtAccept(c, q), &p.loader.Current, folder
	return ingress.New(policy, ingress.Store{
		NewWriter: func(id string) ingress.Writer { return q.NewWriter(id) },
		Room:      q.Room,
		Full:      queue.ErrFull,
	}), nil
}

// policyOf is what the configuration alone says of mail coming in.
func policyOf(c *daemon.Config, resolver *dns.Resolver, log *slog.Logger) ingress.Policy {
	return ingress.Policy{
		Hostname: c.SMTP.Hostname, RelayFrom: c.SMTP.RelayFrom, Clients: clientsOf(c), TenantClass: c.TenantClasses(), LocalDomains: c.Local.Domains,
		Postmaster: c.Local.Postmaster, MaxRecipients: c.SMTP.MaxRecipients, MaxReceived: c.SMTP.MaxReceived,
		MaxHeader: int64(c.SMTP.MaxHeaderSize), Expire: c.Retry.Expire, TenantHeader: c.SMTP.TenantHeader, Log: log,
		Headers: ingress.Headers{
			Class: c.SMTP.Headers.Class, SendAt: c.SMTP.Headers.SendAt, Expires: c.SMTP.Headers.Expires, Hours: c.SMTP.Headers.Hours,
		},
		FarthestSendAt: orNever(c.SMTP.FarthestSendAt), ShortestLife: c.SMTP.ShortestExpiry, LongestLife: c.SMTP.LongestExpiry,
		TenantHours: c.TenantHours(),
		ReverseName: func(ctx context.Context, ip netip.Addr) string { return verifiedName(ctx, resolver, ip) },
	}
}

// newAuth reads the file of users; nil: there is none.
func newAuth(c *daemon.Config, log *slog.Logger) (*ingress.Auth, error) {
	a := c.SMTP.Auth
	if a.Users == "" {
		return nil, nil
	}
	if !c.SMTP.TLS.HasCertificate() && !a.Insecure {
		return nil, errors.New("smtp.auth: AUTH is offered with TLS only, and there is no certificate; set smtp.tls, or smtp.auth.insecure: true where the network is yours alone")
	}
	f, err := auth.Open(a.Users, log)
	if err != nil {
		return nil, fmt.Errorf("smtp.auth.users: %w", err)
	}
	out := &ingress.Auth{Users: f.Users, Insecure: a.Insecure}
	for _, m := range a.Mechanisms {
		out.Mechanisms = append(out.Mechanisms, auth.Mechanism(m))
	}
	return out, nil
}

// clientsOf are the clients of the configuration, an entry for each network.
func clientsOf(c *daemon.Config) []ingress.Client {
	var out []ingress.Client
	for _, x := range c.SMTP.Clients {
		var class *mail.Class
		if x.Class != "" {
			k, _ := mail.ParseClass(x.Class) // its enum has been checked
			class = &k
		}
		for _, n := range x.From {
			out = append(out, ingress.Client{From: n, Tenant: x.Tenant, Class: class})
		}
	}
	return out
}

func newServer(c *daemon.Config, h smtp.Handler, store *certs.Store, log *slog.Logger) *smtp.Server {
	l, w := c.SMTP.Limits, c.SMTP.Timeouts
	return &smtp.Server{
		Hostname: c.SMTP.Hostname, Handler: h, TLS: tlsConfig(store), Log: log, LaxPaths: c.SMTP.LaxPaths,
		// Our own hosts may open as many connections as the node has.
		Exempt: func(ip netip.Addr) bool {
			return slices.ContainsFunc(c.SMTP.RelayFrom, func(p netip.Prefix) bool { return p.Contains(ip) })
		},
		Limits: smtp.Limits{
			Connections: l.Connections, PerIP: l.ConnectionsPerIP, BodyLine: int(l.BodyLine),
			MessageSize: int64(c.SMTP.MaxMessageSize), Discard: int64(l.Discard), Recipients: c.SMTP.MaxRecipients,
			Errors: l.Errors, Junk: l.Junk, Refusals: l.Refusals,
		},
		Timeouts: smtp.Timeouts{
			Command: w.Command, Block: w.Block, Message: w.Message, Session: w.Session,
			Handshake: w.Handshake, Write: w.Write, Greeting: w.Greeting, MinRate: orNone(int(w.MinRate)),
		},
	}
}

// orNone turns the configuration's "0: any" into the engine's.
func orNone(n int) int {
	if n == 0 {
		return -1
	}
	return n
}
