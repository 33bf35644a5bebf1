// Package subjects is a plugin that counts unwanted words in the subject of a message:
// with one it is marked, with more it is refused. It is short, and shows what most
// plugins need: settings, a list that is read anew when it changes, a hook, the header,
// notes that travel with the message, and results that others may look at.
package subjects

import (
	"context"
	"fmt"
	"strings"

	"github.com/tarishi/tarishi/plugin"
)

// Kind is how the program gets to know the plugin.
var Kind = plugin.Kind{
	Name:  "subjects",
	About: "Marks or refuses messages with unwanted words in their subject.",
	New:   newPlugin,
}

// settings are the keys below plugins.run[].settings. Their tags are those of Tarishi's
// own configuration; a key that is not here is refused at the start.
type settings struct {
	List string `yaml:"list" required:"yes" doc:"File of words, one a line, below config/ in the plugins' folder."`
	Mark int    `yaml:"mark" default:"1" min:"1" max:"100" doc:"How many of them are only marked; more are refused."`
}

// subjects is one plugin. It does not change once it is made, so that its function may
// run for many connections at once: that is what a Func has to bear.
type subjects struct {
	name  string
	words []string
	mark  int
}

// newPlugin is called at the start, and whenever plugins are loaded anew, such as when
// the list has changed. An error keeps the plugins of before.
func newPlugin(s plugin.Setup) (plugin.Plugin, error) {
	var o settings
	if err := s.Settings(&o); err != nil {
		return nil, err
	}
	text, err := s.Read(o.List)
	if err != nil {
		return nil, err
	}
	p := &subjects{name: s.Name, mark: o.Mark}
	for line := range strings.Lines(string(text)) {
		if w := strings.ToLower(strings.TrimSpace(line)); w != "" && w[0] != '#' {
			p.words = append(p.words, w)
		}
	}
	s.Log.Info("words read", "list", o.List, "words", len(p.words))
	return p, nil
}

func (p *subjects) Name() string { return p.name }

// Register says at which moments the plugin is asked. With data_post it is the whole
// message that is kept until all plugins have seen it.
func (p *subjects) Register(r *plugin.Registrar) error {
	r.On(plugin.DataPost, p.look)
	return nil
}

// look is asked once the message is in. ctx ends when the plugin's time is over: what
// waits for somebody else, such as a query to another host, is to be given it.
func (p *subjects) look(_ context.Context, e *plugin.Event) plugin.Verdict {
	tx := e.Transaction
	subject := strings.ToLower(tx.Message().Header().Get("Subject"))
	var found []string
	for _, w := range p.words {
		if strings.Contains(subject, w) {
			found = append(found, w)
			tx.Results.Add(p.name, plugin.Fail, w)
		}
	}
	tx.Notes.Set("subjects", len(found)) // is there again when the message is delivered
	switch {
	case len(found) == 0:
		return plugin.Verdict{} // CONT: the next plugin is asked
	case len(found) > p.mark:
		return plugin.Denied("Your subject reads like an advertisement")
	}
	if err := tx.AddField("X-Unwanted-Words", strings.Join(found, ", ")); err != nil {
		// A word of the list cannot stand in a header. It is ours to mend: the client
		// is to come again.
		return plugin.DeniedSoft(fmt.Sprintf("Plugin %s is set up wrongly", p.name))
	}
	return plugin.Verdict{}
}
