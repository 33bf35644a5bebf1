package cutfs

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"log"
	"os"
	"path/filepath"
	"sync"
	"time"

	"github.com/hanwen/go-fuse/v2/fuse"
	"golang.org/x/sys/unix"
)

// Options of a mount. The zero value is an honest, empty disk.
type Options struct {
	Image *Image // what is on the disk at first; nil: nothing
	Lies  bool   // the disk says "synced" and keeps nothing: with it a test shows that it would notice lost writes
}

// Mounted is a disk in use. Its methods may be called from any goroutine.
type Mounted struct {
	// SyncfsReaches is false when this kernel keeps syncfs(2) to itself (it answers 0 and tells nobody); then a program
	// must sync file by file, or it loses what it believes to be safe.
	SyncfsReaches bool

	dir    string
	fd     int
	disk   *disk
	server *fuse.ProtocolServer
	loops  sync.WaitGroup
	once   sync.Once
	err    error
}

const (
	maxWrite  = 128 << 10
	opSyncfs  = 50 // FUSE_SYNCFS
	opForget  = 2
	opForgets = 42 // FUSE_BATCH_FORGET
	headerIn  = 40
	headerOut = 16
	readers   = 4
)

// Mount puts a disk on the folder dir, which must exist. It needs root, /dev/fuse and a free loop device; where one of them
// is missing the error wraps ErrUnsupported, so that a test can skip.
func Mount(dir string, o Options) (*Mounted, error) {
	if o.Image == nil {
		o.Image = EmptyImage()
	}
	fd, err := unix.Open("/dev/fuse", unix.O_RDWR|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil, fmt.Errorf("%w: open /dev/fuse: %v", ErrUnsupported, err)
	}
	m := &Mounted{dir: dir, fd: fd, disk: newDisk(o.Image, o.Lies)}
	m.server = fuse.NewProtocolServer(m.disk, &fuse.MountOptions{
		MaxWrite:           maxWrite,
		DisableReadDirPlus: true,
		Logger:             log.New(io.Discard, "", 0),
	})
	if err := mountBlk(dir, fd); err != nil {
		unix.Close(fd)
		return nil, fmt.Errorf("%w: %v", ErrUnsupported, err)
	}
	for range readers {
		m.loops.Add(1)
		go m.serve()
	}
	if err := m.probe(); err != nil {
		return nil, errors.Join(err, m.Unmount())
	}
	return m, nil
}

// ErrUnsupported says that this machine cannot mount a cutfs.
var ErrUnsupported = errors.New("cutfs: not possible on this machine")

// mountBlk mounts fd as type fuseblk. An ordinary fuse mount would do but for syncfs: the kernel forwards it only to FUSE
// servers that stand for a block device, so we name one, a loop device over an empty file that nobody ever reads.
func mountBlk(dir string, fd int) error {
	ctl, err := os.OpenFile("/dev/loop-control", os.O_RDWR, 0)
	if err != nil {
		return err
	}
	defer ctl.Close()
	back, err := os.CreateTemp("", "cutfs-loop")
	if err != nil {
		return err
	}
	defer os.Remove(back.Name())
	defer back.Close()
	if err := back.Truncate(1 << 20); err != nil {
		return err
	}
	for range 16 { // somebody else may take the free device before we do
		n, err := unix.IoctlRetInt(int(ctl.Fd()), unix.LOOP_CTL_GET_FREE)
		if err != nil {
			return fmt.Errorf("find a loop device: %w", err)
		}
		name := fmt.Sprintf("/dev/loop%d", n)
		loop, err := os.OpenFile(name, os.O_RDWR, 0)
		if err != nil {
			return err
		}
		err = unix.IoctlSetInt(int(loop.Fd()), unix.LOOP_SET_FD, int(back.Fd()))
		if errors.Is(err, unix.EBUSY) {
			loop.Close()
			continue
		}
		if err == nil {
			// Autoclear: the device is freed with its last user, that is, at unmount, however this process ends.
			err = unix.IoctlLoopSetStatus64(int(loop.Fd()), &unix.LoopInfo64{Flags: unix.LO_FLAGS_AUTOCLEAR})
		}
		if err == nil {
			err = unix.Mount(name, dir, "fuseblk", unix.MS_NOSUID|unix.MS_NODEV,
				fmt.Sprintf("fd=%d,rootmode=40000,user_id=0,group_id=0,allow_other,blksize=%d,max_read=%d", fd, pageSize, maxWrite))
		}
		loop.Close()
		if err != nil {
			return fmt.Errorf("mount %s on %s: %w", name, dir, err)
		}
		return nil
	}
	return errors.New("no free loop device")
}

