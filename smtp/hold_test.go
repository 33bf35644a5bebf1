package smtp

import (
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

func TestHold(t *testing.T) {
	synctest.Test(t, func(t *testing.T) { // it is the first second of the year 2000
		const most = 48 * time.Hour
		for _, x := range []struct {
			args, request, bad string
			in                 time.Duration
		}{
			{"HOLDFOR=3600", "for;3600", "", time.Hour},
			{"holdfor=1", "for;1", "", time.Second},
			{"HOLDFOR=172800", "for;172800", "", most},
			{"HOLDUNTIL=2000-01-01T18:30:00Z", "until;2000-01-01T18:30:00Z", "", 18*time.Hour + 30*time.Minute},
			{"HOLDUNTIL=2000-01-01t18:30:00z SIZE=9", "until;2000-01-01T18:30:00Z", "", 18*time.Hour + 30*time.Minute},
			{"HOLDUNTIL=2000-01-01T19:30:00.5+01:00", "until;2000-01-01T19:30:00.5+01:00", "", 18*time.Hour + 30*time.Minute + time.Second/2},
			{"HOLDUNTIL=1999-12-31T18:30:00Z", "until;1999-12-31T18:30:00Z", "", -5*time.Hour - 30*time.Minute},
			{"HOLDFOR=172801", "", "501 5.5.4 HOLDFOR is further off than this host keeps mail for; the latest is 2000-01-03T00:00:00Z", 0},
			{"HOLDUNTIL=2000-01-03T00:00:01Z", "", "501 5.5.4 HOLDUNTIL is further off", 0},
			{"HOLDFOR=0", "", "501 5.5.4 HOLDFOR wants", 0},
			{"HOLDFOR=01", "", "501 5.5.4 HOLDFOR wants", 0},
			{"HOLDFOR=1234567890", "", "501 5.5.4 HOLDFOR wants", 0},
			{"HOLDFOR=-1", "", "501 5.5.4 HOLDFOR wants", 0},
			{"HOLDFOR", "", "501 5.5.4 HOLDFOR wants", 0},
			{"HOLDUNTIL", "", "501 5.5.4 HOLDUNTIL wants", 0},
			{"HOLDUNTIL=2000-01-01T18:30:00", "", "501 5.5.4 HOLDUNTIL wants", 0},
			{"HOLDUNTIL=3600", "", "501 5.5.4 HOLDUNTIL wants", 0},
			{"HOLDFOR=1 HOLDFOR=1", "", "501 5.5.4 Parameter given twice", 0},
			{"HOLDUNTIL=2000-01-01T18:30:00Z HOLDUNTIL=2000-01-01T18:30:00Z", "", "501 5.5.4 Parameter given twice", 0},
			{"HOLDFOR=1 HOLDUNTIL=2000-01-01T18:30:00Z", "", "501 5.5.4 HOLDFOR and HOLDUNTIL exclude", 0},
			{"HOLDUNTIL=2000-01-01T18:30:00Z HOLDFOR=1", "", "501 5.5.4 HOLDFOR and HOLDUNTIL exclude", 0},
		} {
			_, o, bad := parseMail("FROM:<a@b.test> "+x.args, false, true, 1000, most)
			switch {
			case bad != nil && (x.bad == "" || !strings.HasPrefix(bad.String(), x.bad)):
				t.Errorf("%s: %s, want %q", x.args, bad, x.bad)
			case bad == nil && (x.bad != "" || o.HoldRequest != x.request || !o.HoldUntil.Equal(time.Now().Add(x.in))):
				t.Errorf("%s: %+v, want %q, %s from now, or %q", x.args, o, x.request, x.in, x.bad)
			}
			if _, _, bad := parseMail("FROM:<a@b.test> "+x.args, false, true, 1000, 0); bad == nil || bad.Code != 555 {
				t.Errorf("%s where it is not offered: %v", x.args, bad)
			}
		}
		if got := futureRelease(most, time.Now()); got != "FUTURERELEASE 172800 2000-01-03T00:00:00Z" {
			t.Error(got)
		}
	})
}
