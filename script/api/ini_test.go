package api

import (
	"encoding/json"
	"reflect"
	"strings"
	"testing"
)

// plain makes of a settings value what reflect.DeepEqual compares.
func plain(v any) any {
	switch x := v.(type) {
	case *object:
		m := map[string]any{}
		for _, k := range x.keys {
			m[k] = plain(x.get(k))
		}
		return m
	case []any:
		out := []any{}
		for _, e := range x {
			out = append(out, plain(e))
		}
		return out
	}
	return v
}

// The examples of haraka-config's documentation, and the edges of its dialect.
func TestINI(t *testing.T) {
	type m = map[string]any
	u := undefined{}
	for _, x := range []struct {
		name, src string
		booleans  []string
		want      m
		bad       string // lines
	}{
		{"the documentation's", "first_name=Matt\nlast_name=Sergeant\n\n[job]\ntitle=Senior Principal Software Engineer\nrole=Architect\n\n[projects]\nharaka\nqpsmtpd\nspamassassin\n", nil,
			m{"main": m{"first_name": "Matt", "last_name": "Sergeant"},
				"job":      m{"title": "Senior Principal Software Engineer", "role": "Architect"},
				"projects": m{"haraka": u, "qpsmtpd": u, "spamassassin": u}}, ""},
		{"numbers", "a=1\nb=-2\nc=1.5\nd=1.\ne=1e3\nf=0x10\ng= 7 \nh=007", nil,
			m{"main": m{"a": 1.0, "b": -2.0, "c": 1.5, "d": "1.", "e": "1e3", "f": "0x10", "g": 7.0, "h": 7.0}}, ""},
		{"booleans are text unless declared", "reject=true\nsome=no", nil, m{"main": m{"reject": "true", "some": "no"}}, ""},
		{"booleans", "a=true\nb=yes\nc=OK\nd=Enabled\ne=on\nf=1\ng=0\nh=nonsense\ni", []string{"a", "b", "c", "d", "e", "f", "g", "h", "i"},
			m{"main": m{"a": true, "b": true, "c": true, "d": true, "e": true, "f": true, "g": false, "h": false, "i": false}}, ""},
		{"booleans by default", "[reject]\nx=true", []string{"+reject", "-other", "+sect.a", "sect.+b", "-sect.c", "sect.-d", "sect.e"},
			m{"main": m{"reject": true, "other": false}, "sect": m{"a": true, "b": true, "c": false, "d": false, "e": false}, "reject": m{"x": "true"}}, ""},
		{"a default that the file overrules", "reject=false\n[sect]\na=no", []string{"+reject", "+sect.a"},
			m{"main": m{"reject": false}, "sect": m{"a": false}}, ""},
		{"any section", "is_bool=true\n[foo.com]\nis_bool=true\n[bar.com]\nis_bool=false", []string{"*.is_bool"},
			m{"main": m{"is_bool": true}, "foo.com": m{"is_bool": true}, "bar.com": m{"is_bool": false}}, ""},
		{"a section with a dot", "[foo.com]\nis_bool=true", []string{"foo.com.is_bool"},
			m{"main": m{}, "foo.com": m{"is_bool": true}, "foo": m{"com.is_bool": false}}, ""},
		{"lists", "hosts[] = first_host\nhosts[] = second_host\nhosts[] = third_host\nn[]=1", nil,
			m{"main": m{"hosts": []any{"first_host", "second_host", "third_host"}, "n": []any{1.0}}}, ""},
		{"continuation", "a=one \\\ntwo \\  \nthree\nb=2", nil, m{"main": m{"a": "one two three", "b": 2.0}}, ""},
		{"comments and blanks", "; one\n# two\n   ; three\n\n \t\na=1 ; not one", nil, m{"main": m{"a": "1 ; not one"}}, ""},
		{"white space", "  a  =  b c  \n [ sect ] \nx= \ny=", nil, m{"main": m{"a": "b c"}, "sect": m{"x": "", "y": ""}}, ""},
		{"names", "results.auth/auth_base.fail=fun\n2605:ae00:329::2\na@b.c=1\nx+y-z=2", nil,
			m{"main": m{"results.auth/auth_base.fail": "fun", "2605:ae00:329::2": u, "a@b.c": 1.0, "x+y-z": 2.0}}, ""},
		{"twice", "a=1\n[s]\nb=1\n[main]\na=2\n[s]\nc=3", nil, m{"main": m{"a": 2.0}, "s": m{"b": 1.0, "c": 3.0}}, ""},
		{"line ends", "a=1\r\nb=2\rc=3\n", nil, m{"main": m{"a": 1.0, "b": 2.0, "c": 3.0}}, ""},
		{"a byte order mark", "\ufeffa=1", nil, m{"main": m{"a": 1.0}}, ""},
		{"= in a value", "a=b=c", nil, m{"main": m{"a": "b=c"}}, ""},
		{"no lines of it", "a b c\n=x\ngood=1\n[un closed", nil, m{"main": m{"good": 1.0}}, "1 2 4"},
		{"names that objects have", "__proto__=1\nconstructor=2\n[__proto__]\npolluted=1\n[s]\nprototype[]=3", []string{"+__proto__.x"}, m{"main": m{}, "s": m{}}, "1 2 3 6"},
		{"empty", "", []string{"+reject"}, m{"main": m{"reject": true}}, ""},
	} {
		var bad []string
		got := plain(readINI(x.src, booleansOf(x.booleans), func(line int, _ string) { bad = append(bad, string(rune('0'+line))) }))
		if !reflect.DeepEqual(got, any(x.want)) {
			g, _ := json.Marshal(got)
			want, _ := json.Marshal(x.want)
			t.Errorf("%s:\n\tis   %s\n\twant %s", x.name, g, want)
		}
		if b := strings.Join(bad, " "); b != x.bad {
			t.Errorf("%s: bad lines %q, want %q", x.name, b, x.bad)
		}
	}
}

