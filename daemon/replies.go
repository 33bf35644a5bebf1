package daemon

import (
	"fmt"
	"io/fs"
	"maps"
	"os"
	"reflect"
	"slices"
	"strings"
	"sync"

	"github.com/tarishi/tarishi/replies"
	"github.com/tarishi/tarishi/shaping"
)

// Replies is what receivers' replies mean, and what is done about them.
type Replies struct {
	Pack  string   `yaml:"pack" default:"on" enum:"on,off" doc:"The rules that come with the program, for large receivers and block lists, and the named destinations they use. Without it replies are classed by general knowledge alone."`
	Files []string `yaml:"files" doc:"Files with rules of your own (YAML), asked before the pack's, in this order. A rule with the name of one of the pack's stands in its place."`
}

// ruleFile is a file of rules.
type ruleFile struct {
	Destinations map[string]Destination `yaml:"destinations" doc:"Named destinations that its rules use."`
	Rules        []replyRule            `yaml:"rules" doc:"The first that fits a reply decides."`
}

// replyRule is one rule as it is written.
type replyRule struct {
	Name      string    `yaml:"name" required:"yes" doc:"Its name, in logs and listings: google/slow."`
	For       []string  `yaml:"for" required:"yes" doc:"Whom: named destinations, domains, \"*.example.net\", \"mx:*.example.net\" (a mail host) or \"*\"."`
	When      replyWhen `yaml:"when" doc:"Which replies; all that is given must hold."`
	Class     string    `yaml:"class" required:"yes" doc:"What is wrong: a bounce class."`
	Action    string    `yaml:"action" doc:"What comes of it, where the class says another thing: retry, delay, slow, return, suppress, fix."`
	Threshold string    `yaml:"threshold" doc:"How often such replies must come before something is done: 3 in 10m. Default: once."`
	Do        []string  `yaml:"do" doc:"What is done: \"slow 0.5 per source for 2h\", \"suspend for 1h after 20 in 1h\"."`
}

// replyWhen says which replies a rule is about.
type replyWhen struct {
	Code     []string `yaml:"code" doc:"Codes: 421, 45z, 5yz."`
	Enhanced []string `yaml:"enhanced" doc:"Enhanced codes: 4.7.28, \"*.7.26\", 5.7.606-649."`
	Text     string   `yaml:"text" doc:"A regular expression (RE2), found anywhere in the text, in any case."`
	Phase    []string `yaml:"phase" enum:"connect,hello,mail,rcpt,data,dot" doc:"Where in the dialogue."`
}

// ruleSet is what files of rules hold, and where each rule is written.
type ruleSet struct {
	groups map[string]shaping.Group
	rules  []replies.Rule
	places []ruleAt
}

// ruleAt is a rule's place: the loader of its file, and its path in it.
type ruleAt struct {
	l    *loader
	path string
}

func (s *ruleSet) add(o *ruleSet) {
	s.groups = mergeGroups(s.groups, o.groups)
	s.rules = append(s.rules, o.rules...)
	s.places = append(s.places, o.places...)
}

// without is s without the rules whose names others have: an operator's rule stands
// in the place of the pack's of the same name.
func (s *ruleSet) without(others []replies.Rule) *ruleSet {
	taken := map[string]bool{}
	for i := range others {
		taken[others[i].Name] = true
	}
	out := &ruleSet{groups: s.groups}
	for i := range s.rules {
		if !taken[s.rules[i].Name] {
			out.rules, out.places = append(out.rules, s.rules[i]), append(out.places, s.places[i])
		}
	}
	return out
}

