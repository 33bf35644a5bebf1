package daemon

import (
	"bufio"
	"fmt"
	"io"
	"reflect"
	"slices"
	"strconv"
	"strings"
)

// Print writes c as YAML that loads again, every key with its meaning and its
// default above it. Secrets are not written.
func (c *Config) Print(w io.Writer) error {
	b := bufio.NewWriter(w)
	fmt.Fprintf(b, "# Each key can be overridden by an environment variable: smtp.listen by %s.\n", EnvName("smtp.listen"))
	printSection(b, reflect.ValueOf(c).Elem(), "", "")
	return b.Flush()
}

func printSection(b *bufio.Writer, v reflect.Value, path, indent string) {
	for _, k := range keysOf(v, path) {
		if path == "" {
			b.WriteByte('\n')
		}
		printDoc(b, k, indent)
		switch {
		case k.isSection():
			fmt.Fprintf(b, "%s%s:\n", indent, k.name)
			printSection(b, k.value, k.path, indent+"  ")
		case k.isCompound():
			printCompound(b, k, indent)
		default:
			fmt.Fprintf(b, "%s%s: %s\n", indent, k.name, flow(k.value))
		}
	}
}

// printDoc writes the key's meaning, and its default unless the meaning tells it.
func printDoc(b *bufio.Writer, k key, indent string) {
	text := k.doc()
	if d, ok := k.tag.Lookup("default"); ok {
		text += " Default: " + strings.ReplaceAll(d, ",", ", ")
	}
	if e := k.tag.Get("enum"); e != "" {
		text += " [" + strings.ReplaceAll(e, ",", " | ") + "]"
	}
	for _, line := range wrap(text, 100-len(indent)) {
		fmt.Fprintf(b, "%s# %s\n", indent, line)
	}
}

// printCompound writes a list or map of small structs, one per line, below a
// commented line that shows what each may hold.
func printCompound(b *bufio.Writer, k key, indent string) {
	for _, f := range keysOf(reflect.New(k.value.Type().Elem()).Elem(), "") {
		fmt.Fprintf(b, "%s#   %s: %s\n", indent, f.name, f.doc())
	}
	if k.value.Len() == 0 {
		fmt.Fprintf(b, "%s%s: %s\n", indent, k.name, map[bool]string{true: "{}", false: "[]"}[k.value.Kind() == reflect.Map])
		return
	}
	fmt.Fprintf(b, "%s%s:\n", indent, k.name)
	if k.value.Kind() == reflect.Slice {
		for i := range k.value.Len() {
			fmt.Fprintf(b, "%s  - %s\n", indent, flow(k.value.Index(i)))
		}
		return
	}
	names := k.value.MapKeys()
	slices.SortFunc(names, func(a, b reflect.Value) int { return strings.Compare(a.String(), b.String()) })
	for _, n := range names {
		fmt.Fprintf(b, "%s  %s: %s\n", indent, quote(n.String()), flow(k.value.MapIndex(n)))
	}
}

// flow writes a value on one line.
func flow(v reflect.Value) string {
	switch {
	case v.Kind() == reflect.Slice:
		items := make([]string, v.Len())
		for i := range items {
			items[i] = flow(v.Index(i))
		}
		return "[" + strings.Join(items, ", ") + "]"
	case isSection(v.Type()):
		var items []string
		for _, k := range keysOf(v, "") {
			// Zero means "not set" in these small structs, so it is left out.
			if !k.value.IsZero() {
				items = append(items, k.name+": "+flow(k.value))
			}
		}
		return "{" + strings.Join(items, ", ") + "}"
	case v.Kind() == reflect.String, v.Type() == typePrefix:
		return quote(formatScalar(v))
	default:
		return formatScalar(v)
	}
}

// quote writes text as a YAML double-quoted scalar unless it is a plain word.
func quote(s string) string {
	plain := s != "" && 'a' <= s[0] && s[0] <= 'z'
	for i := range len(s) {
		c := s[i]
		plain = plain && (c == '_' || c == '-' || '0' <= c && c <= '9' || 'a' <= c && c <= 'z')
	}
	if plain && !slices.Contains([]string{"true", "false", "null", "yes", "no", "on", "off", "y", "n"}, s) {
		return s
	}
	// Go and YAML 1.2 (§5.7) agree on \n, \t, \", \\, \xNN and \uNNNN.
	return strconv.Quote(s)
}

// wrap breaks text into lines of at most width columns.
func wrap(text string, width int) []string {
	var lines []string
	line := ""
	for word := range strings.FieldsSeq(text) {
		if line != "" && len(line)+1+len(word) > width {
			lines = append(lines, line)
			line = ""
		}
		if line != "" {
			line += " "
		}
		line += word
	}
	return append(lines, line)
}
