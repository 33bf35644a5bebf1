package cutfs

import (
	"fmt"
	"slices"
	"sort"
	"strings"
	"syscall"
	"testing"

	"pgregory.net/rapid"
)

// naive is a second model of the disk, written to be obviously right rather than fast: it keeps all that ever happened,
// with a mark on what has reached the disk, and finds the state after a cut by doing the marked part again from the start.
// One folder, no links.
type naive struct {
	history []event
	live    map[string]int // name to file number
	files   int
	epoch   int // commits so far
}

type event struct {
	kind     string // create, write, trunc, rename, remove
	file     int
	name, to string
	off      int
	data     string
	solid    bool
	epoch    int
	carries  []int // a rename over a name: these writes reach the disk with it
}

func (n *naive) meta(e event) bool { return e.kind != "write" }

// replay does all events for which keep answers true.
func (n *naive) replay(keep func(e event) bool) (names map[string]int, data map[int]string) {
	names, data = map[string]int{}, map[int]string{}
	for _, e := range n.history {
		if !keep(e) {
			continue
		}
		switch e.kind {
		case "create":
			names[e.name] = e.file
		case "remove":
			delete(names, e.name)
		case "rename":
			delete(names, e.name)
			names[e.to] = e.file
		case "trunc":
			d := data[e.file] + strings.Repeat("\x00", max(0, e.off-len(data[e.file])))
			data[e.file] = d[:e.off]
		case "write":
			d := data[e.file] + strings.Repeat("\x00", max(0, e.off+len(e.data)-len(data[e.file])))
			data[e.file] = d[:e.off] + e.data + d[e.off+len(e.data):]
		}
	}
	return names, data
}

func (n *naive) show(keep func(e event) bool) string {
	names, data := n.replay(keep)
	var out []string
	for name, file := range names {
		out = append(out, name+"="+strings.ReplaceAll(data[file], "\x00", "."))
	}
	sort.Strings(out)
	return strings.Join(out, " ")
}

func (n *naive) commit() {
	n.epoch++
	for i := range n.history {
		if n.meta(n.history[i]) {
			n.history[i].solid = true
			for _, w := range n.history[i].carries {
				n.history[w].solid = true
			}
		}
	}
}

func (n *naive) sync(file int, dataOnly bool) {
	_, data := n.replay(func(e event) bool { return e.solid })
	_, live := n.replay(func(event) bool { return true })
	need := len(live[file]) > len(data[file])
	for _, e := range n.history {
		if e.file == file && e.kind == "write" && e.epoch == n.epoch && !dataOnly {
			need = true // its mtime
		}
		if e.file == file && !e.solid {
			need = need || n.meta(e) && e.kind != "remove"
		}
	}
	if need {
		n.commit()
	}
	for i, e := range n.history {
		if e.file == file && e.kind == "write" {
			n.history[i].solid = true
		}
	}
}

