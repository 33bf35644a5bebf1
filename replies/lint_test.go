package replies_test

import (
	"slices"
	"strings"
	"testing"

	"github.com/tarishi/tarishi/replies"
	"github.com/tarishi/tarishi/shaping"
)

var someWorld = replies.World{
	Groups: map[string]shaping.Group{"google": {MX: []string{"*.google.com"}}, "yahoo": {MX: []string{"*.yahoodns.net"}}},
	Routes: []string{"backup"},
}

// good is a rule that nothing is wrong with.
func good() replies.Rule {
	return replies.Rule{
		Name: "a/b", For: []string{"google", "example.net", "mx:*.example.org"}, Class: replies.RateLimited,
		When:      replies.When{Code: []string{"421", "45z"}, Enhanced: []string{"4.7.28", "*.7.0"}, Text: "too (fast|many)", Phase: []replies.Phase{replies.Dot}},
		Threshold: shaping.Threshold{Count: 3, Within: 600e9}, Do: []replies.Do{do("suspend for 1h"), do("delay for 1h"), do("reroute via backup")},
	}
}

func do(s string) replies.Do {
	d, err := replies.ParseDo(s)
	if err != nil {
		panic(err)
	}
	return d
}

func TestCheck(t *testing.T) {
	if fs := replies.Check(someWorld, []replies.Rule{good()}); len(fs) > 0 {
		t.Fatalf("%+v", fs)
	}
	for _, x := range []struct {
		change func(r *replies.Rule)
		want   string // field: what
	}{
		{func(r *replies.Rule) { r.Name = "My Rule" }, `name: "My Rule" is no name`},
		{func(r *replies.Rule) { r.For = nil }, "for: the rule is for nobody"},
		{func(r *replies.Rule) { r.For = []string{"gogle"} }, `for[0]: "gogle" is a destination nobody defined, so no reply is ever its; did you mean "google"?`},
		{func(r *replies.Rule) { r.For = []string{"*", "google"} }, `for[0]: "*" is everybody`},
		{func(r *replies.Rule) { r.For = []string{"mx:*"} }, `for[0]: "mx:*" is no pattern`},
		{func(r *replies.Rule) { r.For = []string{"a b.net"} }, `for[0]: "a b.net" is no pattern`},
		{func(r *replies.Rule) { r.When = replies.When{} }, "when: every refusal fits"},
		{func(r *replies.Rule) { r.When.Code = []string{"250"} }, `when.code[0]: "250" is no code of a refusal`},
		{func(r *replies.Rule) { r.When.Code = []string{"4"} }, `when.code[0]: "4" is no code`},
		{func(r *replies.Rule) { r.When.Enhanced = []string{"5.7.28"} }, `when.enhanced[0]: 5.7.28 never comes with the codes 421, 45z: their class is another; write "*.7.28"`},
		{func(r *replies.Rule) { r.When.Enhanced = []string{"4.7"} }, `when.enhanced[0]: "4.7" is no enhanced code`},
		{func(r *replies.Rule) { r.When.Enhanced = []string{"4.7.9-1"} }, `when.enhanced[0]: "4.7.9-1" is no enhanced code`},
		{func(r *replies.Rule) { r.When.Enhanced = []string{"2.0.0"} }, `when.enhanced[0]: "2.0.0" is no enhanced code`},
		{func(r *replies.Rule) { r.When.Phase = []replies.Phase{"banner"} }, `when.phase[0]: "banner" is no phase`},
		{func(r *replies.Rule) { r.When.Text = "a(b" }, "when.text: is no regular expression (RE2): missing closing )"},
		{func(r *replies.Rule) { r.When.Text = "(?<!x)y" }, "when.text: is no regular expression"},
		{func(r *replies.Rule) { r.When.Text = ".*" }, "when.text: is found in every text"},
		{func(r *replies.Rule) { r.When.Text = "spam|" }, "when.text: is found in every text"},
		{func(r *replies.Rule) { r.When.Text = "^421 too" }, "when.text: begins with a code"},
		{func(r *replies.Rule) { r.When.Text = `4\.7\.28 too` }, "when.text: begins with an enhanced code"},
		{func(r *replies.Rule) { r.When.Text = "a$b" }, "when.text: can never be found: it asks for something behind the end"},
		{func(r *replies.Rule) { r.When.Text = "a^b" }, "when.text: can never be found: it asks for the beginning behind something"},
		{func(r *replies.Rule) { r.When.Text = "two  spaces" }, "when.text: can never be found: it asks for two spaces"},
		{func(r *replies.Rule) { r.When.Text = `a\nb` }, "when.text: can never be found: it asks for a line's end"},
		{func(r *replies.Rule) { r.When.Text = `[^\x00-\x{10FFFF}]` }, "when.text: can never be found: it has a class of no characters"},
		{func(r *replies.Rule) { r.When.Text = strings.Repeat("x", 1001) }, "when.text: is longer than 1000 octets"},
		{func(r *replies.Rule) { r.Class = "" }, "class: missing"},
		{func(r *replies.Rule) { r.Class = "RateLimted" }, `class: "RateLimted" is no class; did you mean "RateLimited"?`},
		{func(r *replies.Rule) { r.Class = replies.Suppressed }, "class: Suppressed is what we say ourselves"},
		{func(r *replies.Rule) { r.Action = "drop" }, `action: "drop" is no action`},
		{func(r *replies.Rule) { r.Action = replies.Suppress }, "action: RateLimited is nothing an address is suppressed for"},
		{func(r *replies.Rule) { r.Threshold.Within = 0 }, "threshold: replies within 0s"},
		{func(r *replies.Rule) { r.Do = nil }, "threshold: counts for nothing"},
		{func(r *replies.Rule) { r.Do[0].Remedy.For = 0 }, "do[0]: for: how long is not said"},
		{func(r *replies.Rule) { r.Do[2] = do("reroute via elsewhere") }, `do[2]: no route has the name "elsewhere"`},
		{func(r *replies.Rule) { r.Do[1] = r.Do[0] }, "do[1]: stands twice"},
		{func(r *replies.Rule) { r.When.Code, r.When.Enhanced = []string{"5yz"}, nil }, "do[1]: delay never comes about"},
	} {
		r := good()
		x.change(&r)
		var got []string
		for _, f := range replies.Check(someWorld, []replies.Rule{r}) {
			got = append(got, f.Field+": "+f.Error())
		}
		if len(got) == 0 || !strings.HasPrefix(got[0], x.want) {
			t.Errorf("%q; want %q", got, x.want)
		}
		if slices.ContainsFunc(got, func(s string) bool { return strings.Contains(s, "reroute never") }) {
			t.Errorf("%q: a 5yz does set off a reroute", got) // the delivery goes the other way instead of back
		}
	}
}

