package script

import (
	"encoding/json"
	"strings"
	"testing"

	"github.com/tarishi/tarishi/plugin"
)

// What is noted and found out goes to the node as JSON.stringify would write it, so
// that no number of a script's is in the way of a message.
func TestNumbersThatJSONCannotSay(t *testing.T) {
	s := newStage(t, Options{}, map[string]string{"odd.js": `
exports.hook_mail = function (next, connection) {
  const { notes, results } = connection.transaction
  notes.number = NaN
  notes.infinite = -Infinity
  notes.had = 5
  notes.deep = { list: [NaN, 1], score: Infinity }
  notes.big = 10n
  notes.f = () => 1
  results.add(this, { score: NaN, most: [1, Infinity], msg: [NaN, 'text'], deep: { x: NaN } })
  results.push(this, { list: Infinity })
  results.incr(this, { sum: 1 })
  results.incr(this, { sum: Infinity, huge: 1.5e308 })
  results.incr(this, { huge: 1.5e308 })
  next()
}
exports.hook_data = (next, connection) => {
  const { notes } = connection.transaction
  notes.had = 0 / 0
  notes.seen = String([Number.isNaN(notes.number), notes.infinite === -Infinity, notes.deep.score])
  next()
}
`}, "odd")
	v := s.visit()
	v.want("mail", v.mail("a@a.test"), plugin.Cont, "")
	v.want("data", v.hook(plugin.Data), plugin.Cont, "")
	b, err := v.tx.Notes.Pack()
	if want := `{"big":"10","deep":{"list":[null,1],"score":null},"seen":"true,true,Infinity"}`; err != nil || string(b) != want {
		t.Errorf("notes: %s %v, want %s", b, err, want)
	}
	r, _ := v.tx.Results.Get("odd")
	if b, err = json.Marshal(r.Values); err != nil || string(b) != `{"deep":{"x":null},"huge":1.5e+308,"list":[null],"most":[1,null],"score":null,"sum":1}` {
		t.Errorf("results: %s %v", b, err)
	}
	if got := strings.Join(r.Msg, " "); got != "NaN text" {
		t.Errorf("msg: %s", got)
	}
}
