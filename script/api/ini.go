package api

import (
	"regexp"
	"slices"
	"strconv"
	"strings"
)

// The forms of haraka-config's settings files.
var (
	iniSection  = regexp.MustCompile(`^\s*\[\s*([^\]]*?)\s*\]\s*$`)
	iniParam    = regexp.MustCompile(`^\s*([\w@:._+\-/\[\]]+)\s*(?:=\s*(.*?)\s*)?$`)
	flatComment = regexp.MustCompile(`^\s*[;#]`)
	isInteger   = regexp.MustCompile(`^-?\d+$`)
	isFloat     = regexp.MustCompile(`^-?\d+\.\d+$`)
	isTruth     = regexp.MustCompile(`^(?i:true|yes|ok|enabled|on|1)$`)
	lineEnds    = strings.NewReplacer("\r\n", "\n", "\r", "\n")
)

// unsafeKey is a name that a settings file does not give to an object of a script's.
func unsafeKey(s string) bool { return s == "__proto__" || s == "constructor" || s == "prototype" }

// boolean is one key that is declared to be true or false.
type boolean struct {
	section, key string
	fallback     bool
}

// booleansOf reads the option booleans: section.key or key, with + or - before either
// for what it is when the file does not say. Section * is any.
func booleansOf(list []string) []boolean {
	var out []boolean
	for _, s := range list {
		section, key, ok := strings.Cut(s, ".")
		if !ok || section == "" || key == "" || strings.Contains(section, " ") {
			section, key = "main", s
		}
		b := boolean{fallback: strings.HasPrefix(section, "+") || strings.HasPrefix(key, "+")}
		cut := func(s string) string {
			if s != "" && (s[0] == '+' || s[0] == '-') {
				return s[1:]
			}
			return s
		}
		b.section, b.key = cut(section), cut(key)
		if b.key != "" && !unsafeKey(b.section) && !unsafeKey(b.key) {
			out = append(out, b)
		}
	}
	return out
}

// emptyINI is what a file that is not there gives.
func emptyINI(booleans []boolean) *object {
	o := newObject()
	o.set("main", newObject())
	for _, b := range booleans {
		if b.section != "*" {
			o.section(b.section).set(b.key, b.fallback)
		}
	}
	return o
}

// readINI reads haraka-config's dialect. Every line that is none is told to bad with
// its number; nothing else is an error.
func readINI(src string, booleans []boolean, bad func(line int, text string)) *object {
	whole := emptyINI(booleans)
	name, section := "main", whole.section("main")
	var before strings.Builder // a line that ends in a backslash goes on in the next
	for i, line := range strings.Split(lineEnds.Replace(strings.TrimPrefix(src, "\ufeff")), "\n") {
		if flatComment.MatchString(line) || strings.TrimSpace(line) == "" {
			continue
		}
		if m := iniSection.FindStringSubmatch(line); m != nil {
			name = m[1]
			if unsafeKey(name) {
				bad(i+1, line)
				section = newObject()
				continue
			}
			section = whole.section(name)
			continue
		}
		if t := strings.TrimRight(line, " \t"); strings.HasSuffix(t, `\`) {
			before.WriteString(strings.TrimSuffix(t, `\`))
			continue
		}
		if before.Len() > 0 {
			line = before.String() + line
			before.Reset()
		}
		m := iniParam.FindStringSubmatchIndex(line)
		if m == nil {
			bad(i+1, line)
			continue
		}
		key, value := line[m[2]:m[3]], any(undefined{})
		if m[4] >= 0 {
			value = line[m[4]:m[5]]
		}
		list, isList := strings.CutSuffix(key, "[]")
		isList = isList && list != ""
		if isList {
			key = list
		}
		if unsafeKey(key) {
			bad(i+1, line)
			continue
		}
		if !isList && slices.ContainsFunc(booleans, func(b boolean) bool {
			return b.section == "*" && b.key == key || b.section+"."+b.key == name+"."+key
		}) {
			text, _ := value.(string)
			section.set(key, isTruth.MatchString(text))
			continue
		}
		if text, ok := value.(string); ok {
			value = scalar(text)
		}
		if isList {
			old, _ := section.get(key).([]any)
			value = append(old, value)
		}
		section.set(key, value)
	}
	return whole
}

// scalar makes a number of what looks like one.
func scalar(s string) any {
	if isInteger.MatchString(s) || isFloat.MatchString(s) {
		if f, err := strconv.ParseFloat(s, 64); err == nil {
			return f
		}
	}
	return s
}

// readLines is the type data: all lines.
func readLines(src string) []any {
	lines := strings.Split(lineEnds.Replace(src), "\n")
	if lines[len(lines)-1] == "" {
		lines = lines[:len(lines)-1]
	}
	out := make([]any, len(lines))
	for i, l := range lines {
		out[i] = l
	}
	return out
}

// readList is the type list: the lines that are neither empty nor comments.
func readList(src string) []any {
	out := []any{}
	for _, l := range readLines(strings.TrimPrefix(src, "\ufeff")) {
		if s := l.(string); strings.TrimSpace(s) != "" && !flatComment.MatchString(s) {
			out = append(out, strings.TrimSpace(s))
		}
	}
	return out
}

// readValue is the type value: the first of them, nil if there is none.
func readValue(src string, booleans []string) any {
	all := readList(src)
	if len(all) == 0 {
		return nil
	}
	s := all[0].(string)
	if slices.Contains(booleans, s) {
		return isTruth.MatchString(s)
	}
	return scalar(s)
}
