package api

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

func TestConfigGet(t *testing.T) {
	w := newWorld(t, map[string]string{
		"config/test.ini":        "reject=true\n[job]\ntitle=Architect\n[lists]\nhosts[]=a\nhosts[]=b\n",
		"config/rambling.paths":  "# comment\n/a\n/b\n",
		"config/number":          "42\n",
		"config/greeting":        "hello there\nmore\n",
		"config/lines.data":      "a\n# b\n\nc\n",
		"config/x.json":          `{"matt":"waz here","array":["an element"],"n":{"x":1.5}}`,
		"config/missing.yaml":    "matt: waz here\n",
		"config/x.hjson":         "{\n  # rate\n  rate: 1000\n  hey: look ma, no quotes!\n  notice: []\n  anything: ?\n}\n",
		"config/list.hjson":      "[\n  {b: 1, a: {c: d\n}}\n]\n",
		"config/x.yaml":          "main:\n  t: true\n  s: text\n  list: [1, two]\n  when: 2026-01-02\n",
		"config/x.yml":           "a: 1\n",
		"config/broken.json":     "{ nope",
		"config/blob.bin":        "\x00\xff",
		"config/sub/dir/y.ini":   "a=1\n",
		"config/over.json":       `{"!smtpgreeting":["this is line one","this is line two"],"!extra.ini":{"main":{"x":1}}}`,
		"config/smtp.yaml":       "\"!early\": from smtp.yaml\n",
		"config/early":           "from the file\n",
		"config/host.with.list":  "a.example\n",
		"mod/config/m.ini":       "toplevel1=foo\ntoplevel2=bar\n[subsection]\nsub1=something\n",
		"local/config/m.ini":     "toplevel2=blee\n[subsection]\nsub2=otherthing\n",
		"mod/config/flat":        "one\n",
		"local/config/flat":      "two\n",
		"mod/config/only":        "default\n",
		"secret":                 "not for config\n",
		"config/two words":       "spaces\n",
		"config/deep.yaml":       "a: &a [1]\nb: *a\n",
		"config/hosts.list":      "a\nb\n",
		"config/mixed.case.JSON": `[1]`,
	})
	w.inside(func() { w.vm.Set("config", w.Config()); w.vm.Set("folder", w.o.Folder) })
	j := func(s string) string { return "JSON.stringify(" + s + ")" }
	w.table([][2]string{
		{j(`config.get('test.ini')`), `{"main":{"reject":"true"},"job":{"title":"Architect"},"lists":{"hosts":["a","b"]}}`},
		{j(`config.get('test.ini', { booleans: ['+reject', 'job.on'] })`), `{"main":{"reject":true},"job":{"on":false,"title":"Architect"},"lists":{"hosts":["a","b"]}}`},
		{j(`config.get('test.ini', 'list')`), `["reject=true","[job]","title=Architect","[lists]","hosts[]=a","hosts[]=b"]`},
		{j(`config.get('rambling.paths', 'list')`), `["/a","/b"]`},
		{j(`config.get('hosts.list')`), `["a","b"]`},
		{`config.get('rambling.paths')`, "/a"},
		{`config.get('number') + 1`, "43"},
		{`config.get('greeting')`, "hello there"},
		{j(`config.get('lines.data')`), `["a","# b","","c"]`},
		{j(`config.get('x.json')`), `{"matt":"waz here","array":["an element"],"n":{"x":1.5}}`},
		{j(`config.get('missing.json')`), `{"matt":"waz here"}`},
		{j(`config.get('missing.hjson')`), `{"matt":"waz here"}`},
		{j(`config.get('x.hjson')`), `{"rate":1000,"hey":"look ma, no quotes!","notice":[],"anything":"?"}`},
		{j(`config.get('list.hjson')`), `[{"a":{"c":"d"},"b":1}]`},
		{j(`config.get('x.yaml')`), `{"main":{"t":true,"s":"text","list":[1,"two"],"when":"2026-01-02"}}`},
		{j(`config.get('x.yml')`), `{"a":1}`},
		{j(`config.get('deep.yaml')`), `{"a":[1],"b":[1]}`},
		{j(`config.get('mixed.case.JSON')`), `[1]`},
		{`config.get('blob.bin').toString('hex')`, "00ff"},
		{`Buffer.isBuffer(config.get('number', 'binary'))`, "true"},
		{j(`config.get('sub/dir/y.ini')`), `{"main":{"a":1}}`},
		{`config.get('two words')`, "spaces"},
		// What is not there.
		{`config.get('none') === null`, "true"},
		{j(`config.get('none', 'list')`), `[]`},
		{j(`config.get('none.ini', { booleans: ['+reject'] })`), `{"main":{"reject":true}}`},
		{j(`config.get('none.json')`), `{}`},
		{`config.get('none', 'binary') === null`, "true"},
		{j(`config.get('broken.json')`), `{}`},
		{`config.get('me')`, "mx.example.com"},
		{j(`config.get('me', 'list')`), `["mx.example.com"]`},
		// Overrides.
		{`config.get('early')`, "from smtp.yaml"},
		{j(`config.get('smtpgreeting', 'list')`), `[]`},
		{script(`config.get('over.json'); return JSON.stringify(config.get('smtpgreeting', 'list')) + JSON.stringify(config.get('extra.ini'))`), `["this is line one","this is line two"]{"main":{"x":1}}`},
		// Whoever changes what it got changes nothing for others.
		{script(`config.get('rambling.paths', 'list').push('x'); config.get('test.ini').main.reject = 1; return config.get('rambling.paths', 'list').length + config.get('test.ini').main.reject`), "2true"},
		{j(`config.module_config(folder + '/mod', folder + '/local').get('m.ini')`), `{"main":{"toplevel1":"foo","toplevel2":"blee"},"subsection":{"sub1":"something","sub2":"otherthing"}}`},
		{j(`config.module_config('mod').get('m.ini')`), `{"main":{"toplevel1":"foo","toplevel2":"bar"},"subsection":{"sub1":"something"}}`},
		{`config.module_config('mod', 'local').get('flat')`, "two"},
		{`config.module_config('mod', 'local').get('only')`, "default"},
		{`config.root_path === folder + '/config'`, "true"},
		{`config.getInt('number') + ' ' + config.getInt('none', 5) + ' ' + config.getInt('none') + ' ' + config.getInt()`, "42 5 NaN NaN"},
		// What is refused.
		{`config.get()`, "error: Error: config.get: the name of a settings file is missing"},
		{`config.get('x', 'toml')`, "error: Error: config.get(\"x\"): unknown config type: toml; there are value, list, data, ini, json, hjson, yaml, binary"},
		{`config.get('x.js')`, "error: Error: config.get(\"x.js\"): settings are no scripts; there are value, list, data, ini, json, hjson, yaml, binary (docs/scripts.md)"},
		{`config.getDir('x')`, "error: Error: config.getDir: scripts do not have it (docs/scripts.md)"},
		{`config.get('../secret').length`, "error: Error: config.get: config name '../secret' escapes the config directory (" + w.o.Folder + "/config)"},
		{`config.get('/etc/passwd')`, "error: Error: config.get: /etc/passwd: scripts see only what is below " + w.o.Folder},
	})
	var broken bool
	for _, l := range w.logged() {
		broken = broken || l.Level == Error && strings.Contains(l.Text, "config/broken.json:1:")
	}
	if !broken {
		t.Errorf("nobody was told of broken.json: %+v", w.logged())
	}
}

