package script

import (
	"strings"
	"testing"

	"github.com/tarishi/tarishi/plugin"
)

// Fields that scripts add have lines that fit, and scripts see them as the message has
// them. What cannot be folded is a fault of the script.
func TestLongFieldsOfScripts(t *testing.T) {
	s := newStage(t, Options{}, map[string]string{"long.js": `
exports.hook_mail = (next, connection, params) => {
  const txn = connection.transaction, user = params[0].user
  if (user === 'token') txn.add_header('X-Token', 'z'.repeat(2000))
  txn.add_header('X-Words', 'ünï '.repeat(500))
  next()
}
exports.hook_data_post = (next, { transaction }) => {
  transaction.add_leading_header('X-Long', 'word '.repeat(300).trim())
  transaction.notes.same = transaction.header.get_decoded('x-words') === 'ünï '.repeat(500)
  transaction.notes.longest = Math.max(...transaction.header.toString().split('\n').map((l) => l.length))
  next()
}`}, "long")
	v := s.visit()
	v.want("what cannot be folded", v.mail("token@a.test"), plugin.Defer, "long failed")
	if !strings.Contains(s.log.String(), "field X-Token: 2000 octets without a blank") {
		t.Error("the log does not say why")
	}
	v = s.visit()
	v.want("mail", v.mail("a@a.test"), plugin.Cont, "")
	v.rcpt("b@b.test")
	v.want("data", v.data(multipart), plugin.Cont, "")
	longest := 0
	for line := range strings.SplitSeq(string(v.tx.Message().Header().Bytes()), "\r\n") {
		longest = max(longest, len(line))
	}
	if longest > 90 || v.tx.Notes.Get("longest") != float64(longest) || v.tx.Notes.Get("same") != true {
		t.Errorf("the longest line has %d octets; a script saw %v, decoded %v", longest, v.tx.Notes.Get("longest"), v.tx.Notes.Get("same"))
	}
}
