package command

import (
	"fmt"
	"io"
	"maps"
	"os"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/tarishi/tarishi/daemon"
	"github.com/tarishi/tarishi/replies"
)

// rulesCommand is `tarishi rules`: the rules about receivers' replies, as the
// configuration has them. It asks no node.
func rulesCommand() *cobra.Command {
	var file string
	c := &cobra.Command{
		Use:   "rules",
		Short: "See, check and try the rules about receivers' replies",
		Long: `See, check and try the rules about receivers' replies: those of the files that
the configuration names, then those of the pack that comes with the program.

Exit codes: 0 done; 1 a rule can never have its turn; 2 the command line or a
rule is wrong.`,
		Example: `  tarishi rules ls --destination google
  tarishi rules lint mine.yaml
  tarishi rules try --destination google --reply '421 4.7.28 unusual rate of unsolicited mail'
  tarishi rules limits > receivers.yaml`,
		RunE: func(c *cobra.Command, args []string) error {
			if len(args) > 0 {
				return usageError("there is no `tarishi rules %s`; see `tarishi rules --help`", clean(args[0]))
			}
			return c.Help()
		},
	}
	c.PersistentFlags().StringVarP(&file, "config", "c", "", "configuration `FILE` (default: none, the pack alone)")
	load := func(files ...string) (*daemon.Config, error) {
		cfg, err := daemon.LoadRules(file, os.Environ(), files)
		if err != nil {
			return nil, &exitError{exitUsage, err}
		}
		return cfg, nil
	}
	c.AddCommand(rulesLs(load), rulesLint(load), rulesTry(load), rulesDestinations(load), rulesLimits())
	return operator(c)
}

// ruleInfo is one rule as listings show it.
type ruleInfo struct {
	Name      string        `json:"name"`
	From      string        `json:"from"` // a file, or "pack"
	For       []string      `json:"for"`
	Code      []string      `json:"code,omitempty"`
	Enhanced  []string      `json:"enhanced,omitempty"`
	Text      string        `json:"text,omitempty"`
	Phase     []string      `json:"phase,omitempty"`
	Class     replies.Class `json:"class"`
	Action    string        `json:"action,omitempty"` // where it is not the class's
	Threshold string        `json:"threshold,omitempty"`
	Do        []string      `json:"do,omitempty"`
}

func infoOf(r replies.Rule) ruleInfo {
	i := ruleInfo{
		Name: r.Name, From: r.From, For: r.For, Code: r.When.Code, Enhanced: r.When.Enhanced, Text: r.When.Text,
		Class: r.Class, Action: string(r.Action), Threshold: r.Threshold.String(),
	}
	for _, p := range r.When.Phase {
		i.Phase = append(i.Phase, string(p))
	}
	for _, d := range r.Do {
		i.Do = append(i.Do, d.String())
	}
	return i
}

// rulesLs lists the rules in the order in which they are asked.
func rulesLs(load func(...string) (*daemon.Config, error)) *cobra.Command {
	var asJSON bool
	var dest string
	c := &cobra.Command{
		Use:     "ls",
		Aliases: []string{"list"},
		Short:   "List the rules in the order in which they are asked",
		Args:    noArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			cfg, err := load()
			if err != nil {
				return err
			}
			rules, _ := cfg.ReplyRules()
			out := []ruleInfo{}
			for _, r := range rules {
				if dest == "" || slices.Contains(r.For, dest) || slices.Contains(r.For, "*") {
					out = append(out, infoOf(r))
				}
			}
			if asJSON {
				return printJSON(c.OutOrStdout(), out)
			}
			t := table{head: []string{"RULE", "~FOR", "CLASS", "THRESHOLD", "DO"}}
			for _, i := range out {
				t.add(i.Name, strings.Join(i.For, ","), string(i.Class), i.Threshold, strings.Join(i.Do, "; "))
			}
			width, _ := ttySize(c.OutOrStdout())
			t.write(c.OutOrStdout(), width)
			return nil
		},
	}
	c.Flags().BoolVar(&asJSON, "json", false, "print JSON")
	c.Flags().StringVar(&dest, "destination", "", "only rules for this `destination`, and for all")
	return c
}

// rulesLint checks rules as serve would, and holds them against known replies too.
func rulesLint(load func(...string) (*daemon.Config, error)) *cobra.Command {
	return &cobra.Command{
		Use:   "lint [FILE...]",
		Short: "Say what is wrong with rules: what cannot be read, and what can never fit",
		Long: `Say what is wrong with rules: what cannot be read, what can never fit a reply, and
what never has its turn, as far as known replies show it. With FILEs these are
looked at instead of those that the configuration names.`,
		RunE: func(c *cobra.Command, files []string) error {
			cfg, err := load(files...)
			if err != nil {
				return err
			}
			own, pack, err := cfg.Shadowed()
			if err != nil {
				return err
			}
			if len(own) > 0 {
				return partly("%w", own)
			}
			for _, name := range pack {
				fmt.Fprintf(c.OutOrStdout(), "note: the pack's %s has no turn any more: rules of yours decide all known replies that it fits\n", name)
			}
			rules, _ := cfg.ReplyRules()
			fmt.Fprintf(c.OutOrStdout(), "%s ok\n", plural(len(rules), "rule", "rules"))
			return nil
		},
	}
}

// trial is what `rules try` says.
type trial struct {
	Reply    string        `json:"reply"`
	Class    replies.Class `json:"class"`
	Meaning  string        `json:"meaning"`
	Action   string        `json:"action"`
	Rule     string        `json:"rule,omitempty"` // empty: general knowledge
	From     string        `json:"from,omitempty"`
	Reaction []string      `json:"reactions,omitempty"`
}

