package shaping

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"
)

// Apply makes the change. It returns a new Book with the next Version; or b itself
// when the change changes nothing; or a RefusedError that says why it is refused
// and how to mend it. It is a function of b and c alone, so that all nodes come to
// the same Book.
func (b *Book) Apply(c Change) (*Book, error) {
	if c.Base != 0 && c.Base != b.Version {
		return nil, refuse("", fmt.Sprintf("the limits have changed since version %d; they are at %d", c.Base, b.Version), "look again, then ask again")
	}
	for _, t := range []struct{ field, text string }{{"author", c.Author}, {"reason", c.Reason}} {
		if err := checkText(t.text); err != nil {
			return nil, refuse(t.field, err.(*RefusedError).What, err.(*RefusedError).Mend)
		}
	}
	c.At, c.Until = inUTC(c.At), inUTC(c.Until)
	apply := c.Op.apply()
	if apply == nil {
		return nil, refuse("", fmt.Sprintf("there is no change called %q", c.Op), "a newer version may know it")
	}
	next, what, err := apply(b, c)
	if err != nil || next == b || what == "" {
		return next, err
	}
	next.Version = b.Version + 1
	next.remember(Entry{
		Version: next.Version, At: c.At, Author: c.Author, Op: c.Op, What: what, Reason: c.Reason, Set: Diff(b.Set, next.Set),
	})
	return next, nil
}

// apply is how such a change is made; nil: this version does not know it.
func (o Op) apply() func(*Book, Change) (*Book, string, error) {
	return map[Op]func(*Book, Change) (*Book, string, error){
		OpSet: (*Book).set, OpUnset: (*Book).unset, OpApply: (*Book).applyAll, OpRollback: (*Book).rollback,
		OpSuspend: (*Book).suspend, OpResume: (*Book).resume, OpExpire: (*Book).expire, OpFile: (*Book).file,
		OpReact: (*Book).react, OpRecover: (*Book).recoverAll, OpUndo: (*Book).undo,
	}[o]
}

// Known tells whether this version knows how to make such a change.
func (o Op) Known() bool { return o.apply() != nil }

func inUTC(t time.Time) time.Time {
	if t.IsZero() {
		return time.Time{}
	}
	return t.Round(0).UTC()
}

// withSet is b with other rules set at run time.
func (b *Book) withSet(rules []Rule) (*Book, string, error) {
	rules = normal(rules)
	if err := firstFault(b.Destinations, rules); err != nil {
		return nil, "", err
	}
	ds := Diff(b.Set, rules)
	if len(ds) == 0 {
		return b, "", nil
	}
	next := *b
	next.Set = rules
	return &next, inWords(ds), nil
}

func (b *Book) set(c Change) (*Book, string, error) {
	if c.Rule == nil {
		return nil, "", refuse("", "no limit is given", "say to whom and how much")
	}
	r := *c.Rule
	if err := firstFault(b.Destinations, []Rule{r}); err != nil { // what is given, before it is mixed with what is there
		return nil, "", err
	}
	rules := slices.Clone(b.Set)
	i := slices.IndexFunc(rules, func(o Rule) bool { return o.place() == r.place() })
	if i < 0 {
		return b.withSet(append(rules, r))
	}
	merged := rules[i]
	for _, f := range Fields {
		if r.Gives(f) {
			merged.take(f, &r)
		}
	}
	if r.Note != "" {
		merged.Note = r.Note
	}
	rules[i] = merged
	return b.withSet(rules)
}

func (b *Book) unset(c Change) (*Book, string, error) {
	if err := b.known(c.To); err != nil {
		return nil, "", err
	}
	for _, f := range c.Fields {
		if !slices.Contains(Fields, f) {
			return nil, "", refuse("", fmt.Sprintf("there is no field %q", f), "the fields are "+fieldNames())
		}
	}
	to, found := canonicalTo(c.To), false
	var rules []Rule
	for _, r := range b.Set {
		if r.To != to || r.Shadow != c.Shadow || c.Per != nil && *c.Per != r.Per {
			rules = append(rules, r)
			continue
		}
		for _, f := range Fields {
			if r.Gives(f) && (len(c.Fields) == 0 || slices.Contains(c.Fields, f)) {
				r.take(f, &Rule{})
				found = true
			}
		}
		if !r.Empty() {
			rules = append(rules, r)
		}
	}
	if !found {
		return nil, "", b.notSet(c, to)
	}
	return b.withSet(rules)
}

