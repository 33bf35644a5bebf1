package command

import (
	"slices"

	"github.com/tarishi/tarishi/plugin"
	"github.com/tarishi/tarishi/plugins/access"
	"github.com/tarishi/tarishi/plugins/aliases"
	"github.com/tarishi/tarishi/plugins/delaydeny"
	"github.com/tarishi/tarishi/plugins/earlytalker"
	"github.com/tarishi/tarishi/plugins/hosts"
	"github.com/tarishi/tarishi/plugins/relay"
	"github.com/tarishi/tarishi/plugins/tarpit"
)

// builtinKinds are the plugins that come with the program, in the order in which
// people usually run them. One is added by a line here.
func builtinKinds() []plugin.Kind {
	return []plugin.Kind{
		relay.Kind, access.Kind, earlytalker.Kind, tarpit.Kind,
		aliases.Kind, hosts.Kind, hosts.Short, delaydeny.Kind,
	}
}

// withBuiltin adds the built-in kinds to those of somebody's own program, which go
// before built-in ones of the same name.
func withBuiltin(own []plugin.Kind) []plugin.Kind {
	all := slices.Clone(own)
	for _, k := range builtinKinds() {
		if !slices.ContainsFunc(own, func(o plugin.Kind) bool { return o.Name == k.Name }) {
			all = append(all, k)
		}
	}
	return all
}
