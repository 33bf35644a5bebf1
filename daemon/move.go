package daemon

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
)

// OpenFolderToMove opens a node's data folder to take its content into a cluster.
// Before it returns, the folder carries the mark that no node may open it any more:
// were that written last, the old node could send what the cluster has sent.
// done tells that an earlier run has moved everything.
func OpenFolderToMove(path, cluster string) (folder *Folder, done bool, err error) {
	if _, err := os.Stat(filepath.Join(path, modeName)); err != nil {
		if errors.Is(err, fs.ErrNotExist) {
			return nil, false, fmt.Errorf("%s is no data folder of a node", path)
		}
		return nil, false, fmt.Errorf("cannot read the data folder %s: %w", path, plain(err))
	}
	f, err := lockFolder(path)
	if err != nil {
		return nil, false, err
	}
	defer func() {
		if err != nil {
			f.Close()
		}
	}()
	was, to, err := f.mode()
	switch {
	case err != nil:
		return nil, false, err
	case was == Cluster:
		return nil, false, fmt.Errorf("data folder %s belongs to a node of a cluster; its mail is in the cluster already", path)
	case was == moved && to == cluster:
		return f, true, nil
	case to != "" && to != cluster:
		return nil, false, fmt.Errorf("data folder %s was moved into cluster %s, not %s", path, to, cluster)
	case was == moving:
		return f, false, nil
	case was != Standalone:
		return nil, false, fmt.Errorf("data folder %s was made in %q mode, which this version does not know; upgrade", path, was)
	}
	if err := f.writeMode(string(moving) + " " + cluster); err != nil {
		return nil, false, err
	}
	return f, false, nil
}

// MarkMoved marks that everything has been moved.
func (f *Folder) MarkMoved(cluster string) error { return f.writeMode(string(moved) + " " + cluster) }
