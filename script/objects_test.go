package script

import (
	"context"
	"strings"
	"testing"
	"time"

	"github.com/tarishi/tarishi/mail"
	"github.com/tarishi/tarishi/plugin"
)

// multipart is a message with an alternative, an attachment and Latin-1.
const multipart = `Received: from one
Received: from two
Subject: =?utf-8?q?H=C3=A9llo?=
 folded
From: "Ann, of A" <ann@a.test>, bob@b.test
Content-Type: multipart/mixed; boundary="b"

preamble
--b
Content-Type: text/plain; charset=iso-8859-1
Content-Transfer-Encoding: quoted-printable

caf=E9 so=
ft
.dot
--b
Content-Type: application/pdf; name="a.pdf"
Content-Transfer-Encoding: base64

aGVsbG8=
--b--
`

// seen runs body as the function of hook data_post, with parse_body set before, and
// returns what it gives to see.
func seen(t *testing.T, body string) any {
	t.Helper()
	s := newStage(t, Options{}, map[string]string{"look.js": `
exports.hook_data = function (next, connection) { connection.transaction.parse_body = true; next() }
exports.hook_data_post = function (next, connection) {
  const txn = connection.transaction
  const see = (v) => { txn.notes.seen = v; next() }
` + body + `
}`}, "look")
	v := s.visit()
	v.mail("ann@a.test")
	v.rcpt("b@b.test")
	v.want("data", v.data(multipart), plugin.Cont, "")
	return v.tx.Notes.Get("seen")
}

func TestWhatScriptsSeeOfAMessage(t *testing.T) {
	for body, want := range map[string]string{
		`see(txn.header.get('subject'))`:                                                      "=?utf-8?q?H=C3=A9llo?=\n folded\n",
		`see(txn.header.get_decoded('Subject'))`:                                              "Héllo folded",
		`see(txn.header.get_all('received').join('|'))`:                                       "from one\n|from two\n",
		`see(txn.header.get('nothing') + '.')`:                                                ".",
		`see(txn.header.get_addresses('from').map((a) => a.address + '/' + a.phrase).join())`: "ann@a.test/Ann, of A,bob@b.test/",
		`see(txn.header.lines().length + ' ' + txn.header.header_list.length)`:                "5 5",
		`see(txn.header.toString().slice(0, 18))`:                                             "Received: from one",
		`see(txn.body.ct)`:                   `multipart/mixed; boundary="b"`,
		`see(txn.body.bodytext)`:             "preamble\n",
		`see(txn.body.children[0].bodytext)`: "café soft\n.dot\n",
		`see(txn.body.children[0].header.get('content-transfer-encoding'))`:                                                     "quoted-printable\n",
		`see(txn.body.children[1].ct + txn.body.children[1].bodytext + txn.body.children.length)`:                               `application/pdf; name="a.pdf"2`,
		`see(txn.mime_part_count + ' ' + (txn.data_bytes > 400))`:                                                               "2 true",
		`txn.message_stream.get_data((b) => see(b.toString().split('\r\n').slice(-7)[0]))`:                                      "--b",
		`txn.message_stream.get_data((b) => see('' + (b.length === txn.data_bytes)))`:                                           "true",
		`see(connection.hello.host + ' ' + connection.esmtp + ' ' + connection.tls.enabled + ' ' + connection.local.host)`:      "null false false mx.tarishi.test",
		`see(connection.remote.host + connection.remote.is_private + connection.get('remote.ip') + connection.get('no.thing'))`: "Unknownfalse192.0.2.7undefined",
		`try { connection.respond(250, 'x') } catch (e) { see(e.message.slice(0, 40)) }`:                                        "connection.respond is not there: the cli",
		`try { txn.set_banner('x') } catch (e) { see(e.message.slice(0, 38)) }`:                                                 "transaction.set_banner is not there: a",
		`see(JSON.stringify([Object.keys(txn).includes('rcpt_to'), 'notes' in connection, typeof connection.loginfo]))`:         `[true,true,"function"]`,
	} {
		if got := seen(t, body); got != want {
			t.Errorf("%s:\n got  %q\n want %q", body, got, want)
		}
	}
}

func TestAMessageOnTheWireOfAScript(t *testing.T) {
	got, _ := seen(t, `
  const all = []
  let waits = 0
  const { EventEmitter } = require('events')
  class Sink extends EventEmitter {
    write (b) { all.push(b); waits++; setTimeout(() => this.emit('drain'), 1); return false }
    end () { see(Buffer.concat(all).toString()) }
  }
  txn.message_stream.pipe(new Sink(), { ending_dot: true })
`).(string)
	want := strings.ReplaceAll(strings.Replace(multipart, "\n.dot", "\n..dot", 1), "\n", "\r\n") + ".\r\n"
	if got != want {
		t.Errorf("got  %q\nwant %q", got, want)
	}
}

