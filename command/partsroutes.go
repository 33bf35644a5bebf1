package command

import (
	"bytes"
	"crypto/x509"
	"errors"
	"fmt"
	"os"

	"github.com/tarishi/tarishi/daemon"
	"github.com/tarishi/tarishi/deliverer"
	"github.com/tarishi/tarishi/smtp"
)

// routesOf are the routes of the configuration, local domains' too.
func routesOf(c *daemon.Config) (*deliverer.Routes, error) {
	var routes []deliverer.Route
	for i, r := range c.Routes {
		route := deliverer.Route{Name: r.Name, To: r.To, Via: r.Via, TLS: r.TLS}
		var err error
		if route.Roots, err = authorities(r.CA); err != nil {
			return nil, fmt.Errorf("routes[%d].ca: %w", i, err)
		}
		if route.Login, err = loginOf(r.Auth); err != nil {
			return nil, fmt.Errorf("routes[%d].auth: %w", i, err)
		}
		routes = append(routes, route)
	}
	if c.Local.Via != "" {
		for _, d := range c.Local.Domains {
			routes = append(routes, deliverer.Route{To: d, Via: c.Local.Via})
		}
	}
	return deliverer.NewRoutes(routes)
}

// authorities reads a PEM file; nil: none is given.
func authorities(file string) (*x509.CertPool, error) {
	if file == "" {
		return nil, nil
	}
	b, err := os.ReadFile(file)
	if err != nil {
		return nil, err
	}
	pool := x509.NewCertPool()
	if !pool.AppendCertsFromPEM(b) {
		return nil, fmt.Errorf("%s holds no certificate; write PEM", file)
	}
	return pool, nil
}

// loginOf is how we prove who we are; nil: we do not. The file of the password must be
// there now, and is read whenever it is needed.
func loginOf(a daemon.Login) (*smtp.Login, error) {
	if a.User == "" {
		return nil, nil
	}
	password := func() (string, error) { return passwordIn(a.PasswordFile) }
	if _, err := password(); err != nil {
		return nil, err
	}
	return &smtp.Login{User: a.User, Password: password, Mechanism: a.Mechanism, Insecure: a.Insecure}, nil
}

// passwordIn is the first line of a file.
func passwordIn(file string) (string, error) {
	b, err := os.ReadFile(file)
	if err != nil {
		return "", fmt.Errorf("the password cannot be read: %w", err)
	}
	line, _, _ := bytes.Cut(b, []byte("\n"))
	line = bytes.TrimSuffix(line, []byte("\r"))
	if len(line) == 0 {
		return "", errors.New("no password stands in the first line of " + file)
	}
	return string(line), nil
}
