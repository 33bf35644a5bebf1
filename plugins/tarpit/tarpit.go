// Package tarpit is the plugin of that name: who is to be slowed down? It answers
// late to clients that another plugin has marked. It never marks anybody itself.
package tarpit

import (
	"context"
	"fmt"
	"log/slog"
	"strings"
	"time"

	"github.com/tarishi/tarishi/plugin"
	"github.com/tarishi/tarishi/plugins/lists"
)

// Kind is the plugin.
var Kind = plugin.Kind{
	Name:  "tarpit",
	About: "Answer late, by as many seconds as another plugin has left in the note tarpit of the connection or the transaction.",
	New:   New,
}

type settings struct {
	HooksToDelay []string `yaml:"hooks_to_delay" default:"connect,helo,ehlo,mail,rcpt,rcpt_ok,data,data_post,queue,unrecognized_command,vrfy,noop,rset,quit" doc:"The hooks at which answers are late."`
}

// note is what other plugins leave, in seconds.
const note = "tarpit"

// margin is what a pause leaves of the time that the function has: a pause that is
// too long must not count as a plugin that failed.
const margin = 100 * time.Millisecond

type tarpit struct {
	name  string
	hooks []plugin.Hook
	log   *slog.Logger
}

// New reads the settings.
func New(s plugin.Setup) (plugin.Plugin, error) {
	var o settings
	if err := s.Settings(&o); err != nil {
		return nil, err
	}
	lists.Unread(s.Read, s.Log, "tarpit.ini")
	t := &tarpit{name: s.Name, log: s.Log}
	for _, name := range o.HooksToDelay {
		h := plugin.Hook(name)
		if !h.Known() {
			return nil, fmt.Errorf("hooks_to_delay: there is no hook %q; those of a connection are %s", name, strings.Join(hookNames(), ", "))
		}
		if !delays(h) {
			return nil, fmt.Errorf("hooks_to_delay: no client waits for an answer at %s", name)
		}
		t.hooks = append(t.hooks, h)
	}
	return t, nil
}

// delays tells whether a client waits for what comes of the hook.
func delays(h plugin.Hook) bool {
	switch h {
	case plugin.Disconnect, plugin.ResetTransaction, plugin.Deny,
		plugin.SendEmail, plugin.GetMX, plugin.Delivered, plugin.Deferred, plugin.Bounce:
		return false
	}
	return true
}

func hookNames() []string {
	var out []string
	for _, h := range plugin.Hooks {
		if delays(h) {
			out = append(out, string(h))
		}
	}
	return out
}

func (t *tarpit) Name() string { return t.name }

func (t *tarpit) Register(r *plugin.Registrar) error {
	for _, h := range t.hooks {
		r.Hook(h, 0, "tarpit", t.wait)
	}
	return nil
}

func (t *tarpit) wait(ctx context.Context, e *plugin.Event) plugin.Verdict {
	d := pause(e.Connection.Notes.Get(note))
	if d == 0 && e.Transaction != nil {
		d = pause(e.Transaction.Notes.Get(note))
	}
	if d <= 0 {
		return plugin.Verdict{}
	}
	asked := d
	if end, ok := ctx.Deadline(); ok {
		d = max(min(d, time.Until(end)-margin), 0)
	}
	t.log.LogAttrs(ctx, slog.LevelInfo, "tarpitting response", slog.String("connection", e.Connection.ID),
		slog.String("hook", string(e.Hook)), slog.Duration("for", d), slog.Duration("asked", asked))
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-ctx.Done(): // the client has gone
	}
	return plugin.Verdict{}
}

// pause reads a note: a script leaves a number, a Go plugin perhaps a duration.
func pause(v any) time.Duration {
	const most = time.Hour
	switch n := v.(type) {
	case float64:
		if n > 0 {
			return time.Duration(min(n, most.Seconds()) * float64(time.Second))
		}
	case int:
		return pause(float64(n))
	case int64:
		return pause(float64(n))
	case time.Duration:
		return min(max(n, 0), most)
	}
	return 0
}
