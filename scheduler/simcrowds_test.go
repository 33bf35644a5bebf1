package scheduler

import (
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/tarishi/tarishi/mail"
	"github.com/tarishi/tarishi/shaping"
)

// sharesFile is a node's file that has shares and no limits.
func sharesFile(high int, tenants map[string]int) *shaping.Change {
	return &shaping.Change{Op: shaping.OpFile, Node: "n1", Hash: fmt.Sprint(high, tenants), At: time.Unix(1e9, 0).UTC(),
		Shares: shaping.Shares{High: high, Tenants: tenants}}
}

// crowds is a world of windows that classes and tenants of different weight share. Of
// class high there is less than is kept for it, of the others more than there is room for.
func crowds() *simWorld {
	w := &simWorld{deliverers: 4}
	weights := map[string]int{"t1": 4}
	w.book = []*shaping.Change{
		sharesFile(20, weights),
		messages("a.test", "60/10s"), messages("b.test", "200/1m"), messages("c.test", "30/1s,600/1m"), messages("e.test", "50/10s"), shadow(messages("e.test", "20/10s")),
		setRule(shaping.Rule{To: "rcpt.test", Messages: windows("100/10s"), Recipients: windows("200/10s")}),
	}
	for d, every := range map[string]int64{"a.test": 5 * sec, "b.test": 10 * sec, "c.test": 4 * sec, "rcpt.test": 4 * sec} {
		high := mailTo(d, 40).in(mail.High)
		high.every = every
		w.lanes = append(w.lanes, high, mailTo(d, 40).tenant("t1"), mailTo(d, 40).tenant("t2"), mailTo(d, 40).tenant("t2").in(mail.Bulk))
	}
	w.lanes = append(w.lanes, mailTo("e.test", 40))
	slices.SortFunc(w.lanes, func(a, b mailLane) int { return cmpLanes(&a.Lane, &b.Lane) })
	for i := range w.lanes {
		if w.lanes[i].Dest.Key == "domain:rcpt.test" && w.lanes[i].Class != mail.High {
			w.lanes[i].most = 8
		}
	}
	w.changes = [][]*shaping.Change{
		{sharesFile(20, weights), sharesFile(40, weights), sharesFile(0, map[string]int{"t2": 3})},
		{messages("a.test", "60/10s"), messages("a.test", "20/10s"), messages("a.test", "30/1s")},
	}
	return w
}

func cmpLanes(a, b *Lane) int {
	key := func(l *Lane) string { return fmt.Sprint(l.Dest.Key, l.Tenant, l.Class, l.Kind) }
	switch x, y := key(a), key(b); {
	case x < y:
		return -1
	case x > y:
		return 1
	}
	return 0
}

// Class high never waits while there is little of it, the tenants share the rest by
// weight, bulk goes on slowly, and what is kept costs the others no more than that.
func TestCrowdsShareByWeight(t *testing.T) {
	t.Parallel()
	w := crowds()
	s := newSim(options{seed: 11, length: 8 * 60 * sec}, w)
	s.run()
	for _, p := range s.check() {
		t.Error(p)
	}
	sent := func(d, tenant string, c mail.Class) float64 {
		n := 0
		for _, x := range s.starts[mailTo(d, 0).tenant(tenant).in(c).Lane] {
			if x.at >= 60*sec { // the windows are full by then
				n += int(x.recipients)
			}
		}
		return float64(n)
	}
	for _, d := range []string{"a.test", "b.test", "c.test", "rcpt.test"} {
		t1, t2, bulk := sent(d, "t1", mail.Normal), sent(d, "t2", mail.Normal), sent(d, "t2", mail.Bulk)
		waits := s.waits[mailTo(d, 0).in(mail.High).Lane]
		waits = slices.Sorted(slices.Values(waits[len(waits)/10:]))
		t.Logf("%s: %.0f %.0f, bulk %.0f, high waits %.3fs, once %.3fs", d, t1, t2, bulk, sec3(waits[len(waits)*99/100]), sec3(waits[len(waits)-1]))
		if r := t1 / t2; r < 3.6 || r > 4.4 {
			t.Errorf("%s is shared %.0f to %.0f, not 4 to 1", d, t1, t2)
		}
		if r := bulk / (t1 + t2); r < 0.03 || r > 0.08 {
			t.Errorf("of %.0f others %.0f of class bulk went", t1+t2, bulk)
		}
		if most := waits[len(waits)*99/100]; most > sec {
			t.Errorf("class high waited for %.3fs", sec3(most))
		}
	}
	if u := s.used(mailTo("e.test", 0).Lane, windows("40/10s")[0], 60*sec); u < 0.98 {
		t.Errorf("of the four fifths of e.test that are left %.3f was used", u)
	}
}
