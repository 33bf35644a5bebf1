package replies_test

import (
	"strings"
	"testing"

	"pgregory.net/rapid"

	"github.com/tarishi/tarishi/mail"
	"github.com/tarishi/tarishi/replies"
	"github.com/tarishi/tarishi/shaping"
)

func load(t testing.TB, groups map[string]shaping.Group, rules ...replies.Rule) *replies.Pack {
	t.Helper()
	p, err := replies.New(groups, rules)
	if err != nil {
		t.Fatal(err)
	}
	return p
}

func reply(text string) replies.Reply {
	r, err := replies.ParseReply(text)
	if err != nil {
		panic(err)
	}
	return replies.Reply{Reply: r}
}

// Whose words they are: what we say ourselves has its class by its code, and no rule
// and no phrase has a say, although it may quote a host's words.
func TestOurOwnWords(t *testing.T) {
	p := load(t, nil, replies.Rule{Name: "all", For: []string{"*"}, When: replies.When{Text: "."}, Class: replies.SpamBlock})
	for _, x := range []struct {
		text   string
		class  replies.Class
		action replies.Action
	}{
		{"451 4.4.1 no answer from mx.example.net[192.0.2.1]:25: connection refused", replies.NoAnswerFromHost, replies.Retry},
		{"451 4.4.2 conversation with mx.example.net broke: EOF", replies.BadConnection, replies.Retry},
		{"451 4.4.3 DNS lookup for example.net timed out", replies.DNSFailure, replies.Retry},
		{"451 4.4.4 none of 100 mail hosts of example.net can be used; it has more", replies.RoutingErrors, replies.Retry},
		{"451 4.4.5 not tried in this attempt: google is suspended", replies.NotTried, replies.Retry},
		{"451 4.4.7 delivery time expired; last reply: 550 5.7.1 blocked using zen.spamhaus.org", replies.MessageExpired, replies.Return},
		{"451 4.7.5 no TLS with mx.example.net: handshake failure", replies.BadConnection, replies.Retry},
		{"451 4.3.0 our own queue could not follow; trying again", replies.NotTried, replies.Retry},
		{"550 5.1.2 domain nowhere.example does not exist", replies.BadDomain, replies.Return},
		{"556 5.1.10 example.org does not accept mail (null MX)", replies.BadDomain, replies.Return},
		{"550 5.4.4 no mail host of example.org has an address", replies.BadDomain, replies.Return},
		{"550 5.4.6 mail for example.org loops back to this system", replies.RoutingErrors, replies.Fix},
		{"553 5.1.3 Recipient address cannot be sent", replies.InvalidRecipient, replies.Return},
		{"552 5.3.4 Message is larger than the host takes", replies.MessageTooLarge, replies.Return},
		{"553 5.6.7 Message needs SMTPUTF8 and the host does not offer it", replies.ProtocolErrors, replies.Fix},
	} {
		r := reply(x.text)
		r.Ours = true
		if v := p.Look(r); v.Class != x.class || v.Action != x.action || v.Rule != "" || len(v.Hits) > 0 {
			t.Errorf("%s: %s %s by %q", x.text, v.Class, v.Action, v.Rule)
		}
	}
}

