package script

import (
	"context"
	"io"
	"log/slog"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/tarishi/tarishi/mail"
	"github.com/tarishi/tarishi/plugin"
	"github.com/tarishi/tarishi/script/worker"
)

// The test's program is its own worker.
func TestMain(m *testing.M) {
	if len(os.Args) == 2 && os.Args[1] == WorkerCommand {
		os.Exit(worker.Main(os.Stdin, os.Stdout))
	}
	os.Exit(m.Run())
}

// journal keeps what is logged.
type journal struct {
	mu sync.Mutex
	b  strings.Builder
}

func (j *journal) Write(p []byte) (int, error) {
	j.mu.Lock()
	defer j.mu.Unlock()
	return j.b.Write(p)
}

func (j *journal) String() string {
	j.mu.Lock()
	defer j.mu.Unlock()
	return j.b.String()
}

// stage is a folder of scripts, and a chain made of them.
type stage struct {
	t      testing.TB
	folder string
	log    *journal
	pool   *Pool
	chain  *plugin.Chain

	timeouts map[string]time.Duration // by plugin
}

// newStage writes the files (NAME.js, config/...), and runs the scripts named, in that
// order.
func newStage(t testing.TB, o Options, files map[string]string, run ...string) *stage {
	t.Helper()
	s := &stage{t: t, folder: t.TempDir(), log: &journal{}}
	s.write(files)
	if err := s.open(o, run...); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.chain.Close(context.Background()); err != nil {
			t.Error(err)
		}
		if t.Failed() {
			t.Log(s.log)
		}
	})
	return s
}

func (s *stage) write(files map[string]string) {
	s.t.Helper()
	for name, text := range files {
		file := filepath.Join(s.folder, name)
		if err := os.MkdirAll(filepath.Dir(file), 0o700); err != nil {
			s.t.Fatal(err)
		}
		if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
			s.t.Fatal(err)
		}
	}
}

func (s *stage) open(o Options, run ...string) (err error) {
	o.Folder = s.folder
	o.Me = "mx.tarishi.test"
	if o.Workers == 0 {
		o.Workers = 1
	}
	o.Log = slog.New(slog.NewTextHandler(s.log, &slog.HandlerOptions{Level: slog.LevelDebug}))
	if s.pool, err = Open(o); err != nil {
		return err
	}
	var plugins []plugin.Plugin
	for _, name := range run {
		p, err := s.pool.Plugin(name, filepath.Join(s.folder, filepath.FromSlash(name)+".js"))
		if err != nil {
			return err
		}
		plugins = append(plugins, p)
	}
	s.chain, err = plugin.New(plugin.Options{Log: o.Log, Timeout: 10 * time.Second, Timeouts: s.timeouts}, plugins...)
	if err != nil {
		s.pool.Close(context.Background())
	}
	return err
}

// visitor is a client's connection.
type visitor struct {
	*stage
	conn *plugin.Connection
	tx   *plugin.Transaction
}

func (s *stage) visit() *visitor {
	c := &plugin.Connection{
		ID: "C1", Remote: netip.MustParseAddrPort("192.0.2.7:1234"), Local: netip.MustParseAddrPort("192.0.2.1:25"),
	}
	return &visitor{stage: s, conn: c}
}

func (v *visitor) run(e *plugin.Event) plugin.Verdict {
	v.t.Helper()
	e.Connection, e.Transaction = v.conn, v.tx
	return v.chain.Run(context.Background(), e)
}

func (v *visitor) hook(h plugin.Hook) plugin.Verdict { return v.run(&plugin.Event{Hook: h}) }

func (v *visitor) mail(from string) plugin.Verdict {
	a := mail.NewAddress(from)
	v.tx = v.conn.Begin("01TX", a)
	return v.run(&plugin.Event{Hook: plugin.Mail, Address: a, Params: []plugin.Param{{Key: "SIZE", Value: "100"}}})
}

