package queue

import (
	"crypto/tls"
	"errors"
	"fmt"
	"strings"
	"testing"
)

// A node without certificates is told what it lacks, and one that has them what is wrong.
func TestTLSWords(t *testing.T) {
	err := fmt.Errorf("nats: %w", &tls.CertificateVerificationError{Err: errors.New("doesn't contain any IP SANs")})
	if s := tlsWords(err, nil).Error(); !strings.Contains(s, "set cluster.tls") {
		t.Error(s)
	}
	if s := tlsWords(err, &tls.Config{}).Error(); strings.Contains(s, "set cluster.tls") {
		t.Error(s)
	}
	if s := tlsWords(errors.New("refused"), nil).Error(); s != "refused" {
		t.Error(s)
	}
}
