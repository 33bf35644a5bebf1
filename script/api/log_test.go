package api

import (
	"strings"
	"testing"

	"github.com/dop251/goja"
)

func TestLog(t *testing.T) {
	w, err := load(t, map[string]string{"p.js": `
exports.go = function (connection) {
  this.loginfo('register called');
  this.logerror(connection, 'checking ', 7, ' of ', null, undefined, true);
  connection.logdebug(this, 'turtles all the way down');
  connection.lognotice('plain');
  this.logwarn('with', { a: 1, b: 'two words', c: null, d: 'say "x"' });
  this.logcrit('failed:', new Error('mine'));
  this.logalert([1, 2], new Date(0));
  this.logemerg('two\r\nlines\x1b[31m');
  this.logprotocol('C: EHLO x');
  this.logdata('dropped');
  console.log('from %s', 'console', { a: [1] });
  console.error('bad');
}
`})
	if err != nil {
		t.Fatal(err)
	}
	w.inside(func() {
		w.o.Enabled = func(l Level) bool { return l != Data }
		c := w.vm.NewObject()
		w.AddLog(c, func(this *goja.Object) string { return this.Get("uuid").String() + ".1" })
		c.Set("uuid", "ABC")
		w.vm.Set("connection", c)
	})
	if got := w.eval(`p.go(connection); Object.keys(connection).join()`); got != "uuid" {
		t.Error(got)
	}
	want := []Line{
		{Info, "p", "", "register called"},
		{Error, "p", "ABC.1", "checking 7 of undefinedtrue"},
		{Debug, "p", "ABC.1", "turtles all the way down"},
		{Notice, "p", "ABC.1", "plain"},
		{Warn, "p", "", `with a=1 b="two words" c="" d="say \"x\""`},
		{Crit, "p", "", "failed: Error: mine at"},
		{Alert, "p", "", "[ 1, 2 ]1970-01-01T00:00:00.000Z"},
		{Emerg, "p", "", "two lines[31m"},
		{Protocol, "p", "", "C: EHLO x"},
		{Info, "p", "", "from console { a: [ 1 ] }"},
		{Error, "p", "", "bad"},
	}
	got := w.logged()
	if len(got) != len(want) {
		t.Fatalf("%d lines: %+v", len(got), got)
	}
	for i, l := range got {
		if l.Level != want[i].Level || l.Plugin != want[i].Plugin || l.ID != want[i].ID || !strings.HasPrefix(l.Text, want[i].Text) {
			t.Errorf("is   %+v\nwant %+v", l, want[i])
		}
	}
	if got := w.eval(`p.loginfo('x'.repeat(1e6)); 1`); got != "1" {
		t.Error(got)
	}
	if l := w.logged(); len(l[len(l)-1].Text) > maxLine+10 {
		t.Errorf("a line of %d octets", len(l[len(l)-1].Text))
	}
}
