package cluster

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"fmt"
	"io/fs"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"slices"
	"time"
)

// Names of the files in an authority's folder.
const (
	caCertName = "ca.pem"
	caKeyName  = "ca.key"
)

// How long certificates hold. An authority that runs out stops a cluster, so it
// outlives whoever made it; a node's certificate is cheap to issue again.
const (
	caYears   = 20
	nodeYears = 5
)

// GenerateCA makes an authority for one cluster: ca.pem, which every node needs, and
// ca.key, which none does. It never overwrites one.
func GenerateCA(dir, cluster string) error {
	if cluster == "" {
		return errors.New("an authority needs the cluster's name")
	}
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return err
	}
	for _, f := range []string{caCertName, caKeyName} {
		if _, err := os.Stat(filepath.Join(dir, f)); err == nil {
			return fmt.Errorf("%s exists already; an authority is made once, move it away to make another", filepath.Join(dir, f))
		} else if !errors.Is(err, fs.ErrNotExist) {
			return err
		}
	}
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return err
	}
	t := template("tarishi " + cluster)
	t.NotAfter = t.NotBefore.AddDate(caYears, 0, 0)
	t.IsCA, t.BasicConstraintsValid, t.MaxPathLenZero = true, true, true
	t.KeyUsage = x509.KeyUsageCertSign | x509.KeyUsageCRLSign
	der, err := x509.CreateCertificate(rand.Reader, t, t, key.Public(), key)
	if err != nil {
		return err
	}
	// The key first: a certificate without its key would be of no use, and in the way.
	return errors.Join(writeKey(filepath.Join(dir, caKeyName), key), writeCert(filepath.Join(dir, caCertName), der))
}

// Issued tells whether a node's certificate or key lies there already, and which.
func Issued(dir, node string) (path string, ok bool) {
	for _, end := range []string{".key", ".pem"} {
		path = filepath.Join(dir, node+end)
		if _, err := os.Lstat(path); err == nil {
			return path, true
		}
	}
	return "", false
}

// IssueNode makes <node>.pem and <node>.key beside the authority's files; an old pair
// is replaced. Hosts are further names or addresses that other software may dial.
func IssueNode(dir, node string, hosts ...string) error {
	if !nodeName.MatchString(node) || node == "ca" {
		return fmt.Errorf("%q is no name for a node: 1 to 63 letters, digits, dots, dashes or underscores", node)
	}
	caCert, caKey, err := loadCA(dir)
	if err != nil {
		return err
	}
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return err
	}
	t := template(node)
	t.NotAfter = t.NotBefore.AddDate(nodeYears, 0, 0)
	if t.NotAfter.After(caCert.NotAfter) {
		t.NotAfter = caCert.NotAfter
	}
	t.KeyUsage = x509.KeyUsageDigitalSignature
	t.ExtKeyUsage = []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth}
	t.DNSNames = []string{node}
	for _, h := range hosts {
		if ip := net.ParseIP(h); ip != nil {
			t.IPAddresses = append(t.IPAddresses, ip)
		} else if !slices.Contains(t.DNSNames, h) {
			t.DNSNames = append(t.DNSNames, h)
		}
	}
	der, err := x509.CreateCertificate(rand.Reader, t, caCert, key.Public(), caKey)
	if err != nil {
		return err
	}
	return errors.Join(writeKey(filepath.Join(dir, node+".key"), key), writeCert(filepath.Join(dir, node+".pem"), der))
}

func template(name string) *x509.Certificate {
	serial, _ := rand.Int(rand.Reader, new(big.Int).Lsh(big.NewInt(1), 127)) // rand.Reader never fails
	return &x509.Certificate{
		SerialNumber: serial,
		Subject:      pkix.Name{CommonName: name},
		NotBefore:    time.Now().Add(-time.Hour), // nodes' clocks differ
	}
}

func loadCA(dir string) (*x509.Certificate, any, error) {
	b, err := os.ReadFile(filepath.Join(dir, caCertName))
	if err != nil {
		return nil, nil, fmt.Errorf("no authority: %w", err)
	}
	block, _ := pem.Decode(b)
	if block == nil {
		return nil, nil, fmt.Errorf("%s holds no certificate (PEM)", filepath.Join(dir, caCertName))
	}
	cert, err := x509.ParseCertificate(block.Bytes)
	if err != nil {
		return nil, nil, err
	}
	if b, err = os.ReadFile(filepath.Join(dir, caKeyName)); err != nil {
		return nil, nil, fmt.Errorf("the authority's key is needed to issue a certificate: %w", err)
	}
	if block, _ = pem.Decode(b); block == nil {
		return nil, nil, fmt.Errorf("%s holds no key (PEM)", filepath.Join(dir, caKeyName))
	}
	key, err := x509.ParsePKCS8PrivateKey(block.Bytes)
	return cert, key, err
}

func writeKey(path string, key *ecdsa.PrivateKey) error {
	der, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		return err
	}
	return writePrivate(path, pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der}))
}

func writeCert(path string, der []byte) error {
	return writePrivate(path, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}))
}

// writePrivate replaces a file that its owner alone may read.
func writePrivate(path string, b []byte) error {
	f, err := os.CreateTemp(filepath.Dir(path), filepath.Base(path)+".tmp*") // 0600
	if err != nil {
		return err
	}
	_, err = f.Write(b)
	if err = errors.Join(err, f.Sync(), f.Close()); err == nil {
		err = os.Rename(f.Name(), path)
	}
	if err != nil {
		return errors.Join(err, os.Remove(f.Name()))
	}
	return syncPath(filepath.Dir(path))
}
