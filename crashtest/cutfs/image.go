package cutfs

import (
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"sort"
	"strings"
	"syscall"
	"time"
)

// Image is a whole file tree at rest: what a cut left, or what a mount begins with. Do not change one that is in use.
type Image struct{ root *entry }

type entry struct {
	mode   uint32
	data   []byte
	target string
	kids   map[string]*entry
}

// EmptyImage is a file system with nothing but its root.
func EmptyImage() *Image {
	return &Image{&entry{mode: syscall.S_IFDIR | 0o755, kids: map[string]*entry{}}}
}

// imageOf takes over the disk's byte slices.
func imageOf(disk map[uint64]*solid) *Image {
	seen := map[uint64]*entry{} // hard links stay one file
	var walk func(ino uint64) *entry
	walk = func(ino uint64) *entry {
		if e := seen[ino]; e != nil {
			return e
		}
		s := disk[ino]
		e := &entry{mode: s.mode, data: s.data, target: s.target}
		seen[ino] = e
		if s.kids != nil {
			e.kids = make(map[string]*entry, len(s.kids))
			for name, kid := range s.kids {
				e.kids[name] = walk(kid)
			}
		}
		return e
	}
	return &Image{walk(rootIno)}
}

// model makes a file system that holds the image, all of it on disk.
func (im *Image) model() *model {
	m := newModel()
	seen := map[*entry]uint64{}
	var fill func(dir uint64, e *entry)
	fill = func(dir uint64, e *entry) {
		for _, name := range sortedKids(e) {
			kid := e.kids[name]
			if ino, ok := seen[kid]; ok {
				m.link(ino, dir, name)
				continue
			}
			ino, _ := m.create(dir, name, kid.mode, kid.target, time.Now())
			seen[kid] = ino
			if len(kid.data) > 0 {
				m.write(ino, 0, kid.data, time.Now())
			}
			fill(ino, kid)
		}
	}
	fill(rootIno, im.root)
	m.syncAll()
	return m
}

// ReadImage takes the tree below dir: files, folders and symbolic links; anything else is an error.
func ReadImage(dir string) (*Image, error) {
	var read func(path string) (*entry, error)
	read = func(path string) (*entry, error) {
		info, err := os.Lstat(path)
		if err != nil {
			return nil, err
		}
		e := &entry{mode: uint32(info.Mode().Perm())}
		switch info.Mode().Type() {
		case 0:
			e.mode |= syscall.S_IFREG
			e.data, err = os.ReadFile(path)
		case fs.ModeSymlink:
			e.mode |= syscall.S_IFLNK
			e.target, err = os.Readlink(path)
		case fs.ModeDir:
			e.mode |= syscall.S_IFDIR
			e.kids = map[string]*entry{}
			var list []os.DirEntry
			if list, err = os.ReadDir(path); err != nil {
				return nil, err
			}
			for _, d := range list {
				kid, err := read(filepath.Join(path, d.Name()))
				if err != nil {
					return nil, err
				}
				e.kids[d.Name()] = kid
			}
		default:
			return nil, fmt.Errorf("cutfs: %s is neither a file, a folder nor a symbolic link", path)
		}
		return e, err
	}
	root, err := read(dir)
	if err != nil {
		return nil, err
	}
	if root.kids == nil {
		return nil, fmt.Errorf("cutfs: %s is not a folder", dir)
	}
	return &Image{root}, nil
}

// WriteTo puts the tree below dir, which is created if need be and should be empty.
func (im *Image) WriteTo(dir string) error {
	done := map[*entry]string{}
	var put func(path string, e *entry) error
	put = func(path string, e *entry) error {
		if first, ok := done[e]; ok {
			return os.Link(first, path)
		}
		done[e] = path
		perm := os.FileMode(e.mode & 0o777)
		switch e.mode & syscall.S_IFMT {
		case syscall.S_IFLNK:
			return os.Symlink(e.target, path)
		case syscall.S_IFREG:
			return os.WriteFile(path, e.data, perm)
		}
		if err := os.MkdirAll(path, perm|0o700); err != nil {
			return err
		}
		for _, name := range sortedKids(e) {
			if err := put(filepath.Join(path, name), e.kids[name]); err != nil {
				return err
			}
		}
		return nil
	}
	return put(dir, im.root)
}

// Files returns every file's bytes by its slash-separated path from the root; a folder is listed with a slash at its end, a
// symbolic link as "-> target". The slices belong to the image.
func (im *Image) Files() map[string][]byte {
	files := map[string][]byte{}
	var walk func(path string, e *entry)
	walk = func(path string, e *entry) {
		for name, kid := range e.kids {
			switch p := path + name; kid.mode & syscall.S_IFMT {
			case syscall.S_IFDIR:
				files[p+"/"] = nil
				walk(p+"/", kid)
			case syscall.S_IFLNK:
				files[p] = []byte("-> " + kid.target)
			default:
				files[p] = kid.data
			}
		}
	}
	walk("", im.root)
	return files
}

// String lists paths and sizes, a line each.
func (im *Image) String() string {
	files := im.Files()
	var lines []string
	for path, data := range files {
		lines = append(lines, fmt.Sprintf("%s %d", path, len(data)))
	}
	sort.Strings(lines)
	return strings.Join(lines, "\n")
}

func sortedKids(e *entry) []string {
	names := make([]string, 0, len(e.kids))
	for name := range e.kids {
		names = append(names, name)
	}
	sort.Strings(names)
	return names
}
