package command

import (
	"context"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/tarishi/tarishi/cluster"
	"github.com/tarishi/tarishi/daemon"
)

// serveOnce runs a node until it accepts mail, then stops it.
func serveOnce(t *testing.T, data string, accept bool) error {
	t.Helper()
	c, err := daemon.Parse("", nil, []string{"TARISHI_DATA=" + data, "TARISHI_HOSTNAME=mx.test",
		"TARISHI_SMTP_LISTEN=127.0.0.1:0", "TARISHI_ADMIN_LISTEN=127.0.0.1:0", "TARISHI_LOG_LEVEL=error"})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	return serve(ctx, c, builtinKinds(), accept, func(string) { cancel() })
}

// A damaged queue: one sentence with file, offset and the way out, exit code 1.
func TestServeRefusesDamage(t *testing.T) {
	data := t.TempDir()
	if err := serveOnce(t, data, false); err != nil {
		t.Fatal(err)
	}
	block := filepath.Join(cluster.StreamsDir(filepath.Join(data, "queue")), "EVENT", "msgs", "1.blk")
	b, err := os.ReadFile(block)
	if err != nil {
		t.Fatal(err)
	}
	b[30] ^= 1
	if err := os.WriteFile(block, b, 0o640); err != nil {
		t.Fatal(err)
	}
	err = serveOnce(t, data, false)
	if err == nil || exitCode(err) != 1 {
		t.Fatalf("exit code %d: %v", exitCode(err), err)
	}
	want := "the queue is damaged: " + block + " at offset 0: the record's checksum does not match; nothing was changed: "
	if !strings.HasPrefix(err.Error(), want) || !strings.Contains(err.Error(), "tarishi serve --accept-damage") || strings.Contains(err.Error(), "\n") {
		t.Errorf("said: %v", err)
	}
	if err := serveOnce(t, data, true); err != nil {
		t.Errorf("with --accept-damage: %v", err)
	}
	if err := serveOnce(t, data, false); err != nil {
		t.Errorf("afterwards: %v", err)
	}
}
