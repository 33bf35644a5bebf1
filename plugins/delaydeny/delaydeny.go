// Package delaydeny is the plugin delay_deny: is a refusal final? What other plugins
// refuse before DATA is put off until the client has named a recipient that would be
// taken; by then it may have proved who it is, and then nothing is refused. It never
// refuses anything of its own.
package delaydeny

import (
	"context"
	"fmt"
	"log/slog"
	"maps"
	"slices"
	"strings"

	"github.com/tarishi/tarishi/mail"
	"github.com/tarishi/tarishi/plugin"
	"github.com/tarishi/tarishi/plugins/lists"
)

// Kind is the plugin.
var Kind = plugin.Kind{
	Name:  "delay_deny",
	About: "Put off what other plugins refuse before DATA until a recipient is named, and forget it for clients that may relay.",
	New:   New,
}

type settings struct {
	IncludedPlugins []string `yaml:"included_plugins" doc:"Whose refusals are put off: PLUGIN, PLUGIN:HOOK or PLUGIN:HOOK:FUNCTION. Default: everybody's."`
	ExcludedPlugins []string `yaml:"excluded_plugins" doc:"Whose refusals are not, in the same form."`
}

type delayDeny struct {
	name               string
	included, excluded []string
	log                *slog.Logger
}

// New reads the settings.
func New(s plugin.Setup) (plugin.Plugin, error) {
	var o settings
	if err := s.Settings(&o); err != nil {
		return nil, err
	}
	lists.Unread(s.Read, s.Log, "delay_deny.ini")
	if len(o.IncludedPlugins) > 0 && len(o.ExcludedPlugins) > 0 {
		return nil, fmt.Errorf("included_plugins and excluded_plugins: one of them says all; leave out the other")
	}
	for _, item := range slices.Concat(o.IncludedPlugins, o.ExcludedPlugins) {
		parts := strings.Split(item, ":")
		if len(parts) > 3 || slices.Contains(parts, "") {
			return nil, fmt.Errorf("%q names no plugin; write PLUGIN, PLUGIN:HOOK or PLUGIN:HOOK:FUNCTION", item)
		}
		if len(parts) > 1 && !putOff(plugin.Hook(parts[1])) {
			return nil, fmt.Errorf("%q: refusals at %s are not put off; those at lookup_rdns, connect, helo, ehlo, mail, rcpt and rcpt_ok are", item, parts[1])
		}
	}
	return &delayDeny{name: s.Name, included: o.IncludedPlugins, excluded: o.ExcludedPlugins, log: s.Log}, nil
}

func (p *delayDeny) Name() string { return p.name }

func (p *delayDeny) Register(r *plugin.Registrar) error {
	r.On(plugin.Deny, p.deny)
	r.On(plugin.RcptOK, p.rcptOK)
	return nil
}

func putOff(h plugin.Hook) bool { return ofConnection(h) || ofTransaction(h) }

func ofConnection(h plugin.Hook) bool {
	return h == plugin.LookupRDNS || h == plugin.Connect || h == plugin.Helo || h == plugin.Ehlo
}

func ofTransaction(h plugin.Hook) bool {
	return h == plugin.Mail || h == plugin.Rcpt || h == plugin.RcptOK
}

// Where refusals are kept until their time has come, and who refused.
const (
	notePre     = "delay_deny_pre"
	notePreFail = "delay_deny_pre_fail"
)

// deny overrules a refusal for now, and remembers it.
func (p *delayDeny) deny(_ context.Context, e *plugin.Event) plugin.Verdict {
	v := e.Refused
	switch {
	case v == nil, v.Plugin == p.name, !putOff(e.At), !p.concerns(v, e.At):
		return plugin.Verdict{}
	case v.Code == plugin.Hangup:
		// It says nothing that could be said later.
		return plugin.Verdict{}
	}
	var notes *plugin.Notes
	switch {
	case ofConnection(e.At):
		notes = &e.Connection.Notes
	case e.Transaction == nil:
		return plugin.Verdict{}
	default:
		notes = &e.Transaction.Notes
	}
	d := delayed{code: v.Code, reply: v.Reply, plugin: v.Plugin, function: v.Function, hook: e.At}
	if e.Recipient != nil && (e.At == plugin.Rcpt || e.At == plugin.RcptOK) {
		d.recipient = e.Recipient.Raw
	}
	if !keep(notes, d) {
		return plugin.Verdict{} // too many: this one stands
	}
	fails, _ := notes.Get(notePreFail).(map[string]any)
	if fails = maps.Clone(fails); fails == nil {
		fails = map[string]any{}
	}
	fails[v.Plugin] = 1.0
	notes.Set(notePreFail, fails)
	return plugin.Verdict{Code: plugin.OK}
}

