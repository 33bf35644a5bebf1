package script

import (
	"log/slog"
	"testing"

	"github.com/tarishi/tarishi/plugin"
)

// BenchmarkTwoScripts is what two scripts with functions at mail and rcpt cost a
// message, on many connections at once.
func BenchmarkTwoScripts(b *testing.B) {
	s := newStage(b, Options{Workers: 2}, map[string]string{
		"envelope.js": `
exports.hook_mail = (next, connection, params) => {
  connection.transaction.add_header('X-Envelope-From', params[0].address())
  next()
}
exports.hook_rcpt = (next, connection, params) => {
  connection.transaction.add_header('X-Envelope-To', params[0].address())
  next()
}
`,
		"hosts.js": `
exports.register = function () { this.hosts = { 'b.test': true } }
exports.hook_mail = function (next, connection, params) {
  const txn = connection.transaction
  if (this.hosts[params[0].host]) {
    txn.results.add(this, { pass: 'mail_from' })
    txn.notes.local_sender = true
  } else {
    txn.results.add(this, { msg: 'mail_from!local' })
  }
  next()
}
exports.hook_rcpt = function (next, connection, params) {
  const txn = connection.transaction
  if (this.hosts[params[0].host]) {
    txn.results.add(this, { pass: 'rcpt_to' })
    return next(OK)
  }
  next()
}
`,
	}, "envelope", "hosts")
	s.pool.log = slog.New(slog.DiscardHandler)
	b.SetParallelism(25)
	b.ReportAllocs()
	b.RunParallel(func(pb *testing.PB) {
		v := s.visit()
		for pb.Next() {
			v.mail("a@a.test")
			if got := v.rcpt("b@b.test"); got.Code != plugin.OK {
				b.Errorf("%v %v", got.Code, got.Reply)
			}
			v.conn.End()
		}
	})
}
