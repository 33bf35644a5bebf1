package ingress

import (
	"net/netip"
	"strings"
	"testing"
	"time"
)

func TestParseLife(t *testing.T) {
	for _, x := range []struct {
		s    string
		want time.Duration
	}{
		{"90m", 90 * time.Minute}, {"36h", 36 * time.Hour}, {"2d", 48 * time.Hour}, {"1w2d12h", 228 * time.Hour}, {"1H30M", 90 * time.Minute},
		{"", 0}, {"0h", 0}, {"2", 0}, {"h", 0}, {"-1h", 0}, {"1h1d", 0}, {"1h1h", 0}, {"1.5h", 0}, {"1 h", 0}, {"99999999h", 0}, {"1y", 0}, {"1h30", 0},
	} {
		if got, ok := parseLife(x.s); got != x.want && ok || ok != (x.want > 0) {
			t.Errorf("%q: %s, %v", x.s, got, ok)
		}
	}
}

// The bubble of a dialogue begins on Saturday, 1 January 2000, at midnight UTC.
func TestPlanOnTheWire(t *testing.T) {
	at := func(s string) time.Time {
		x, err := time.Parse(time.RFC3339, s)
		if err != nil {
			t.Fatal(err)
		}
		return x
	}
	const head = `
		C: EHLO x
		S: 250
		C: MAIL FROM:<a@b.test>{}
		S: 250
		C: RCPT TO:<u@elsewhere.test>
		S: 250
		C: RCPT TO:<u@local.test>
		S: 250
		C: DATA
		S: 354
		C: Subject: x
		`
	for _, x := range []struct {
		name, mail, fields string
		sendAt, expires    string
		hours              string
		says               string // the reply, when it is refused
	}{
		{name: "nothing said", expires: "2000-01-06T00:00:00Z"},
		{name: "send at", fields: "X-Tarishi-Send-At: 2000-01-02T01:00:00+01:00", sendAt: "2000-01-02T00:00:00Z", expires: "2000-01-07T00:00:00Z"},
		{name: "its time has come", fields: "X-Tarishi-Send-At: 1999-12-31T23:00:00Z", expires: "2000-01-06T00:00:00Z"},
		{name: "folded, in any case", fields: "x-tarishi-SEND-at :\nC:  2000-01-02T00:00:00Z", sendAt: "2000-01-02T00:00:00Z", expires: "2000-01-07T00:00:00Z"},
		{name: "no time", fields: "X-Tarishi-Send-At: tomorrow at eight", says: `554 5.6.0 Header field X-Tarishi-Send-At says "tomorrow at eight", which is no time; write it as 2026`},
		{name: "too far off", fields: "X-Tarishi-Send-At: 2001-01-01T00:00:00Z", says: "554 5.6.0 Header field X-Tarishi-Send-At is further off than this host keeps mail for; the latest is 2000-01-31T00:00:00Z"},
		{name: "expires after", fields: "X-Tarishi-Expires: 36h", expires: "2000-01-02T12:00:00Z"},
		{name: "expires after its time", fields: "X-Tarishi-Send-At: 2000-01-02T00:00:00Z\nC: X-Tarishi-Expires: 1d", sendAt: "2000-01-02T00:00:00Z", expires: "2000-01-03T00:00:00Z"},
		{name: "expires at", fields: "X-Tarishi-Expires: 2000-01-02T06:00:00-06:00", expires: "2000-01-02T12:00:00Z"},
		{name: "expires before it is sent", fields: "X-Tarishi-Send-At: 2000-01-02T00:00:00Z\nC: X-Tarishi-Expires: 2000-01-01T12:00:00Z",
			says: "554 5.6.0 Header field X-Tarishi-Expires is out of bounds; between 2000-01-02T00:01:00Z and 2000-02-01T00:00:00Z may be asked for"},
		{name: "expires at once", fields: "X-Tarishi-Expires: 10s", says: "554 5.6.0 Header field X-Tarishi-Expires is out of bounds"},
		{name: "expires in a year", fields: "X-Tarishi-Expires: 365d", says: "554 5.6.0 Header field X-Tarishi-Expires is out of bounds"},
		{name: "expires some time", fields: "X-Tarishi-Expires: soon", says: `554 5.6.0 Header field X-Tarishi-Expires says "soon", which is neither a time nor how long`},
		{name: "hours", fields: "X-Tarishi-Hours:  Mon-Fri   09:00-18:00\nC: \tEurope/Berlin", hours: "Mon-Fri 09:00-18:00 Europe/Berlin", expires: "2000-01-06T00:00:00Z"},
		{name: "no hours", fields: "X-Tarishi-Hours: office hours Europe/Berlin", says: `554 5.6.0 Header field X-Tarishi-Hours says no hours: "office" is neither a day nor`},
		{name: "no zone", fields: "X-Tarishi-Hours: 09:00-18:00", says: "554 5.6.0 Header field X-Tarishi-Hours says no hours: hours must end with whose time they are"},
		{name: "twice the same", fields: "X-Tarishi-Expires: 1h\nC: X-Tarishi-Expires: 1h", expires: "2000-01-01T01:00:00Z"},
		{name: "two things", fields: "X-Tarishi-Expires: 1h\nC: X-Tarishi-Expires: 2h", says: "554 5.6.0 Header field X-Tarishi-Expires says two things"},
		{name: "no name", fields: "X-Tarishi-: 1", says: "554 5.6.0 Header field X-Tarishi- is not known here; there are X-Tarishi-Send-At, X-Tarishi-Expires, X-Tarishi-Hours"},
		{name: "misspelt", fields: "X-Tarishi-SendAt: 2000-01-02T00:00:00Z", says: "554 5.6.0 Header field X-Tarishi-SendAt is not known here; there are X-Tarishi-Send-At, X-Tarishi-Expires, X-Tarishi-Hours"},
		{name: "empty", fields: "X-Tarishi-Send-At:", expires: "2000-01-06T00:00:00Z"},
		{name: "HOLDFOR", mail: " HOLDFOR=86400", sendAt: "2000-01-02T00:00:00Z", expires: "2000-01-07T00:00:00Z"},
		{name: "HOLDUNTIL", mail: " HOLDUNTIL=2000-01-02T00:00:00Z", fields: "X-Tarishi-Expires: 1d", sendAt: "2000-01-02T00:00:00Z", expires: "2000-01-03T00:00:00Z"},
		{name: "both", mail: " HOLDFOR=86400", fields: "X-Tarishi-Send-At: 2000-01-02T00:00:00Z", says: "554 5.6.0 Header field X-Tarishi-Send-At names a time, and so does MAIL"},
	} {
		t.Run(x.name, func(t *testing.T) {
			q, p := &memory{}, defaults()
			p.Headers = Headers{SendAt: "X-Tarishi-Send-At", Expires: "X-Tarishi-Expires", Hours: "X-Tarishi-Hours"}
			reply := "250"
			if x.says != "" {
				reply = x.says
			}
			fields := ""
			if x.fields != "" {
				fields = "C: " + x.fields + "\n"
			}
			h := dialogue{queue: q, policy: p, client: "127.0.0.1"}.run(t, strings.Replace(head, "{}", x.mail, 1)+fields+"C:\nC: X-Tarishi-Expires: of the body\nC: .\nS: "+reply)
			if x.says != "" {
				if len(q.messages()) != 0 || h.Stats().BadHeader != 1 {
					t.Errorf("stored %d, %+v", len(q.messages()), h.Stats())
				}
				return
			}
			m := q.messages()[0]
			if strings.Contains(strings.ToLower(strings.Split(m.text, "\r\n\r\n")[0]), "x-tarishi") || !strings.HasSuffix(m.text, "\r\n\r\nX-Tarishi-Expires: of the body\r\n") {
				t.Errorf("stored\n%s", m.text)
			}
			sendAt := time.Time{}
			if x.sendAt != "" {
				sendAt = at(x.sendAt)
			}
			if !m.message.SendAt.Equal(sendAt) || m.message.Hours != x.hours {
				t.Errorf("send at %s, hours %q", m.message.SendAt, m.message.Hours)
			}
			if len(m.deliveries) != 2 {
				t.Fatal(len(m.deliveries))
			}
			for _, d := range m.deliveries {
				if !d.Due.Equal(sendAt) || !d.Expires.Equal(at(x.expires)) {
					t.Errorf("due %s, expires %s; want %s", d.Due, d.Expires, x.expires)
				}
			}
			if want := strings.TrimSpace(x.mail) != ""; want != (m.message.HoldRequest != "") {
				t.Errorf("request %q", m.message.HoldRequest)
			}
		})
	}
}

