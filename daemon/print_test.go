package daemon

import (
	"fmt"
	"net/netip"
	"reflect"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"
)

// What is printed loads again as the same configuration, whatever was set.
func TestPrintLoadRoundTrip(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		c := &Config{}
		setDefaults(c)
		for _, k := range leaves(reflect.ValueOf(c).Elem(), "") {
			if rapid.Bool().Draw(t, k.path) {
				randomise(t, k)
			}
		}
		text := printed(t, c)
		again := &Config{}
		setDefaults(again)
		l := &loader{file: "t.yaml", where: map[string]string{}}
		l.decodeFile([]byte(text), again)
		if len(l.problems) > 0 {
			t.Fatalf("%v\nin\n%s", l.problems, text)
		}
		if second := printed(t, again); second != text {
			t.Fatalf("first\n%s\nthen\n%s", text, second)
		}
		was, is := leaves(reflect.ValueOf(c).Elem(), ""), leaves(reflect.ValueOf(again).Elem(), "")
		for i, k := range was {
			a, b := k.value, is[i].value
			if (a.Kind() == reflect.Slice || a.Kind() == reflect.Map) && a.Len() == 0 && b.Len() == 0 {
				continue // nil or empty
			}
			if !reflect.DeepEqual(a.Interface(), b.Interface()) {
				t.Fatalf("%s: %#v became %#v", k.path, a, b)
			}
		}
	})
}

// randomise gives a key a value that its own rules allow.
func randomise(t *rapid.T, k key) {
	v := k.value
	switch {
	case v.Kind() == reflect.Map:
		m := reflect.MakeMap(v.Type())
		for _, name := range []string{rapid.StringMatching(`[a-zA-Z0-9_-]{1,8}`).Draw(t, "name"), "yes"} {
			e := reflect.New(v.Type().Elem()).Elem()
			randomise(t, key{value: e})
			m.SetMapIndex(reflect.ValueOf(name), e)
		}
		v.Set(m)
	case v.Kind() == reflect.Slice:
		n := rapid.IntRange(0, 3).Draw(t, "n")
		list := reflect.MakeSlice(v.Type(), n, n)
		for i := range n {
			randomise(t, key{tag: k.tag, value: list.Index(i)})
		}
		v.Set(list)
	case isSection(v.Type()):
		for _, f := range keysOf(v, "") {
			randomise(t, f)
		}
	case v.Kind() == reflect.Pointer:
		n := reflect.New(v.Type().Elem())
		randomScalar(t, n.Elem(), k.tag)
		v.Set(n)
	default:
		randomScalar(t, v, k.tag)
	}
}

func randomScalar(t *rapid.T, v reflect.Value, tag reflect.StructTag) {
	low, high := int64(0), int64(1<<50)
	for name, p := range map[string]*int64{"min": &low, "max": &high} {
		if text := tag.Get(name); text != "" && v.Kind() != reflect.Float64 {
			b := reflect.New(v.Type()).Elem()
			if err := setScalar(b, text); err != nil {
				t.Fatal(err)
			}
			*p = b.Int()
		}
	}
	switch v.Interface().(type) {
	case Settings: // where they stood differs; see TestSettings_print
	case time.Duration:
		d := rapid.Int64Range(low, high).Draw(t, "duration")
		unit := int64(rapid.SampledFrom([]time.Duration{1, time.Second, time.Minute, time.Hour, 24 * time.Hour}).Draw(t, "unit"))
		v.SetInt(max(low, d-d%unit))
	case Size, Percent, int:
		v.SetInt(rapid.Int64Range(low, high).Draw(t, "number"))
	case netip.Prefix:
		a := netip.AddrFrom16([16]byte(rapid.SliceOfN(rapid.Byte(), 16, 16).Draw(t, "ip")))
		v.Set(reflect.ValueOf(netip.PrefixFrom(a, rapid.IntRange(0, 128).Draw(t, "bits")).Masked()))
	case bool:
		v.SetBool(rapid.Bool().Draw(t, "bool"))
	case float64:
		v.SetFloat(rapid.Float64Range(0, 0.5).Draw(t, "float"))
	default:
		v.SetString(randomText(t, tag.Get("check"), tag.Get("enum")))
	}
}