func TestWhomARuleIsFor(t *testing.T) {
	groups := map[string]shaping.Group{"big": {MX: []string{"*.big.test"}, Domains: []string{"big.example"}}}
	rule := func(f string) *replies.Pack {
		return load(t, groups, replies.Rule{Name: "r", For: []string{f}, When: replies.When{Code: []string{"4yz"}}, Class: replies.RateLimited})
	}
	for _, x := range []struct {
		who  string
		r    replies.Reply
		want bool
	}{
		{"big", replies.Reply{Destination: shaping.Destination{Key: "name:big"}}, true},
		{"big", replies.Reply{Destination: shaping.Destination{Key: "domain:a.test", Name: "big"}}, true},
		{"big", replies.Reply{Host: "mx1.BIG.test."}, true},
		{"big", replies.Reply{Domain: "big.example"}, true},
		{"big", replies.Reply{Domain: "sub.big.example"}, false},
		{"big", replies.Reply{Host: "big.test"}, false},
		{"big", replies.Reply{}, false},
		{"mx:*.big.test", replies.Reply{Host: "a.b.big.test"}, true},
		{"mx:*.big.test", replies.Reply{Domain: "a.big.test"}, false},
		{"example.net", replies.Reply{Domain: "example.net"}, true},
		{"example.net", replies.Reply{Domain: "a.example.net"}, false},
		{"*.example.net", replies.Reply{Domain: "a.example.net"}, true},
		{"*", replies.Reply{}, true},
	} {
		x.r.Reply = mail.R(421, "4.7.0", "slow")
		if got := rule(x.who).Look(x.r).Rule == "r"; got != x.want {
			t.Errorf("%s for %+v: %v", x.who, x.r, got)
		}
	}
}

// The hosts that a rule means may be counted under another name; that one is slowed.
func TestHostsUnderAnotherName(t *testing.T) {
	suspend, err := replies.ParseDo("suspend for 1h")
	if err != nil {
		t.Fatal(err)
	}
	meant := map[string]shaping.Group{"google": {MX: []string{"*.google.com"}}}
	p := load(t, map[string]shaping.Group{"gmail": {MX: []string{"*.l.google.com"}}},
		replies.Rule{Name: "r", For: []string{"google"}, When: replies.When{Code: []string{"421"}}, Class: replies.RateLimited, Do: []replies.Do{suspend}, Groups: meant})
	for host, to := range map[string]string{"aspmx.l.google.com": "gmail", "smtp.google.com": ""} {
		v := p.Look(replies.Reply{Reply: mail.R(421, "", "slow"), Host: host})
		if v.Rule != "r" || v.Hits[0].To != to {
			t.Errorf("%s: %+v", host, v)
		}
	}
	if v := p.Look(replies.Reply{Reply: mail.R(421, "", "slow"), Host: "relay.example", Domain: "gmail.com"}); v.Rule != "" {
		t.Errorf("our relay's reply: %+v", v)
	}
}

func TestTheFirstRuleDecides(t *testing.T) {
	slow, err := replies.ParseDo("slow 0.5 per source for 1h")
	if err != nil {
		t.Fatal(err)
	}
	often, err := replies.ParseDo("suspend for 2h after 20 in 1h")
	if err != nil {
		t.Fatal(err)
	}
	groups := map[string]shaping.Group{"big": {MX: []string{"*.big.test"}}}
	three := shaping.Threshold{Count: 3, Within: 600e9}
	p := load(t, groups,
		replies.Rule{Name: "phase", For: []string{"*"}, When: replies.When{Phase: []replies.Phase{replies.Dot}, Text: "busy"}, Class: replies.SpamContent},
		replies.Rule{Name: "mine", For: []string{"big", "other.test"}, When: replies.When{Code: []string{"45z"}, Text: "BUSY|slow"}, Class: replies.RateLimited, Threshold: three, Do: []replies.Do{slow, often}},
		replies.Rule{Name: "pack", For: []string{"*"}, When: replies.When{Enhanced: []string{"4.7.600-699"}}, Class: replies.SpamBlock})
	look := func(text, host string, domain mail.Domain, phase replies.Phase) replies.Verdict {
		r := reply(text)
		r.Host, r.Domain, r.Phase = host, domain, phase
		return p.Look(r)
	}
	v := look("450 4.7.650 too\nbusy", "mx.big.test", "a.test", replies.Rcpt)
	if v.Rule != "mine" || len(v.Hits) != 2 || v.Hits[0].To != "big" || v.Hits[0].Threshold != three || v.Hits[1].Threshold.Count != 20 || v.Hits[0].Remedy.Action != shaping.Slow {
		t.Errorf("%+v", v)
	}
	if v := look("450 busy", "mx.else.test", "other.test", ""); v.Rule != "phase" {
		t.Errorf("a phase that is not known may be any: %+v", v)
	}
	if v := look("450 busy", "mx.else.test", "other.test", replies.Mail); v.Rule != "mine" || v.Hits[0].To != "" {
		t.Errorf("for a domain: %+v", v)
	}
	if v := look("421 4.7.650 busy", "mx.big.test", "", replies.Mail); v.Rule != "pack" {
		t.Errorf("another code: %+v", v)
	}
	if v := look("450 4.7.700 x", "mx.big.test", "", replies.Mail); v.Rule != "" {
		t.Errorf("%+v", v)
	}
	if v := look("250 2.0.0 busy", "mx.big.test", "", replies.Dot); v.Class != "" || v.Rule != "" {
		t.Errorf("a yes: %+v", v)
	}
}

