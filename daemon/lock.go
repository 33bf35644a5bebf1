package daemon

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// Mode says how the store in a data folder is kept. A store made in one mode must
// not be opened in the other: JetStream deletes a standalone node's streams as
// orphans 30 s after it is started as a cluster member.
type Mode string

const (
	Standalone Mode = "standalone"
	Cluster    Mode = "cluster"

	// What a standalone folder becomes when its content goes into a cluster.
	moving Mode = "moving"
	moved  Mode = "moved"
)

const (
	lockName = "lock" // held with flock; its content is the holder's process id
	modeName = "mode"
)

// Folder is a data folder that this process holds.
type Folder struct {
	Path string
	lock *os.File
}

// OpenFolder makes the folder if need be, locks it against other processes until
// Close (or the end of the process, however it ends), and checks that its store
// was made in mode. Its errors are one sentence for the operator.
func OpenFolder(path string, mode Mode) (*Folder, error) {
	// 0700: queued mail is nobody else's to read.
	if err := os.MkdirAll(path, 0o700); err != nil {
		return nil, fmt.Errorf("cannot make the data folder %s: %w", path, plain(err))
	}
	f, err := lockFolder(path)
	if err != nil {
		return nil, err
	}
	if err := f.checkMode(mode); err != nil {
		f.Close()
		return nil, err
	}
	return f, nil
}

func lockFolder(path string) (*Folder, error) {
	lock, err := os.OpenFile(filepath.Join(path, lockName), os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return nil, fmt.Errorf("cannot write to the data folder %s: %w", path, plain(err))
	}
	f := &Folder{Path: path, lock: lock}
	if err := f.take(); err != nil {
		lock.Close()
		return nil, err
	}
	return f, nil
}

// take locks the folder and leaves our process id in the lock file.
func (f *Folder) take() error {
	err := unix.Flock(int(f.lock.Fd()), unix.LOCK_EX|unix.LOCK_NB)
	if errors.Is(err, unix.EWOULDBLOCK) {
		holder := "another process"
		if b, err := os.ReadFile(f.lock.Name()); err == nil && len(b) > 0 {
			holder = "process " + strings.TrimSpace(string(b))
		}
		return fmt.Errorf("data folder %s is in use by %s", f.Path, holder)
	}
	if err != nil {
		return fmt.Errorf("cannot lock the data folder %s: %w", f.Path, err)
	}
	if err := f.lock.Truncate(0); err == nil {
		_, err = f.lock.WriteAt([]byte(strconv.Itoa(os.Getpid())+"\n"), 0)
		if err != nil {
			return fmt.Errorf("cannot write to the data folder %s: %w", f.Path, plain(err))
		}
	}
	return nil
}

// checkMode compares the marker with mode, or writes it in a new folder.
func (f *Folder) checkMode(mode Mode) error {
	was, to, err := f.mode()
	switch {
	case err != nil:
		return err
	case was == "":
		return f.writeMode(string(mode))
	case was == mode:
		return nil
	case was == moving:
		return fmt.Errorf("data folder %s is being moved into cluster %s: finish with `tarishi migrate --from %s`; a node must not open it any more", f.Path, to, f.Path)
	case was == moved:
		return fmt.Errorf("data folder %s is spent: its mail, limits and history were moved into cluster %s; choose another data folder, and remove this one when you no longer want it", f.Path, to)
	case mode == Cluster:
		return fmt.Errorf("data folder %s was made by a node on its own, and JetStream would delete its queue in a cluster: give the cluster's node a new data folder, and when the cluster runs move what is in this one with `tarishi migrate --from %s`", f.Path, f.Path)
	default:
		return fmt.Errorf("data folder %s was made in %s mode and cannot be opened in %s mode: its queued mail would be lost; choose another data folder, or put the section cluster back into the configuration", f.Path, was, mode)
	}
}

// mode reads the marker: "" in a new folder; to is the cluster that a folder is
// moved into.
func (f *Folder) mode() (was Mode, to string, err error) {
	name := filepath.Join(f.Path, modeName)
	b, err := os.ReadFile(name)
	if errors.Is(err, fs.ErrNotExist) {
		return "", "", nil
	}
	if err != nil {
		return "", "", fmt.Errorf("cannot read %s: %w", name, plain(err))
	}
	word, to, _ := strings.Cut(strings.TrimSpace(string(b)), " ")
	return Mode(word), to, nil
}

// writeMode puts the marker on disk, before any store can be made.
func (f *Folder) writeMode(mark string) error { return f.WriteFile(modeName, []byte(mark+"\n")) }

// WriteFile replaces a file in the folder: whole or not at all, and on disk.
func (f *Folder) WriteFile(name string, content []byte) error {
	tmp, err := os.CreateTemp(f.Path, name+".*")
	if err == nil {
		_, err = tmp.Write(content)
		err = errors.Join(err, tmp.Sync(), tmp.Close())
		if err == nil {
			err = os.Rename(tmp.Name(), filepath.Join(f.Path, name))
		}
		if err == nil {
			err = syncFolder(f.Path)
		} else {
			os.Remove(tmp.Name())
		}
	}
	if err != nil {
		return fmt.Errorf("cannot write to the data folder %s: %w", f.Path, plain(err))
	}
	return nil
}

// syncFolder makes a rename durable.
func syncFolder(path string) error {
	d, err := os.Open(path)
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}

// Close gives the folder back. The lock file stays: removing it would let two
// processes hold locks on two files of one name.
func (f *Folder) Close() error { return f.lock.Close() }

// QueueBytes returns the octets the queue may use when the configuration leaves
// it open: three quarters of what is free and what the folder holds already, so
// that the figure does not shrink as the queue fills.
func (f *Folder) QueueBytes() (int64, error) {
	var st unix.Statfs_t
	if err := unix.Statfs(f.Path, &st); err != nil {
		return 0, fmt.Errorf("cannot see how much room the disk of %s has: %w", f.Path, err)
	}
	var used int64
	err := filepath.WalkDir(f.Path, func(_ string, d fs.DirEntry, err error) error {
		if errors.Is(err, fs.ErrPermission) && d != nil && d.IsDir() {
			return fs.SkipDir // lost+found, where the folder is a volume of its own
		}
		if err != nil || d.IsDir() {
			return err
		}
		if info, err := d.Info(); err == nil {
			used += info.Size()
		}
		return nil
	})
	if err != nil {
		return 0, fmt.Errorf("cannot see how much room the queue in %s takes: %w", f.Path, plain(err))
	}
	return (int64(st.Bavail)*st.Bsize + used) / 4 * 3, nil
}

// plain drops what the sentence around it says already (the operation and the path).
func plain(err error) error {
	var pe *fs.PathError
	if errors.As(err, &pe) {
		return pe.Err
	}
	return err
}
