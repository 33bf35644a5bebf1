package command

import (
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/tarishi/tarishi/admin"
	"github.com/tarishi/tarishi/admin/admintest"
	"github.com/tarishi/tarishi/mail"
)

// Mail that waits for its time says so wherever it is listed.
func TestSendAtIsShown(t *testing.T) {
	at := admintest.Now.Add(26 * time.Hour)
	m := &mail.Message{ID: admintest.SampleID(0), Received: admintest.Now, Sender: mail.NewAddress("a@b.test"), SendAt: at, Hours: "Mon-Fri 09:00-18:00 Europe/Berlin"}
	to := mail.NewAddress("u@x.test")
	s := admin.New(admin.Config{Now: func() time.Time { return admintest.Now }, Queue: admintest.New(admin.Entry{State: "waiting", Delivery: mail.Delivery{
		Message: m, Destination: to.Domain, Recipients: []mail.Recipient{{Address: to}}, Due: at, Expires: at.Add(24 * time.Hour),
	}})})
	srv := httptest.NewServer(s.Handler())
	defer srv.Close()
	for _, x := range []struct {
		args []string
		want []string
	}{
		{[]string{"ls", "--destination", "x.test"}, []string{"send at " + at.Format("2006-01-02 15:04Z")}},
		{[]string{"show", m.ID}, []string{"Send at      " + at.Format("2006-01-02 15:04:05Z") + " (in 26h)", "Hours        Mon-Fri 09:00-18:00 Europe/Berlin"}},
		{[]string{"show", m.ID, "--json"}, []string{`"send_at": "` + at.Format(time.RFC3339) + `"`, `"hours": "Mon-Fri`}},
	} {
		got := dialogue(append(append([]string{"queue"}, x.args...), "--admin", srv.URL)...)
		for _, want := range x.want {
			if !strings.Contains(got, want) {
				t.Errorf("want %q in\n%s", want, got)
			}
		}
	}
}