func TestWithoutAPack(t *testing.T) {
	var p *replies.Pack
	for text, want := range map[string]replies.Class{
		"550 5.1.1 over quota": replies.InvalidRecipient, "450 busy": replies.TransientFailure, "530 log in": replies.AuthenticationFailed,
	} {
		if v := p.Look(reply(text)); v.Class != want {
			t.Errorf("%s: %s", text, v.Class)
		}
	}
}

func TestWords(t *testing.T) {
	for in, want := range map[string]string{
		"a  b\n c\t\td ": "a b c d", "": "", " ": "", "plain text": "plain text", "pa\u017f\u017fword \u212aey": "password key",
		strings.Repeat("x", 5000): strings.Repeat("x", 4096),
	} {
		if got := replies.Words(in); got != want {
			t.Errorf("%q: %q", in, got)
		}
	}
}

// anyReply is what a stranger may send.
func anyReply(t *rapid.T) replies.Reply {
	texts := []string{"user unknown", "no such user", "account disabled", "mailbox full", "blocked using zen.spamhaus.org", "[TSS04]", "(S3150)", "policy", "é", " "}
	var b strings.Builder
	for range rapid.IntRange(0, 4).Draw(t, "parts") {
		b.WriteString(rapid.OneOf(rapid.SampledFrom(texts), rapid.String()).Draw(t, "part") + " ")
	}
	code := rapid.OneOf(rapid.SampledFrom([]int{550, 554, 450}), rapid.IntRange(200, 599)).Draw(t, "code")
	e := mail.EnhancedCode{uint16(code / 100), uint16(rapid.IntRange(0, 7).Draw(t, "subject")), uint16(rapid.IntRange(0, 30).Draw(t, "detail"))}
	if rapid.Bool().Draw(t, "plain") {
		e = mail.EnhancedCode{}
	}
	return replies.Reply{
		Reply: mail.Reply{Code: code, Enhanced: e, Text: b.String()}, Ours: rapid.IntRange(0, 4).Draw(t, "ours") == 0,
		Phase:       rapid.SampledFrom(append([]replies.Phase{""}, replies.Phases...)).Draw(t, "phase"),
		Destination: shaping.Destination{Key: "name:" + rapid.SampledFrom([]string{"google", "yahoo", "outlook", "orange", "x"}).Draw(t, "name")},
	}
}

// Whatever comes: an address is suppressed by a final word on it alone, and never
// for a policy, a full mailbox or a message's content; and each refusal has a class.
func TestNothingElseSuppresses(t *testing.T) {
	_, p := shipped(t)
	rapid.Check(t, func(t *rapid.T) {
		r := anyReply(t)
		v := p.Look(r)
		if refused := r.Code >= 400; v.Class.Known() != refused {
			t.Fatalf("%d has class %q", r.Code, v.Class)
		}
		if v.Action != replies.Suppress {
			return
		}
		e := r.Enhanced
		if r.Ours || r.Code/100 != 5 || r.Phase == replies.Connect || r.Phase == replies.Hello || r.Phase == replies.Mail ||
			e[1] == 7 || e[1] == 6 || e[1] == 2 && e[2] == 2 || v.Class != replies.InvalidRecipient && v.Class != replies.InactiveMailbox {
			t.Fatalf("suppressed by %+v (%s)", r, v.Class)
		}
	})
}
