package certs

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"fmt"
	"log/slog"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// made returns a certificate for names, and its key, in PEM. serial tells it from others.
func made(t *testing.T, serial int64, until time.Time, names ...string) (cert, key []byte) {
	t.Helper()
	k, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	c := &x509.Certificate{SerialNumber: big.NewInt(serial), Subject: pkix.Name{CommonName: names[0]}, DNSNames: names, NotBefore: time.Unix(0, 0), NotAfter: until}
	der, err := x509.CreateCertificate(rand.Reader, c, c, k.Public(), k)
	if err != nil {
		t.Fatal(err)
	}
	kder, err := x509.MarshalPKCS8PrivateKey(k)
	if err != nil {
		t.Fatal(err)
	}
	return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}), pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: kder})
}

var later = time.Date(2100, 1, 1, 0, 0, 0, 0, time.UTC)

// writes is how often put has written: it is the files' time, so that a change is seen
// however quickly it follows the last.
var writes int64

func put(t *testing.T, path string, data []byte) {
	t.Helper()
	_ = os.MkdirAll(filepath.Dir(path), 0o700)
	if err := os.WriteFile(path, data, 0o600); err != nil {
		t.Fatal(err)
	}
	writes++
	if err := os.Chtimes(path, time.Time{}, time.Unix(1e9+writes, 0)); err != nil {
		t.Fatal(err)
	}
}

// shakes makes a TLS handshake with s and returns the serial number of what it got.
func shakes(t *testing.T, s *Store, name string) int64 {
	t.Helper()
	ours, theirs := net.Pipe()
	defer ours.Close()
	defer theirs.Close()
	go func() { _ = tls.Server(theirs, &tls.Config{GetCertificate: s.Get}).Handshake() }()
	c := tls.Client(ours, &tls.Config{ServerName: name, InsecureSkipVerify: true})
	if err := c.Handshake(); err != nil {
		t.Fatalf("%s: %v", name, err)
	}
	return c.ConnectionState().PeerCertificates[0].SerialNumber.Int64()
}

func TestE3_name(t *testing.T) {
	dir := t.TempDir()
	c, k := made(t, 1, later, "mx.example.net")
	put(t, dir+"/own.crt", c)
	put(t, dir+"/own.key", k)
	c, k = made(t, 2, later, "mail.example.com", "*.example.com")
	put(t, dir+"/more/a.pem", append(c, k...))
	c, k = made(t, 3, later, "mx.example.org")
	put(t, dir+"/more/mx.example.org/fullchain.pem", c)
	put(t, dir+"/more/mx.example.org/privkey.pem", k)
	c, k = made(t, 4, later, "deep.mx.example.com")
	put(t, dir+"/more/b.crt", c)
	put(t, dir+"/more/b.key", k)
	put(t, dir+"/more/README", []byte("nothing"))
	put(t, dir+"/more/.hidden.pem", []byte("nothing"))
	s, err := Open(Options{Cert: dir + "/own.crt", Key: dir + "/own.key", Folder: dir + "/more", Name: "mx.example.net"})
	if err != nil {
		t.Fatal(err)
	}
	for name, want := range map[string]int64{
		"mx.example.net": 1, "": 1, "nobody.test": 1, "mail.example.com": 2, "MAIL.Example.COM": 2, "other.example.com": 2,
		"a.b.example.com": 1, "example.com": 1, "mx.example.org": 3, "deep.mx.example.com": 4,
	} {
		if got := shakes(t, s, name); got != want {
			t.Errorf("%q got certificate %d, want %d", name, got, want)
		}
	}
	if n := len(s.List()); n != 4 {
		t.Errorf("%d listed", n)
	}
}

// Without smtp.tls.cert the folder has to hold one for our own name.
func TestE3_defaultOutOfFolder(t *testing.T) {
	dir := t.TempDir()
	c, k := made(t, 1, later, "a.test")
	put(t, dir+"/a.pem", append(c, k...))
	if _, err := Open(Options{Folder: dir, Name: "mx.test"}); err == nil || !strings.Contains(err.Error(), "no certificate for mx.test") {
		t.Error(err)
	}
	c, k = made(t, 2, later, "*.test")
	put(t, dir+"/z.pem", append(c, k...))
	s, err := Open(Options{Folder: dir, Name: "mx.test"})
	if err != nil {
		t.Fatal(err)
	}
	if got := shakes(t, s, "nobody.example"); got != 2 {
		t.Errorf("certificate %d", got)
	}
}