// Strangers' fields are taken out and not heard of; they are not offered to wait.
func TestPlanOfStrangers(t *testing.T) {
	q, p := &memory{}, defaults()
	p.Headers = Headers{SendAt: "X-Tarishi-Send-At", Expires: "X-Tarishi-Expires", Hours: "X-Tarishi-Hours"}
	dialogue{queue: q, policy: p}.run(t, `
		C: EHLO x
		S: 250 ENHANCEDSTATUSCODES
		C: MAIL FROM:<a@b.test> HOLDFOR=60
		S: 555 5.5.4
		C: MAIL FROM:<a@b.test>
		S: 250
		C: RCPT TO:<u@local.test>
		S: 250
		C: DATA
		S: 354
		C: X-Tarishi-Send-At: tomorrow
		C: X-Tarishi-Whatever: x
		C: Subject: x
		C:
		C: .
		S: 250`)
	m := q.messages()[0]
	if !m.message.SendAt.IsZero() || strings.Contains(m.text, "arishi") {
		t.Errorf("send at %s:\n%s", m.message.SendAt, m.text)
	}
}

func TestFutureReleaseIsOffered(t *testing.T) {
	p := defaults()
	dialogue{policy: p, client: "127.0.0.1"}.run(t, `
		C: EHLO x
		S: 250 FUTURERELEASE 2592000 2000-01-31T00:00:00Z
		C: MAIL FROM:<a@b.test> HOLDFOR=2592001
		S: 501 5.5.4 HOLDFOR is further off
		C: MAIL FROM:<a@b.test> HOLDFOR=2592000
		S: 250`)
	p.FarthestSendAt = -1
	dialogue{policy: p, client: "127.0.0.1"}.run(t, `
		C: EHLO x
		S: 250 ENHANCEDSTATUSCODES
		C: MAIL FROM:<a@b.test> HOLDFOR=60
		S: 555 5.5.4`)
}

