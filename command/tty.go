package command

import (
	"os"

	"golang.org/x/term"
)

// tty tells whether v is a terminal; /dev/null, a device too, is none.
func tty(v any) bool {
	f, ok := v.(*os.File)
	return ok && term.IsTerminal(int(f.Fd()))
}

// ttySize is the columns and lines of the terminal v; zeros when it is none.
func ttySize(v any) (columns, lines int) {
	f, ok := v.(*os.File)
	if !ok {
		return 0, 0
	}
	columns, lines, err := term.GetSize(int(f.Fd()))
	if err != nil {
		return 0, 0
	}
	return columns, lines
}
