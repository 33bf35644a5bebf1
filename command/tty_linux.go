package command

import (
	"os"
	"syscall"
	"unsafe"
)

func ioctl(f *os.File, req uintptr, p unsafe.Pointer) bool {
	_, _, errno := syscall.Syscall(syscall.SYS_IOCTL, f.Fd(), req, uintptr(p))
	return errno == 0
}

// keys makes the terminal f hand over each key as it is pressed, unechoed; a Read
// that sees none returns empty after 0.2 s. Ctrl-C still interrupts. restore puts
// the terminal back.
func keys(f *os.File) (restore func(), ok bool) {
	var old syscall.Termios
	if !ioctl(f, syscall.TCGETS, unsafe.Pointer(&old)) {
		return func() {}, false
	}
	t := old
	t.Lflag &^= syscall.ICANON | syscall.ECHO
	t.Cc[syscall.VMIN], t.Cc[syscall.VTIME] = 0, 2
	if !ioctl(f, syscall.TCSETS, unsafe.Pointer(&t)) {
		return func() {}, false
	}
	return func() { ioctl(f, syscall.TCSETS, unsafe.Pointer(&old)) }, true
}
