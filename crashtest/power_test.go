package crashtest

import (
	"errors"
	"os"
	"testing"
	"time"

	"github.com/tarishi/tarishi/crashtest/cutfs"
)

// cuts is a power cut under load, so many times: the disk freezes between two operations, the program dies, and what comes
// up is a disk with what a power cut would have left of it. Every other cut leaves the bare minimum.
func (r *run) cuts(times int, lies bool) verdict {
	r.t.Helper()
	dir := r.node.data
	if err := os.MkdirAll(dir, 0o755); err != nil {
		r.t.Fatal(err)
	}
	r.node.data = dir + "/data"
	r.node.configure(r.sink.addr)
	disk := r.mount(dir, cutfs.Options{Lies: lies})
	r.node.start()
	r.load()
	for i := range times {
		r.round(i + 2) // the receivers that refuse all come first: it is there that jobs move from READY to WAIT and on
		disk.Freeze()
		r.node.signalKill()
		v := cutfs.Pessimistic()
		if i%2 == 1 {
			v = cutfs.Random(r.source.seed + uint64(i))
		}
		image, whole, counts := disk.Cut(v), disk.Cut(cutfs.Everything()), disk.Counts()
		if err := disk.Unmount(); err != nil { // what waited in the freeze is let go, into a process that is already dead
			r.t.Fatal(err)
		}
		r.node.kill()
		r.t.Logf("cut %d, %v: %d KiB of %d KiB left, %d of %d files; until then %d writes, %d fsyncs, %d fdatasyncs, %d syncfs; %d KiB and %d log entries were not synced",
			i, v, bytesOf(image)>>10, bytesOf(whole)>>10, len(image.Files()), len(whole.Files()), counts.Writes, counts.Fsyncs, counts.Fdatasyncs, counts.Syncfs, counts.UnsyncedBytes>>10, counts.LogEntries)
		disk = r.mount(dir, cutfs.Options{Image: image, Lies: lies})
		r.node.start()
	}
	return r.finish()
}

func (r *run) mount(dir string, o cutfs.Options) *cutfs.Mounted {
	r.t.Helper()
	disk, err := cutfs.Mount(dir, o)
	if errors.Is(err, cutfs.ErrUnsupported) {
		r.t.Skip(err)
	}
	if err != nil {
		r.t.Fatal(err)
	}
	r.t.Cleanup(func() { // runs before the node's own clean-up, which was registered earlier
		r.node.signalKill()
		if err := disk.Unmount(); err != nil {
			r.t.Error(err)
		}
	})
	return disk
}

func bytesOf(im *cutfs.Image) (n int) {
	for _, data := range im.Files() {
		n += len(data)
	}
	return n
}

// Power cuts under load: nothing that had its 250 is lost, whatever the disk dropped of what was not synced; so no removal
// may reach the disk before the record that replaces it. Mail may arrive again, but never damaged.
func TestB11_powerCut(t *testing.T) {
	r := newRun(t, buildProduct(t), t.TempDir()+"/disk")
	v := r.cuts(cutRounds, false)
	r.judge(v.lost, v.faults, v.stuck)
	r.node.stop()
}

// The harness finds nothing in the honest fake, and the losses of the others and of a disk that lies.
func TestPowerCut_harness(t *testing.T) {
	self := fakeProgram(t)
	for _, c := range []struct {
		name, faults string
		lies, loses  bool
	}{
		{"honest", "", false, false},
		{"no sync before the 250", "nosync", false, true},
		{"removal before replacement", "swap", false, true},
		{"a disk that lies", "", true, true},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			r := newRun(t, self, t.TempDir()+"/disk", "CRASHTEST_FAKE="+c.faults)
			r.patience = 15 * time.Second
			v := r.cuts(2, c.lies)
			if !c.loses {
				r.judge(v.lost, v.faults, v.stuck)
			} else if len(v.lost) == 0 {
				t.Error("the losses were not found")
			}
		})
	}
}
