package cutfs

import (
	"fmt"
	"strings"
	"syscall"
	"testing"
	"time"
)

// run does a script of shell-like lines on a model and fails the test at the first that is refused:
//
//	write NAME OFF BYTES | trunc NAME SIZE | fsync NAME | fdatasync NAME | syncfs | mv A B | rm NAME | mkdir DIR | rmdir DIR | ln A B | fsyncdir DIR
//
// A write creates the file. NAME is a path.
func run(t *testing.T, m *model, script string) {
	t.Helper()
	for _, line := range strings.Split(script, "\n") {
		f := strings.Fields(line)
		if len(f) == 0 {
			continue
		}
		if errno := do(m, f); errno != 0 {
			t.Fatalf("%s: %v", line, errno)
		}
	}
}

func resolve(m *model, path string) (dir uint64, name string, ino uint64) {
	dir = rootIno
	parts := strings.Split(path, "/")
	for _, p := range parts[:len(parts)-1] {
		dir, _ = m.lookup(dir, p)
	}
	name = parts[len(parts)-1]
	if path == "." {
		return 0, "", rootIno
	}
	ino, _ = m.lookup(dir, name)
	return dir, name, ino
}

func do(m *model, f []string) (errno syscall.Errno) {
	now := time.Unix(0, 0)
	num := func(s string) (n int64) { fmt.Sscan(s, &n); return n }
	var dir, ino uint64
	var name string
	if len(f) > 1 {
		dir, name, ino = resolve(m, f[1])
	}
	switch f[0] {
	case "write":
		if ino == 0 {
			if ino, errno = m.create(dir, name, syscall.S_IFREG|0o644, "", now); errno != 0 {
				return errno
			}
		}
		if len(f) < 4 {
			return 0
		}
		return m.write(ino, num(f[2]), []byte(f[3]), now)
	case "trunc":
		return m.truncate(ino, num(f[2]), now)
	case "fsync", "fsyncdir":
		return m.sync(ino, false)
	case "fdatasync":
		return m.sync(ino, true)
	case "syncfs":
		m.syncAll()
		return 0
	case "mv":
		to, newName, _ := resolve(m, f[2])
		return m.rename(dir, name, to, newName, false)
	case "rm":
		return m.remove(dir, name, false)
	case "rmdir":
		return m.remove(dir, name, true)
	case "mkdir":
		_, errno = m.create(dir, name, syscall.S_IFDIR|0o755, "", now)
		return errno
	case "ln":
		to, newName, _ := resolve(m, f[2])
		return m.link(ino, to, newName)
	}
	return syscall.ENOSYS
}

// show prints an image as "path=content" in order; zero bytes as dots.
func show(im *Image) string {
	files := im.Files()
	var out []string
	for _, line := range strings.Split(im.String(), "\n") {
		if line == "" {
			continue
		}
		path := line[:strings.LastIndex(line, " ")]
		if strings.HasSuffix(path, "/") {
			out = append(out, path)
			continue
		}
		out = append(out, path+"="+strings.ReplaceAll(string(files[path]), "\x00", "."))
	}
	return strings.Join(out, " ")
}

