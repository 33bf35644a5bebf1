package command

import (
	"context"
	"fmt"
	"net/smtp"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/tarishi/tarishi/plugin"
	"github.com/tarishi/tarishi/smtp/smtptest"
)

// outbound is a plugin that looks after mail on its way out.
type outbound struct {
	at   map[string]plugin.NextHop // hosts by pool
	over chan struct{}             // ends what is stuck

	mu        sync.Mutex
	asked     map[string]int // send_email, by local part
	delivered []string
}

func (o *outbound) Name() string { return "outbound" }

func (o *outbound) Register(r *plugin.Registrar) error {
	r.On(plugin.Mail, func(_ context.Context, e *plugin.Event) plugin.Verdict {
		e.Transaction.Notes.Set("pool", e.Address.Local())
		return plugin.Verdict{}
	})
	r.On(plugin.SendEmail, func(_ context.Context, e *plugin.Event) plugin.Verdict {
		to := e.Delivery.Recipients[0].Local()
		o.mu.Lock()
		o.asked[to]++
		n := o.asked[to]
		o.mu.Unlock()
		tries, _ := e.Transaction.Notes.Get("tries").(float64)
		e.Transaction.Notes.Set("tries", tries+1)
		switch {
		case to == "stuck":
			<-o.over
		case to == "later" && n == 1:
			return plugin.Verdict{Code: plugin.Delay, Delay: 2 * time.Second}
		}
		return plugin.Verdict{}
	})
	r.On(plugin.GetMX, func(_ context.Context, e *plugin.Event) plugin.Verdict {
		return plugin.Verdict{Code: plugin.OK, Value: o.at[e.Transaction.Notes.Text("pool")]}
	})
	r.On(plugin.Delivered, func(_ context.Context, e *plugin.Event) plugin.Verdict {
		o.mu.Lock()
		defer o.mu.Unlock()
		o.delivered = append(o.delivered, fmt.Sprintf("%s to %s, tries %v", e.Transaction.Notes.Text("pool"), e.Outcomes[0].Recipient.Local(), e.Transaction.Notes.Get("tries")))
		return plugin.Verdict{}
	})
	return nil
}

func (o *outbound) told() string {
	o.mu.Lock()
	defer o.mu.Unlock()
	return strings.Join(o.delivered, "; ")
}

// One message's life with a plugin at both ends: what it notes at MAIL says on the way
// out by which host the mail goes; what it puts off waits, also while the node is down;
// and where it never comes back, nobody else waits.
func TestPluginsOnTheWayOut(t *testing.T) {
	sinks := map[string]*smtptest.Sink{"a": {}, "b": {}}
	o := &outbound{at: map[string]plugin.NextHop{}, over: make(chan struct{}), asked: map[string]int{}}
	for pool, sink := range sinks {
		defer sink.Close()
		host, port, _ := strings.Cut(sink.Listen(t), ":")
		h := plugin.NextHop{Host: host, Hello: pool + ".us.test"}
		fmt.Sscan(port, &h.Port)
		o.at[pool] = h
	}
	s := prepareServe(t, `
hostname: us.test
data: `+t.TempDir()+`
smtp: {listen: ["127.0.0.1:0"]}
admin: {listen: "127.0.0.1:0"}
plugins: {run: [outbound], timeout: 1s}
delivery: {dns: {servers: ["127.0.0.1:1"], timeout: 100ms, attempts: 1}}
`)
	s.kinds = []plugin.Kind{{Name: "outbound", New: func(plugin.Setup) (plugin.Plugin, error) { return o, nil }}}
	s.start(t)
	post := func(from, to string) {
		t.Helper()
		if err := smtp.SendMail(s.smtp, nil, from+"@us.test", []string{to + "@there.test"}, []byte("Subject: x\r\n\r\n")); err != nil {
			t.Fatal(err)
		}
	}
	post("a", "later")
	post("a", "stuck")
	waitFor(t, "both to be asked about", func() bool {
		o.mu.Lock()
		defer o.mu.Unlock()
		return o.asked["later"] == 1 && o.asked["stuck"] == 1
	})
	for range 5 {
		post("a", "x")
		post("b", "y")
	}
	waitFor(t, "others' mail", func() bool { return sinks["a"].Count() == 5 && sinks["b"].Count() == 5 })
	for pool, sink := range sinks {
		for _, m := range sink.Messages() {
			if want := "FROM:<" + pool + "@us.test>"; m.Hello != pool+".us.test" || !strings.HasPrefix("FROM:"+m.From, want) {
				t.Errorf("pool %s has mail of %s, as %s", pool, m.From, m.Hello)
			}
		}
	}
	close(o.over)
	s.stop(t)
	s.start(t)
	waitFor(t, "what was put off", func() bool { return strings.Contains(o.told(), "a to later, tries 2") })
	s.stop(t)
}