func fieldNames() string {
	names := make([]string, len(Fields))
	for i, f := range Fields {
		names[i] = string(f)
	}
	return strings.Join(names, ", ")
}

// notSet says that there is nothing to unset, and where else to look.
func (b *Book) notSet(c Change, to string) error {
	what := "no limit to " + to
	if len(c.Fields) > 0 {
		what = fmt.Sprintf("no %s of %s", c.Fields[0], to)
	}
	if c.Per != nil && *c.Per != 0 {
		what += " per " + c.Per.String()
	}
	if c.Shadow {
		what += " in shadow"
	}
	what += " was set at run time"
	for _, r := range b.Set {
		if r.To == to {
			return refuse("", what, "what is set there is "+r.String())
		}
	}
	for _, r := range b.File {
		if canonicalTo(r.To) == to {
			return refuse("", what, "the configuration file has one, which is changed there; set another at run time to override it")
		}
	}
	return refuse("", what, "see what is with `tarishi limits ls`")
}

// known refuses a To that names nothing.
func (b *Book) known(to string) error {
	return checkTo(b.Destinations, to)
}

func (b *Book) applyAll(c Change) (*Book, string, error) { return b.withSet(c.Rules) }

func (b *Book) rollback(c Change) (*Book, string, error) {
	if c.Version == nil {
		return nil, "", refuse("", "no version is given", "see `tarishi limits history`")
	}
	rules, err := b.setAt(*c.Version)
	if err != nil {
		return nil, "", err
	}
	next, what, err := b.withSet(rules)
	if what != "" {
		what = fmt.Sprintf("as at version %d: %s", *c.Version, what)
	}
	return next, what, err
}

func (b *Book) suspend(c Change) (*Book, string, error) {
	if err := b.known(c.To); err != nil {
		return nil, "", err
	}
	if !c.Until.IsZero() && !c.Until.After(c.At) {
		return nil, "", refuse("until", c.Until.Format(time.RFC3339)+" is over", "give a time to come, or none")
	}
	s := Suspension{To: canonicalTo(c.To), Reason: c.Reason, Author: c.Author, At: c.At, Until: c.Until}
	rest := without(b.Suspensions, func(o Suspension) bool { return o.To == s.To })
	if len(rest) >= MaxRules {
		return nil, "", refuse("", fmt.Sprintf("%d destinations are suspended already", len(rest)), "suspend a pattern such as *.example.net")
	}
	next := *b
	next.Suspensions = append(rest, s)
	slices.SortFunc(next.Suspensions, func(a, b Suspension) int { return strings.Compare(a.To, b.To) })
	what := s.To + " is suspended"
	if !s.Until.IsZero() {
		what += " until " + s.Until.Format(time.RFC3339)
	}
	return &next, what, nil
}

func (b *Book) resume(c Change) (*Book, string, error) {
	to := canonicalTo(c.To)
	rest := without(b.Suspensions, func(o Suspension) bool { return o.To == to })
	if len(rest) == len(b.Suspensions) {
		if err := b.known(c.To); err != nil {
			return nil, "", err
		}
		mend := "nothing is suspended"
		if len(rest) > 0 {
			mend = "suspended are " + suspendedNames(rest)
		}
		for i := range b.Reactions {
			if r := &b.Reactions[i]; r.Remedy.Action == Suspend && strings.EqualFold(r.To.String(), to) {
				return nil, "", refuse("", fmt.Sprintf("not an operator but reaction r%d suspends %s", r.ID, to), fmt.Sprintf("undo it with: tarishi reactions undo r%d", r.ID))
			}
		}
		return nil, "", refuse("", to+" is not suspended", mend)
	}
	next := *b
	next.Suspensions = rest
	return &next, to + " is resumed", nil
}

func (b *Book) expire(c Change) (*Book, string, error) {
	over := func(s Suspension) bool { return !s.Until.IsZero() && !s.Until.After(c.At) }
	rest := without(b.Suspensions, over)
	if len(rest) == len(b.Suspensions) {
		return b, "", nil
	}
	ended := without(b.Suspensions, func(s Suspension) bool { return !over(s) })
	next := *b
	next.Suspensions = rest
	return &next, "the suspension of " + suspendedNames(ended) + " is over", nil
}

// NextExpiry is when the first suspension ends by itself; zero: none does. Whoever
// leads then asks for OpExpire.
func (b *Book) NextExpiry() time.Time {
	var next time.Time
	for _, s := range b.Suspensions {
		if !s.Until.IsZero() && (next.IsZero() || s.Until.Before(next)) {
			next = s.Until
		}
	}
	return next
}