// rulesTry says what is made of one reply.
func rulesTry(load func(...string) (*daemon.Config, error)) *cobra.Command {
	var dest, host, phase, text string
	var asJSON bool
	c := &cobra.Command{
		Use:   "try --reply REPLY",
		Short: "Say what is made of a reply: its class, the rule that decides, what is done",
		Args:  noArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			r, err := replies.ParseReply(text)
			if err != nil {
				return usageError("--reply: %w", err)
			}
			if p := replies.Phase(phase); phase != "" && !slices.Contains(replies.Phases, p) {
				return usageError("--phase %q: write connect, hello, mail, rcpt, data or dot", clean(phase))
			}
			cfg, err := load()
			if err != nil {
				return err
			}
			rules, groups := cfg.ReplyRules()
			if _, ok := groups[dest]; dest != "" && !strings.Contains(dest, ".") && !ok {
				return usageError("--destination %q: no destination has that name, and a domain has a dot", clean(dest))
			}
			pack, err := cfg.ReplyPack()
			if err != nil {
				return err
			}
			x := replies.Reply{Reply: r, Phase: replies.Phase(phase), Host: host}
			x.Domain, x.Destination = replies.Whose(dest)
			v := pack.Look(x)
			t := trial{Reply: r.String(), Class: v.Class, Meaning: v.Class.Info().Meaning, Action: string(v.Action), Rule: v.Rule}
			if v.Class == "" {
				t.Meaning = "no refusal"
			}
			for _, rule := range rules {
				if rule.Name == v.Rule {
					t.From = rule.From
				}
			}
			for _, h := range v.Hits {
				t.Reaction = append(t.Reaction, reaction(h))
			}
			if asJSON {
				return printJSON(c.OutOrStdout(), t)
			}
			printTrial(c.OutOrStdout(), t)
			return nil
		},
	}
	c.Flags().StringVar(&dest, "destination", "", "whose reply it is: a named `destination` or a domain")
	c.Flags().StringVar(&host, "host", "", "the mail `host` that said it")
	c.Flags().StringVar(&phase, "phase", "", "where in the dialogue: connect, hello, mail, rcpt, data or dot")
	c.Flags().StringVar(&text, "reply", "", "the `reply`, beginning with its code")
	c.Flags().BoolVar(&asJSON, "json", false, "print JSON")
	return c
}

// reaction is a remedy with whom it is for and when it is due, in words.
func reaction(h replies.Hit) string {
	to := h.To
	if to == "" {
		to = "the reply's destination"
	}
	if h.Remedy.Action.Local() {
		return h.Remedy.String()
	}
	when := "at once"
	if h.Threshold.Count > 0 {
		when = "after " + h.Threshold.String()
	}
	return fmt.Sprintf("%s: %s, %s", to, h.Remedy, when)
}

func printTrial(w io.Writer, t trial) {
	field := func(name, value string) { fmt.Fprintf(w, "%-11s%s\n", name, clean(value)) }
	rule := t.Rule
	switch {
	case t.Class == "":
		rule = "none"
	case rule == "":
		rule = "none: general knowledge of codes and phrases"
	default:
		rule += " (" + t.From + ")"
	}
	class := string(t.Class)
	if class == "" {
		class = "none"
	}
	field("Class", class+": "+t.Meaning)
	if t.Action != "" {
		field("Action", t.Action)
	}
	field("Rule", rule)
	for i, r := range t.Reaction {
		name := ""
		if i == 0 {
			name = "Reactions"
		}
		field(name, r)
	}
	if len(t.Reaction) == 0 {
		field("Reactions", "none")
	}
}

// groupInfo is one named destination as listings show it.
type groupInfo struct {
	Name    string   `json:"name"`
	MX      []string `json:"mx,omitempty"`
	Domains []string `json:"domains,omitempty"`
}

// rulesDestinations lists the named destinations that rules and limits may use.
func rulesDestinations(load func(...string) (*daemon.Config, error)) *cobra.Command {
	var asJSON bool
	c := &cobra.Command{
		Use:   "destinations",
		Short: "List the named destinations that rules and limits may use",
		Args:  noArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			cfg, err := load()
			if err != nil {
				return err
			}
			_, groups := cfg.ReplyRules()
			out := make([]groupInfo, 0, len(groups))
			for _, name := range slices.Sorted(maps.Keys(groups)) {
				out = append(out, groupInfo{name, groups[name].MX, groups[name].Domains})
			}
			if asJSON {
				return printJSON(c.OutOrStdout(), out)
			}
			t := table{head: []string{"DESTINATION", "MX", "DOMAINS"}}
			for _, g := range out {
				t.add(g.Name, strings.Join(g.MX, " "), strings.Join(g.Domains, " "))
			}
			width, _ := ttySize(c.OutOrStdout())
			t.write(c.OutOrStdout(), width)
			return nil
		},
	}
	c.Flags().BoolVar(&asJSON, "json", false, "print JSON")
	return c
}

// rulesLimits prints limits that receivers are known to bear.
func rulesLimits() *cobra.Command {
	return &cobra.Command{
		Use:   "limits",
		Short: "Print limits to begin with for large receivers, for `tarishi limits apply`",
		Long: `Print limits to begin with for large receivers, as YAML that can be kept in the
configuration or given to ` + "`tarishi limits apply`" + `. Nothing else applies them.`,
		Args: noArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			_, err := io.WriteString(c.OutOrStdout(), replies.Limits)
			return err
		},
	}
}