func TestAttachmentsAreHandedToTheirHooks(t *testing.T) {
	s := newStage(t, Options{}, map[string]string{"att.js": `
exports.hook_data = function (next, connection) {
  const found = []
  connection.transaction.notes.found = found
  connection.transaction.attachment_hooks((ct, filename, body, stream) => {
    const pieces = []
    stream.on('data', (d) => pieces.push(d))
    stream.on('end', () => found.push([ct, filename, Buffer.concat(pieces).toString(), body.header.get('content-type')].join('|')))
  })
  next()
}
exports.hook_data_post = (next, connection) => setTimeout(next, 5)
`}, "att")
	v := s.visit()
	v.mail("a@a.test")
	v.data(multipart)
	found, _ := v.tx.Notes.Get("found").([]any)
	if want := `application/pdf; name="a.pdf"|a.pdf|hello|application/pdf; name="a.pdf"` + "\n"; len(found) != 1 || found[0] != want {
		t.Errorf("found %q", found)
	}
}

func TestWhatScriptsDoToAMessage(t *testing.T) {
	s := newStage(t, Options{}, map[string]string{
		"one.js": `
exports.hook_mail = (next, connection, params) => {
  const txn = connection.transaction
  txn.add_header('X-Early', 'one')
  txn.notes.skip_plugins.push('three')
  txn.mail_from.user = 'other'
  connection.relaying = true
  connection.remote.host = 'named.test'
  connection.capabilities.push('X-SCRIPT')
  connection.results.incr({ name: 'karma' }, { score: 2 })
  txn.results.add({ name: 'one' }, { pass: ['a', 'b'], fail: 'c', when: 5, emit: true })
  txn.results.push({ name: 'one' }, { list: 'x' })
  next()
}
exports.hook_data_post = (next, connection) => {
  const txn = connection.transaction
  txn.remove_header('received')
  txn.add_leading_header('X-First', 'présent')
  txn.add_header('X-Last', txn.header.get('x-early').trim() + txn.header.get('received'))
  txn.rcpt_to.push(new (require('address-rfc2821').Address)('<new@c.test>'))
  txn.discard_data = true
  delete txn.notes.gone
  next()
}`,
		"two.js": `
exports.hook_mail = (next, connection) => {
  const { transaction, results } = connection
  transaction.notes.two = [transaction.mail_from.address(), connection.relaying, transaction.header.get('x-early'),
    transaction.results.get('one').when, transaction.results.has('one', 'pass', 'b'), transaction.results.has('one', 'fail', /^c/),
    results.get('karma').score, results.get('native').pass[0], transaction.results.collate('one')]
  next()
}`,
		"three.js": `exports.hook_mail = (next) => next(DENY, 'three was asked')`,
	}, "one", "two", "three")
	v := s.visit()
	v.conn.Results.Add("native", plugin.Pass, "go")
	v.want("mail", v.mail("a@a.test"), plugin.Cont, "")
	v.tx.Notes.Set("gone", true)
	v.rcpt("b@b.test")
	v.want("data_post", v.data(multipart), plugin.Cont, "")
	if got := v.tx.From().Raw; got != "other@a.test" {
		t.Errorf("from %s", got)
	}
	if rs := v.tx.Recipients(); len(rs) != 2 || rs[1].Raw != "new@c.test" {
		t.Errorf("recipients %v", rs)
	}
	head := string(v.tx.Message().Header().Bytes())
	if !strings.HasPrefix(head, "X-First: =?UTF-8?") || strings.Contains(head, "Received") || !strings.HasSuffix(head, "X-Early: one\r\nX-Last: one\r\n") {
		t.Errorf("header:\n%s", head)
	}
	if !v.conn.Relaying() || v.conn.Host() != "named.test" || v.conn.Capabilities()[0] != "X-SCRIPT" || !v.tx.Discarded() {
		t.Errorf("connection: %v %v %v, discarded %v", v.conn.Relaying(), v.conn.Host(), v.conn.Capabilities(), v.tx.Discarded())
	}
	if v.tx.Notes.Get("gone") != nil || !v.tx.Skips("three") {
		t.Errorf("notes %v", v.tx.Notes.All())
	}
	want := []any{"other@a.test", true, "one\n", 5.0, true, true, 2.0, "go", "when: 5, list: x, pass:a, b, fail:c"}
	two, _ := v.tx.Notes.Get("two").([]any)
	for i := range want {
		if i >= len(two) || two[i] != want[i] {
			t.Errorf("two saw %v, want %v", two, want)
			break
		}
	}
	if r, _ := v.tx.Results.Get("one"); r.Values["when"] != 5.0 || len(r.Pass) != 2 {
		t.Errorf("results %+v", r)
	}
}

