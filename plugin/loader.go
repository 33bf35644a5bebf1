package plugin

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/tarishi/tarishi/internal/nearest"
)

// Listing is which plugins are to run, in this order.
type Listing struct {
	Folder  string        // of scripts, absolute; and of what plugins read, below config/
	Timeout time.Duration // of every function
	Run     []Entry
}

// Entry is one plugin of a Listing.
type Entry struct {
	Name     string
	Timeout  time.Duration        // of its functions; 0: the Listing's
	Settings func(into any) error // reads its settings; nil: it has none
}

// Loader makes chains, and puts them in force. Set the fields before the first call.
type Loader struct {
	Kinds []Kind
	// Scripts makes plugins of script files. What it returns makes those of one chain;
	// nil: this program runs no scripts.
	Scripts  func() (func(name, file string) (Plugin, error), error)
	Resolver Resolver
	Log      *slog.Logger
	Current  Current // the chain in force

	loading sync.Mutex // one load at a time
	last    Listing    // what was wanted last, loaded or not

	mu    sync.Mutex
	files map[string]stamp // what the last load was made of
	state State
}

// State is how the chain in force came about.
type State struct {
	Loads   int       // how often plugins were loaded, the first time included
	Loaded  time.Time // when, last; zero: never
	Fault   string    // why they could not be loaded since; empty: nothing is wrong
	FaultAt time.Time
}

// State tells it.
func (l *Loader) State() State {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.state
}

// Load makes the chain of a Listing and puts it in force. An error names every fault,
// and leaves the chain of before where it is.
func (l *Loader) Load(x Listing) error {
	l.loading.Lock()
	defer l.loading.Unlock()
	l.last = x
	return l.load()
}

// Again is Load for what was wanted last.
func (l *Loader) Again() error {
	l.loading.Lock()
	defer l.loading.Unlock()
	return l.load()
}

// Failed notes that it could not even be said what to load, such as a configuration
// that cannot be read.
func (l *Loader) Failed(err error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.state.Fault, l.state.FaultAt = err.Error(), time.Now()
	l.Log.Error("plugins cannot be loaded", "error", err, "in_force", l.inForce())
}

func (l *Loader) inForce() string {
	if l.state.Loaded.IsZero() {
		return "none"
	}
	return "those of " + l.state.Loaded.UTC().Format(time.RFC3339)
}

func (l *Loader) load() error {
	b := &build{l: l, x: l.last, files: map[string]stamp{}}
	ch, err := b.chain()
	l.took(b)
	if err != nil {
		l.Failed(err)
		return err
	}
	l.Current.Swap(ch)
	l.mu.Lock()
	defer l.mu.Unlock()
	l.state = State{Loads: l.state.Loads + 1, Loaded: time.Now()}
	if names := l.last.names(); l.state.Loads > 1 || names != "" {
		l.Log.Info("plugins loaded", "run", names)
	}
	return nil
}

// took notes which files a load has looked at, a failed one, too: it is tried again
// when they change.
func (l *Loader) took(b *build) {
	b.mu.Lock()
	defer b.mu.Unlock()
	l.mu.Lock()
	defer l.mu.Unlock()
	l.files = maps.Clone(b.files)
}

// Build makes the chain of a Listing, and puts it nowhere. nil: the Listing is empty.
func (l *Loader) Build(x Listing) (*Chain, error) {
	return (&build{l: l, x: x, files: map[string]stamp{}}).chain()
}

func (x *Listing) names() string {
	names := make([]string, len(x.Run))
	for i, e := range x.Run {
		names[i] = e.Name
	}
	return strings.Join(names, " ")
}

// build is one chain in the making.
type build struct {
	l      *Loader
	x      Listing
	script func(name, file string) (Plugin, error)

	mu    sync.Mutex
	files map[string]stamp // what was read, and what was looked for
}

func (b *build) chain() (*Chain, error) {
	if len(b.x.Run) == 0 {
		return nil, nil
	}
	var plugins []Plugin
	var faults []error
	o := Options{Timeout: b.x.Timeout, Timeouts: map[string]time.Duration{}, Log: b.l.Log}
	for _, e := range b.x.Run {
		p, err := b.plugin(e)
		if err != nil {
			faults = append(faults, fmt.Errorf("plugin %s: %w", e.Name, err))
			continue
		}
		plugins = append(plugins, p)
		if e.Timeout > 0 {
			o.Timeouts[e.Name] = e.Timeout
		}
	}
	var ch *Chain
	if len(faults) == 0 {
		var err error
		if ch, err = made(func() (*Chain, error) { return New(o, plugins...) }); err == nil {
			for _, p := range plugins {
				if f, ok := p.(interface{ Files() []string }); ok {
					for _, name := range f.Files() {
						b.look(name)
					}
				}
			}
			return ch, nil
		}
		faults = append(faults, err)
	}
	for _, p := range plugins {
		if c, ok := p.(Closer); ok {
			ctx, cancel := context.WithTimeout(context.Background(), closePatience)
			faults = append(faults, c.Close(ctx))
			cancel()
		}
	}
	return nil, errors.Join(faults...)
}

// plugin makes one: a script of the folder, or else of a kind.
func (b *build) plugin(e Entry) (Plugin, error) {
	file := filepath.Join(b.x.Folder, filepath.FromSlash(e.Name)+".js")
	if b.x.Folder != "" && b.look(file) {
		return b.fromScript(e.Name, file)
	}
	i := slices.IndexFunc(b.l.Kinds, func(k Kind) bool { return k.Name == e.Name })
	if i < 0 {
		return nil, b.unknown(e.Name, file)
	}
	settings := e.Settings
	if settings == nil {
		settings = func(any) error { return nil }
	}
	p, err := made(func() (Plugin, error) {
		return b.l.Kinds[i].New(Setup{
			Name: e.Name, Settings: settings, Folder: b.x.Folder, Read: b.read,
			Log: b.l.Log.With("plugin", e.Name), Resolver: b.l.Resolver,
		})
	})
	if err == nil && p.Name() != e.Name {
		err = fmt.Errorf("it calls itself %q", p.Name())
	}
	return p, err
}

func (b *build) fromScript(name, file string) (Plugin, error) {
	if b.l.Scripts == nil {
		return nil, fmt.Errorf("%s: this program runs no scripts", file)
	}
	if b.script == nil {
		s, err := b.l.Scripts()
		if err != nil {
			return nil, err
		}
		b.script = s
	}
	return made(func() (Plugin, error) { return b.script(name, file) })
}

func (b *build) unknown(name, file string) error {
	var names []string
	for _, k := range b.l.Kinds {
		names = append(names, k.Name)
	}
	slices.Sort(names)
	mend := "built-in are " + strings.Join(names, ", ")
	if n := nearest.To(name, names); n != "" {
		mend = fmt.Sprintf("did you mean %q?", n)
	} else if len(names) == 0 {
		mend = "and none is built in"
	}
	return fmt.Errorf("there is no such plugin, and no script %s; %s", file, mend)
}

// made calls what somebody else has written.
func made[T any](f func() (T, error)) (v T, err error) {
	defer func() {
		if p := recover(); p != nil {
			err = fmt.Errorf("panic: %v", p)
		}
	}()
	return f()
}

// read is Setup.Read.
func (b *build) read(name string) ([]byte, error) {
	if !filepath.IsAbs(name) {
		name = filepath.Join(b.x.Folder, "config", name)
	}
	b.look(name)
	return os.ReadFile(name)
}
