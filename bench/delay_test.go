package bench

import (
	"strings"
	"testing"
	"time"
)

func TestDelay(t *testing.T) {
	sent := "a-1\t1000000000\tU@x.test\ta reply\na-2\t1000000000\tu@x.test\na-3\t2000000000\tu@x.test\nb-"
	got := []string{
		"a-1\t1500000000\tu@X.test\nother\t1\tu@x.test\n",
		"a-1\t1100000000\tu@x.test\na-2\t900000000\tu@x.test\n",
	}
	r, err := Delay(strings.NewReader(sent), strings.NewReader(got[0]), strings.NewReader(got[1]))
	if err != nil {
		t.Fatal(err)
	}
	if r.Sent != 3 || r.Arrived != 2 || r.Delay.Max != 100 || r.Delay.P50 != 0 {
		t.Errorf("%+v", r)
	}
	if _, err := Delay(strings.NewReader("a\n"), strings.NewReader("a\n")); err == nil {
		t.Error("files without times were taken")
	}
}

func TestHeaderOfASource(t *testing.T) {
	for f, ok := range map[string]bool{"X-Tenant: acme": true, "X-Tenant:": true, "X-Tenant": false, ": acme": false, "X Tenant: a": false, "X: a\r\nY: b": false} {
		s := Source{To: "x", Messages: 1, Header: []string{f}}
		err := s.defaults()
		if (err == nil) != ok {
			t.Errorf("%q: %v", f, err)
		}
		if err != nil {
			continue
		}
		c, err := newComposer(&s, "run", time.Unix(1e9, 0))
		if err != nil {
			t.Fatal(err)
		}
		if h, n := c.appendHeader(nil, 1); !strings.Contains(string(h), "\r\n"+f+"\r\n\r\n") || len(h)+n != s.Size {
			t.Errorf("%d octets of %d:\n%s", len(h)+n, s.Size, h)
		}
	}
}
