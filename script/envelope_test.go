package script

import (
	"testing"

	"github.com/tarishi/tarishi/plugin"
)

// What a script does to an address is what becomes of it, or a fault of the script:
// never nothing.
func TestWhatScriptsDoToAddresses(t *testing.T) {
	s := newStage(t, Options{}, map[string]string{"change.js": `
const changes = {
  host: (a) => { a.host = 'other.test' },
  asWritten: (a) => { a.host = 'Other.Test' },
  both: (a) => { a.user = 'x'; a.host = 'other.test' },
  original: (a) => { a.original_host = 'other.test' },
  all: (a) => { a.host = a.original_host = 'other.test' },
  contrary: (a) => { a.host = 'other.test'; a.original_host = 'third.test' },
  parsed: (a) => { a.address('<p@parsed.test>') },
  reparsed: (a) => { a.host = 'other.test'; a.address('<p@parsed.test>') },
  shown: (a) => { a.host = 'other.test'; a.user = String(a).slice(1, -1).replace('@', '-') },
  itself: (a) => { a.host = a.host },
  bad: (a) => { a.host = 'bad host' },
  lines: (a) => { a.user = 'x\r\ny' },
  empty: (a) => { a.host = '' },
  none: (a) => { delete a.host },
  nothing: (a) => { a.host = null },
}
exports.hook_mail = (next, connection, params) => { changes[params[0].user]?.(params[0]); next() }
exports.hook_rcpt = (next, connection, params) => { changes[params[0].user]?.(params[0]); next(OK) }
// once more, when what it was before has been noted
exports.hook_data = (next, connection) => { for (const a of connection.transaction.rcpt_to) if (a.user === 'later') a.host = 'later.test'; next() }
`}, "change")
	for what, want := range map[string]string{
		"host": "host@other.test", "asWritten": "asWritten@Other.Test", "both": "x@other.test", "original": "original@other.test",
		"all": "all@other.test", "contrary": "contrary@other.test", "parsed": "p@parsed.test", "reparsed": "p@parsed.test",
		"shown": "shown-other.test@other.test", "itself": "itself@First.Test",
		"bad": "", "lines": "", "empty": "", "none": "", "nothing": "",
	} {
		v := s.visit()
		if got := v.mail(what + "@First.Test"); want == "" {
			v.want("mail "+what, got, plugin.Defer, "change failed")
		} else if v.want("mail "+what, got, plugin.Cont, ""); v.tx.From().Raw != want {
			t.Errorf("mail_from, %s: %s, want %s", what, v.tx.From().Raw, want)
		}
		v = s.visit()
		v.mail("a@a.test")
		if got := v.rcpt(what + "@First.Test"); want == "" {
			v.want("rcpt "+what, got, plugin.Defer, "change failed")
		} else if v.want("rcpt "+what, got, plugin.OK, ""); v.tx.Recipients()[0].Raw != want {
			t.Errorf("rcpt, %s: %s, want %s", what, v.tx.Recipients()[0].Raw, want)
		}
	}
	v := s.visit()
	v.mail("a@a.test")
	v.rcpt("host@first.test")
	v.rcpt("later@first.test")
	v.want("data", v.hook(plugin.Data), plugin.Cont, "")
	if rs := v.tx.Recipients(); len(rs) != 2 || rs[0].Raw != "host@other.test" || rs[1].Raw != "later@later.test" {
		t.Errorf("recipients %v", rs)
	}
}
