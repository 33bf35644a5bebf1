package command

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"encoding/base64"
	"encoding/pem"
	"fmt"
	"math/big"
	"net"
	"net/smtp"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/tarishi/tarishi/admin"
)

// selfSigned makes a certificate for 127.0.0.1, and returns its file and its key's.
func selfSigned(t *testing.T, folder string) (cert, key string) {
	t.Helper()
	k, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour), IsCA: true,
		BasicConstraintsValid: true, IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)}, DNSNames: []string{"smart.example"},
		KeyUsage: x509.KeyUsageDigitalSignature | x509.KeyUsageCertSign,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &k.PublicKey, k)
	if err != nil {
		t.Fatal(err)
	}
	pkcs8, err := x509.MarshalPKCS8PrivateKey(k)
	if err != nil {
		t.Fatal(err)
	}
	cert, key = filepath.Join(folder, "cert.pem"), filepath.Join(folder, "key.pem")
	write(t, cert, string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})))
	write(t, key, string(pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: pkcs8})))
	return cert, key
}

func write(t *testing.T, file, text string) {
	t.Helper()
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
}

// A node whose local domains' mail goes to a smart host that wants AUTH: another node,
// behind which the mailboxes are. A wrong password costs no mail, and is in no log.
func TestLocalDomains_smartHost(t *testing.T) {
	if testing.Short() {
		t.Skip("two nodes, and a login that is thought about for a second")
	}
	folder := t.TempDir()
	file := func(name string) string { return filepath.Join(folder, name) }
	// What they log goes where it can be read, every line of it.
	logged, err := os.Create(file("log"))
	if err != nil {
		t.Fatal(err)
	}
	stderr := os.Stderr
	os.Stderr = logged
	defer func() { os.Stderr = stderr; logged.Close() }()

	const password, wrong = "Sesame-opens-7", "Barley-does-not-3"
	boxes := startMailboxHost(t, func(string, int) string { return "250 2.1.5 OK" })
	cert, key := selfSigned(t, folder)
	write(t, file("users"), "relay:{CLEAR}"+password+"\n")
	smart := startServe(t, fmt.Sprintf(`
hostname: smart.example
data: %s
smtp: {listen: ["127.0.0.1:0"], relay_from: ["203.0.113.0/24"], tls: {cert: %s, key: %s}, auth: {users: %s}}
admin: {listen: "127.0.0.1:0"}
routes: [{to: boxes.test, via: "lmtp:%s"}]
log: {level: debug}
`, file("smart"), cert, key, file("users"), boxes.addr))
	defer smart.stop(t)

	write(t, file("password"), password+"\n")
	n := startServe(t, fmt.Sprintf(`
hostname: n.example
data: %s
smtp: {listen: ["127.0.0.1:0"], relay_from: ["203.0.113.0/24"]}
admin: {listen: "127.0.0.1:0"}
local: {domains: [boxes.test]}
routes: [{to: boxes.test, via: %q, ca: %s, auth: {user: relay, password_file: %s}}]
delivery: {per_connection: 1}
log: {level: debug}
`, file("n"), smart.smtp, cert, file("password")))
	defer n.stop(t)
	post := func(subject string) {
		t.Helper()
		if err := smtp.SendMail(n.smtp, nil, "s@away.test", []string{"ann@boxes.test"}, []byte("Subject: "+subject+"\r\n\r\n")); err != nil {
			t.Fatal(err)
		}
	}

	post("hello")
	waitFor(t, "the mail to arrive", func() bool { return len(boxes.box("ann@boxes.test")) == 1 })
	if got := boxes.box("ann@boxes.test")[0]; !strings.Contains(got, "SMTPSA id ") {
		t.Errorf("the smart host took it without TLS and AUTH:\n%s", got)
	}
	waitFor(t, "nothing to be left", func() bool { return n.queued(t) == 0 })
	write(t, file("password"), wrong+"\n")
	post("again")
	waitFor(t, "the smart host to refuse the login, and the mail to wait", func() bool {
		m, err := n.admin.Messages(t.Context(), admin.Selection{Destination: "boxes.test"}, 10, "")
		return err == nil && len(m.Messages) == 1 && strings.Contains(fmt.Sprint(m.Messages[0]), "5.7.8") && n.queued(t) == 1
	})

	text, err := os.ReadFile(file("log"))
	if err != nil || len(text) == 0 {
		t.Fatal("nothing was logged: ", err)
	}
	for _, p := range []string{password, wrong} {
		for _, secret := range []string{p, base64.StdEncoding.EncodeToString([]byte(p)), base64.StdEncoding.EncodeToString([]byte("\x00relay\x00" + p))} {
			if strings.Contains(string(text), secret) {
				t.Errorf("%q is in the log", secret)
			}
		}
	}
}