// without is a new list of those that gone does not hold for.
func without(ss []Suspension, gone func(Suspension) bool) []Suspension {
	return slices.DeleteFunc(slices.Clone(ss), gone)
}

func suspendedNames(ss []Suspension) string {
	const most = 10
	names := make([]string, 0, most)
	for _, s := range ss[:min(most, len(ss))] {
		names = append(names, s.To)
	}
	s := strings.Join(names, ", ")
	if more := len(ss) - most; more > 0 {
		s += fmt.Sprintf(" and %d more", more)
	}
	return s
}

// file takes over the rules of a node's configuration file, unless it is the file
// that node had before: a node that is merely restarted must not undo a newer file
// that another one has brought. A node seen for the first time brings nothing new
// either when its file is one that another node has brought.
func (b *Book) file(c Change) (*Book, string, error) {
	if c.Node == "" || c.Hash == "" {
		return nil, "", refuse("", "a file without its node's name or its hash", "this is a fault of the program; please report it")
	}
	if b.FileHashes[c.Node] == c.Hash {
		return b, "", nil
	}
	next := *b
	next.FileHashes = maps.Clone(b.FileHashes)
	if next.FileHashes == nil {
		next.FileHashes = map[string]string{}
	}
	next.FileHashes[c.Node] = c.Hash
	_, seen := b.FileHashes[c.Node]
	if c.Hash == b.FileHash || !seen && slices.Contains(slices.Collect(maps.Values(b.FileHashes)), c.Hash) {
		return &next, "", nil // nothing is limited otherwise: the version stays
	}
	if es := CheckGroups(c.Destinations); len(es) > 0 {
		return nil, "", &RefusedError{"destinations." + es[0].Field, es[0].What, es[0].Mend}
	}
	if err := firstFault(c.Destinations, c.Rules); err != nil {
		return nil, "", err
	}
	if es := CheckShares(c.Shares); len(es) > 0 {
		return nil, "", es[0]
	}
	next.Destinations = maps.Clone(c.Destinations)
	next.Shares = c.Shares.clone()
	for i := range b.Set {
		if err := checkTo(c.Destinations, b.Set[i].To); err != nil {
			return nil, "", refuse("destinations", fmt.Sprintf("%s is not defined, but a limit to it is set at run time", b.Set[i].To),
				fmt.Sprintf("define it, or say `tarishi limits unset %s` first", b.Set[i].To))
		}
	}
	for _, s := range b.Suspensions {
		if err := checkTo(c.Destinations, s.To); err != nil {
			return nil, "", refuse("destinations", s.To+" is not defined, but suspended",
				fmt.Sprintf("define it, or say `tarishi limits resume %s` first", s.To))
		}
	}
	next.FileHash = c.Hash
	next.File = make([]Rule, len(c.Rules))
	for i, r := range c.Rules {
		next.File[i] = r.clone()
	}
	what := c.Node + " brought its file"
	if names := changedGroups(b.Destinations, next.Destinations); len(names) > 0 {
		what += "; destinations that changed: " + strings.Join(names, ", ")
	}
	if ds := Diff(b.File, next.File); len(ds) > 0 {
		what += "; " + inWords(ds)
	}
	if !b.Shares.same(next.Shares) {
		what += "; other shares of classes or tenants"
	}
	return &next, what, nil
}

// changedGroups names the named destinations that are new, gone or have other members.
func changedGroups(old, new map[string]Group) []string {
	var out []string
	for name, g := range new {
		if o, ok := old[name]; !ok || !slices.Equal(o.MX, g.MX) || !slices.Equal(o.Domains, g.Domains) {
			out = append(out, name)
		}
	}
	for name := range old {
		if _, ok := new[name]; !ok {
			out = append(out, name)
		}
	}
	slices.Sort(out)
	return out
}

// FileHash names the content of a configuration file's limits, for OpFile.
func FileHash(groups map[string]Group, rules []Rule, shares Shares) string {
	b, err := json.Marshal(struct {
		Destinations map[string]Group `json:"destinations"`
		Rules        []Rule           `json:"rules"`
		Shares       Shares           `json:"shares,omitzero"`
	}{groups, rules, shares})
	if err != nil {
		panic("shaping: rules that JSON cannot say: " + err.Error()) // they are plain values
	}
	sum := sha256.Sum256(b)
	return hex.EncodeToString(sum[:16])
}
