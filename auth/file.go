package auth

import (
	"fmt"
	"log/slog"
	"os"
	"sync"
	"time"
)

// watched is what a file says that may change while the node runs: a change is seen
// within a second, and one that cannot be read leaves what was said before. Safe for
// concurrent use.
type watched[T interface{ Len() int }] struct {
	path  string
	what  string
	parse func(name string, text []byte) (T, error)
	log   *slog.Logger

	mu     sync.Mutex
	said   T
	stamp  stamp
	looked time.Time
}

// stamp tells whether a file is still the same.
type stamp struct {
	at   time.Time
	size int64
}

// maxFile bounds a file, in octets.
const maxFile = 256 << 20

// open reads the file for the first time.
func (f *watched[T]) open() error {
	f.looked = time.Now()
	return f.read()
}

// now is what the file said at most a second ago.
func (f *watched[T]) now() T {
	f.mu.Lock()
	defer f.mu.Unlock()
	if now := time.Now(); now.Sub(f.looked) >= time.Second {
		f.looked = now
		if i, err := os.Stat(f.path); err != nil || (stamp{i.ModTime(), i.Size()}) != f.stamp {
			if err := f.read(); err != nil {
				f.log.Error("the "+f.what+" cannot be read anew; those of before stay", "error", err)
			} else {
				f.log.Info(f.what+" read anew", "file", f.path, "users", f.said.Len())
			}
		}
	}
	return f.said
}

// read takes the file over if it is good. What was looked at is not looked at again
// before it changes, good or bad.
func (f *watched[T]) read() error {
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
	said, err := f.parse(f.path, text)
	if err != nil {
		return err
	}
	f.said = said
	return nil
}

// File is a file of users that may change while the node runs.
type File struct{ watched[*Users] }

// Open reads the file. It is an error if it cannot be read, or says nothing that is understood.
func Open(path string, log *slog.Logger) (*File, error) {
	f := &File{watched[*Users]{path: path, log: log, what: "users", parse: ParseUsers}}
	if err := f.open(); err != nil {
		return nil, err
	}
	return f, nil
}

// Users are those of the file as it was at most a second ago.
func (f *File) Users() *Users { return f.now() }