// serve answers the kernel until the file system is unmounted.
func (m *Mounted) serve() {
	defer m.loops.Done()
	in := make([]byte, maxWrite+2*pageSize)
	out := make([]byte, maxWrite+2*pageSize)
	for {
		n, err := unix.Read(m.fd, in)
		switch {
		case errors.Is(err, unix.EINTR), errors.Is(err, unix.EAGAIN), errors.Is(err, unix.ENOENT): // ENOENT: the caller gave up meanwhile
			continue
		case err != nil || n < headerIn: // ENODEV: unmounted
			return
		}
		code := binary.NativeEndian.Uint32(in[4:])
		if code == opSyncfs {
			reply(out, in, m.disk.syncfs())
			unix.Write(m.fd, out[:headerOut])
			continue
		}
		w, status := m.server.HandleRequest([][]byte{in[:n]}, [][]byte{out})
		if status != fuse.OK && code != opForget && code != opForgets {
			reply(out, in, status)
			w = headerOut
		}
		if w > 0 {
			unix.Write(m.fd, out[:w]) // an error means that the caller is gone
		}
	}
}

// reply writes the header of an answer without content.
func reply(out, in []byte, status fuse.Status) {
	binary.NativeEndian.PutUint32(out, headerOut)
	binary.NativeEndian.PutUint32(out[4:], uint32(-int32(status)))
	copy(out[8:16], in[8:16]) // the request's number
}

// probe finds out whether syncfs is forwarded. It also has the kernel ask, once, whether files here can be polled: the Go
// runtime polls every file it opens in a way that blocks its scheduler, and that must not wait for this very process.
func (m *Mounted) probe() error {
	path := filepath.Join(m.dir, ".cutfs-probe")
	fd, err := unix.Open(path, unix.O_RDWR|unix.O_CREAT|unix.O_EXCL|unix.O_CLOEXEC, 0o600)
	if err != nil {
		return fmt.Errorf("cutfs: probe: %w", err)
	}
	defer unix.Close(fd)
	if _, err := unix.Poll([]unix.PollFd{{Fd: int32(fd), Events: unix.POLLIN}}, 0); err != nil && !errors.Is(err, unix.EINTR) {
		return fmt.Errorf("cutfs: probe: poll: %w", err)
	}
	if err := unix.Unlink(path); err != nil {
		return fmt.Errorf("cutfs: probe: %w", err)
	}
	if err := unix.Syncfs(fd); err != nil {
		return fmt.Errorf("cutfs: probe: syncfs: %w", err)
	}
	m.disk.mu.Lock()
	defer m.disk.mu.Unlock()
	m.SyncfsReaches = m.disk.counts.Syncfs > 0
	if !m.disk.m.lies {
		m.disk.m.syncAll() // the probe leaves no trace, neither in the log nor in the counts
	}
	m.disk.counts = Counts{}
	return nil
}

// Freeze stops the disk between two operations: whoever uses it waits. What is answered before Freeze returns is before the
// cut, everything else after it.
func (m *Mounted) Freeze() {
	m.disk.mu.Lock()
	defer m.disk.mu.Unlock()
	m.disk.frozen = true
}

// Thaw lets a frozen disk go on as if nothing had been.
func (m *Mounted) Thaw() {
	m.disk.mu.Lock()
	defer m.disk.mu.Unlock()
	m.disk.frozen = false
	m.disk.turn.Broadcast()
}

// Cut returns what would be on the disk after a power cut now. The disk stays as it is: freeze it first if the moment
// matters, and cut as often as you like.
func (m *Mounted) Cut(v Variant) *Image {
	m.disk.mu.Lock()
	defer m.disk.mu.Unlock()
	return m.disk.m.cut(v)
}

// Counts returns what has been asked of the disk so far.
func (m *Mounted) Counts() Counts {
	m.disk.mu.Lock()
	defer m.disk.mu.Unlock()
	c := m.disk.counts
	c.UnsyncedBytes, c.LogEntries = m.disk.m.unsynced, len(m.disk.m.log)
	return c
}

// Unmount takes the disk away; operations that wait in a freeze fail with EIO, so kill their process first if it must not
// see that. Cut still works afterwards. Calling it again does nothing.
func (m *Mounted) Unmount() error {
	m.once.Do(func() {
		m.disk.mu.Lock()
		m.disk.dead = true
		m.disk.turn.Broadcast()
		m.disk.mu.Unlock()
		// Detach: a process that is just dying may hold a file a little longer; the disk ends with the last of them.
		if err := unix.Unmount(m.dir, unix.MNT_DETACH); err != nil {
			m.err = fmt.Errorf("cutfs: unmount %s: %w", m.dir, err)
			return
		}
		gone := make(chan struct{})
		go func() { m.loops.Wait(); unix.Close(m.fd); close(gone) }()
		select {
		case <-gone:
		case <-time.After(10 * time.Second):
			m.err = fmt.Errorf("cutfs: %s is unmounted, but a process still holds a file on it", m.dir)
		}
	})
	return m.err
}
