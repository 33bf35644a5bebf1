package scheduler

import (
	"testing"
	"time"

	"github.com/tarishi/tarishi/mail"
	"github.com/tarishi/tarishi/shaping"
)

func (l Lane) in(c mail.Class) Lane { l.Class = c; return l }

// An operator hears which window holds his mail, until when, and who goes before it.
func TestWhyALaneWaits(t *testing.T) {
	d := newOffice(t, 2, sharesFile(20, map[string]int{"large": 3}), messages("a.test", "10/1m,100/1h"), connections("a.test", 1), messages("b.test", "5/1m"), suspend("b.test"))
	a, b := d.guests[0], d.guests[1]
	ask := func(tenant string, c mail.Class) LaneAnswer {
		return d.l.Why(d.now, LaneQuery{Dest: to("a.test").Dest, Tenant: tenant, Class: c})
	}
	if x := ask("small", mail.Normal); x.Holds != -1 || len(x.Live) != 3 || x.Wanted != 0 || x.Live[0].Max != 10 || x.Live[0].Kept != 2 {
		t.Errorf("before anybody wants anything: %+v", x)
	}
	a.want(to("a.test").of("large"), 20, 20, 1)
	d.pass(Second)
	a.start()
	b.want(to("a.test").of("small"), 7, 7, 1)
	b.want(to("a.test").of("small").in(mail.Bulk), 30, 30, 1)
	d.pass(Second)
	x := ask("small", mail.Normal)
	if x.Wanted != 7 || x.Holds != 0 || x.Live[0].Length != Minute || x.Live[0].Used != 8 || x.Live[0].Waiting != 49 {
		t.Errorf("while the window is full: %+v", x)
	}
	if left := x.Live[0].Next - x.Now; left < 55*Second || left > Minute {
		t.Errorf("its next release is in %v", time.Duration(left))
	}
	if x.Before != 0 || x.Beside != 12 || x.Part != 0.25 {
		t.Errorf("before it %d, beside it %d, of which it has %v", x.Before, x.Beside, x.Part)
	}
	if x := ask("small", mail.Bulk); x.Part != 1./20 || x.Wanted != 30 {
		t.Errorf("class bulk: %+v", x)
	}
	if x := ask("small", mail.High); x.Holds != -1 || x.Live[0].Next != 0 {
		t.Errorf("class high has a part of its own: %+v", x)
	}
	a.wantSlots(to("a.test"), 1)
	d.pass(Second)
	if x := ask("small", mail.Normal).Live[2]; x.Unit != shaping.Connections || x.Used != 1 || x.Next != never {
		t.Errorf("connections: %+v", x)
	}
	if x := d.l.Why(d.now, LaneQuery{Dest: to("b.test").Dest}); x.Shut != "suspended" {
		t.Errorf("a suspended one: %+v", x)
	}
}