func (v *visitor) rcpt(to string) plugin.Verdict {
	r := mail.Recipient{Address: mail.NewAddress(to)}
	v.tx.AddRecipient(r)
	return v.run(&plugin.Event{Hook: plugin.Rcpt, Address: r.Address, Recipient: &r})
}

// message is one in memory.
type memory struct {
	h    *plugin.Header
	body string
}

func (m *memory) Header() *plugin.Header   { return m.h }
func (m *memory) Size() int64              { return int64(len(m.h.Bytes()) + 2 + len(m.body)) }
func (m *memory) Body() (io.Reader, error) { return strings.NewReader(m.body), nil }

func (v *visitor) data(text string) plugin.Verdict {
	v.t.Helper()
	if got := v.hook(plugin.Data); got.Code != plugin.Cont {
		return got
	}
	head, body, _ := strings.Cut(strings.ReplaceAll(text, "\n", "\r\n"), "\r\n\r\n")
	v.tx.SetMessage(&memory{plugin.ParseHeader([]byte(head + "\r\n")), body})
	return v.hook(plugin.DataPost)
}

func (v *visitor) want(what string, got plugin.Verdict, code plugin.Code, text string) {
	v.t.Helper()
	if got.Code != code || !strings.Contains(got.Reply.Text, text) {
		v.t.Errorf("%s: %v %q, want %v %q", what, got.Code, got.Reply.String(), code, text)
	}
}

func TestAScriptIsAPluginLikeAnyOther(t *testing.T) {
	s := newStage(t, Options{}, map[string]string{"greet.js": `
exports.register = function () {
  this.register_hook('connect', 'hello', -5)
}
exports.hello = function (next, connection) {
  connection.notes.seen = { ip: connection.remote.ip, port: connection.remote.port }
  connection.loginfo(this, 'hello ' + connection.remote.ip)
  next()
}
exports.hook_mail = function (next, connection, params) {
  const from = params[0]
  if (params[1].SIZE !== '100') return next(DENY, 'no size')
  if (from.host === 'bad.test') return next(DENY, ['not', from.address()])
  connection.transaction.notes.set('a.b', from.user)
  connection.results.add(this, { pass: 'mail', score: 3 })
  next()
}
exports.hook_rcpt = (next, connection, params) => {
  const rcpt = params[0]
  if (connection.transaction.rcpt_to[connection.transaction.rcpt_to.length - 1] !== rcpt) return next(DENY, 'not the last')
  const m = /^(.*)-(\d{8})$/.exec(rcpt.user)
  if (m) rcpt.user = m[1]
  next(OK)
}
`}, "greet")
	v := s.visit()
	v.want("connect", v.hook(plugin.Connect), plugin.Cont, "")
	v.want("a bad sender", v.mail("x@bad.test"), plugin.Refuse, "not\nx@bad.test")
	v.want("a good one", v.mail("x@good.test"), plugin.Cont, "")
	v.want("a recipient", v.rcpt("user-20271231@b.test"), plugin.OK, "")
	if got := v.tx.Recipients(); len(got) != 1 || got[0].Raw != "user@b.test" {
		t.Errorf("recipients: %v", got)
	}
	if seen, _ := v.conn.Notes.Get("seen").(map[string]any); seen["ip"] != "192.0.2.7" {
		t.Errorf("connection notes: %v", v.conn.Notes.All())
	}
	if a, _ := v.tx.Notes.Get("a").(map[string]any); a["b"] != "x" {
		t.Errorf("transaction notes: %v", v.tx.Notes.All())
	}
	if r, _ := v.conn.Results.Get("greet"); !v.conn.Results.Has("greet", plugin.Pass, "mail") || r.Values["score"] != 3.0 {
		t.Errorf("results: %+v", r)
	}
	if !strings.Contains(s.log.String(), "hello 192.0.2.7") {
		t.Error("its line is not in the log")
	}
}

func addr(s string) mail.Address { return mail.NewAddress(s) }
