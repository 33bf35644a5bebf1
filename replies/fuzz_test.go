package replies_test

import (
	"regexp"
	"testing"

	"github.com/tarishi/tarishi/mail"
	"github.com/tarishi/tarishi/replies"
)

// FuzzLook holds the one pass against asking every rule in turn.
func FuzzLook(f *testing.F) {
	rules, p := shipped(f)
	samples, err := replies.ParseSamples(replies.Corpus)
	if err != nil {
		f.Fatal(err)
	}
	for i, s := range samples {
		if i%20 == 0 {
			f.Add(s.Reply.Code, s.Reply.Enhanced.String(), s.Reply.Text, s.Reply.Destination.String())
		}
	}
	texts := make([]*regexp.Regexp, len(rules))
	for i := range rules {
		texts[i] = regexp.MustCompile("(?i:" + rules[i].When.Text + ")")
	}
	f.Fuzz(func(t *testing.T, code int, enhanced, text, name string) {
		e, _ := mail.ParseEnhancedCode(enhanced)
		r := replies.Reply{Reply: mail.Reply{Code: code, Enhanced: e, Text: text}}
		_, r.Destination = replies.Whose(name)
		v := p.Look(r)
		if (code/100 == 4 || code/100 == 5) != (v.Class != "") {
			t.Fatalf("%d: class %q", code, v.Class)
		}
		if v.Class == "" {
			return
		}
		words := replies.TextOf(r)
		// The rule that decided must be the first of all whose text is there and that
		// fits alone.
		for i := range rules {
			if rules[i].When.Text != "" && !texts[i].MatchString(words) {
				continue
			}
			if rules[i].Name == v.Rule {
				return
			}
			if replies.Fits(p, i, r) {
				t.Fatalf("%s decided, but %s comes first", v.Rule, rules[i].Name)
			}
		}
		if v.Rule != "" {
			t.Fatalf("%s decided without its text", v.Rule)
		}
	})
}

// BenchmarkLook is one reply of the corpus after the other.
func BenchmarkLook(b *testing.B) {
	_, p := shipped(b)
	samples, err := replies.ParseSamples(replies.Corpus)
	if err != nil {
		b.Fatal(err)
	}
	b.ReportAllocs()
	i := 0
	for b.Loop() {
		p.Look(samples[i%len(samples)].Reply)
		i++
	}
}