// put writes a file with a time of its own, so that its stamp is another.
func (w *testWorld) put(name, text string, at time.Time) {
	w.t.Helper()
	file := filepath.Join(w.o.Folder, name)
	if err := os.WriteFile(file, []byte(text), 0o644); err != nil {
		w.t.Fatal(err)
	}
	if err := os.Chtimes(file, at, at); err != nil {
		w.t.Fatal(err)
	}
}

// look is two looks at the files that are watched: a change is taken when it rests.
func (w *testWorld) look() {
	w.configs.watch.check()
	w.configs.watch.check()
}

// The documentation's example: the callback reads anew, and this.cfg is kept up to date.
func TestConfigCallback(t *testing.T) {
	w := newWorld(t, map[string]string{
		"my_plugin.js": `
exports.register = function () { this.load_my_plugin_ini() }
exports.load_my_plugin_ini = function () {
  this.cfg = this.config.get('my_plugin.ini', () => { this.load_my_plugin_ini(); this.loads++ });
}
exports.loads = 0;
exports.list = function () { return this.config.get('later', 'list', (err) => { this.told = String(err) }) }
exports.yaml = function () { return JSON.stringify(this.config.get('s.yaml', (err) => { this.fault = String(err) })) }
exports.quiet = function () { return this.config.get('quiet', { no_watch: true }) }
exports.fresh = function () { return this.config.get('quiet', { no_cache: true }) }
`,
		"config/my_plugin.ini": "a=1\n",
		"config/s.yaml":        "a: 1\n",
		"config/quiet":         "one\n",
	})
	w.inside(func() {
		p, err := w.Plugin("my_plugin", "my_plugin.js")
		if err != nil {
			t.Fatal(err)
		}
		w.vm.Set("p", p)
		w.vm.RunString("p.register(); p.list(); p.yaml(); p.quiet()")
		close(w.configs.watch.stop) // the test looks itself
		w.configs.watch.stop = make(chan struct{})
	})
	now := time.Now()
	w.look()
	w.table([][2]string{{`p.cfg.main.a + ' ' + p.loads`, "1 0"}})
	w.put("config/my_plugin.ini", "a=2\n", now.Add(time.Second))
	w.configs.watch.check()
	w.table([][2]string{{`p.cfg.main.a + ' ' + p.loads`, "1 0"}}) // it may still be being written
	w.configs.watch.check()
	w.table([][2]string{{`p.cfg.main.a + ' ' + p.loads`, "2 1"}})
	w.look()
	w.table([][2]string{{`p.cfg.main.a + ' ' + p.loads`, "2 1"}})
	w.put("config/my_plugin.ini", "a=3\n", now.Add(2*time.Second))
	w.put("config/later", "x\n", now)
	w.put("config/quiet", "two\n", now.Add(time.Second))
	w.look()
	w.table([][2]string{
		{`p.cfg.main.a + ' ' + p.loads`, "3 2"},
		{`p.told + ' ' + p.list()`, "undefined x"},
		{`p.quiet() + ' ' + p.fresh()`, "one two"},
	})
	// A broken state keeps the one before, and says so.
	w.put("config/s.yaml", "a: [1\n", now.Add(time.Second))
	w.look()
	w.table([][2]string{{`p.yaml()`, `{"a":1}`}})
	if got := w.eval(`p.fault`); !strings.HasPrefix(got, "Error: config/s.yaml") {
		t.Error(got)
	}
	w.put("config/s.yaml", "a: 2\n", now.Add(2*time.Second))
	w.look()
	w.table([][2]string{{`p.yaml() + p.fault`, `{"a":2}undefined`}})
	if err := os.Remove(filepath.Join(w.o.Folder, "config/later")); err != nil {
		t.Fatal(err)
	}
	w.look()
	w.table([][2]string{{`p.list().length`, "0"}})
}