func TestOpen_faults(t *testing.T) {
	for name, x := range map[string]struct {
		files map[string]string // c1 is certificate 1, k2 the key of 2; else as it stands
		want  string
	}{
		"no key":      {map[string]string{"a.crt": "c1"}, "a.key: no such file"},
		"other's key": {map[string]string{"a.crt": "c1", "a.key": "k2"}, "a.crt with "},
		"no PEM":      {map[string]string{"a.pem": "hello"}, "a.pem: "},
		"no key in":   {map[string]string{"a.pem": "c1"}, "a.pem: "},
		"no folder":   {nil, "no such file"},
	} {
		t.Run(name, func(t *testing.T) {
			dir := filepath.Join(t.TempDir(), "certs")
			parts := map[string][]byte{}
			for i := range int64(2) {
				c, k := made(t, i+1, later, "mx.test")
				parts[fmt.Sprint("c", i+1)], parts[fmt.Sprint("k", i+1)] = c, k
			}
			for f, text := range x.files {
				data, ok := parts[text]
				if !ok {
					data = []byte(text)
				}
				put(t, dir+"/"+f, data)
			}
			if _, err := Open(Options{Folder: dir, Name: "mx.test"}); err == nil || !strings.Contains(err.Error(), x.want) {
				t.Errorf("%v, want %s", err, x.want)
			}
		})
	}
}

// A new file is in force at the next look; a broken one leaves what was there, is spoken
// of once, and hinders nobody else's.
func TestLook(t *testing.T) {
	dir := t.TempDir()
	c1, k1 := made(t, 1, later, "a.test")
	c2, k2 := made(t, 2, later, "a.test")
	c3, k3 := made(t, 3, later, "b.test")
	put(t, dir+"/a.crt", c1)
	put(t, dir+"/a.key", k1)
	var log bytes.Buffer
	s, err := Open(Options{Folder: dir, Name: "a.test", Log: slog.New(slog.NewTextHandler(&log, nil))})
	if err != nil {
		t.Fatal(err)
	}
	look := func(a, b int64, problems int, said string) {
		t.Helper()
		log.Reset()
		s.Look()
		if got := shakes(t, s, "a.test"); got != a {
			t.Errorf("a.test: certificate %d, want %d", got, a)
		}
		if got := shakes(t, s, "b.test"); got != b {
			t.Errorf("b.test: certificate %d, want %d", got, b)
		}
		n := 0
		for _, c := range s.List() {
			if c.Problem != "" {
				n++
			}
		}
		if n != problems {
			t.Errorf("%d problems, want %d: %+v", n, problems, s.List())
		}
		if said == "" && log.Len() > 0 || !strings.Contains(log.String(), said) {
			t.Errorf("log %q, want %q", log.String(), said)
		}
		if strings.Contains(log.String(), "PRIVATE") {
			t.Error("a key in the log")
		}
	}
	look(1, 1, 0, "")
	put(t, dir+"/a.crt", c2) // its key is still to come
	put(t, dir+"/b.pem", append(c3, k3...))
	look(1, 3, 1, "level=ERROR")
	look(1, 3, 1, "") // not again
	put(t, dir+"/a.key", k2)
	look(2, 3, 0, "read anew")
	put(t, dir+"/b.pem", []byte("-----BEGIN"))
	look(2, 3, 1, "b.pem")
	put(t, dir+"/new.pem", nil)
	look(2, 3, 1, "new.pem")
	_ = os.Remove(dir + "/b.pem")
	_ = os.Remove(dir + "/new.pem")
	look(2, 2, 0, "read anew")
	_ = os.Remove(dir + "/a.crt")
	look(2, 2, 1, "no certificate for a.test any more")
	put(t, dir+"/a.crt", c2)
	look(2, 2, 0, "read anew")
	_ = os.RemoveAll(dir)
	look(2, 2, 1, "level=ERROR")
	look(2, 2, 1, "")
}

func TestWarn(t *testing.T) {
	dir := t.TempDir()
	now := time.Now()
	c, k := made(t, 1, now.Add(10*24*time.Hour), "a.test")
	put(t, dir+"/a.pem", append(c, k...))
	var log bytes.Buffer
	s, err := Open(Options{Folder: dir, Name: "a.test", Log: slog.New(slog.NewTextHandler(&log, nil))})
	if err != nil {
		t.Fatal(err)
	}
	for _, x := range []struct {
		at   time.Duration // from now
		want string
	}{{-5 * 24 * time.Hour, ""}, {0, "runs out soon"}, {time.Hour, ""}, {25 * time.Hour, "runs out soon"}, {11 * 24 * time.Hour, "has run out"}} {
		log.Reset()
		s.warn(now.Add(x.at))
		if got := log.String(); (got == "") != (x.want == "") || !strings.Contains(got, x.want) {
			t.Errorf("after %v: %q", x.at, got)
		}
	}
}
