package daemon

import (
	"errors"
	"fmt"
	"net/netip"
	"reflect"
	"strconv"
	"strings"
	"time"
)

// A key is one field of a configuration struct, read from its tags.
type key struct {
	name  string // as in the file
	path  string // "smtp.tls.cert"
	tag   reflect.StructTag
	value reflect.Value
}

func (k key) doc() string { return k.tag.Get("doc") }

var (
	typeDuration = reflect.TypeFor[time.Duration]()
	typePrefix   = reflect.TypeFor[netip.Prefix]()
	typeWindow   = reflect.TypeFor[Window]()
	typeRun      = reflect.TypeFor[PluginRun]()
	typeSettings = reflect.TypeFor[Settings]()
)

// keysOf lists the keys of a configuration struct in order of declaration.
func keysOf(v reflect.Value, path string) []key {
	t := v.Type()
	keys := make([]key, 0, t.NumField())
	for i := range t.NumField() {
		f := t.Field(i)
		name := f.Tag.Get("yaml")
		if name == "-" {
			continue
		}
		keys = append(keys, key{name: name, path: join(path, name), tag: f.Tag, value: v.Field(i)})
	}
	return keys
}

func join(path, name string) string {
	if path == "" {
		return name
	}
	return path + "." + name
}

// isSection tells whether the key holds further keys that always exist.
func (k key) isSection() bool {
	return isSection(k.value.Type())
}

func isSection(t reflect.Type) bool {
	return t.Kind() == reflect.Struct && t != typePrefix && t != typeSettings
}

// isCompound tells whether the key's value is a list or map of structs.
func (k key) isCompound() bool {
	switch t := k.value.Type(); t.Kind() {
	case reflect.Map:
		return true
	case reflect.Slice:
		return isSection(t.Elem())
	default:
		return false
	}
}

// leaves lists every key below v that has a value of its own, sections opened.
func leaves(v reflect.Value, path string) []key {
	var out []key
	for _, k := range keysOf(v, path) {
		switch {
		case k.isSection():
			out = append(out, leaves(k.value, k.path)...)
		default:
			out = append(out, k)
		}
	}
	return out
}

// setDefaults gives every key its declared default. A default that does not
// parse is a mistake in this package, so it panics (and a test loads them all).
func setDefaults(c *Config) {
	for _, k := range leaves(reflect.ValueOf(c).Elem(), "") {
		if d, ok := k.tag.Lookup("default"); ok {
			if err := setText(k.value, d); err != nil {
				panic("daemon: default of " + k.path + " " + err.Error())
			}
		}
	}
}

// setText sets a scalar, or a list of scalars from its comma-separated items.
func setText(v reflect.Value, text string) error {
	if v.Kind() != reflect.Slice {
		return setScalar(v, text)
	}
	list := reflect.MakeSlice(v.Type(), 0, 4)
	for item := range strings.SplitSeq(text, ",") {
		e := reflect.New(v.Type().Elem()).Elem()
		if err := setScalar(e, strings.TrimSpace(item)); err != nil {
			return fmt.Errorf("%q %w", strings.TrimSpace(item), err)
		}
		list = reflect.Append(list, e)
	}
	v.Set(list)
	return nil
}

// setScalar reads one value. Its errors continue the sentence that began with the value.
func setScalar(v reflect.Value, text string) error {
	switch p := v.Addr().Interface().(type) {
	case *time.Duration:
		d, err := parseDuration(text)
		*p = d
		return err
	case *Size:
		n, err := parseSize(text)
		*p = n
		return err
	case *Percent:
		n, err := parsePercent(text)
		*p = n
		return err
	case *netip.Prefix:
		x, err := parsePrefix(text)
		*p = x
		return err
	case *bool:
		if text != "true" && text != "false" {
			return errors.New("wants true or false")
		}
		*p = text == "true"
	case *int:
		n, err := strconv.Atoi(text)
		if err != nil {
			return errors.New("wants a whole number")
		}
		*p = n
	case **int: // nil: not set, which differs from 0
		n, err := strconv.Atoi(text)
		if err != nil {
			return errors.New("wants a whole number")
		}
		*p = &n
	case *float64:
		f, err := strconv.ParseFloat(text, 64)
		if err != nil || f != f {
			return errors.New("wants a number such as 0.1")
		}
		*p = f
	default:
		if v.Kind() != reflect.String {
			panic("daemon: no way to read a " + v.Type().String())
		}
		v.SetString(text)
	}
	return nil
}

// parsePrefix reads a CIDR, or a single address as a network of one.
func parsePrefix(s string) (netip.Prefix, error) {
	if a, err := netip.ParseAddr(s); err == nil && a.Zone() == "" {
		return netip.PrefixFrom(a, a.BitLen()), nil
	}
	p, err := netip.ParsePrefix(s)
	if err != nil {
		return p, errors.New("wants a network such as 192.0.2.0/24 or 2001:db8::/32")
	}
	if p != p.Masked() {
		return p, fmt.Errorf("has host bits set; write %s", p.Masked())
	}
	return p, nil
}

// formatScalar is the text that setScalar reads back.
func formatScalar(v reflect.Value) string {
	switch x := v.Interface().(type) {
	case time.Duration:
		return formatDuration(x)
	case fmt.Stringer: // Size, Percent, netip.Prefix, Secret
		return x.String()
	case bool:
		return strconv.FormatBool(x)
	case int:
		return strconv.Itoa(x)
	case *int:
		return strconv.Itoa(*x)
	case float64:
		return strconv.FormatFloat(x, 'g', -1, 64)
	default:
		return v.String()
	}
}

// wants names the kind of value a key takes, for messages about YAML of the wrong shape.
func wants(t reflect.Type) string {
	switch {
	case t == typeDuration:
		return "a duration"
	case t == reflect.TypeFor[Size]():
		return "a size"
	case t == reflect.TypeFor[Percent]():
		return "a share"
	case t == typePrefix:
		return "a network"
	case t.Kind() == reflect.Struct, t.Kind() == reflect.Map:
		return "keys and values"
	case t.Kind() == reflect.Slice:
		return "a list"
	case t.Kind() == reflect.Bool:
		return "true or false"
	case t.Kind() == reflect.Int, t.Kind() == reflect.Float64, t.Kind() == reflect.Pointer:
		return "a number"
	default:
		return "text"
	}
}