func randomText(t *rapid.T, check, enum string) string {
	switch {
	case enum != "":
		return rapid.SampledFrom(strings.Split(enum, ",")).Draw(t, "enum")
	case check == "listen" || check == "server":
		return fmt.Sprintf("127.0.0.1:%d", rapid.IntRange(0, 65535).Draw(t, "port"))
	case check == "via":
		return rapid.SampledFrom([]string{"lmtp:a.test:24", "[::1]:25", "b:1"}).Draw(t, "via")
	case check == "pattern", check == "limit":
		return rapid.SampledFrom([]string{"*", "*.a.test", "b.test", "null", "1.2"}).Draw(t, "pattern")
	case check == "address":
		return `"a\\b"@c.test`
	case check == "plugin":
		return rapid.SampledFrom([]string{"access", "queue/test", "X-1.b"}).Draw(t, "plugin")
	case check == "ip":
		return rapid.SampledFrom([]string{"192.0.2.1", "2001:db8::1"}).Draw(t, "ip")
	case check == "peer":
		return rapid.SampledFrom([]string{"n1=192.0.2.1:7001", "no=[::1]:1", "n2=b.test:65533"}).Draw(t, "peer")
	case check == "nats":
		return rapid.SampledFrom([]string{"nats://a.test:4222", "tls://[::1]:1"}).Draw(t, "nats")
	case check == "field":
		return rapid.SampledFrom([]string{"X-Tenant", "no", "#", "1e3"}).Draw(t, "field")
	case check == "hours":
		return rapid.SampledFrom([]string{"Mon-Fri 09:00-18:00 UTC", "00:00-12:00 Europe/Berlin"}).Draw(t, "hours")
	case check == "tenant":
		return rapid.SampledFrom([]string{"acme", "no", "1e3", "a@b+c", "x.y"}).Draw(t, "tenant")
	case check == "route":
		return rapid.SampledFrom([]string{"backup", "no", "1e3", "_"}).Draw(t, "route") + fmt.Sprint(rapid.Uint32().Draw(t, "which"))
	case check == "node":
		return rapid.SampledFrom([]string{"n1", "no", "1e3", "1.2"}).Draw(t, "node")
	case check != "":
		return rapid.SampledFrom([]string{"a.test", "1e3", "0x10", "no", "bücher.test", "123", "null", "true"}).Draw(t, "name")
	default: // a path: anything
		return rapid.String().Draw(t, "text")
	}
}

func TestUnits(t *testing.T) {
	for _, x := range []struct {
		text string
		want time.Duration
	}{{"0", 0}, {"0s", 0}, {"5d", 120 * time.Hour}, {"1d12h", 36 * time.Hour}, {"1h30m", 90 * time.Minute}, {"250ms", 250 * time.Millisecond}, {"90m", 90 * time.Minute}, {"1.5h", 90 * time.Minute}} {
		if d, err := parseDuration(x.text); err != nil || d != x.want {
			t.Errorf("%s: %v %v", x.text, d, err)
		}
	}
	for _, bad := range []string{"", "d", "5", "-1s", "+1s", "1d-1h", "1dd", "1h5d", "999999999d", "1.5d", "106751d", "100000d999999h", "5 d", "1d 2h"} {
		if d, err := parseDuration(bad); err == nil && bad != "100000d999999h" || d < 0 {
			t.Errorf("%q is %v", bad, d)
		}
	}
	for _, x := range []struct {
		text string
		want Size
	}{{"0", 0}, {"1", 1}, {"64KiB", 65536}, {"50MB", 50_000_000}, {"1 GiB", 1 << 30}, {"7B", 7}, {"2TiB", 2 << 40}} {
		if n, err := parseSize(x.text); err != nil || n != x.want {
			t.Errorf("%s: %v %v", x.text, n, err)
		}
	}
	for _, bad := range []string{"", "B", "-1", "+1", "1K", "1kb", "1iB", "KiB", "1.5MB", "1BB", "9223372036854775807KiB"} {
		if n, err := parseSize(bad); err == nil {
			t.Errorf("%q is %v", bad, n)
		}
	}
	rapid.Check(t, func(t *rapid.T) {
		d := time.Duration(rapid.Int64Range(0, 1<<62).Draw(t, "duration"))
		if got, err := parseDuration(formatDuration(d)); err != nil && d < 100_000*24*time.Hour || err == nil && got != d {
			t.Fatalf("%d: %s: %d %v", d, formatDuration(d), got, err)
		}
		s := Size(rapid.Int64Range(0, 1<<62).Draw(t, "size"))
		if got, err := parseSize(s.String()); err != nil || got != s {
			t.Fatalf("%d: %s: %d %v", s, s, got, err)
		}
	})
}

// Whatever the file holds, Parse answers; what it accepts, it prints and accepts again.
func FuzzParse(f *testing.F) {
	c, err := Parse("", nil, nil)
	if err != nil {
		f.Fatal(err)
	}
	f.Add(printed(f, c))
	for _, s := range []string{"smtp: {listen: [a]}", "a: &x *x", "? a\n: b", "- - -", "routes:\n- {to: '*', via: \"h:25\"}", "\x00", "smtp:\n  <<: *a", "retry: {schedule: [1d]}", "%YAML 1.2\n---\ndata: |\n  x\n"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, src string) {
		c, err := Parse("t.yaml", []byte(src), nil)
		if err != nil {
			return
		}
		text := printed(t, c)
		again, err := Parse("t.yaml", []byte(text), nil)
		if err != nil {
			t.Fatalf("%v\nin\n%s", err, text)
		}
		if printed(t, again) != text {
			t.Fatalf("print changes by loading:\n%s", text)
		}
	})
}
