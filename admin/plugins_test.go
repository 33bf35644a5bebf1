package admin_test

import (
	"context"
	"errors"
	"strings"
	"testing"

	"github.com/tarishi/tarishi/admin"
)

// fewPlugins is a node's plugins.
type fewPlugins struct {
	fault   error
	reloads int
}

func (p *fewPlugins) Reload(context.Context) error {
	p.reloads++
	return p.fault
}

func (p *fewPlugins) Plugins() admin.PluginsView {
	v := admin.PluginsView{Loads: 3, Functions: []admin.PluginFunction{
		{Hook: "mail", Plugin: "access", Function: "a", TimeoutSeconds: 30, Calls: 4, Refused: 1, MeanSeconds: 0.5},
		{Hook: "mail", Plugin: "access", Function: "b", TimeoutSeconds: 30, Calls: 2, Timeouts: 1, Panics: 1, MeanSeconds: 1},
	}}
	if p.fault != nil {
		v.Fault = p.fault.Error()
	}
	return v
}

func TestPlugins(t *testing.T) {
	p := &fewPlugins{}
	s, _ := sample(t, func(c *admin.Config) { c.Plugins = p })
	for _, x := range []struct {
		method, path, body string
		code               int
		want               string
	}{
		{"GET", "/v1/plugins", "", 200, `"functions":[{"hook":"mail","plugin":"access","function":"a","priority":0,"timeout_seconds":30,"calls":4,"refused":1,"timeouts":0,"panics":0,"mean_seconds":0.5}`},
		{"GET", "/metrics", "", 200, `tarishi_plugin_calls_total{hook="mail",plugin="access"} 6`},
		{"GET", "/metrics", "", 200, `tarishi_plugin_seconds_total{hook="mail",plugin="access"} 4`},
		{"GET", "/metrics", "", 200, `tarishi_plugin_failures_total{hook="mail",how="late",plugin="access"} 1`},
		{"GET", "/metrics", "", 200, `tarishi_plugins_fault 0`},
		{"GET", "/v1/plugins/reload", "", 405, "POST"},
		{"POST", "/v1/plugins/reload", `{"auther":"x"}`, 400, "not understood"},
		{"POST", "/v1/plugins/reload", `{"author":"x"}`, 200, `"loads":3`},
	} {
		r := ask(s, x.method, x.path, x.body)
		if r.Code != x.code || !strings.Contains(r.Body.String(), x.want) {
			t.Errorf("%s %s: %d %s; want %d %s", x.method, x.path, r.Code, r.Body, x.code, x.want)
		}
	}
	if p.reloads != 1 {
		t.Errorf("reloaded %d times", p.reloads)
	}
	p.fault = errors.New("plugin access: no list")
	if r := ask(s, "POST", "/v1/plugins/reload", `{}`); r.Code != 409 || !strings.Contains(r.Body.String(), "the plugins of before stay in force: plugin access: no list") {
		t.Errorf("a reload that fails: %d %s", r.Code, r.Body)
	}
	if b := ask(s, "GET", "/metrics", "").Body.String(); !strings.Contains(b, "tarishi_plugins_fault 1\n") {
		t.Error("the fault is in no metric")
	}
	s, _ = sample(t, func(*admin.Config) {})
	if r := ask(s, "GET", "/v1/plugins", ""); r.Code != 503 || !strings.Contains(r.Body.String(), "runs no plugins") {
		t.Errorf("without: %d %s", r.Code, r.Body)
	}
}
