package daemon

import (
	"cmp"
	"fmt"
	"maps"
	"reflect"
	"regexp"
	"slices"
	"strings"

	"github.com/tarishi/tarishi/internal/nearest"
)

// Prefix begins every environment variable that overrides a key:
// smtp.listen is TARISHI_SMTP_LISTEN.
const Prefix = "TARISHI_"

// reserved are variables of other commands (TARISHI_ADMIN: where `tarishi queue`
// finds the node), not of the configuration.
var reserved = []string{"TARISHI_ADMIN"}

// serviceLinks matches what Kubernetes puts in every container's environment
// when a Service is called tarishi or tarishi-something: TARISHI_PORT_25_TCP_ADDR,
// TARISHI_ADMIN_SERVICE_HOST. They are nobody's typing errors.
var serviceLinks = regexp.MustCompile(`^TARISHI_([A-Z0-9_]+_)?(SERVICE_HOST|SERVICE_PORT(_[A-Z0-9_]+)?|PORT(_\d+_(TCP|UDP|SCTP)(_(PROTO|PORT|ADDR))?)?)$`)

// EnvName is the variable that overrides the key at path.
func EnvName(path string) string {
	return Prefix + strings.ToUpper(strings.ReplaceAll(path, ".", "_"))
}

// decodeEnv applies the TARISHI_ variables. Scalars are taken as they are, lists
// are comma-separated or YAML ([a, b]), routes and the like are YAML. An empty
// variable is one that is not set.
func (l *loader) decodeEnv(env []string, c *Config) {
	byName := map[string]key{}
	var names []string
	inSection := sections(reflect.ValueOf(c).Elem(), "")
	for _, k := range leaves(reflect.ValueOf(c).Elem(), "") {
		byName[EnvName(k.path)] = k
		names = append(names, EnvName(k.path))
	}
	vars := slices.Clone(env)
	slices.SortStableFunc(vars, func(a, b string) int { return cmp.Compare(a, b) })
	for _, kv := range vars {
		name, text, _ := strings.Cut(kv, "=")
		if !strings.HasPrefix(name, Prefix) || slices.Contains(reserved, name) {
			continue
		}
		k, known := byName[name]
		if !known {
			if serviceLinks.MatchString(name) {
				continue
			}
			l.env = name
			if keys := inSection[name]; keys != nil {
				l.bad(0, "", "a section, which takes no value of its own", "set its keys: "+strings.Join(keys, ", "))
				continue
			}
			mend := "see `tarishi config print` for the keys"
			if n := nearest.To(name, names); n != "" {
				mend = fmt.Sprintf("did you mean %s?", n)
			}
			l.bad(0, "", "no such key", mend)
			continue
		}
		if text == "" {
			continue
		}
		l.env = name
		l.mark(k.path, 0)
		l.fromEnv(text, k)
	}
	l.env = ""
}

// sections gives the variables of each section's keys by the name that the section
// itself would have.
func sections(v reflect.Value, path string) map[string][]string {
	out := map[string][]string{}
	for _, k := range keysOf(v, path) {
		if !k.isSection() {
			continue
		}
		for _, leaf := range leaves(k.value, k.path) {
			out[EnvName(k.path)] = append(out[EnvName(k.path)], EnvName(leaf.path))
		}
		maps.Copy(out, sections(k.value, k.path))
	}
	return out
}

func (l *loader) fromEnv(text string, k key) {
	switch {
	case k.isCompound(), k.value.Kind() == reflect.Slice && strings.HasPrefix(text, "["):
		if node := l.parse([]byte(text)); node != nil {
			l.value(node, k.value, k)
		}
	case k.value.Kind() == reflect.Slice:
		items := strings.Split(text, ",")
		out := reflect.MakeSlice(k.value.Type(), len(items), len(items))
		for i, item := range items {
			e := key{path: fmt.Sprintf("%s[%d]", k.path, i), tag: k.tag, value: out.Index(i)}
			l.mark(e.path, 0)
			l.scalar(0, strings.TrimSpace(item), e.value, e)
		}
		k.value.Set(out)
	default:
		l.scalar(0, text, k.value, k)
	}
}
