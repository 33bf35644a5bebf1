package command

import (
	"bytes"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/tarishi/tarishi/daemon"
)

func TestFormerSession(t *testing.T) {
	var said bytes.Buffer
	log := slog.New(slog.NewTextHandler(&said, nil))
	folder := &daemon.Folder{Path: t.TempDir()}
	if id := readFormer(folder, "node1", log); id != 0 || said.Len() > 0 {
		t.Errorf("of an empty folder: %d, %s", id, said.String())
	}
	keepFormer(folder, "node1", 7, log)
	keepFormer(folder, "node1", 9, log)
	if id := readFormer(folder, "node1", log); id != 9 {
		t.Errorf("read %d, kept 9", id)
	}
	if id := readFormer(folder, "node2", log); id != 0 {
		t.Errorf("node2 is given %d of node1", id)
	}
	if said.Len() > 0 {
		t.Error(said.String())
	}
	if err := os.WriteFile(filepath.Join(folder.Path, formerName), []byte("{"), 0o600); err != nil {
		t.Fatal(err)
	}
	if id := readFormer(folder, "node1", log); id != 0 || !strings.Contains(said.String(), "cannot be read") {
		t.Errorf("of a broken file: %d, %s", id, said.String())
	}
}
