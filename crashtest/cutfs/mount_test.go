package cutfs

import (
	"bytes"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

func mount(t *testing.T, o Options) (*Mounted, string) {
	t.Helper()
	dir := t.TempDir()
	m, err := Mount(dir, o)
	if errors.Is(err, ErrUnsupported) {
		t.Skip(err)
	}
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := m.Unmount(); err != nil {
			t.Error(err)
		}
	})
	return m, dir
}

// What a program asks of the kernel arrives at the model: the three syncs, O_SYNC, rename, truncation, listing, links.
func TestMount(t *testing.T) {
	m, dir := mount(t, Options{})
	p := func(name string) string { return filepath.Join(dir, name) }
	must := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	cut := func(want string) {
		t.Helper()
		if got := show(m.Cut(Pessimistic())); got != want {
			t.Fatalf("on disk %q, want %q", got, want)
		}
	}
	must(os.WriteFile(p("a"), []byte("hello"), 0o600))
	cut("")
	f, err := os.OpenFile(p("a"), os.O_RDWR, 0)
	must(err)
	defer f.Close()
	must(f.Sync())
	cut("a=hello")
	_, err = f.WriteAt([]byte("J"), 0)
	must(err)
	cut("a=hello")
	must(unix.Fdatasync(int(f.Fd())))
	cut("a=Jello")
	must(os.Mkdir(p("d"), 0o755))
	must(os.WriteFile(p("d/b"), []byte("x"), 0o600))
	must(os.Symlink("a", p("l")))
	must(os.Link(p("a"), p("h")))
	must(os.Truncate(p("a"), 2))
	cut("a=Jello")
	if !m.SyncfsReaches {
		t.Log("this kernel does not forward syncfs")
	} else {
		must(unix.Syncfs(int(f.Fd())))
		cut("a=Je d/ d/b=x h=Je l=-> a")
	}
	s, err := os.OpenFile(p("s"), os.O_CREATE|os.O_WRONLY|os.O_SYNC, 0o600)
	must(err)
	_, err = s.Write([]byte("synced"))
	must(err)
	must(s.Close())
	if got := string(m.Cut(Pessimistic()).Files()["s"]); got != "synced" {
		t.Fatalf("an O_SYNC write left %q on disk", got)
	}
	must(os.Rename(p("d/b"), p("a")))
	must(os.Remove(p("h")))
	must(os.Remove(p("d")))
	list, err := os.ReadDir(dir)
	must(err)
	var names []string
	for _, e := range list {
		names = append(names, e.Name())
	}
	if got := strings.Join(names, " "); got != "a l s" {
		t.Fatalf("listing: %q", got)
	}
	d, err := os.Open(dir)
	must(err)
	defer d.Close()
	must(d.Sync())
	cut("a=x l=-> a s=synced")
	big := bytes.Repeat([]byte("0123456789abcdef"), 64<<10) // more than one request carries
	must(os.WriteFile(p("big"), big, 0o600))
	got, err := os.ReadFile(p("big"))
	must(err)
	if !bytes.Equal(got, big) {
		t.Fatal("a megabyte came back otherwise than it was written")
	}
	if c := m.Counts(); c.Fsyncs == 0 || c.Fdatasyncs == 0 || c.DirSyncs == 0 || c.UnsyncedBytes != int64(len(big)) {
		t.Fatalf("counts: %+v", c)
	}
}

// An image goes to a folder and back, and to a mount and back.
func TestImage(t *testing.T) {
	src := t.TempDir()
	for name, content := range map[string]string{"a": "one", "b": "", "d/c": "two"} {
		os.MkdirAll(filepath.Dir(filepath.Join(src, name)), 0o755)
		os.WriteFile(filepath.Join(src, name), []byte(content), 0o600)
	}
	os.Symlink("a", filepath.Join(src, "l"))
	im, err := ReadImage(src)
	if err != nil {
		t.Fatal(err)
	}
	want := "a=one b= d/ d/c=two l=-> a"
	dst := filepath.Join(t.TempDir(), "new")
	if err := im.WriteTo(dst); err != nil {
		t.Fatal(err)
	}
	back, err := ReadImage(dst)
	if err != nil || show(back) != want {
		t.Fatalf("%q %v, want %q", show(back), err, want)
	}
	m, dir := mount(t, Options{Image: im})
	if got := show(m.Cut(Pessimistic())); got != want {
		t.Fatalf("mounted: %q, want %q", got, want)
	}
	if got, err := os.ReadFile(filepath.Join(dir, "d/c")); err != nil || string(got) != "two" {
		t.Fatalf("%q %v", got, err)
	}
}

// A frozen disk answers nobody; a process that waits for it can be killed once the disk is gone, and what it asked for in
// the freeze is not in the cut.
func TestFreeze(t *testing.T) {
	m, dir := mount(t, Options{})
	if err := os.WriteFile(filepath.Join(dir, "before"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	m.Freeze()
	cmd := exec.Command("/bin/sh", "-c", "echo late > '"+dir+"/after'")
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	for deadline := time.Now().Add(20 * time.Second); ; runtime.Gosched() {
		m.disk.mu.Lock()
		queued := m.disk.queued
		m.disk.mu.Unlock()
		if queued > 0 {
			break
		}
		if time.Now().After(deadline) {
			t.Fatal("the process never asked for the disk")
		}
	}
	if err := cmd.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	im := m.Cut(Everything())
	if err := m.Unmount(); err != nil {
		t.Fatal(err)
	}
	died := make(chan error, 1)
	go func() { died <- cmd.Wait() }()
	select {
	case <-died:
	case <-time.After(20 * time.Second):
		t.Fatal("the process did not die")
	}
	if got := show(im); got != "before=" {
		t.Fatalf("in the cut: %q", got)
	}
}