func TestCovered(t *testing.T) {
	wide := replies.Rule{Name: "wide", For: []string{"*"}, When: replies.When{Code: []string{"4yz"}}, Class: replies.RateLimited}
	for _, x := range []struct {
		change func(r *replies.Rule)
		want   bool
	}{
		{func(*replies.Rule) {}, true},
		{func(r *replies.Rule) { r.When.Code = []string{"421", "550"} }, false},
		{func(r *replies.Rule) { r.When.Code = nil }, false},
	} {
		r := good()
		r.Name = "narrow"
		x.change(&r)
		if fs := replies.Check(someWorld, []replies.Rule{wide, r}); len(fs) == 1 != x.want {
			t.Errorf("%v: %+v", r.When, fs)
		}
		if fs := replies.Check(someWorld, []replies.Rule{r, wide}); len(fs) > 0 {
			t.Errorf("the wide one behind it: %+v", fs)
		}
	}
	twice := good()
	if fs := replies.Check(someWorld, []replies.Rule{good(), twice}); len(fs) == 0 || !strings.Contains(fs[0].What, "number 1) has the name a/b") {
		t.Errorf("%+v", fs)
	}
}

func TestShadowed(t *testing.T) {
	samples, err := replies.ParseSamples("google dot RateLimited slow - 421 4.7.28 too fast by far\ngoogle dot RateLimited slow - 421 4.7.28 too slow\n")
	if err != nil {
		t.Fatal(err)
	}
	rule := func(name, text string) replies.Rule {
		return replies.Rule{Name: name, For: []string{"google"}, When: replies.When{Text: text}, Class: replies.RateLimited}
	}
	p := load(t, someWorld.Groups, rule("one", "too"), rule("two", "fast by"), rule("three", "unknown"))
	fs := p.Shadowed(samples, nil)
	if len(fs) != 1 || fs[0].Rule != 1 || !strings.Contains(fs[0].What, "such as one") {
		t.Errorf("%+v", fs)
	}
}

func TestDoIsReadBack(t *testing.T) {
	for _, s := range []string{"suspend per source for 2h after 3 in 10m", "delay for 30m", "reconnect"} {
		if got := do(s).String(); got != s {
			t.Errorf("%q became %q", s, got)
		}
	}
	for _, s := range []string{"", "wait for 1h", "suspend for 1h after 3"} {
		if d, err := replies.ParseDo(s); err == nil {
			t.Errorf("%q: %+v", s, d)
		}
	}
}

func TestParseReply(t *testing.T) {
	for in, want := range map[string]string{
		"421 4.7.28 slow / down": "421 4.7.28 slow down", "550-5.1.1 no": "550 5.1.1 no", "550 4.1.1 no": "550 4.1.1 no", "550": "550",
	} {
		r, err := replies.ParseReply(in)
		if err != nil || r.String() != want {
			t.Errorf("%q: %q, %v", in, r, err)
		}
	}
	for _, in := range []string{"", "hello", "42", "999 x", "4211 x"} {
		if r, err := replies.ParseReply(in); err == nil {
			t.Errorf("%q: %v", in, r)
		}
	}
}
