package api

import (
	"sync"
	"time"

	"github.com/dop251/goja"
)

// every is how often watched files are looked at. A file that has changed is read when
// two looks in a row find it the same, so that none is read while it is being written.
const every = time.Second

// maxSettings bounds the files that are kept. A script that makes names of what clients
// say has those beyond read each time.
const maxSettings = 10000

// setting is one settings file, read in one way.
type setting struct {
	key       settingKey
	booleans  []string
	value     any
	missing   bool
	read      bool
	overrides []string           // names of !name in it
	callbacks map[int]goja.Value // of each config object the last

	// Under the lock of watch.
	watched bool
	loaded  stamp // as it was when it was read
	seen    stamp // at the last look
}

type settingKey struct{ file, typ, booleans string }

// stamp tells one state of a file from another.
type stamp struct {
	there bool
	mtime time.Time
	size  int64
	yaml  int64 // of the YAML that may be there in place of JSON: its time
}

// watch looks after the files that have been read.
type watch struct {
	c *configs

	mu       sync.Mutex
	settings map[settingKey]*setting
	stop     chan struct{}
}

// setting is that of a key, made at the first call.
func (w *watch) setting(k settingKey, asked wanted) *setting {
	w.mu.Lock()
	defer w.mu.Unlock()
	s := w.settings[k]
	if s == nil {
		s = &setting{key: k, booleans: asked.booleans, callbacks: map[int]goja.Value{}}
		if len(w.settings) >= maxSettings {
			return s
		}
		w.settings[k] = s
	}
	if !asked.noWatch {
		s.watched = true
		if w.stop == nil {
			w.stop = make(chan struct{})
			go w.run(w.stop)
		}
	}
	return s
}

// stamp notes the state in which the file is about to be read.
func (w *watch) stamp(s *setting) {
	now := w.look(s.key)
	w.mu.Lock()
	s.loaded, s.seen = now, now
	w.mu.Unlock()
}

func (w *watch) look(k settingKey) (s stamp) {
	root := w.c.r.root
	if root == nil {
		return s
	}
	if f, err := root.Stat(k.file); err == nil {
		s = stamp{there: true, mtime: f.ModTime(), size: f.Size()}
	} else if base, ok := cutEither(k.file, ".json", ".hjson"); ok {
		if f, err := root.Stat(base + ".yaml"); err == nil {
			s.yaml = f.ModTime().UnixNano() ^ f.Size()
		}
	}
	return s
}

func cutEither(s string, ends ...string) (string, bool) {
	for _, e := range ends {
		if len(s) > len(e) && s[len(s)-len(e):] == e {
			return s[:len(s)-len(e)], true
		}
	}
	return s, false
}

func (w *watch) run(stop chan struct{}) {
	t := time.NewTicker(every)
	defer t.Stop()
	for {
		select {
		case <-stop:
			return
		case <-t.C:
			w.check()
		}
	}
}

// check has the files read anew that have changed and rest.
func (w *watch) check() {
	w.mu.Lock()
	var all []*setting
	for _, s := range w.settings {
		if s.watched {
			all = append(all, s)
		}
	}
	w.mu.Unlock()
	for _, s := range all {
		now := w.look(s.key)
		w.mu.Lock()
		changed, rests := now != s.loaded, now == s.seen
		s.seen = now
		if changed && rests {
			s.loaded = now
		}
		w.mu.Unlock()
		if changed && rests {
			w.c.r.Do(nil, func() error { return w.reload(s) })
		}
	}
}

// reload reads a file anew and calls back, inside the loop.
func (w *watch) reload(s *setting) error {
	r := w.c.r
	err := w.c.load(s)
	var args []goja.Value
	if err != nil {
		r.o.Log(Line{Level: Error, Text: oneLine("config: what was there stays in force: " + err.Error())})
		args = []goja.Value{r.fail("", "%s", err)}
	} else {
		r.o.Log(Line{Level: Info, Text: "config: " + s.key.file + " read anew"})
	}
	for _, f := range s.callbacks {
		if err := r.call(f, goja.Undefined(), args...); err != nil {
			r.failed(nil, err)
		}
	}
	return nil
}

func (w *watch) close() {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.stop != nil {
		close(w.stop)
	}
	w.stop, w.settings = nil, map[settingKey]*setting{}
}
