package daemon

import (
	"path/filepath"
	"reflect"
	"strings"
	"testing"
	"time"
)

const pluginsYAML = `
plugins:
  folder: policy
  timeout: 10s
  run:
    - access
    - queue/test
    - name: hosts
      timeout: 5s
      settings:
        file: host_list
        wait: 2s
        lists: [a, "b c"]
        deep: {n: 7}
`

type hostSettings struct {
	File  string        `yaml:"file" required:"yes" doc:"The list."`
	Wait  time.Duration `yaml:"wait" default:"1s" min:"1s" max:"1m"`
	Lists []string      `yaml:"lists" default:"x,y"`
	Deep  struct {
		N int `yaml:"n" default:"3"`
	} `yaml:"deep"`
}

func TestPlugins_read(t *testing.T) {
	c, err := Parse("/etc/tarishi/t.yaml", []byte(pluginsYAML), nil)
	if err != nil {
		t.Fatal(err)
	}
	if got := c.PluginFolder(); got != "/etc/tarishi/policy" {
		t.Errorf("folder %s does not begin at the configuration file", got)
	}
	var names []string
	for _, r := range c.Plugins.Run {
		names = append(names, r.Name)
	}
	if got := strings.Join(names, " "); got != "access queue/test hosts" {
		t.Errorf("run %s", got)
	}
	var s hostSettings
	if err := c.Plugins.Run[2].Settings.Read(&s); err != nil {
		t.Fatal(err)
	}
	want := hostSettings{File: "host_list", Wait: 2 * time.Second, Lists: []string{"a", "b c"}}
	want.Deep.N = 7
	if !reflect.DeepEqual(s, want) || c.Plugins.Run[2].Timeout != 5*time.Second {
		t.Errorf("read %+v, timeout %s", s, c.Plugins.Run[2].Timeout)
	}
}

func TestSettings_faults(t *testing.T) {
	for _, x := range []struct{ settings, want string }{
		{"", "t.yaml:4: plugins.run[0].settings.file: missing; The list."},
		{"{wait: 2s}", "t.yaml:5: plugins.run[0].settings.file: missing; The list."},
		{"{file: a, fil: b}", `t.yaml:5: unknown key "fil" in plugins.run[0].settings; did you mean "file"?`},
		{"{file: a, wait: 0s}", "t.yaml:5: plugins.run[0].settings.wait: 0s is too small; at least 1s"},
		{"{file: [a]}", "t.yaml:5: plugins.run[0].settings.file: wants text, not a list"},
		{"{file: a, deep: {m: 1}}", `t.yaml:5: unknown key "m" in plugins.run[0].settings.deep; did you mean "n"?`},
	} {
		src := "plugins:\n  timeout: 1s\n  run:\n    - name: hosts\n"
		if x.settings != "" {
			src += "      settings: " + x.settings + "\n"
		}
		c, err := Parse("t.yaml", []byte(src), nil)
		if err != nil {
			t.Fatalf("%s: %v", x.settings, err)
		}
		var s hostSettings
		if err := c.Plugins.Run[0].Settings.Read(&s); err == nil || err.Error() != x.want {
			t.Errorf("%s: %v; want %s", x.settings, err, x.want)
		}
	}
	for src, want := range map[string]string{
		"plugins: {run: [a, b, a]}":                           "t.yaml:1: plugins.run[2].name: plugin a is listed twice; keep one",
		"plugins: {run: [../a]}":                              `t.yaml:1: plugins.run[0].name: "../a" is no name of a plugin: letters, digits, dots, dashes, underscores, and slashes between them`,
		"plugins: {run: [{name: a, settings: [1]}]}":          "t.yaml:1: plugins.run[0].settings: wants keys and values, not a list",
		"plugins: {run: [{timeout: 1s}]}":                     "t.yaml:1: plugins.run[0].name: missing; A script of the folder or a built-in plugin; see docs/plugins.md.",
		"plugins: {run: [{name: a, timeout: 1ms}]}":           "t.yaml:1: plugins.run[0].timeout: 1ms is too small; at least 10ms",
		"plugins: {run: [{name: a, setting: {b: 1}}]}":        `t.yaml:1: unknown key "setting" in plugins.run[0]; did you mean "settings"?`,
		"plugins: {run: [{name: a, settings: {b: 1, b: 2}}]}": `t.yaml:1: plugins.run[0].settings: key "b" stands twice (first in line 1); keep one`,
	} {
		if _, err := Parse("t.yaml", []byte(src), nil); err == nil || err.Error() != want {
			t.Errorf("%s: %v; want %s", src, err, want)
		}
	}
}

// What `config print` writes is read as the same settings.
func TestSettings_print(t *testing.T) {
	c, err := Parse("t.yaml", []byte(pluginsYAML), nil)
	if err != nil {
		t.Fatal(err)
	}
	again, err := Parse("u.yaml", []byte(printed(t, c)), nil)
	if err != nil {
		t.Fatal(err)
	}
	var a, b hostSettings
	if err := c.Plugins.Run[2].Settings.Read(&a); err != nil {
		t.Fatal(err)
	}
	if err := again.Plugins.Run[2].Settings.Read(&b); err != nil || !reflect.DeepEqual(a, b) {
		t.Errorf("%+v became %+v (%v)", a, b, err)
	}
	if x, y := filepath.Base(c.PluginFolder()), filepath.Base(again.PluginFolder()); x != y {
		t.Errorf("folder %s became %s", x, y)
	}
}

func TestSettings_environment(t *testing.T) {
	c, err := Parse("", nil, []string{`TARISHI_PLUGINS_RUN=[access, {name: hosts, settings: {file: x, nope: 1}}]`})
	if err != nil {
		t.Fatal(err)
	}
	var s hostSettings
	if err := c.Plugins.Run[1].Settings.Read(&s); err == nil || !strings.HasPrefix(err.Error(), `TARISHI_PLUGINS_RUN: unknown key "nope"`) {
		t.Errorf("%v does not name the variable", err)
	}
}
