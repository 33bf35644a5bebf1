package main

import (
	"os"
	"syscall"
	"unsafe"
)

func ioctl(f *os.File, req uintptr, p unsafe.Pointer) bool {
	_, _, errno := syscall.Syscall(syscall.SYS_IOCTL, f.Fd(), req, uintptr(p))
	return errno == 0
}

// tty tells whether v is a terminal; /dev/null, a device too, is none.
func tty(v any) bool {
	f, ok := v.(*os.File)
	var t syscall.Termios
	return ok && ioctl(f, syscall.TCGETS, unsafe.Pointer(&t))
}

// ttySize is the columns and lines of the terminal v; zeros when it is none.
func ttySize(v any) (columns, lines int) {
	f, ok := v.(*os.File)
	var s struct{ lines, columns, x, y uint16 }
	if !ok || !ioctl(f, syscall.TIOCGWINSZ, unsafe.Pointer(&s)) {
		return 0, 0
	}
	return int(s.columns), int(s.lines)
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
