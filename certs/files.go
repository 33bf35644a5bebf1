package certs

import (
	"crypto/tls"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"strings"
	"time"
)

// pair is a certificate's two files, which may be one.
type pair struct{ cert, key string }

// stamp tells whether a file is still the same.
type stamp struct {
	at   time.Time
	size int64
}

// maxFile bounds a file of certificates, in octets.
const maxFile = 1 << 20

// pairs lists the files there are, in the order of their names, and what is wrong with
// the list.
func (s *Store) pairs() (out []pair, faults []error) {
	if s.o.Cert != "" {
		out = append(out, pair{s.o.Cert, s.o.Key})
	}
	if s.o.Folder == "" {
		return out, nil
	}
	list, err := os.ReadDir(s.o.Folder)
	if err != nil {
		return out, []error{err}
	}
	for _, f := range list {
		name, path := f.Name(), filepath.Join(s.o.Folder, f.Name())
		switch base, ext := strings.TrimSuffix(path, filepath.Ext(path)), filepath.Ext(name); {
		case strings.HasPrefix(name, "."):
		case ext == ".pem":
			out = append(out, pair{path, path})
		case ext == ".crt":
			out = append(out, pair{path, base + ".key"})
		default:
			chain := filepath.Join(path, "fullchain.pem")
			if _, err := os.Stat(chain); err == nil {
				out = append(out, pair{chain, filepath.Join(path, "privkey.pem")})
			}
		}
	}
	return out, nil
}

// load reads one certificate. Its error names the files and never shows what is in them.
func load(p pair) (*entry, error) {
	chain, err := readFile(p.cert)
	if err != nil {
		return nil, err
	}
	key, err := readFile(p.key)
	if err != nil {
		return nil, err
	}
	c, err := tls.X509KeyPair(chain, key)
	if err != nil {
		with := ""
		if p.key != p.cert {
			with = " with " + p.key
		}
		return nil, fmt.Errorf("%s%s: %s", p.cert, with, strings.TrimPrefix(err.Error(), "tls: "))
	}
	return &entry{Certificate: Certificate{File: p.cert, Names: namesOf(c.Leaf), NotAfter: c.Leaf.NotAfter}, cert: c, key: p.key}, nil
}

func readFile(path string) ([]byte, error) {
	i, err := os.Stat(path)
	if err != nil {
		return nil, err
	}
	if i.IsDir() || i.Size() > maxFile {
		return nil, &fs.PathError{Op: "read", Path: path, Err: errors.New("not a file of a certificate or a key")}
	}
	return os.ReadFile(path)
}

// changed tells whether any file is another than when they were read.
func (s *Store) changed() bool {
	pairs, _ := s.pairs()
	s.mu.Lock()
	defer s.mu.Unlock()
	return !maps.Equal(s.stamps, stampsOf(s.o.Folder, pairs))
}

// stampsOf are the stamps of all files, of those that are missing the zero one. The
// folder's is one of them: it may be gone as a whole.
func stampsOf(folder string, pairs []pair) map[string]stamp {
	m := map[string]stamp{}
	note := func(path string, times bool) {
		i, err := os.Stat(path)
		switch {
		case err != nil:
			m[path] = stamp{}
		case times:
			m[path] = stamp{i.ModTime(), i.Size()}
		default:
			m[path] = stamp{size: 1}
		}
	}
	if folder != "" {
		note(folder, false)
	}
	for _, p := range pairs {
		note(p.cert, true)
		note(p.key, true)
	}
	return m
}
