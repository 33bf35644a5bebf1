package smtp

import (
	"strings"
	"testing"

	"github.com/tarishi/tarishi/mail"
)

func TestA15_refusedBanner(t *testing.T) {
	for _, c := range []struct {
		reply mail.Reply
		want  string
	}{
		{mail.Reply{Code: 521, Text: "mx.test takes no mail"}, "521 mx.test takes no mail"}, // RFC 7504, RFC 2034 §4
		{mail.R(554, "5.7.1", "No"), "554 5.7.1 No"},
		{mail.R(421, "4.7.0", "Later"), "421 4.7.0 Later"},
	} {
		h := &recorder{connect: func(*Conn) *mail.Reply { return &c.reply }}
		dialogue{handler: h}.run(t, "S: "+c.want+"\nCLOSED")
	}
}

func TestA15_enhancedCodes(t *testing.T) {
	for _, c := range []struct {
		reply mail.Reply
		want  string
	}{
		{mail.R(250, "", "ok"), "250 2.0.0 ok\r\n"},
		{mail.R(550, "4.1.1", "class is corrected"), "550 5.0.0 class is corrected\r\n"},
		{mail.R(550, "5.7.1", "a\nb"), "550-5.7.1 a\r\n550 5.7.1 b\r\n"},
		{mail.R(354, "", "go"), "354 go\r\n"},
		{mail.R(250, "2.0.0", ""), "250 2.0.0 \r\n"},
		{mail.R(550, "5.0.0", "a\rb\x00\xffc\td"), "550 5.0.0 a?b??c?d\r\n"},
		{mail.R(550, "5.0.0", strings.Repeat("word ", 120)), ""},
		{mail.R(550, "5.0.0", strings.Repeat("x", 2000)), ""},
	} {
		got := string(appendReply(nil, c.reply, true))
		if c.want != "" && got != c.want {
			t.Errorf("got %q, want %q", got, c.want)
		}
		letters := 0
		for i, l := range strings.SplitAfter(strings.TrimSuffix(got, "\r\n"), "\r\n") {
			if len(l) > 512 || !strings.HasPrefix(l, got[:3]) {
				t.Errorf("line %d: %q", i, l)
			}
			letters += strings.Count(l, "x")
		}
		if letters != strings.Count(c.reply.Text, "x") {
			t.Errorf("%d letters of %d", letters, len(c.reply.Text))
		}
	}
}
