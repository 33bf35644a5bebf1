// Package certs answers one question: which certificate does a TLS client get?
//
// It reads certificates from files, finds the one for the name a client asks for (SNI,
// RFC 6066 §3), and looks every other second whether the files have changed. A change
// is in force for the next handshake; connections that stand are left alone. A file that
// cannot be used leaves the certificate of before in force, and the log and the list
// say so.
//
// The package never makes a certificate, never asks anybody for one, and never checks
// whether a client would trust it.
package certs

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"
)

// Options say where the certificates are.
type Options struct {
	Cert, Key string // files of the one for clients that ask for no name, or for nobody's; empty: that for Name out of Folder
	Folder    string // of further ones, see Open; empty: none
	Name      string // our host name
	Log       *slog.Logger
}

// Store holds the certificates in force. Safe for concurrent use.
type Store struct {
	o   Options
	now atomic.Pointer[set]

	mu     sync.Mutex // of those who read the files
	stamps map[string]stamp
	warned map[string]time.Time // by file: when it was last said that it runs out
}

// set is what is in force at a time. It does not change.
type set struct {
	entries []*entry
	byName  map[string][]*entry // also "*.example.net"
	first   *entry              // for who asks for nobody
}

// entry is one certificate with its key.
type entry struct {
	Certificate
	cert tls.Certificate
	key  string // the file of its key
}

// Certificate is one of them, for people.
type Certificate struct {
	File     string // its chain
	Names    []string
	NotAfter time.Time
	Default  bool
	Problem  string // why what is in File now is not in force; empty: it is
}

// Open reads the certificates. In the folder these are taken, each for the names that
// stand in it:
//
//	NAME.pem                             chain and key in one
//	NAME.crt with NAME.key               chain and key
//	NAME/fullchain.pem with NAME/privkey.pem   as ACME clients leave them
//
// Files of other names, and those that begin with a dot, are nothing to us. Any fault is
// an error now; later, see Look.
func Open(o Options) (*Store, error) {
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	s := &Store{o: o, stamps: map[string]stamp{}, warned: map[string]time.Time{}}
	s.now.Store(&set{})
	if err := s.read(); err != nil {
		return nil, err
	}
	if s.now.Load().first == nil {
		return nil, fmt.Errorf("%s: no certificate for %s, nor one to use where clients ask for no name", o.Folder, o.Name)
	}
	return s, nil
}

// Run looks for changes until ctx ends.
func (s *Store) Run(ctx context.Context) error {
	tick := time.NewTicker(2 * time.Second)
	defer tick.Stop()
	for {
		s.Look()
		s.warn(time.Now())
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
		}
	}
}

// Look reads the files anew if any has changed. What cannot be read leaves what was
// there of the same file in force.
func (s *Store) Look() {
	if !s.changed() {
		return
	}
	if err := s.read(); err != nil {
		s.o.Log.Error("certificates: not all files can be used; what was in force of them stays", "error", err)
		return
	}
	s.o.Log.Info("certificates read anew", "count", len(s.now.Load().entries))
}

// read takes over what is good of the files, and tells of the rest.
func (s *Store) read() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	old := s.now.Load()
	pairs, faults := s.pairs()
	s.stamps = stampsOf(s.o.Folder, pairs)
	next := &set{byName: map[string][]*entry{}}
	for _, p := range pairs {
		e, err := load(p)
		if err != nil {
			faults = append(faults, err)
			if e = old.of(p.cert); e == nil {
				continue
			}
			kept := *e // it may be in use
			kept.Problem = err.Error()
			e = &kept
		}
		next.add(e, s.o)
	}
	if next.first == nil && old.first != nil {
		faults = append(faults, fmt.Errorf("%s: there is no certificate for %s any more", s.o.Folder, s.o.Name))
		kept := *old.first
		kept.Problem = "its file is gone"
		next.add(&kept, s.o)
	}
	s.now.Store(next)
	return errors.Join(faults...)
}

func (n *set) of(file string) *entry {
	for _, e := range n.entries {
		if e.File == file {
			return e
		}
	}
	return nil
}

// add takes in one. The default is the one that was named so, else the first for our name.
func (n *set) add(e *entry, o Options) {
	n.entries = append(n.entries, e)
	for _, name := range e.Names {
		n.byName[name] = append(n.byName[name], e)
	}
	e.Default = e.File == o.Cert || o.Cert == "" && n.first == nil && covers(e.Names, strings.ToLower(o.Name))
	if e.Default {
		n.first = e
	}
}

// Get is tls.Config.GetCertificate: the certificate for the name the client asks for, in a
// kind that the client can use where there are several; else the default.
func (s *Store) Get(h *tls.ClientHelloInfo) (*tls.Certificate, error) {
	n := s.now.Load()
	for _, name := range forms(strings.ToLower(strings.TrimSuffix(h.ServerName, "."))) {
		es := n.byName[name]
		for _, e := range es {
			if h.SupportsCertificate(&e.cert) == nil {
				return &e.cert, nil
			}
		}
		if len(es) > 0 {
			return &es[0].cert, nil // the handshake says what is wrong
		}
	}
	return &n.first.cert, nil
}

// forms are the names a certificate for name may bear: itself, and with a wildcard for
// its first label (RFC 6125 §6.4.3).
func forms(name string) []string {
	if _, parent, ok := strings.Cut(name, "."); ok {
		return []string{name, "*." + parent}
	}
	return []string{name}
}

func covers(names []string, name string) bool {
	return slices.ContainsFunc(forms(name), func(f string) bool { return slices.Contains(names, f) })
}

// List is what is in force, by file.
func (s *Store) List() []Certificate {
	var out []Certificate
	for _, e := range s.now.Load().entries {
		out = append(out, e.Certificate)
	}
	return out
}

// soon is how long before its end a certificate is spoken of.
const soon = 14 * 24 * time.Hour

// warn says, once a day, which certificates run out.
func (s *Store) warn(now time.Time) {
	for _, e := range s.now.Load().entries {
		if e.NotAfter.Sub(now) > soon || now.Sub(s.warned[e.File]) < 24*time.Hour {
			continue
		}
		s.warned[e.File] = now
		word := "certificate runs out soon"
		if now.After(e.NotAfter) {
			word = "certificate has run out"
		}
		s.o.Log.Warn(word, "file", e.File, "names", strings.Join(e.Names, " "), "not_after", e.NotAfter)
	}
}

// namesOf are the names of a certificate, in lower case.
func namesOf(c *x509.Certificate) []string {
	var names []string
	for _, n := range c.DNSNames {
		names = append(names, strings.ToLower(n))
	}
	return names
}
