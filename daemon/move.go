package daemon

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
)

// Move is how far the move of a folder has come.
type Move int

// The steps of a move, each kept in the folder.
const (
	MoveNotBegun Move = iota // a node may open it, once it is closed
	MoveBegun                // no node may
	Moved                    // it is spent
)

// OpenFolderToMove opens a node's data folder to take its content into a cluster. As
// long as it is open, nobody else can open it.
func OpenFolderToMove(path, cluster string) (folder *Folder, m Move, err error) {
	if _, err := os.Stat(filepath.Join(path, modeName)); err != nil {
		if errors.Is(err, fs.ErrNotExist) {
			return nil, 0, fmt.Errorf("%s is no data folder of a node", path)
		}
		return nil, 0, fmt.Errorf("cannot read the data folder %s: %w", path, plain(err))
	}
	f, err := lockFolder(path)
	if err != nil {
		return nil, 0, err
	}
	defer func() {
		if err != nil {
			f.Close()
		}
	}()
	was, to, err := f.mode()
	switch {
	case err != nil:
		return nil, 0, err
	case was == Cluster:
		return nil, 0, fmt.Errorf("data folder %s belongs to a node of a cluster; its mail is in the cluster already", path)
	case was == moved && to == cluster:
		return f, Moved, nil
	case to != "" && to != cluster:
		return nil, 0, fmt.Errorf("data folder %s was moved into cluster %s, not %s", path, to, cluster)
	case was == moving:
		return f, MoveBegun, nil
	case was != Standalone:
		return nil, 0, fmt.Errorf("data folder %s was made in %q mode, which this version does not know; upgrade", path, was)
	}
	return f, MoveNotBegun, nil
}

// MarkMoving marks that no node may open the folder any more. It is called before
// anything is copied: were that written last, the old node could send what the
// cluster has sent.
func (f *Folder) MarkMoving(cluster string) error { return f.writeMode(string(moving) + " " + cluster) }

// UnmarkMoving takes that back, when nothing has been copied.
func (f *Folder) UnmarkMoving() error { return f.writeMode(string(Standalone)) }

// MarkMoved marks that everything has been moved.
func (f *Folder) MarkMoved(cluster string) error { return f.writeMode(string(moved) + " " + cluster) }