func TestFlatFiles(t *testing.T) {
	const src = "line1\n# comment\nline2\r\n\n  line3  \n;other\n"
	if got := readList(src); !reflect.DeepEqual(got, []any{"line1", "line2", "line3"}) {
		t.Errorf("list: %q", got)
	}
	if got := readLines(src); !reflect.DeepEqual(got, []any{"line1", "# comment", "line2", "", "  line3  ", ";other"}) {
		t.Errorf("data: %q", got)
	}
	for src, want := range map[string]any{"line1\nline2": "line1", "# x\n6\n": 6.0, "1.5": 1.5, "": nil, "#\n": nil, "yes": "yes"} {
		if got := readValue(src, nil); got != want {
			t.Errorf("value of %q: %v", src, got)
		}
	}
}

// Whatever the file: it is read, main is there, and no key is one that every object has.
func FuzzINI(f *testing.F) {
	f.Add("a=1\n[s]\nb[]=x\\\ny\n", "+s.b")
	f.Add("[__proto__]\nx=1\n__proto__[]=1", "*.x")
	f.Add("a\\\n\\\n\\\n[", "main.-a")
	f.Fuzz(func(t *testing.T, src, boolean string) {
		o := readINI(src, booleansOf([]string{boolean}), func(int, string) {})
		if _, ok := o.get("main").(*object); !ok {
			t.Fatal("no main")
		}
		for _, s := range o.keys {
			sect, ok := o.get(s).(*object)
			if !ok || unsafeKey(s) {
				t.Fatalf("section %q", s)
			}
			if len(sect.keys) != len(sect.values) {
				t.Fatalf("section %q has a key twice", s)
			}
			for _, k := range sect.keys {
				if unsafeKey(k) {
					t.Fatalf("key %q", k)
				}
			}
		}
	})
}

// JSON, Hjson and YAML of any content give a value or an error.
func FuzzStructured(f *testing.F) {
	f.Add("a: [1, {b: 2}]\nc: &x {d: e}\nf: *x\n")
	f.Add(`{"a":[1,{"b":null}],"!x":"y"}`)
	f.Add("{\n # c\n a: text here\n b: '''\n  x\n '''\n}")
	f.Fuzz(func(t *testing.T, src string) {
		if len(src) > 4096 {
			return
		}
		readJSON("f.json", []byte(src))
		readHjson("f.hjson", []byte(src))
		readYAML("f.yaml", []byte(src))
	})
}

// What would become too deep or too much is refused before it is made.
func TestStructuredIsBounded(t *testing.T) {
	deep := strings.Repeat("[", 5000) + strings.Repeat("]", 5000)
	if _, err := readJSON("f.json", []byte(deep)); err == nil || !strings.Contains(err.Error(), "nested deeper") {
		t.Error(err)
	}
	if _, err := readHjson("f.hjson", []byte(deep)); err == nil || !strings.Contains(err.Error(), "nested deeper") {
		t.Error(err)
	}
	if _, err := readYAML("f.yaml", []byte(deep)); err == nil || !strings.Contains(err.Error(), "nested deeper") {
		t.Error(err)
	}
	deeper := []byte(strings.Repeat("[", 1<<20))
	for name, read := range map[string]func(string, []byte) (any, error){"f.json": readJSON, "f.hjson": readHjson, "f.yaml": readYAML} {
		if _, err := read(name, deeper); err == nil || !strings.Contains(err.Error(), "nested deeper") {
			t.Error(name, err)
		}
	}
	laughs := "a: &a [x,x,x,x,x,x,x,x,x]\n"
	for c := 'b'; c <= 'j'; c++ {
		laughs += string(c) + ": &" + string(c) + " [" + strings.Repeat("*"+string(c-1)+",", 8) + "*" + string(c-1) + "]\n"
	}
	if _, err := readYAML("f.yaml", []byte(laughs)); err == nil || !strings.Contains(err.Error(), "more than") {
		t.Error(err)
	}
	if _, err := readJSON("f.json", []byte("{\n \"a\": 1,\n b\n}")); err == nil || !strings.HasPrefix(err.Error(), "f.json:3: ") {
		t.Error(err)
	}
}
