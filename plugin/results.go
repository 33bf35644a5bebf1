package plugin

import (
	"maps"
	"slices"
	"strings"
	"sync"
)

// Result is what one plugin has found out about a connection or a transaction. The
// lists are for people and for other plugins' decisions.
type Result struct {
	Pass, Fail, Msg, Err, Skip []string
	Values                     map[string]any
}

// Results are those of all plugins, by name. Safe for concurrent use; the zero
// Results are empty.
type Results struct {
	mu      sync.Mutex
	m       map[string]*Result
	version uint64
	at      map[string]uint64 // in which version a plugin's result changed last
}

// List names one of the lists of a Result.
type List string

// The lists.
const (
	Pass List = "pass"
	Fail List = "fail"
	Msg  List = "msg"
	Err  List = "err"
	Skip List = "skip"
)

func (r *Result) list(l List) *[]string {
	switch l {
	case Pass:
		return &r.Pass
	case Fail:
		return &r.Fail
	case Msg:
		return &r.Msg
	case Err:
		return &r.Err
	case Skip:
		return &r.Skip
	}
	return nil
}

// of is the result of a plugin that is about to change.
func (r *Results) of(plugin string) *Result {
	if r.m == nil {
		r.m, r.at = map[string]*Result{}, map[string]uint64{}
	}
	x := r.m[plugin]
	if x == nil {
		x = &Result{Values: map[string]any{}}
		r.m[plugin] = x
	}
	r.version++
	r.at[plugin] = r.version
	return x
}

// Add appends to a list of a plugin's result.
func (r *Results) Add(plugin string, l List, text string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if p := r.of(plugin).list(l); p != nil {
		*p = append(*p, text)
	}
}

// Set gives a value of a plugin's result.
func (r *Results) Set(plugin, key string, v any) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.of(plugin).Values[key] = v
}

// Increase adds n to a value of a plugin's result, and returns what it is then.
func (r *Results) Increase(plugin, key string, n float64) float64 {
	r.mu.Lock()
	defer r.mu.Unlock()
	x := r.of(plugin)
	v, _ := x.Values[key].(float64)
	x.Values[key] = v + n
	return v + n
}

// Has tells whether a list of a plugin's result holds text.
func (r *Results) Has(plugin string, l List, text string) bool {
	got, ok := r.Get(plugin)
	if !ok {
		return false
	}
	p := got.list(l)
	return p != nil && slices.Contains(*p, text)
}

// Get copies the result of a plugin.
func (r *Results) Get(plugin string) (Result, bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	x := r.m[plugin]
	if x == nil {
		return Result{}, false
	}
	c := *x
	c.Pass, c.Fail, c.Msg, c.Err, c.Skip = slices.Clone(x.Pass), slices.Clone(x.Fail), slices.Clone(x.Msg), slices.Clone(x.Err), slices.Clone(x.Skip)
	c.Values = maps.Clone(x.Values)
	return c, true
}

// Changes names the plugins whose results changed behind a version, and tells which
// version it is now: who keeps a copy elsewhere keeps it up with this.
func (r *Results) Changes(since uint64) (plugins []string, now uint64) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.version == since {
		return nil, since
	}
	for name, at := range r.at {
		if at > since {
			plugins = append(plugins, name)
		}
	}
	slices.Sort(plugins)
	return plugins, r.version
}

// Plugins names those that have a result, in the order of names.
func (r *Results) Plugins() []string {
	r.mu.Lock()
	defer r.mu.Unlock()
	return slices.Sorted(maps.Keys(r.m))
}

// String is the result on one line: "pass:from, fail:rdns, err(timeout)".
func (r Result) String() string {
	var parts []string
	for _, l := range []List{Pass, Fail, Skip, Err, Msg} {
		if xs := *r.list(l); len(xs) > 0 {
			parts = append(parts, string(l)+":"+strings.Join(xs, ", "))
		}
	}
	return strings.Join(parts, "; ")
}
