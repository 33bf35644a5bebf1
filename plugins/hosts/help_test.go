package hosts_test

import (
	"context"
	"strings"

	"github.com/tarishi/tarishi/plugin"
)

func replace(script, want string) string { return strings.ReplaceAll(script, "%", want) }

// relaying lets every client relay.
type relaying struct{}

func (relaying) Name() string { return "relaying" }

func (relaying) Register(r *plugin.Registrar) error {
	r.On(plugin.ConnectInit, func(_ context.Context, e *plugin.Event) plugin.Verdict {
		e.Connection.SetRelaying(true)
		return plugin.Verdict{}
	})
	return nil
}