// readRules reads one file of rules. What is wrong is in the loader's problems.
func readRules(l *loader, src []byte, from string) *ruleSet {
	var f ruleFile
	if node := l.parse(src); node != nil {
		l.section(node, reflect.ValueOf(&f).Elem(), "")
	}
	s := &ruleSet{groups: groupsOf(f.Destinations)}
	for _, e := range shaping.CheckGroups(s.groups) {
		l.fault("destinations."+e.Field, e.What, e.Mend)
	}
	for i := range f.Rules {
		path := fmt.Sprintf("rules[%d]", i)
		r := f.Rules[i].rule(l, path, from)
		r.Groups = s.groups
		s.rules = append(s.rules, r)
		s.places = append(s.places, ruleAt{l, path})
	}
	return s
}

// rule is r in the words of the package replies.
func (r *replyRule) rule(l *loader, path, from string) replies.Rule {
	out := replies.Rule{
		Name: r.Name, For: r.For, Class: replies.Class(r.Class), Action: replies.Action(r.Action), From: from,
		When: replies.When{Code: r.When.Code, Enhanced: r.When.Enhanced, Text: r.When.Text},
	}
	for _, p := range r.When.Phase {
		out.When.Phase = append(out.When.Phase, replies.Phase(p))
	}
	if r.Threshold != "" {
		t, err := shaping.ParseThreshold(r.Threshold)
		l.refused(path+".threshold", err)
		out.Threshold = t
	}
	for i, text := range r.Do {
		d, err := replies.ParseDo(text)
		l.refused(fmt.Sprintf("%s.do[%d]", path, i), err)
		if err == nil {
			out.Do = append(out.Do, d)
		}
	}
	return out
}

// refused lays a refusal at its place in the file.
func (l *loader) refused(path string, err error) {
	if err == nil {
		return
	}
	if re, ok := err.(*shaping.RefusedError); ok {
		what := re.What
		if re.Field != "" {
			what = re.Field + ": " + what
		}
		l.fault(path, what, re.Mend)
		return
	}
	l.fault(path, err.Error(), "")
}

// check lays the faults of the rules of from at their places.
func (s *ruleSet) check(w replies.World, from int) {
	for _, f := range replies.Check(w, s.rules) {
		s.fault(f, from)
	}
}

// fault lays a fault at its place; those of the pack, which begins at pack, are
// not the operator's.
func (s *ruleSet) fault(f replies.Fault, pack int) {
	if f.Rule >= pack || f.Rule >= len(s.places) {
		return
	}
	at := s.places[f.Rule]
	path := at.path
	if f.Field != "" {
		path += "." + f.Field
	}
	at.l.fault(path, s.rules[f.Rule].Name+": "+f.What, f.Mend)
}

// shipped is the pack that comes with the program. It is read once: it never
// changes, and a fault in it is a fault of this program, found by its tests.
var shipped = sync.OnceValue(func() *ruleSet {
	s := &ruleSet{groups: map[string]shaping.Group{}}
	names, err := fs.Glob(replies.Files, "pack/*.yaml")
	if err != nil {
		panic("daemon: the pack: " + err.Error())
	}
	for _, name := range names {
		src, err := replies.Files.ReadFile(name)
		if err != nil {
			panic("daemon: the pack: " + err.Error())
		}
		l := &loader{file: name, where: map[string]string{}}
		s.add(readRules(l, src, "pack"))
		if len(l.problems) > 0 {
			panic("daemon: the pack: " + l.problems.Error())
		}
	}
	return s
})

// checkReplies reads the operator's files of rules and holds them against the pack.
func (l *loader) checkReplies(c *Config) {
	set := &ruleSet{}
	loaders := make([]*loader, len(c.Replies.Files))
	for i, name := range c.Replies.Files {
		src, err := os.ReadFile(name)
		if err != nil {
			l.fault(fmt.Sprintf("replies.files[%d]", i), "cannot be read: "+err.Error(), "")
			continue
		}
		loaders[i] = &loader{file: name, where: map[string]string{}}
		set.add(readRules(loaders[i], src, name))
	}
	own := len(set.rules)
	for _, fl := range loaders {
		if fl != nil && len(fl.problems) > 0 {
			own = 0 // not all of it was understood: what follows from it would mislead
		}
	}
	if c.Replies.Pack == "on" {
		set.add(shipped().without(set.rules))
	}
	c.replies = set
	set.check(replies.World{Groups: c.Groups(), Routes: c.routeNames()}, own)
	for _, fl := range loaders {
		if fl != nil {
			fl.problems.sort()
			l.problems = append(l.problems, fl.problems...)
		}
	}
}

