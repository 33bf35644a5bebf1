package queue

import (
	"testing"
	"time"

	"github.com/tarishi/tarishi/mail"
)

// What was decided is known after a crash, and after another one, until it is settled.
func TestDecided_crash(t *testing.T) {
	n := open(t, Options{})
	m, ds := message("m0", "a@d.test")
	ds[0].Recipients = append(ds[0].Recipients, mail.Recipient{Address: mail.NewAddress("b@d.test")})
	if err := n.NewWriter("m0").Commit(t.Context(), m, ds); err != nil {
		t.Fatal(err)
	}
	n.accept("m1", "x\r\n", "c@d.test")
	js := n.fetch(2)
	a := Attempt{Started: time.Now().Add(-time.Second), Duration: time.Second, Host: "mx.d.test", Note: "so", Outcomes: []mail.Outcome{
		{Recipient: js[0].Recipients[0], Status: mail.Failed, Host: "mx.d.test", Reply: mail.R(550, "5.1.1", "No"), Class: "InvalidRecipient", Action: "suppress"},
		{Recipient: js[0].Recipients[1], Status: mail.Deferred, Host: "mx.d.test", Reply: mail.R(450, "4.2.1", "Later")},
	}}
	if err := js[0].Dot(t.Context(), "mx.d.test"); err != nil {
		t.Fatal(err)
	}
	if err := js[0].Decide(t.Context(), a, 1); err != nil {
		t.Fatal(err)
	}
	for range 2 {
		n.crash()
		n.start()
		js = n.fetch(2)
		got, number := js[0].Decided()
		if js[0].ID() != "m0.0" || got == nil || number != 1 || len(got.Outcomes) != 2 {
			t.Fatalf("%s: %+v, attempt %d", js[0].ID(), got, number)
		}
		for i, o := range got.Outcomes {
			if o != a.Outcomes[i] {
				t.Errorf("%+v, decided was %+v", o, a.Outcomes[i])
			}
		}
		if got, _ := js[1].Decided(); got != nil {
			t.Errorf("%s: %+v", js[1].ID(), got)
		}
		if ds, err := n.Doubts(t.Context()); err != nil || len(ds) > 0 {
			t.Errorf("doubts about what is known: %v %v", ds, err)
		}
	}
	got, _ := js[0].Decided()
	next := js[0].Delivery
	next.Recipients, next.Attempts = next.Recipients[1:], 1
	js[0].Wait(next, got)
	flush(t, n)
	n.crash()
	n.start()
	for _, j := range append(n.fetch(1), n.drain(1)...) {
		if a, _ := j.Decided(); a != nil {
			t.Errorf("%s is settled and was decided again: %+v", j.ID(), a)
		}
	}
}

// Another node settles what the one that died had decided: of READY, and of WAIT.
func TestDecided_team(t *testing.T) {
	t.Parallel()
	f := newFleet(t, Options{AckWait: 8 * time.Second})
	a, b := f.join("a"), f.join("b")
	f.give(a, allParts()...)
	a.put("m0", "u@d.test")
	a.put("m1", "u@d.test")
	js := a.fetch(2)
	js[1].Wait(js[1].Delivery, nil)
	flushMember(t, a)
	decide := func(j *Job) {
		t.Helper()
		o := mail.Outcome{Recipient: j.Recipients[0], Status: mail.Failed, Reply: mail.R(550, "5.1.1", "No")}
		if err := j.Decide(t.Context(), Attempt{Outcomes: []mail.Outcome{o}}, 3); err != nil {
			t.Fatal(err)
		}
	}
	decide(js[0])
	decide(a.drain(1)[0])
	a.kill()
	f.give(b, allParts()...)
	for _, j := range append(b.fetch(1), b.drain(1)...) {
		got, number := j.Decided()
		if got == nil || number != 3 || got.Outcomes[0].Reply.Code != 550 {
			t.Errorf("%s: %+v, attempt %d", j.ID(), got, number)
			continue
		}
		j.Done(*got)
	}
	flushMember(t, b)
	if r, w := f.left(b); r+w != 0 {
		t.Errorf("%d are left in READY and %d in WAIT", r, w)
	}
	if ds := doubted(t, b); len(ds) > 0 {
		t.Errorf("doubts: %v", ds)
	}
}
