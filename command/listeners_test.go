package command

import (
	"bufio"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"fmt"
	"io"
	"math/big"
	"net"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// certificate writes one for name, and its key, into a file.
func certificate(t *testing.T, file, name string) {
	t.Helper()
	k, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	c := &x509.Certificate{SerialNumber: big.NewInt(1), DNSNames: []string{name}, NotAfter: time.Now().Add(time.Hour)}
	der, err := x509.CreateCertificate(rand.Reader, c, c, k.Public(), k)
	if err != nil {
		t.Fatal(err)
	}
	kder, err := x509.MarshalPKCS8PrivateKey(k)
	if err != nil {
		t.Fatal(err)
	}
	write(t, file, string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}))+string(pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: kder})))
}

// A submission port with TLS from the first octet, behind a proxy, with certificates by
// name; and one for everybody, where XCLIENT is believed.
func TestListeners(t *testing.T) {
	folder := t.TempDir()
	certificate(t, filepath.Join(folder, "a.pem"), "mx.n.example")
	certificate(t, filepath.Join(folder, "b.pem"), "mail.other.example")
	write(t, filepath.Join(folder, "users"), "ann:{CLEAR}secret\n")
	write(t, filepath.Join(folder, "senders"), "ann: ann@n.example\n")
	n := startServe(t, fmt.Sprintf(`
hostname: mx.n.example
drain: 0s
data: %[1]s/data
smtp:
  listen: ["127.0.0.1:0"]
  relay_from: ["203.0.113.0/24"]
  xclient_from: ["127.0.0.1"]
  tls: {folder: %[1]s}
  auth: {users: %[1]s/users, senders: %[1]s/senders}
  listeners: [{address: "127.0.0.1:0", submission: true, tls: implicit, proxy_from: ["127.0.0.0/8"]}]
admin: {listen: "127.0.0.1:0"}
log: {level: error}
`, folder))
	defer n.stop(t)
	ports := strings.FieldsFunc(n.smtp, func(r rune) bool { return r == ',' || r == ' ' })
	if len(ports) < 2 {
		t.Fatal(n.smtp)
	}
	plain, submission := ports[0], ports[len(ports)-1]

	c := talk{t: t}
	c.dial(submission)
	c.write("PROXY TCP4 198.51.100.7 203.0.113.1 4096 465\r\n")
	if names := c.shake("mail.other.example"); names != "mail.other.example" {
		t.Error("certificate for", names)
	}
	c.reads("220 mx.n.example")
	c.says("EHLO x", "250 ")
	c.says("MAIL FROM:<ann@n.example>", "530 5.7.0")
	c.says("AUTH PLAIN AGFubgBzZWNyZXQ=", "235")
	c.says("MAIL FROM:<bob@n.example>", "553 5.7.1")
	c.says("MAIL FROM:<ann@n.example>", "250")

	c.dial(submission)
	c.write("PROXY UNKNOWN\r\n")
	if names := c.shake("nobody.example"); names != "mx.n.example" {
		t.Error("certificate for", names)
	}

	c.dial(plain)
	c.reads("220")
	c.says("EHLO x", "250 XCLIENT NAME ADDR")
	c.says("XCLIENT ADDR=203.0.113.7", "220")
	c.says("EHLO x", "250 ")
	c.says("MAIL FROM:<a@n.example>", "250")
	c.says("RCPT TO:<b@far.example>", "250")

	st, err := n.admin.Status(t.Context())
	if err != nil || st.Stats.SMTP == nil || len(st.Stats.SMTP.Certificates) != 2 || !st.Stats.SMTP.Certificates[0].Default {
		t.Errorf("%+v, %v", st, err)
	}
}

// talk is a client that reads what it is told to expect.
type talk struct {
	t    *testing.T
	conn net.Conn
	in   *bufio.Reader
}

func (c *talk) dial(addr string) {
	c.t.Helper()
	conn, err := net.Dial("tcp", addr)
	if err != nil {
		c.t.Fatal(err)
	}
	c.t.Cleanup(func() { conn.Close() })
	_ = conn.SetDeadline(time.Now().Add(time.Minute))
	c.conn, c.in = conn, bufio.NewReader(conn)
}

func (c *talk) write(s string) { _, _ = io.WriteString(c.conn, s) }

// shake turns to TLS and returns the names of the certificate.
func (c *talk) shake(name string) string {
	c.t.Helper()
	s := tls.Client(c.conn, &tls.Config{ServerName: name, InsecureSkipVerify: true})
	if err := s.Handshake(); err != nil {
		c.t.Fatal(err)
	}
	c.conn, c.in = s, bufio.NewReader(s)
	return strings.Join(s.ConnectionState().PeerCertificates[0].DNSNames, " ")
}

// reads the last line of a reply.
func (c *talk) reads(want string) {
	c.t.Helper()
	for {
		line, err := c.in.ReadString('\n')
		if err != nil || len(line) > 3 && line[3] == ' ' {
			if !strings.HasPrefix(line, want) {
				c.t.Fatalf("%q, %v, want %s", line, err, want)
			}
			return
		}
	}
}

func (c *talk) says(line, want string) {
	c.t.Helper()
	c.write(line + "\r\n")
	c.reads(want)
}
