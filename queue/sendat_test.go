package queue

import (
	"testing"
	"time"

	"github.com/tarishi/tarishi/mail"
)

// A retry of many leaves alone what their clients want sent later; one that names the
// message sends it now.
func TestRetryAndSendAt(t *testing.T) {
	n := open(t, Options{Sync: noSync})
	at := time.Now().Add(24 * time.Hour).UTC().Truncate(time.Microsecond)
	store := func(id string, sendAt time.Time, hours string) {
		m, ds := message(id, "u@d.test")
		m.SendAt, m.Hours = sendAt, hours
		ds[0].Due = at
		w := n.NewWriter(id)
		if _, err := w.Write([]byte("Subject: x\r\n\r\n")); err != nil {
			t.Fatal(err)
		}
		if err := w.Commit(t.Context(), m, ds); err != nil {
			t.Fatal(err)
		}
	}
	const planned, other = "1M803F4PC1Z4V96W481B", "1M803F4PC1Z4V96W481C"
	store(planned, at, "Mon-Fri 09:00-18:00 UTC")
	store(other, time.Time{}, "")
	if st := n.Stats(); st.Waiting != 2 {
		t.Errorf("%d wait; what is due later is stored there at once", st.Waiting)
	}
	st := n.act(Action{Verb: Retry, Filter: Filter{Destination: "d.test"}, Author: "ann"})
	if want := (Result{Matched: 2, Changed: 1, Unchanged: 1}); st.Result != want {
		t.Errorf("retry of a destination: %+v", st.Result)
	}
	if js := n.drain(1); js[0].Message.ID != other {
		t.Errorf("%s is due", js[0].ID())
	} else {
		js[0].Done(Attempt{})
	}
	st = n.act(Action{Verb: Retry, Filter: Filter{ID: planned}, Author: "ann"})
	if want := (Result{Matched: 1, Changed: 1}); st.Result != want {
		t.Errorf("retry of the message: %+v", st.Result)
	}
	js := n.drain(1)
	if m := js[0].Message; m.ID != planned || !m.SendAt.IsZero() || m.Hours != "" || !js[0].Due.IsZero() {
		t.Errorf("it is %+v, due %s", m, js[0].Due)
	}
	js[0].Done(Attempt{Outcomes: []mail.Outcome{{Recipient: js[0].Recipients[0], Status: mail.Delivered}}})
}