// The model and the naive model agree on the disk after every step, and a random cut is a state the naive one can explain:
// names as after some prefix of the log, and no byte that was never written at its place.
func TestAgainstNaive(t *testing.T) {
	names := []string{"a", "b", "c"}
	rapid.Check(t, func(rt *rapid.T) {
		m, n := newModel(), &naive{live: map[string]int{}}
		stamp := 0
		for range rapid.IntRange(1, 40).Draw(rt, "steps") {
			name := rapid.SampledFrom(names).Draw(rt, "name")
			file, exists := n.live[name]
			kind := rapid.SampledFrom([]string{"write", "write", "write", "trunc", "fsync", "fdatasync", "mv", "rm", "syncfs"}).Draw(rt, "kind")
			line := kind + " " + name
			switch kind {
			case "write":
				stamp++
				off := rapid.IntRange(0, 6).Draw(rt, "off")
				data := strings.Repeat(string(rune('A'+stamp%58)), rapid.IntRange(1, 4).Draw(rt, "len"))
				line += fmt.Sprintf(" %d %s", off, data)
				if !exists {
					n.files++
					file = n.files
					n.live[name] = file
					n.history = append(n.history, event{kind: "create", file: file, name: name})
				}
				n.history = append(n.history, event{kind: "write", file: file, off: off, data: data, epoch: n.epoch})
			case "trunc":
				if !exists {
					continue
				}
				size := rapid.IntRange(0, 8).Draw(rt, "size")
				line += fmt.Sprint(" ", size)
				if _, data := n.replay(func(event) bool { return true }); len(data[file]) != size {
					n.history = append(n.history, event{kind: "trunc", file: file, off: size})
				}
			case "fsync", "fdatasync":
				if !exists {
					continue
				}
				n.sync(file, kind == "fdatasync")
			case "mv":
				to := rapid.SampledFrom(names).Draw(rt, "to")
				if !exists || to == name {
					continue
				}
				line += " " + to
				e := event{kind: "rename", file: file, name: name, to: to}
				if _, over := n.live[to]; over {
					for i, w := range n.history {
						if w.kind == "write" && w.file == file {
							e.carries = append(e.carries, i)
						}
					}
				}
				n.history = append(n.history, e)
				delete(n.live, name)
				n.live[to] = file
			case "rm":
				if !exists {
					continue
				}
				n.history = append(n.history, event{kind: "remove", file: file, name: name})
				delete(n.live, name)
			case "syncfs":
				n.commit()
				for i := range n.history {
					n.history[i].solid = true
				}
			}
			if errno := do(m, strings.Fields(line)); errno != 0 {
				rt.Fatalf("%s: %v", line, errno)
			}
			rt.Log(line)
			if got, want := show(m.cut(Pessimistic())), n.show(func(e event) bool { return e.solid }); got != want {
				rt.Fatalf("on disk: %q, naive %q", got, want)
			}
			if got, want := show(m.cut(Everything())), n.show(func(event) bool { return true }); got != want {
				rt.Fatalf("everything: %q, naive %q", got, want)
			}
		}
		explain(rt, m.cut(Random(rapid.Uint64().Draw(rt, "seed"))), n)
		m.syncAll()
		if m.unsynced != 0 || len(m.pending) != 0 || len(m.disk) != len(n.live)+1 || len(m.nodes) != len(n.live)+1 {
			rt.Fatalf("left over: %d bytes, %d pending, %d on disk, %d live of %d", m.unsynced, len(m.pending), len(m.disk), len(m.nodes), len(n.live)+1)
		}
	})
}

func explain(rt *rapid.T, im *Image, n *naive) {
	files := im.Files()
	metas, solid := 0, 0
	for _, e := range n.history {
		if n.meta(e) {
			metas++
			if e.solid {
				solid++
			}
		}
	}
	for k := solid; k <= metas; k++ {
		i := 0
		names, _ := n.replay(func(e event) bool {
			if n.meta(e) {
				i++
			}
			return !n.meta(e) || i <= k
		})
		if len(names) != len(files) {
			continue
		}
		ok := true
		for name, data := range files {
			file, has := names[name]
			ok = ok && has && n.explains(file, string(data))
		}
		if ok {
			return
		}
	}
	rt.Fatalf("no prefix of the log explains %s", show(im))
}

func (n *naive) explains(file int, data string) bool {
	for off := range len(data) {
		if data[off] != 0 && !slices.ContainsFunc(n.history, func(e event) bool {
			return e.kind == "write" && e.file == file && off >= e.off && off < e.off+len(e.data) && e.data[off-e.off] == data[off]
		}) {
			return false
		}
	}
	return true
}

// Removed, but still open: the file is readable, and on disk only until the removal is.
func TestOpenAfterRemoval(t *testing.T) {
	m := newModel()
	run(t, m, "write a 0 hello\nsyncfs")
	ino, _ := m.lookup(rootIno, "a")
	m.nodes[ino].lookups = 1
	run(t, m, "rm a")
	if p, errno := m.read(ino, 0, 10); errno != 0 || string(p) != "hello" {
		t.Fatalf("%q %v", p, errno)
	}
	if got := show(m.cut(Pessimistic())); got != "a=hello" {
		t.Fatalf("on disk: %q", got)
	}
	m.syncAll()
	m.forget(ino, 1)
	if _, errno := m.read(ino, 0, 10); errno != syscall.ESTALE || len(m.disk) != 1 {
		t.Fatalf("%v, %d inodes on disk", errno, len(m.disk))
	}
}
