//go:build !linux

package main

import "os"

// Elsewhere than on Linux we know a terminal by its being a device, not its size,
// and leave its keys alone: `tarishi top` ends with Ctrl-C.

func tty(v any) bool {
	f, ok := v.(*os.File)
	if !ok {
		return false
	}
	st, err := f.Stat()
	return err == nil && st.Mode()&os.ModeCharDevice != 0
}

func ttySize(any) (columns, lines int) { return 0, 0 }

func keys(*os.File) (restore func(), ok bool) { return func() {}, false }