func TestHooksOfADelivery(t *testing.T) {
	s := newStage(t, Options{}, map[string]string{"out.js": `
exports.hook_get_mx = (next, hmail, domain) => next(OK, [{ exchange: 'mx.' + domain, port: 2525, priority: 5 }])
exports.hook_send_email = (next, hmail) => hmail.num_failures ? next(DELAY, 90) : next()
exports.hook_deferred = (next, hmail, params) => next(DENYSOFT, params.delay * 2)
exports.hook_bounce = (next, hmail, err) => {
  hmail.todo.notes.bounced = [err.message, err.mx.exchange, err.bounced_rcpt[0].address(), hmail.todo.mail_from.address(), hmail.todo.notes.before]
  next(OK)
}
exports.hook_delivered = (next, hmail, params) => {
  if (!params[7]) throw new Error('late')
  hmail.todo.notes.delivered = params.slice(7).join()
  next()
}
`}, "out")
	d := &mail.Delivery{
		Message: &mail.Message{ID: "01M", Sender: addr("a@a.test"), Received: time.Now()}, Destination: "b.test",
		Recipients: []mail.Recipient{{Address: addr("b@b.test")}},
	}
	tx := &plugin.Transaction{}
	tx.Notes.Set("before", "inbound")
	run := func(e *plugin.Event) plugin.Verdict {
		e.Delivery, e.Transaction = d, tx
		return s.chain.Run(context.Background(), e)
	}
	hops, err := plugin.NextHops(run(&plugin.Event{Hook: plugin.GetMX, Name: "b.test"}).Value)
	if err != nil || len(hops) != 1 || hops[0].Host != "mx.b.test" || hops[0].Port != 2525 {
		t.Errorf("get_mx: %v, %v", hops, err)
	}
	if v := run(&plugin.Event{Hook: plugin.SendEmail}); v.Code != plugin.Cont {
		t.Errorf("send_email: %v", v)
	}
	d.Attempts = 1
	if v := run(&plugin.Event{Hook: plugin.SendEmail}); v.Code != plugin.Delay || v.Delay != 90*time.Second {
		t.Errorf("send_email after a failure: %v", v)
	}
	if v := run(&plugin.Event{Hook: plugin.Deferred, Pause: time.Minute}); v.Code != plugin.Defer || v.Delay != 2*time.Minute {
		t.Errorf("deferred: %v", v)
	}
	out := []mail.Outcome{{Recipient: d.Recipients[0], Reply: mail.R(550, "5.1.1", "no such user")}}
	if v := run(&plugin.Event{Hook: plugin.Bounce, Outcomes: out, Host: "mx.b.test[192.0.2.9]:25"}); v.Code != plugin.OK {
		t.Errorf("bounce: %v", v)
	}
	want := []any{"550 5.1.1 no such user", "mx.b.test", "b@b.test", "a@a.test", "inbound"}
	got, _ := tx.Notes.Get("bounced").([]any)
	for i := range want {
		if i >= len(got) || got[i] != want[i] {
			t.Fatalf("bounce saw %v, want %v", got, want)
		}
	}
	if v := run(&plugin.Event{Hook: plugin.Delivered}); v.Code != plugin.Cont {
		t.Errorf("a script that throws at delivered: %v", v)
	}
	run(&plugin.Event{Hook: plugin.Delivered, Secured: true, Authenticated: true})
	if got := tx.Notes.Text("delivered"); got != "true,true" {
		t.Errorf("delivered saw secured and authenticated as %s", got)
	}
}

func TestAPasswordIsSeenAndNotKept(t *testing.T) {
	s := newStage(t, Options{}, map[string]string{"leak.js": `
exports.hook_data = (next, connection) => {
  const { auth_user, auth_passwd } = connection.notes
  connection.notes.copy = JSON.stringify(connection.notes)
  next(auth_user === 'ann' && auth_passwd === 'pencil' ? OK : DENY, auth_user + '/' + auth_passwd)
}`}, "leak")
	v := s.visit()
	v.conn.SetUser("ann")
	v.conn.SetPassword("pencil")
	v.mail("a@a.test")
	v.want("data", v.hook(plugin.Data), plugin.OK, "")
	b, err := v.conn.Notes.Pack()
	if err != nil || strings.Contains(string(b), "pencil") {
		t.Errorf("notes: %s, %v", b, err)
	}
}
