package crashtest

import (
	"bufio"
	"fmt"
	"io"
	"regexp"
	"strings"
)

// call is one system call in a trace: the places in the log where it began and ended. strace writes the beginning before
// the kernel does anything, and the end before the program goes on; so of two calls in any threads, one that ended before
// the other began was really earlier.
type call struct {
	name       string
	path       string // of the first argument's descriptor (strace -y): a file's path, or socket:[…] and the like
	text       string // the first string argument, unescaped as far as it is ASCII
	begin, end int    // line numbers; end 0: never seen to end
	ok         bool
}

var (
	callLine    = regexp.MustCompile(`^(\d+) +(\w+)\((.*)$`)
	resumedLine = regexp.MustCompile(`^(\d+) +<\.\.\. (\w+) resumed>(.*)$`)
	firstFD     = regexp.MustCompile(`^\d+<((?:[^>\\]|\\.|->)*)>`)
	firstString = regexp.MustCompile(`"((?:[^"\\]|\\.)*)"`)
	result      = regexp.MustCompile(`= (-?\d+)[^=]*$`)
)

// readTrace reads what `strace -f -y -o FILE` wrote.
func readTrace(r io.Reader) ([]*call, error) {
	var calls []*call
	open := map[string]*call{} // by thread
	in := bufio.NewReaderSize(r, 1<<20)
	for n := 1; ; n++ {
		line, err := in.ReadString('\n')
		if err == io.EOF {
			return calls, nil
		}
		if err != nil {
			return nil, fmt.Errorf("trace, line %d: %w", n, err)
		}
		line = strings.TrimSuffix(line, "\n")
		if m := resumedLine.FindStringSubmatch(line); m != nil {
			if c := open[m[1]]; c != nil && c.name == m[2] {
				c.finish(n, m[3])
			}
			delete(open, m[1])
			continue
		}
		m := callLine.FindStringSubmatch(line)
		if m == nil {
			continue // an exit, a signal
		}
		c := &call{name: m[2], begin: n}
		if fd := firstFD.FindStringSubmatch(m[3]); fd != nil {
			c.path = fd[1]
		}
		if s := firstString.FindStringSubmatch(m[3]); s != nil {
			c.text = s[1]
		}
		calls = append(calls, c)
		if strings.HasSuffix(line, "<unfinished ...>") {
			open[m[1]] = c
		} else {
			c.finish(n, m[3])
		}
	}
}

func (c *call) finish(line int, rest string) {
	c.end = line
	m := result.FindStringSubmatch(rest)
	c.ok = m != nil && !strings.HasPrefix(m[1], "-")
}

func (c *call) isSync() bool {
	return c.name == "fsync" || c.name == "fdatasync" || c.name == "syncfs"
}

// promise is a message whose 250 the trace must justify: the marks that stand at its beginning and its end, and the id in
// the text of its 250.
type promise struct {
	marks []string
	id    string
}

// unjustified returns a sentence for every promise that was made too early. A promise is justified if, for each mark, the
// first write of it to a file in data was followed, before the 250 began to be written to the socket, by a sync that began
// after that write had ended: of the same file, or of the file system. Where the file itself was removed in between, the
// message had been delivered before its 250, and no sync is owed; gone counts those (whether a removal was right is for
// the kills and cuts to find). The marks must be found, so a store that compresses what it writes needs another test.
func unjustified(calls []*call, data string, promises []promise) (faults []string, gone int) {
	for _, p := range promises {
		said := find(calls, func(c *call) bool {
			return !strings.HasPrefix(c.path, "/") && strings.Contains(c.text, "250 ") && strings.Contains(c.text, p.id) && strings.Contains(c.text, "250 2.")
		})
		if said == nil {
			faults = append(faults, fmt.Sprintf("no 250 for %s in the trace", p.id))
			continue
		}
		for _, mark := range p.marks {
			stored := find(calls, func(c *call) bool {
				return strings.HasPrefix(c.path, data+"/") && strings.Contains(c.text, mark)
			})
			switch {
			case stored == nil:
				faults = append(faults, fmt.Sprintf("%s: %q was never written below %s", p.id, mark, data))
			case stored.end == 0 || stored.end > said.begin:
				faults = append(faults, fmt.Sprintf("%s: the 250 (line %d) before %q was written (line %d)", p.id, said.begin, mark, stored.begin))
			case find(calls, func(c *call) bool {
				return strings.HasPrefix(c.name, "unlink") && c.ok && c.begin > stored.end && c.begin < said.begin && c.text == stored.path
			}) != nil:
				gone++
			case find(calls, func(c *call) bool {
				return c.isSync() && c.ok && c.begin > stored.end && c.end != 0 && c.end < said.begin &&
					(c.path == stored.path || c.name == "syncfs" && strings.HasPrefix(c.path, data))
			}) == nil:
				faults = append(faults, fmt.Sprintf("%s: no sync of %s between the write of %q (line %d) and the 250 (line %d)", p.id, stored.path, mark, stored.end, said.begin))
			}
		}
	}
	return faults, gone
}

func find(calls []*call, is func(*call) bool) *call {
	for _, c := range calls {
		if is(c) {
			return c
		}
	}
	return nil
}