// LoadRules is Load with other files of rules about replies than the configuration
// names, to look at rules before they are put there. No files: those it names.
func LoadRules(path string, env, files []string) (*Config, error) {
	if len(files) == 0 {
		return Load(path, env)
	}
	c := &Config{}
	setDefaults(c)
	l := &loader{file: path, where: map[string]string{}}
	if path != "" {
		src, err := os.ReadFile(path)
		if err != nil {
			return nil, fmt.Errorf("cannot read the configuration: %w", err)
		}
		l.decodeFile(src, c)
	}
	l.decodeEnv(env, c)
	c.Replies.Files = files
	for i, name := range files {
		at := fmt.Sprintf("replies.files[%d]", i)
		l.where[at] = name
	}
	return l.finish(c)
}

// Shadowed are those of the operator's rules that decide none of the replies that
// receivers are known to give although they fit some; and the pack's rules that the
// operator's take all of them from, which may be meant.
func (c *Config) Shadowed() (own Problems, pack []string, err error) {
	samples, err := replies.ParseSamples(replies.Corpus)
	if err != nil {
		return nil, nil, err
	}
	p, err := c.ReplyPack()
	if err != nil {
		return nil, nil, err
	}
	for _, f := range p.Shadowed(samples, nil) {
		at := c.replies.places[f.Rule]
		if c.replies.rules[f.Rule].From == "pack" {
			pack = append(pack, c.replies.rules[f.Rule].Name)
			continue
		}
		before := len(at.l.problems)
		at.l.fault(at.path, c.replies.rules[f.Rule].Name+": "+f.What, f.Mend)
		own = append(own, at.l.problems[before:]...)
		at.l.problems = at.l.problems[:before]
	}
	return own, pack, nil
}

// ReplyRules are all rules about replies, the operator's first, and the named
// destinations they may use.
func (c *Config) ReplyRules() ([]replies.Rule, map[string]shaping.Group) {
	if c.replies == nil {
		return nil, c.Groups()
	}
	return c.replies.rules, c.Groups()
}

// ReplyPack is them, ready to be asked.
func (c *Config) ReplyPack() (*replies.Pack, error) {
	rules, groups := c.ReplyRules()
	return replies.New(groups, rules)
}

// mergeGroups adds those of more whose names are free. A pattern that some group of
// base has stays there: no host may belong to two.
func mergeGroups(base, more map[string]shaping.Group) map[string]shaping.Group {
	out := maps.Clone(base)
	if out == nil {
		out = map[string]shaping.Group{}
	}
	taken := map[string]bool{}
	for _, g := range base {
		for _, h := range g.MX {
			taken["mx "+strings.ToLower(h)] = true
		}
		for _, d := range g.Domains {
			taken["domain "+strings.ToLower(d)] = true
		}
	}
	for name, g := range more {
		if _, ok := out[name]; ok {
			continue
		}
		free := shaping.Group{
			MX:      slices.DeleteFunc(slices.Clone(g.MX), func(h string) bool { return taken["mx "+h] }),
			Domains: slices.DeleteFunc(slices.Clone(g.Domains), func(d string) bool { return taken["domain "+d] }),
		}
		if len(free.MX)+len(free.Domains) > 0 {
			out[name] = free
		}
	}
	return out
}

// routeNames are the names by which rules may send mail another way.
func (c *Config) routeNames() []string {
	var names []string
	for _, r := range c.Routes {
		if r.Name != "" {
			names = append(names, r.Name)
		}
	}
	return names
}
