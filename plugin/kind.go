package plugin

import (
	"context"
	"log/slog"
	"net/netip"

	"github.com/tarishi/tarishi/dns"
	"github.com/tarishi/tarishi/mail"
)

// Kind is a sort of plugin that a program has: the built-in ones, and those that
// somebody's own program hands to command.Main beside them. The configuration names
// it under plugins.run; each mention there makes one Plugin of it.
type Kind struct {
	Name  string // as plugins.run calls it
	About string // one sentence for `tarishi plugins`, and for people who choose
	// New makes a Plugin as the settings say. It is called at the start, and again
	// whenever plugins are loaded anew: an error then keeps the plugins of before.
	New func(Setup) (Plugin, error)
}

// Setup is what a new Plugin is told.
type Setup struct {
	Name string // what its Name is to return
	// Settings reads the plugin's own settings into a struct, as package daemon reads
	// the configuration: the tags yaml, doc, default, enum, min, max, check and
	// required say what is possible, and an unknown key is refused with file and line.
	Settings func(into any) error
	// Folder is the folder of plugins, absolute; empty: there is none.
	Folder string
	// Read reads a file of the plugin's, such as a list: name is absolute, or below
	// config/ in Folder. When the file changes (appears, goes away) the plugins are
	// loaded anew. A file that is not there is fs.ErrNotExist. It is for New.
	Read     func(name string) ([]byte, error)
	Log      *slog.Logger
	Resolver Resolver
}

// Resolver asks DNS; a *dns.Resolver is one.
type Resolver interface {
	Query(ctx context.Context, name string, t dns.Type) (dns.Answer, error)
	LookupPTR(ctx context.Context, ip netip.Addr) (dns.Answer, error)
	LookupAddrs(ctx context.Context, host string) (dns.Addrs, error)
	LookupMX(ctx context.Context, d mail.Domain) (dns.Answer, error)
}

var _ Resolver = (*dns.Resolver)(nil)
