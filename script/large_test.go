package script

import (
	"fmt"
	"strings"
	"testing"

	"github.com/tarishi/tarishi/plugin"
)

// A message as large as is taken by default goes through a script that looks at its
// body, in the memory that there is by default.
func TestALargeMessageIsTakenApart(t *testing.T) {
	s := newStage(t, Options{}, map[string]string{"large.js": `
exports.hook_data = (next, connection) => {
  const tx = connection.transaction
  tx.parse_body = true
  tx.notes.seen = 0
  if (tx.mail_from.user === 'hooks') {
    tx.attachment_hooks((ct, filename, body, stream) => {
      stream.on('data', (piece) => { tx.notes.seen += piece.length })
      stream.on('end', () => { connection.notes.ended = true; if (connection.notes.done) connection.notes.done() })
    })
  }
  next()
}
exports.hook_data_post = (next, connection) => {
  const body = connection.transaction.body
  const text = body.children.length ? body.children[0].bodytext : body.bodytext
  const done = () => next(DENY, text.length + ' ' + connection.transaction.notes.seen)
  if (connection.notes.ended) return done()
  if (connection.transaction.mail_from.user === 'hooks') connection.notes.done = done
  else done()
}
`}, "large")
	const size = 45 << 20
	line := strings.Repeat("QUJD", 18) + "\r\n"
	lines := size / len(line)
	octets := strings.Repeat(line, lines)
	for _, c := range []struct{ from, head, body, want string }{
		{"drop@a.test", "Content-Type: multipart/mixed; boundary=x", "--x\r\n\r\ntext\r\n--x\r\nContent-Type: image/png\r\nContent-Transfer-Encoding: base64\r\n\r\n" + octets + "--x--\r\n", "5 0"},
		{"text@a.test", "Content-Type: text/plain", octets, ""},
		{"hooks@a.test", "Content-Type: multipart/mixed; boundary=x", "--x\r\n\r\ntext\r\n--x\r\nContent-Type: image/png\r\nContent-Transfer-Encoding: base64\r\n\r\n" + octets + "--x--\r\n", fmt.Sprint("5 ", 54*lines)},
	} {
		v := s.visit()
		v.mail(c.from)
		v.hook(plugin.Data)
		v.tx.SetMessage(&memory{plugin.ParseHeader([]byte(c.head + "\r\n")), c.body})
		v.want(c.from, v.hook(plugin.DataPost), plugin.Refuse, c.want)
		v.conn.End()
	}
	if n := s.pool.deaths.Load(); n != 0 {
		t.Errorf("%d workers died", n)
	}
}
