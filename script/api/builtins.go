package api

import (
	"embed"
	"slices"
	"strings"
	"sync"

	"github.com/dop251/goja"
)

// builtin is a module that is not a file of the operator's. Its JavaScript, if it has
// any, is js/NAME.js; it gets what native returns.
type builtin struct {
	native func(*Runtime) any
	source bool
	inner  bool // for other built-in modules only
}

// builtins are all there are. Names of Node's own may have "node:" before them.
func builtins() map[string]builtin {
	return map[string]builtin{
		"assert":           {source: true},
		"buffer":           {source: true, native: nativeBuffer},
		"console":          {source: true, native: nativeConsole},
		"crypto":           {source: true, native: nativeCrypto},
		"dns":              {source: true, native: nativeDNS},
		"dns/promises":     {source: true},
		"events":           {source: true},
		"inspect":          {source: true, inner: true},
		"fs":               {source: true, native: nativeFS},
		"fs/promises":      {source: true},
		"net":              {source: true, native: nativeNet},
		"os":               {source: true, native: nativeOS},
		"path":             {source: true},
		"path/posix":       {source: true},
		"process":          {source: true, native: nativeProcess},
		"punycode":         {source: true, native: nativePunycode},
		"timers":           {source: true},
		"timers/promises":  {source: true},
		"url":              {source: true, native: nativeURL},
		"util":             {source: true, native: nativeUtil},
		"address-rfc2821":  {source: true, native: nativeAddress},
		"haraka-config":    {native: func(r *Runtime) any { return r.Config() }},
		"haraka-constants": {source: true, native: nativeConstants},
		"haraka-dsn":       {source: true},
		"haraka-net-utils": {source: true, native: nativeNetUtils},
		"haraka-utils":     {source: true},
	}
}

// cores are the modules of Haraka's own that plugins name with ./ or haraka_require.
var cores = map[string]string{
	"address":   "address-rfc2821",
	"config":    "haraka-config",
	"constants": "haraka-constants",
	"dsn":       "haraka-dsn",
	"net_utils": "haraka-net-utils",
	"utils":     "haraka-utils",
}

// harakas are modules of Haraka's that scripts do not have, and what is in their place.
var harakas = map[string]string{
	"outbound":             "scripts cannot make mail",
	"logger":               "use this.loginfo and its kin",
	"haraka-results":       "use connection.results and transaction.results",
	"haraka-notes":         "use connection.notes and transaction.notes",
	"haraka-tld":           "",
	"haraka-email-message": "use transaction.header and transaction.body",
	"child_process":        "scripts start no programs",
	"http":                 "scripts have module net",
	"https":                "scripts have module net",
	"tls":                  "scripts have module net",
	"worker_threads":       "",
	"cluster":              "",
}

//go:embed js/*.js
var sources embed.FS

// programs are the built-in modules' programs; they are compiled once.
var programs = struct {
	sync.Mutex
	m map[string]*goja.Program
}{m: map[string]*goja.Program{}}

func builtinProgram(name string) (*goja.Program, error) {
	programs.Lock()
	defer programs.Unlock()
	if p := programs.m[name]; p != nil {
		return p, nil
	}
	file := "js/" + strings.ReplaceAll(name, "/", "_") + ".js"
	src, err := sources.ReadFile(file)
	if err != nil {
		return nil, err
	}
	p, err := goja.Compile("tarishi:"+name, "(function(exports,require,module,native,absent){\"use strict\";"+string(src)+wrapTail, false)
	if err != nil {
		return nil, err
	}
	programs.m[name] = p
	return p, nil
}

// Names are the modules that scripts have.
func Names() []string {
	var all []string
	for n, b := range builtins() {
		if !b.inner {
			all = append(all, n)
		}
	}
	slices.Sort(all)
	return all
}
