// Package lists answers one question: is this client, domain, mailbox or name on an
// operator's list? It reads list files as Haraka writes them, one entry a line, and
// finds entries in a time that does not grow with the list.
//
// A line that means nothing is refused with file, line and mend: an entry that
// silently matches nobody is a hole in a wall that its owner believes to be whole.
// The package never decides what a match means.
package lists

import (
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"path"
	"strings"
)

// ReadFunc reads a file of a plugin's; see plugin.Setup.
type ReadFunc func(name string) ([]byte, error)

// maxFaults bounds what is said of one file: who has pasted a wrong file needs no
// hundred thousand lines to see it.
const maxFaults = 10

// Read reads a list file: empty lines, and lines that begin with # or ;, say nothing;
// of the others entry is told, without the blanks around them. It returns whether
// there is such a file. The error names each line that entry refused.
func Read(read ReadFunc, name string, entry func(line string) error) (there bool, err error) {
	text, err := read(name)
	if errors.Is(err, fs.ErrNotExist) {
		return false, nil
	}
	if err != nil {
		return false, err
	}
	return true, Parse(Place(name), text, entry)
}

// Place is a file as people find it: relative names are below config/ in the folder of
// plugins.
func Place(name string) string {
	if path.IsAbs(name) {
		return name
	}
	return "config/" + name
}

// Parse is Read of a text that is there already.
func Parse(name string, text []byte, entry func(line string) error) error {
	// One copy for all entries, which are parts of it.
	rest := strings.TrimPrefix(string(text), "\ufeff")
	var faults []error
	for n := 1; rest != ""; n++ {
		var line string
		line, rest = cutLine(rest)
		if line = strings.TrimSpace(line); line == "" || line[0] == '#' || line[0] == ';' {
			continue
		}
		err := bad(line)
		if err == nil {
			err = entry(line)
		}
		if err == nil {
			continue
		}
		if len(faults) == maxFaults {
			faults = append(faults, fmt.Errorf("%s: further lines are bad, too", name))
			break
		}
		faults = append(faults, fmt.Errorf("%s:%d: %q %w", name, n, clip(line), err))
	}
	return errors.Join(faults...)
}

// cutLine takes the first line off, whichever way it ends.
func cutLine(s string) (line, rest string) {
	i := strings.IndexAny(s, "\r\n")
	if i < 0 {
		return s, ""
	}
	if strings.HasPrefix(s[i:], "\r\n") {
		return s[:i], s[i+2:]
	}
	return s[:i], s[i+1:]
}

func bad(line string) error {
	if strings.IndexByte(line, 0) >= 0 {
		return errors.New("holds a NUL: this is no list of text lines")
	}
	return nil
}

// clip shortens what is shown of a line.
func clip(s string) string {
	if len(s) > 80 {
		return s[:80] + "..."
	}
	return s
}

// Plain takes a remark off the end of an entry: 192.0.2.0/24 # the office.
func Plain(line string) string {
	for i := 1; i < len(line); i++ {
		if line[i] == '#' && (line[i-1] == ' ' || line[i-1] == '\t') {
			return strings.TrimSpace(line[:i])
		}
	}
	return line
}

// Unread warns of a settings file of Haraka's that says something and is not read
// here: who has taken it over believes that it counts.
func Unread(read ReadFunc, log *slog.Logger, name string) {
	text, err := read(name)
	if err != nil {
		return
	}
	says := 0
	_ = Parse(name, text, func(line string) error {
		if line[0] != '[' {
			says++
		}
		return nil
	})
	if says > 0 {
		log.Warn("a settings file of Haraka's is not read; write what it says under settings of the plugin", "file", Place(name), "lines", says)
	}
}
