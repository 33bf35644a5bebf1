package scheduler

import (
	"io/fs"
	"testing"
)

// A clock that counts from elsewhere is another one, whatever the kernel's boot_id says.
func TestBootIDOfTimeNamespace(t *testing.T) {
	files := func(offsets, machine string) func(string) ([]byte, error) {
		return func(name string) ([]byte, error) {
			b := map[string]string{"/proc/sys/kernel/random/boot_id": "b\n", "/proc/self/timens_offsets": offsets, "/etc/machine-id": machine}[name]
			if b == "" {
				return nil, fs.ErrNotExist
			}
			return []byte(b), nil
		}
	}
	const none, hour = "monotonic           0         0\nboottime            0         0\n", "monotonic           0         0\nboottime         3600         0\n"
	for _, x := range []struct{ offsets, machine, want string }{
		{"", "", "b"}, {none, "", "b"}, {none, "m\n", "b m"}, {hour, "m\n", "b boottime:3600:0 m"},
	} {
		if id, err := bootID(files(x.offsets, x.machine)); id != x.want || err != nil {
			t.Errorf("%q, %v, want %q", id, err, x.want)
		}
	}
	if id, err := BootID(); id == "" || err != nil {
		t.Error(id, err)
	}
}
