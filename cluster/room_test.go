package cluster

import (
	"errors"
	"path/filepath"
	"strings"
	"testing"
)

// A start on a full disk says so, before anything is opened.
func TestRoomToStart(t *testing.T) {
	if err := roomToStart(filepath.Join(t.TempDir(), "not", "there", "yet")); err != nil {
		t.Error(err)
	}
	err := enough("/var/lib/tarishi/queue", 512<<10)
	if !errors.Is(err, ErrDiskFull) || !strings.Contains(err.Error(), "/var/lib/tarishi/queue has 0.5 MiB left, and a start needs 16") {
		t.Error(err)
	}
}
