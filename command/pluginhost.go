package command

import (
	"bytes"
	"context"
	"log/slog"
	"os"
	"path/filepath"
	"sync/atomic"
	"time"

	"github.com/tarishi/tarishi/admin"
	"github.com/tarishi/tarishi/daemon"
	"github.com/tarishi/tarishi/dns"
	"github.com/tarishi/tarishi/plugin"
	"github.com/tarishi/tarishi/script"
)

// pluginHost is the plugins of this node: the chain in force, and what has it loaded
// anew (SIGHUP, an operator, a file that has changed).
type pluginHost struct {
	conf   atomic.Pointer[daemon.Config] // the newest that could be read
	loader plugin.Loader
	log    *slog.Logger
}

func newPluginHost(c *daemon.Config, kinds []plugin.Kind, resolver *dns.Resolver, log *slog.Logger) *pluginHost {
	p := &pluginHost{log: log, loader: plugin.Loader{Kinds: kinds, Resolver: resolver, Log: log}}
	p.conf.Store(c)
	p.loader.Scripts = p.scripts
	return p
}

// openPlugins loads the plugins of the configuration; an error says what is wrong.
func openPlugins(c *daemon.Config, kinds []plugin.Kind, resolver *dns.Resolver, log *slog.Logger) (*pluginHost, error) {
	p := newPluginHost(c, kinds, resolver, log)
	return p, p.loader.Load(listingOf(c))
}

// listingOf are the plugins of the configuration.
func listingOf(c *daemon.Config) plugin.Listing {
	x := plugin.Listing{Folder: c.PluginFolder(), Timeout: c.Plugins.Timeout}
	for _, r := range c.Plugins.Run {
		x.Run = append(x.Run, plugin.Entry{Name: r.Name, Timeout: r.Timeout, Settings: r.Settings.Read})
	}
	return x
}

// scripts opens the workers for the scripts of one chain.
func (p *pluginHost) scripts() (func(name, file string) (plugin.Plugin, error), error) {
	c := p.conf.Load()
	pool, err := script.Open(script.Options{
		Folder: c.PluginFolder(), Workers: c.Plugins.Scripts.Workers, Memory: int64(c.Plugins.Scripts.Memory), Turn: c.Plugins.Scripts.Turn,
		Me: c.Hostname, Servers: c.Delivery.DNS.Servers, Append: c.Plugins.Scripts.Append, Log: p.log,
	})
	if err != nil {
		return nil, err
	}
	return pool.Plugin, nil
}

// run loads the plugins anew when something asks for it, until ctx ends.
func (p *pluginHost) run(ctx context.Context, hangups <-chan os.Signal) error {
	watched := make(chan struct{})
	go func() { defer close(watched); p.loader.Watch(ctx) }()
	defer func() { <-watched }()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-hangups:
			p.log.Info("SIGHUP: plugins are to be loaded anew")
			_ = p.reload() // it has said so
		}
	}
}

// reload reads plugins from the configuration as it is now. Its other keys hold from
// the next start on.
func (p *pluginHost) reload() error {
	c, err := p.conf.Load().Again(os.Environ())
	if err != nil {
		p.loader.Failed(err)
		return err
	}
	if before := p.conf.Swap(c); otherKeys(before) != otherKeys(c) {
		p.log.Warn("the configuration has changed in more than its plugins; the rest holds from the next start on")
	}
	return p.loader.Load(listingOf(c))
}

// otherKeys is the configuration without its plugins, as text.
func otherKeys(c *daemon.Config) string {
	var b bytes.Buffer
	without := *c
	without.Plugins = daemon.Plugins{}
	if err := without.Print(&b); err != nil {
		return err.Error()
	}
	return b.String()
}

// close ends the plugins; whoever asked them has ended before. One that does not end is
// no fault of the node's.
func (p *pluginHost) close() error {
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	if err := p.loader.Current.Close(ctx); err != nil {
		p.log.Warn("plugins do not end; the node ends without them", "error", err)
	}
	return nil
}

// spoolFolder is where messages lie that plugins look at, when they are large; empty:
// this node has no data folder, and the system's temporary one has to do.
func spoolFolder(f *daemon.Folder) (string, error) {
	if f == nil {
		return "", nil
	}
	dir := filepath.Join(f.Path, "spool")
	// Files there have no name; one with a name was being opened when the node died.
	if err := os.RemoveAll(dir); err != nil {
		return "", err
	}
	return dir, os.Mkdir(dir, 0o700)
}

// operatorPluginsOf is them for the admin port; nil: a node of these roles asks none.
func operatorPluginsOf(c *daemon.Config, p *pluginHost) admin.Plugins {
	if !asksPlugins(c) {
		return nil
	}
	return operatorPlugins{p}
}

// asksPlugins tells whether a node of this configuration's roles asks any.
func asksPlugins(c *daemon.Config) bool { return c.Has("ingress") || c.Has("deliverer") }

// operatorPlugins is them as the admin port sees them.
type operatorPlugins struct{ *pluginHost }

func (p operatorPlugins) Reload(context.Context) error { return p.reload() }

func (p operatorPlugins) Plugins() admin.PluginsView {
	s := p.loader.State()
	v := admin.PluginsView{Loads: s.Loads, Loaded: s.Loaded, Fault: s.Fault, FaultAt: s.FaultAt}
	ch := p.loader.Current.Take()
	defer ch.Release()
	for _, f := range ch.List() {
		v.Functions = append(v.Functions, admin.PluginFunction{
			Hook: string(f.Hook), Plugin: f.Plugin, Function: f.Name, Priority: f.Priority, TimeoutSeconds: f.Timeout.Seconds(),
			Calls: f.Calls, Refused: f.Refused, Timeouts: f.Timeouts, Panics: f.Panics, MeanSeconds: f.Mean.Seconds(),
		})
	}
	return v
}
