package auth

import (
	"fmt"
	"log/slog"
	"os"
	"sync"
	"time"
)

// File is a file of users that may change while the node runs: a change is seen
// within a second, and one that cannot be read leaves the users as they were. Safe
// for concurrent use.
type File struct {
	path string
	log  *slog.Logger

	mu     sync.Mutex
	users  *Users
	stamp  stamp
	looked time.Time
}

// stamp tells whether a file is still the same.
type stamp struct {
	at   time.Time
	size int64
}

// maxFile bounds a file of users, in octets.
const maxFile = 256 << 20

// Open reads the file. It is an error if it cannot be read, or says nothing.
func Open(path string, log *slog.Logger) (*File, error) {
	f := &File{path: path, log: log, looked: time.Now()}
	if err := f.read(); err != nil {
		return nil, err
	}
	return f, nil
}

// Users are those of the file as it was at most a second ago.
func (f *File) Users() *Users {
	f.mu.Lock()
	defer f.mu.Unlock()
	if now := time.Now(); now.Sub(f.looked) >= time.Second {
		f.looked = now
		if i, err := os.Stat(f.path); err != nil || (stamp{i.ModTime(), i.Size()}) != f.stamp {
			if err := f.read(); err != nil {
				f.log.Error("the users cannot be read anew; those of before stay", "error", err)
			} else {
				f.log.Info("users read anew", "file", f.path, "users", f.users.Len())
			}
		}
	}
	return f.users
}

// read takes the file over if it is good. What was looked at is not looked at again
// before it changes, good or bad.
func (f *File) read() error {
	i, err := os.Stat(f.path)
	if err != nil {
		return err
	}
	f.stamp = stamp{i.ModTime(), i.Size()}
	if i.Size() > maxFile {
		return fmt.Errorf("%s: %d octets; at most %d", f.path, i.Size(), maxFile)
	}
	text, err := os.ReadFile(f.path)
	if err != nil {
		return err
	}
	u, err := ParseUsers(f.path, text)
	if err != nil {
		return err
	}
	f.users = u
	return nil
}