func TestCut(t *testing.T) {
	for _, c := range []struct{ name, script, cut, all string }{
		{"nothing is on disk without a sync", "write a 0 hello", "", "a=hello"},
		{"fsync keeps the data and the name", "write a 0 hello\nfsync a", "a=hello", "a=hello"},
		{"writes after the fsync are lost", "write a 0 hello\nfsync a\nwrite a 5 world", "a=hello", "a=helloworld"},
		{"an overwrite after the fsync is lost", "write a 0 hello\nfsync a\nwrite a 0 J", "a=hello", "a=Jello"},
		{"fsync of one file is not fsync of another: name yes, data no", "write a 0 hello\nwrite b 0 x\nfsync b", "a= b=x", "a=hello b=x"},
		{"syncfs keeps it all", "write a 0 hello\nmkdir d\nwrite d/b 0 x\nsyncfs\nwrite c 0 y", "a=hello d/ d/b=x", "a=hello c=y d/ d/b=x"},
		{"fsync of an unchanged file commits nothing", "write a 0 x\nfsync a\nwrite b 0 y\nfsync a", "a=x", "a=x b=y"},
		{"fsync of a changed file commits the whole log", "write a 0 x\nfsync a\nwrite b 0 y\nwrite a 0 z\nfsync a", "a=z b=", "a=z b=y"},
		{"fsync in place commits nothing when the mtime has gone before", "write a 0 xx\nsyncfs\nwrite a 0 z\nwrite b 0 y\nfsync b\nwrite c 0 w\nfsync a", "a=zx b=y", "a=zx b=y c=w"},
		{"fdatasync in place commits nothing", "write a 0 xx\nfsync a\nwrite b 0 y\nwrite a 0 z\nfdatasync a", "a=zx", "a=zx b=y"},
		{"fdatasync of a longer file commits", "write a 0 xx\nfsync a\nwrite b 0 y\nwrite a 2 z\nfdatasync a", "a=xxz b=", "a=xxz b=y"},
		{"a removal waits for the commit", "write a 0 x\nsyncfs\nrm a", "a=x", ""},
		{"a removal goes with the next commit", "write a 0 x\nsyncfs\nrm a\nwrite b 0 y\nfsync b", "b=y", "b=y"},
		{"rename is one step", "write a 0 x\nsyncfs\nmv a b", "a=x", "b=x"},
		{"rename over a file carries the data", "write a 0 old\nsyncfs\nwrite t 0 new\nmv t a\nwrite z 0 z\nfsync z", "a=new z=z", "a=new z=z"},
		{"but not what is written after it", "write a 0 old\nsyncfs\nwrite t 0 new\nmv t a\nwrite a 0 NEW\nwrite z 0 z\nfsync z", "a=new z=z", "a=NEW z=z"},
		{"rename to a new name carries nothing", "write t 0 new\nmv t a\nwrite z 0 z\nfsync z", "a= z=z", "a=new z=z"},
		{"two renames over one name before a commit", "write a 0 old\nsyncfs\nwrite t 0 one\nmv t a\nwrite t 0 two\nmv t a\nfsyncdir .", "a=two", "a=two"},
		{"a truncation is metadata", "write a 0 hello\nsyncfs\ntrunc a 2\nwrite b 0 x\nfsync b", "a=he b=x", "a=he b=x"},
		{"a truncation alone is lost", "write a 0 hello\nsyncfs\ntrunc a 2", "a=hello", "a=he"},
		{"write, truncate, grow, sync", "write a 0 hello\ntrunc a 2\nwrite a 4 x\nfsync a", "a=he..x", "a=he..x"},
		{"truncation committed by another, write before it lost", "write a 0 hello\ntrunc a 2\nwrite b 0 x\nfsync b", "a=.. b=x", "a=he b=x"},
		{"fsync of a folder commits names", "mkdir d\nwrite d/a 0 x\nfsyncdir d", "d/ d/a=", "d/ d/a=x"},
		{"a created and removed file leaves nothing", "write a 0 x\nrm a\nsyncfs", "", ""},
		{"a hard link is the same file", "write a 0 x\nln a b\nfsync b\nrm a", "a=x b=x", "b=x"},
		{"rmdir and rename of folders", "mkdir d\nmkdir e\nsyncfs\nrmdir d\nmv e f", "d/ e/", "f/"},
	} {
		t.Run(c.name, func(t *testing.T) {
			m := newModel()
			run(t, m, c.script)
			if got := show(m.cut(Pessimistic())); got != c.cut {
				t.Errorf("after the cut: %q, want %q", got, c.cut)
			}
			if got := show(m.cut(Everything())); got != c.all {
				t.Errorf("everything: %q, want %q", got, c.all)
			}
			m.syncAll()
			if got := show(m.cut(Pessimistic())); got != c.all {
				t.Errorf("after syncfs: %q, want %q", got, c.all)
			}
			if m.unsynced != 0 || len(m.pending) != 0 || len(m.log) != 0 {
				t.Errorf("after syncfs there is still work: %d bytes, %d files, %d entries", m.unsynced, len(m.pending), len(m.log))
			}
		})
	}
}

func TestErrors(t *testing.T) {
	m := newModel()
	run(t, m, "mkdir d\nwrite d/a 0 x\nwrite f 0 y")
	for script, want := range map[string]syscall.Errno{
		"rm nothing": syscall.ENOENT, "rmdir d": syscall.ENOTEMPTY, "rm d": syscall.EISDIR, "rmdir f": syscall.ENOTDIR,
		"mv f d": syscall.EISDIR, "mv d f": syscall.ENOTDIR, "mkdir f": syscall.EEXIST, "ln d e": syscall.EPERM, "write f/x 0 a": syscall.ENOTDIR,
	} {
		if got := do(m, strings.Fields(script)); got != want {
			t.Errorf("%s: %v, want %v", script, got, want)
		}
	}
}

// A lying disk keeps nothing whatever it is told: the tests that use it must then find losses.
func TestLies(t *testing.T) {
	m := newModel()
	m.lies = true
	run(t, m, "write a 0 hello\nfsync a\nsyncfs")
	if got := show(m.cut(Pessimistic())); got != "" {
		t.Fatalf("kept %q", got)
	}
}

// Random cuts lie between the two ends, the same seed gives the same image, and over many seeds both ends and something
// between them come up.
func TestRandomCut(t *testing.T) {
	m := newModel()
	page := strings.Repeat("x", pageSize)
	run(t, m, "write a 0 old\nsyncfs\nmkdir d\nwrite d/b 0 "+page+page+page+"\nrm a\nwrite c 0 y")
	seen := map[string]bool{}
	for seed := range uint64(400) {
		im := m.cut(Random(seed))
		if got := show(m.cut(Random(seed))); got != show(im) {
			t.Fatalf("seed %d: two images", seed)
		}
		files := im.Files()
		_, a := files["a"]
		b, hasB := files["d/b"]
		_, c := files["c"]
		if c && (!hasB || a) || !a && !hasB {
			t.Fatalf("seed %d: the log out of order: %s", seed, im)
		}
		kind := fmt.Sprint(a, hasB, c)
		if hole := strings.IndexByte(string(b), 0); hole >= 0 {
			kind += " hole"
			if hole%pageSize != 0 {
				t.Fatalf("seed %d: a page is torn at %d", seed, hole)
			}
		} else {
			kind += fmt.Sprint(" ", len(b)/pageSize)
		}
		seen[kind] = true
	}
	for _, want := range []string{"true false false 0", "true true false 3", "false true true 3", "false true true 0", "false true true hole"} {
		if !seen[want] {
			t.Errorf("400 seeds never gave %q; seen %v", want, seen)
		}
	}
}