// concerns tells whether the operator wants a refusal put off.
func (p *delayDeny) concerns(v *plugin.Verdict, at plugin.Hook) bool {
	listed := func(items []string) bool {
		byHook := v.Plugin + ":" + string(at)
		return slices.Contains(items, v.Plugin) || slices.Contains(items, byHook) || slices.Contains(items, byHook+":"+v.Function)
	}
	if len(p.included) > 0 {
		return listed(p.included)
	}
	return !listed(p.excluded)
}

// rcptOK says what was put off: what concerns the connection first, then the sender,
// then this recipient.
func (p *delayDeny) rcptOK(ctx context.Context, e *plugin.Event) plugin.Verdict {
	t := e.Transaction
	if t == nil {
		return plugin.Verdict{}
	}
	ofConn, ofTx := kept(&e.Connection.Notes), kept(&t.Notes)
	if len(ofConn) == 0 && len(ofTx) == 0 {
		return plugin.Verdict{}
	}
	if e.Connection.Relaying() {
		p.log.LogAttrs(ctx, slog.LevelInfo, "bypassing all pre-DATA deny: AUTH/RELAY",
			slog.String("connection", e.Connection.ID), slog.String("refused", text(append(ofConn, ofTx...))))
		t.Results.Add(p.name, plugin.Skip, "relay")
		return plugin.Verdict{}
	}
	for _, d := range append(ofConn, ofTx...) {
		// A recipient's refusal is nobody else's.
		if d.recipient == "" || e.Recipient != nil && d.recipient == e.Recipient.Raw {
			t.Results.Add(p.name, plugin.Fail, d.String())
			p.log.LogAttrs(ctx, slog.LevelInfo, "refusing now what was put off", slog.String("connection", e.Connection.ID), slog.String("refused_by", d.String()))
			return plugin.Verdict{Code: d.code, Reply: d.reply}
		}
	}
	return plugin.Verdict{}
}

func text(ds []delayed) string {
	out := make([]string, len(ds))
	for i, d := range ds {
		out[i] = d.String()
	}
	return strings.Join(out, ", ")
}

// delayed is a refusal that was put off.
type delayed struct {
	code             plugin.Code
	reply            mail.Reply
	plugin, function string
	hook             plugin.Hook
	recipient        string // whom it concerns; empty: the connection or the sender
}

func (d delayed) String() string { return d.plugin + ":" + string(d.hook) }

// maxDelayed bounds what is remembered of a client that goes on naming recipients
// that are refused.
const maxDelayed = 100

// keep notes d, in what JSON can say: scripts read notes, too, and those of a
// transaction travel with its deliveries. False: there is no room.
func keep(n *plugin.Notes, d delayed) bool {
	list, _ := n.Get(notePre).([]any)
	if len(list) >= maxDelayed {
		return false
	}
	n.Set(notePre, append(slices.Clone(list), map[string]any{
		"code": d.code.String(), "reply": float64(d.reply.Code), "enhanced": d.reply.Enhanced.String(), "text": d.reply.Text,
		"plugin": d.plugin, "function": d.function, "hook": string(d.hook), "recipient": d.recipient,
	}))
	return true
}

// kept reads what keep noted. What somebody else has put there is passed over.
func kept(n *plugin.Notes) []delayed {
	list, _ := n.Get(notePre).([]any)
	var out []delayed
	for _, item := range list {
		m, ok := item.(map[string]any)
		if !ok {
			continue
		}
		word := func(key string) string { s, _ := m[key].(string); return s }
		number := func(key string) float64 { f, _ := m[key].(float64); return f }
		d := delayed{
			code: codeOf(word("code")), reply: mail.R(int(number("reply")), word("enhanced"), word("text")),
			plugin: word("plugin"), function: word("function"), hook: plugin.Hook(word("hook")), recipient: word("recipient"),
		}
		if d.code.Refuses() {
			out = append(out, d)
		}
	}
	return out
}

// codeOf reads the name of a refusal; Cont: it is none.
func codeOf(name string) plugin.Code {
	for c := plugin.Refuse; c < plugin.Hangup; c++ {
		if c.String() == name {
			return c
		}
	}
	return plugin.Cont
}