func TestTenantHours(t *testing.T) {
	q, p := &memory{}, defaults()
	p.TenantHeader, p.Headers.Hours, p.RelayFrom = "X-Tenant", "X-Tarishi-Hours", []netip.Prefix{netip.MustParsePrefix("0.0.0.0/0")}
	p.TenantHours = map[string]string{"acme": "09:00-18:00 UTC"}
	for _, x := range []struct{ fields, want string }{
		{"C: X-Tenant: acme", "09:00-18:00 UTC"},
		{"C: X-Tenant: globex", ""},
		{"C: X-Tenant: acme\nC: X-Tarishi-Hours: 00:00-24:00 UTC", "00:00-24:00 UTC"},
	} {
		n := len(q.messages())
		dialogue{queue: q, policy: p}.run(t, "C: EHLO x\nS: 250\nC: MAIL FROM:<a@b.test>\nS: 250\nC: RCPT TO:<u@local.test>\nS: 250\nC: DATA\nS: 354\n"+x.fields+"\nC: .\nS: 250")
		if got := q.messages()[n].message.Hours; got != x.want {
			t.Errorf("%s: %q", x.fields, got)
		}
	}
}

func FuzzControls(f *testing.F) {
	for _, s := range []string{"X-Tarishi-Send-At: 2000-01-02T00:00:00Z\r\n", "X-Tarishi-Expires:\r\n 1d\r\n", "X-Tarishi-Hours: 09:00-18:00 UTC\r\nx-tarishi-x: y\r\n", "X-Tenant: a\r\n\r\n"} {
		f.Add(s)
	}
	h := New(Policy{TenantHeader: "X-Tenant", Headers: Headers{SendAt: "X-Tarishi-Send-At", Expires: "X-Tarishi-Expires", Hours: "X-Tarishi-Hours"}}, Store{})
	now := time.Date(2026, 11, 25, 12, 0, 0, 0, time.UTC)
	f.Fuzz(func(t *testing.T, text string) {
		var out strings.Builder
		var filter headerFilter
		filter.reset(&out, 100, 1<<20)
		filter.lookFor(h.controlNames, true)
		if _, err := filter.Write([]byte(text)); err != nil {
			return
		}
		o, err := h.ordersOf(&filter)
		if err == nil {
			var p plan
			if p, err = h.planOf(&o, hold{}, now); err == nil && (!p.expires.After(now) || p.expires.Before(p.sendAt)) {
				t.Fatalf("%q: %+v", text, p)
			}
		}
		if err != nil && (strings.ContainsAny(err.Error(), "\r\n\x00") || len(err.Error()) > 500) {
			t.Fatalf("%q is answered %q", text, err)
		}
	})
}
