//go:build !linux

package command

import "os"

// Elsewhere than on Linux we leave a terminal's keys alone: `tarishi top` ends with
// Ctrl-C.
func keys(*os.File) (restore func(), ok bool) { return func() {}, false }
