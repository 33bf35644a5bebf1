package daemon

import (
	"errors"
	"strings"
	"testing"
)

// A folder whose content goes into a cluster is nobody's to open from the first
// moment on, can be moved on after a stop, and is spent in the end.
func TestMoveFolder(t *testing.T) {
	dir := t.TempDir()
	if _, _, err := OpenFolderToMove(dir, "one"); err == nil || !strings.Contains(err.Error(), "no data folder") {
		t.Fatal(err)
	}
	f, err := OpenFolder(dir, Standalone)
	if err != nil {
		t.Fatal(err)
	}
	if _, _, err := OpenFolderToMove(dir, "one"); err == nil || !strings.Contains(err.Error(), "in use") {
		t.Fatal(err)
	}
	f.Close()

	if _, err := OpenFolder(dir, Cluster); err == nil || !strings.Contains(err.Error(), "tarishi migrate --from "+dir) {
		t.Fatal(err)
	}
	// The cluster did not want it: the node goes on.
	f, m, err := OpenFolderToMove(dir, "one")
	if err != nil || m != MoveNotBegun {
		t.Fatal(m, err)
	}
	f.Close()
	if f, err = OpenFolder(dir, Standalone); err != nil {
		t.Fatal(err)
	}
	f.Close()
	if f, _, err = OpenFolderToMove(dir, "one"); err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(f.MarkMoving("one"), f.UnmarkMoving()); err != nil {
		t.Fatal(err)
	}
	f.Close()
	if f, err = OpenFolder(dir, Standalone); err != nil {
		t.Fatal(err)
	}
	f.Close()

	for range 2 { // begun, and begun again after a crash
		f, m, err := OpenFolderToMove(dir, "one")
		if err != nil || m == Moved {
			t.Fatal(m, err)
		}
		if err := f.MarkMoving("one"); err != nil {
			t.Fatal(err)
		}
		f.Close()
		for _, m := range []Mode{Standalone, Cluster} {
			if _, err := OpenFolder(dir, m); err == nil || !strings.Contains(err.Error(), "is being moved into cluster one") {
				t.Fatal(m, err)
			}
		}
	}
	if _, _, err := OpenFolderToMove(dir, "two"); err == nil || !strings.Contains(err.Error(), "cluster one, not two") {
		t.Fatal(err)
	}
	f, _, err = OpenFolderToMove(dir, "one")
	if err != nil {
		t.Fatal(err)
	}
	if err := f.MarkMoved("one"); err != nil {
		t.Fatal(err)
	}
	f.Close()
	for _, m := range []Mode{Standalone, Cluster} {
		if _, err := OpenFolder(dir, m); err == nil || !strings.Contains(err.Error(), "is spent") {
			t.Fatal(m, err)
		}
	}
	f, m, err = OpenFolderToMove(dir, "one")
	if err != nil || m != Moved {
		t.Fatal(m, err)
	}
	f.Close()

	f, err = OpenFolder(t.TempDir(), Cluster)
	if err != nil {
		t.Fatal(err)
	}
	f.Close()
	if _, _, err := OpenFolderToMove(f.Path, "one"); err == nil || !strings.Contains(err.Error(), "in the cluster already") {
		t.Fatal(err)
	}
}
