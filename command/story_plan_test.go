package command

import (
	"strings"
	"testing"
	"time"

	"github.com/tarishi/tarishi/smtp/smtptest"
)

// Mail with a time and hours, and a mailbox that is gone, through a whole node that is
// stopped and killed meanwhile. Everything but sockets and DNS is real, see TestStory;
// the bubble begins now.
func TestPlannedMail(t *testing.T) {
	if raceDetector || testing.Short() {
		t.Skip("it takes long under the race detector")
	}
	bubble(t, func(t *testing.T, dir string) {
		began := time.Now().UTC()
		opens := began.Add(3 * time.Hour).Truncate(time.Hour)
		hours := opens.Format("Mon 15:04-") + opens.Add(2*time.Hour).Format("15:04 UTC")
		s := newStory(t, storyConfig(t, dir, "tenants: {office: {hours: \""+hours+"\"}}\nsmtp: {tenant_header: X-Tenant}\n"))
		r := s.world.host("there.test")
		s.world.host("client.test")
		r.On("RCPT", "<gone", smtptest.Answer{Reply: "550 5.1.1 No such user here"})
		s.start()
		post := func(mail, to, fields string) (id string) {
			t.Helper()
			c, err := connect(s.node)
			if err != nil {
				t.Fatal(err)
			}
			defer c.Close()
			steps := []struct {
				code int
				line string
			}{{250, "MAIL FROM:<a@client.test>" + mail}, {250, "RCPT TO:<" + to + ">"}, {354, "DATA"},
				{250, fields + "Subject: for " + to + "\r\n\r\nHello\r\n."}}
			for _, x := range steps {
				if id, err = c.say(x.code, "%s", x.line); err != nil {
					t.Fatalf("%.40q: %v", x.line, err)
				}
			}
			return id
		}
		post("", "now@there.test", "")
		post("", "soon@there.test", "X-Tarishi-Send-At: "+began.Add(time.Hour).Format(time.RFC3339)+"\r\n")
		post(" HOLDFOR=7200", "later@there.test", "")
		post("", "hours@there.test", "X-Tenant: office\r\n")
		post("", "gone@there.test", "")
		arrived := func(to string) time.Duration {
			t.Helper()
			for _, m := range r.Messages() {
				if strings.Contains(string(m.Data), "Subject: for "+to+"@") {
					return m.Received.Sub(s.began)
				}
			}
			return 0
		}
		s.sleepUntil(time.Minute)
		if at := arrived("now"); at == 0 || at > 10*time.Second {
			t.Errorf("what may go at once arrived after %s", at)
		}
		// The mailbox that is gone is on the list now.
		c, err := connect(s.node)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := c.say(250, "MAIL FROM:<a@client.test>"); err != nil {
			t.Fatal(err)
		}
		if _, err := c.say(550, "RCPT TO:<GONE@there.test>"); err != nil {
			t.Errorf("a second message to one who is gone: %v", err)
		}
		c.Close()
		s.stop()
		s.sleepUntil(2 * time.Minute)
		s.start()
		s.sleepUntil(30 * time.Minute)
		s.kill()
		s.sleepUntil(31 * time.Minute)
		s.start()
		s.sleepUntil(3*time.Hour + 30*time.Minute)
		for _, x := range []struct {
			to          string
			from, until time.Duration
		}{
			{"soon", time.Hour - time.Second, time.Hour + time.Minute},
			{"later", 2 * time.Hour, 2*time.Hour + time.Minute},
			{"hours", opens.Sub(began), opens.Sub(began) + 20*time.Minute},
		} {
			if at := arrived(x.to); at < x.from || at > x.until {
				t.Errorf("%s: arrived after %s, want from %s to %s", x.to, at, x.from, x.until)
			}
		}
		if n := r.Count(); n != 4 {
			t.Errorf("%d messages arrived", n)
		}
		s.checkEmpty()
		s.stop()
		s.end()
	})
}
