package command

import (
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/tarishi/tarishi/admin"
)

// selection is the flags that name a part of the queue.
type selection struct {
	admin.Selection
	least, most int
	held, free  bool
}

// texts are the flags whose value is a text.
func (s *selection) texts() []struct {
	name, usage string
	v           *string
} {
	return []struct {
		name, usage string
		v           *string
	}{
		{"id", "a message `ID`, or a delivery's (ID.N)", &s.ID},
		{"destination", "everything to this `domain`", &s.Destination},
		{"site", "everything to this named destination, or to what counts with this domain (`name`)", &s.Site},
		{"sender", "everything from this `address` or domain (\"<>\": the null sender)", &s.Sender},
		{"recipient", "everything to this `address`", &s.Recipient},
		{"tenant", "everything of this `tenant`", &s.Tenant},
		{"class", "everything of this `class`: high, normal or bulk", &s.Class},
		{"bounce-class", "whose last reply was of this bounce `class`", &s.Bounce},
		{"reply", "whose last reply has this `text` in it", &s.Reply},
		{"older", "arrived longer ago than this `age`, such as 2h", &s.Older},
		{"younger", "arrived less long ago than this `age`", &s.Younger},
	}
}

func (s *selection) flags(c *cobra.Command) {
	for _, t := range s.texts() {
		c.Flags().StringVar(t.v, t.name, "", t.usage)
	}
	c.Flags().IntVar(&s.least, "min-attempts", 0, "attempted so often at `least`")
	c.Flags().IntVar(&s.most, "max-attempts", 0, "attempted so often at `most`")
	c.Flags().BoolVar(&s.held, "held", false, "only what is held")
	c.Flags().BoolVar(&s.free, "not-held", false, "only what is not held")
	c.Flags().BoolVar(&s.All, "all", false, "everything, if nothing else is said")
}

// selections are the parts named by c's flags and by ids on the command line: one
// for each id. They are checked before anything is asked of the node.
func (s *selection) selections(c *cobra.Command, ids []string) ([]admin.Selection, []string, error) {
	// A script whose variable was empty must not select by the rest alone.
	for _, t := range s.texts() {
		if f := c.Flags().Lookup(t.name); f != nil && f.Changed && strings.TrimSpace(*t.v) == "" {
			return nil, nil, usageError("--%s is empty; leave it out or fill it in", t.name)
		}
	}
	if slices.ContainsFunc(ids, func(id string) bool { return strings.TrimSpace(id) == "" }) {
		return nil, nil, usageError("an ID is empty; leave it out or fill it in")
	}
	if s.held && s.free {
		return nil, nil, usageError("choose one of --held and --not-held")
	}
	for name, set := range map[string]func(){
		"min-attempts": func() { s.MinAttempts = &s.least }, "max-attempts": func() { s.MaxAttempts = &s.most },
		"held": func() { s.Held = &s.held }, "not-held": func() { no := false; s.Held = &no },
	} {
		if f := c.Flags().Lookup(name); f != nil && f.Changed {
			set()
		}
	}
	if s.ID != "" || len(ids) == 0 {
		ids = append([]string{s.ID}, ids...)
	}
	var out []admin.Selection
	var names []string
	for _, id := range ids {
		one := s.Selection
		one.ID = id
		f, err := one.Filter(time.Now())
		if err != nil {
			return nil, nil, usageError("%w", err)
		}
		out, names = append(out, one), append(names, clean(f.String()))
	}
	return out, names, nil
}

// given tells whether any of the flags was.
func (s *selection) given(c *cobra.Command) bool {
	names := []string{"min-attempts", "max-attempts", "held", "not-held", "all"}
	for _, t := range s.texts() {
		names = append(names, t.name)
	}
	return slices.ContainsFunc(names, func(n string) bool { return c.Flags().Changed(n) })
}
