package daemon

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"time"

	"github.com/goccy/go-yaml/ast"
)

// Plugins is what is asked at the moments of a message's life.
type Plugins struct {
	Folder  string        `yaml:"folder" default:"plugins" doc:"Folder of scripts (NAME.js) and, below it in config/, of the files that plugins read. Relative to this file."`
	Timeout time.Duration `yaml:"timeout" default:"30s" min:"10ms" max:"10m" doc:"How long one function of a plugin may take; then its client is told to try again later."`
	Scripts Scripts       `yaml:"scripts" doc:"The processes in which scripts run; see docs/scripts.md."`
	Run     []PluginRun   `yaml:"run" doc:"The plugins in the order in which they are asked. A name alone is enough: - access. A script of that name in the folder goes before a built-in plugin."`
}

// Scripts are the processes that run scripts, and their bounds.
type Scripts struct {
	Workers int           `yaml:"workers" default:"2" min:"1" max:"64" doc:"Processes. A connection stays with one of them."`
	Memory  Size          `yaml:"memory" default:"128MiB" min:"32MiB" max:"64GiB" doc:"Heap of one process, in octets. A script that has it grow beyond is stopped."`
	Turn    time.Duration `yaml:"turn" default:"500ms" min:"10ms" max:"1m" doc:"How long JavaScript may run at a stretch; a script that does not stop by then is stopped, and the client told to try again later. Waiting (timers, DNS, sockets) does not count: that is timeout's."`
	Append  []string      `yaml:"append" doc:"Files below plugins.folder to which scripts may append, such as config/mail_from.blocklist. Everything else they can only read."`
}

// PluginRun is one plugin of the chain.
type PluginRun struct {
	Name     string        `yaml:"name" required:"yes" check:"plugin" doc:"A script of the folder or a built-in plugin; see docs/plugins.md."`
	Timeout  time.Duration `yaml:"timeout" min:"10ms" max:"10m" doc:"Of its functions. Default: plugins.timeout."`
	Settings Settings      `yaml:"settings" doc:"The plugin's own keys; see its page."`
}

// Settings are keys that somebody else has declared: they are kept as they were
// written, and read when that somebody asks. The zero Settings have none.
type Settings struct {
	node  ast.Node
	file  string
	env   string
	path  string
	place string // where they would have stood, when there are none
}

// Read reads the settings into the struct that into points to, by its tags, after
// setting its defaults. The error is a Problems, with file and line.
func (s Settings) Read(into any) error {
	v := reflect.ValueOf(into).Elem()
	for _, k := range leaves(v, s.path) {
		if d, ok := k.tag.Lookup("default"); ok {
			if err := setText(k.value, d); err != nil {
				panic("daemon: default of " + k.path + " " + err.Error())
			}
		}
	}
	l := &loader{file: s.file, env: s.env, where: map[string]string{}}
	if s.node != nil {
		l.section(s.node, v, s.path)
	} else {
		for _, k := range keysOf(v, s.path) {
			if k.tag.Get("required") != "" && k.value.IsZero() {
				l.problems = append(l.problems, &Problem{Where: s.place, Field: k.path, What: "missing", Mend: k.doc()})
			}
		}
	}
	if len(l.problems) > 0 {
		l.problems.sort()
		return l.problems
	}
	return nil
}

// ParseSettings makes Settings of a YAML text; file is its name in messages.
func ParseSettings(file string, src []byte) (Settings, error) {
	l := &loader{file: file, where: map[string]string{}}
	node := l.parse(src)
	if len(l.problems) > 0 {
		return Settings{}, l.problems
	}
	return Settings{node: node, file: file}, nil
}

// settings keeps a node for Read.
func (l *loader) settings(node ast.Node, v reflect.Value, k key) {
	if _, ok := l.pairs(node, k.path, "keys and values"); ok {
		v.Set(reflect.ValueOf(Settings{node: node, file: l.file, env: l.env, path: k.path}))
	}
}

// String is the settings on one line, as YAML.
func (s Settings) String() string {
	if s.node == nil {
		return "{}"
	}
	return flowNode(s.node)
}

// flowNode writes a node on one line. What this package does not understand, such as
// an anchor, is written as it stands, and refused by Read.
func flowNode(node ast.Node) string {
	join := func(values []*ast.MappingValueNode) string {
		items := make([]string, len(values))
		for i, mv := range values {
			items[i] = flowNode(mv.Key) + ": " + flowNode(mv.Value)
		}
		return "{" + strings.Join(items, ", ") + "}"
	}
	switch n := node.(type) {
	case *ast.MappingNode:
		return join(n.Values)
	case *ast.MappingValueNode:
		return join([]*ast.MappingValueNode{n})
	case *ast.SequenceNode:
		items := make([]string, len(n.Values))
		for i, x := range n.Values {
			items[i] = flowNode(x)
		}
		return "[" + strings.Join(items, ", ") + "]"
	case *ast.StringNode:
		return quote(n.Value)
	case *ast.LiteralNode:
		return quote(n.Value.Value)
	case *ast.NullNode:
		return "null"
	}
	if text, ok := scalarText(node); ok {
		return text
	}
	return node.String()
}

// pluginRun reads the short form of an entry of plugins.run, the name alone.
func (l *loader) pluginRun(node ast.Node, v reflect.Value, k key) {
	text, _ := scalarText(node)
	name := keysOf(v, k.path)[0]
	l.mark(name.path, lineOf(node))
	l.scalar(lineOf(node), text, name.value, name)
}

// PluginFolder is the folder of plugins, absolute: a relative one begins at the
// configuration file, or without a file where the process runs.
func (c *Config) PluginFolder() string {
	f := c.Plugins.Folder
	if !filepath.IsAbs(f) && c.file != "" {
		f = filepath.Join(filepath.Dir(c.file), f)
	}
	if abs, err := filepath.Abs(f); err == nil {
		f = abs
	}
	return f
}

// checkPluginName accepts what plugin.New does: Haraka's names have slashes, too.
func checkPluginName(s string) error {
	if len(s) > 64 || strings.HasPrefix(s, "/") || strings.HasSuffix(s, "/") || slices.Contains(strings.Split(s, "/"), "..") ||
		strings.Trim(s, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789._-/") != "" {
		return errors.New("is no name of a plugin: letters, digits, dots, dashes, underscores, and slashes between them")
	}
	return nil
}

// checkPlugins looks at the list as a whole.
func (l *loader) checkPlugins(c *Config) {
	first, scripts := map[string]bool{}, false
	for i, r := range c.Plugins.Run {
		path := l.itemPath("plugins.run", i)
		if first[r.Name] {
			l.fault(path+".name", "plugin "+r.Name+" is listed twice", "keep one")
		}
		first[r.Name] = true
		if _, err := os.Stat(filepath.Join(c.PluginFolder(), filepath.FromSlash(r.Name)+".js")); err == nil {
			scripts = true
		}
		if r.Settings.node == nil {
			c.Plugins.Run[i].Settings = Settings{path: path + ".settings", place: l.where[path]}
		}
	}
	// A body that is taken apart is there twice for a while; see docs/scripts.md.
	if memory, size := c.Plugins.Scripts.Memory, c.SMTP.MaxMessageSize; scripts && 2*memory < 5*size {
		c.Warnings = append(c.Warnings, fmt.Sprintf("plugins.scripts.memory (%s) is less than two and a half times smtp.max_message_size (%s): a script that looks at the body of so large a message finds no room, and its client is told to try again later", memory, size))
	}
}
