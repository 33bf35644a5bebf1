package api

import (
	"errors"
	"io"
	"io/fs"
	"os"
	"path"
	"slices"
	"strings"
	"syscall"

	"github.com/dop251/goja"
)

var errIsDir = syscall.EISDIR

// maxEntries bounds what readdir lists.
const maxEntries = 100000

// fsCodes are Node's code and text of what goes wrong with files.
var fsCodes = []struct {
	err  error
	code string
	text string
}{
	{fs.ErrNotExist, "ENOENT", "no such file or directory"},
	{syscall.EISDIR, "EISDIR", "illegal operation on a directory"},
	{syscall.ENOTDIR, "ENOTDIR", "not a directory"},
	{syscall.EROFS, "EROFS", "read-only file system"},
	{syscall.ELOOP, "ELOOP", "too many symbolic links encountered"},
	{syscall.ENAMETOOLONG, "ENAMETOOLONG", "name too long"},
	{syscall.ENOSPC, "ENOSPC", "no space left on device"},
	{fs.ErrPermission, "EACCES", "permission denied"},
}

// fileFault throws what went wrong as Node does.
func (r *Runtime) fileFault(err error, call, name string) {
	code, text := "EACCES", err.Error()
	var p *fs.PathError
	if errors.As(err, &p) {
		text = p.Err.Error() // such as: path escapes from parent
	}
	for _, c := range fsCodes {
		if errors.Is(err, c.err) {
			code, text = c.code, c.text
			break
		}
	}
	e := r.fail(code, "%s: %s, %s '%s'", code, text, call, name)
	e.Set("syscall", call)
	e.Set("path", name)
	panic(e)
}

// nativeFS is what js/fs.js leaves to Go: reading below the folder, and appending to
// the files that the operator lists.
func nativeFS(r *Runtime) any {
	vm := r.vm
	o := vm.NewObject()
	// at makes of what the script wrote a path below the folder.
	at := func(name, call string) string {
		file, err := r.below(name, "")
		if err == nil && r.root == nil {
			err = fs.ErrNotExist
		}
		if err != nil {
			r.fileFault(err, call, name)
		}
		return file
	}
	o.Set("read", func(name string) goja.Value {
		b, err := r.read(at(name, "open"), maxFile)
		if err != nil {
			r.fileFault(err, "open", name)
		}
		return r.Buffer(b)
	})
	o.Set("stat", func(name string, link bool) goja.Value {
		ask, call := r.stat, "stat"
		if link {
			ask, call = r.lstat, "lstat"
		}
		s, err := ask(at(name, call))
		if err != nil {
			r.fileFault(err, call, name)
		}
		return r.facts(s)
	})
	o.Set("list", func(name string) goja.Value {
		file := at(name, "scandir")
		f, err := r.openDir(file)
		if err != nil {
			r.fileFault(err, "scandir", name)
		}
		defer f.Close()
		all, err := f.ReadDir(maxEntries + 1)
		if err != nil && len(all) == 0 && !errors.Is(err, io.EOF) {
			r.fileFault(err, "scandir", name)
		}
		if len(all) > maxEntries {
			r.throw("EFBIG", "EFBIG: more than %d entries, scandir '%s'", maxEntries, name)
		}
		slices.SortFunc(all, func(a, b fs.DirEntry) int { return strings.Compare(a.Name(), b.Name()) })
		var out []any
		for _, e := range all {
			x := vm.NewObject()
			x.Set("name", e.Name())
			x.Set("kind", kind(e.Type()))
			out = append(out, x)
		}
		return vm.NewArray(out...)
	})
	o.Set("may", func(name string) bool {
		file, err := r.below(name, "")
		return err == nil && r.mayAppend(file)
	})
	o.Set("append", func(c goja.FunctionCall) goja.Value {
		name := c.Argument(0).String()
		file := at(name, "open")
		if !r.mayAppend(file) {
			r.throw("EROFS", "EROFS: scripts write to no file that plugins.scripts.append does not list, open '%s'", name)
		}
		b, _ := r.Octets(c.Argument(1))
		f, err := r.root.OpenFile(file, os.O_WRONLY|os.O_APPEND|os.O_CREATE|syscall.O_NONBLOCK, 0o640)
		if err == nil {
			_, err = f.Write(b)
			err = errors.Join(err, f.Close())
		}
		if err != nil {
			r.fileFault(err, "open", name)
		}
		return vm.ToValue(len(b))
	})
	return o
}

// mayAppend tells whether the operator lets scripts append to the file.
func (r *Runtime) mayAppend(file string) bool {
	for _, a := range r.o.Append {
		if path.Clean(a) == file {
			return true
		}
	}
	return false
}

func (r *Runtime) stat(file string) (fs.FileInfo, error)  { return r.root.Stat(file) }
func (r *Runtime) lstat(file string) (fs.FileInfo, error) { return r.root.Lstat(file) }

// openDir opens a directory, and nothing else: opening a pipe would wait.
func (r *Runtime) openDir(file string) (*os.File, error) {
	s, err := r.root.Stat(file)
	if err != nil {
		return nil, err
	}
	if !s.IsDir() {
		return nil, &fs.PathError{Op: "scandir", Path: file, Err: syscall.ENOTDIR}
	}
	return r.root.Open(file)
}

// facts are what Node's Stats are made of.
func (r *Runtime) facts(s fs.FileInfo) goja.Value {
	x := r.vm.NewObject()
	x.Set("kind", kind(s.Mode().Type()))
	x.Set("size", s.Size())
	x.Set("mtimeMs", float64(s.ModTime().UnixMicro())/1000)
	mode, typ := uint32(s.Mode().Perm()), uint32(syscall.S_IFREG)
	switch kind(s.Mode().Type()) {
	case "directory":
		typ = syscall.S_IFDIR
	case "link":
		typ = syscall.S_IFLNK
	case "fifo":
		typ = syscall.S_IFIFO
	case "socket":
		typ = syscall.S_IFSOCK
	case "device":
		typ = syscall.S_IFBLK
	}
	x.Set("mode", mode|typ)
	return x
}

func kind(m fs.FileMode) string {
	switch {
	case m.IsDir():
		return "directory"
	case m&fs.ModeSymlink != 0:
		return "link"
	case m&fs.ModeNamedPipe != 0:
		return "fifo"
	case m&fs.ModeSocket != 0:
		return "socket"
	case m&fs.ModeDevice != 0:
		return "device"
	}
	return "file"
}
