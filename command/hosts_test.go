package command

import (
	"fmt"
	"net/smtp"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/tarishi/tarishi/admin"
	"github.com/tarishi/tarishi/daemon"
)

// Domains from a list file, whose mail goes where the plugin says: a domain that is
// written into the list gets its mail at once, over a connection that was there before.
func TestHostsFromList(t *testing.T) {
	host := startMailboxHost(t, func(string, int) string { return "250 2.1.5 OK" })
	folder := t.TempDir()
	list := filepath.Join(folder, "plugins", "config", "host_list")
	if err := os.MkdirAll(filepath.Dir(list), 0o755); err != nil {
		t.Fatal(err)
	}
	write(t, list, "first.test\n")
	write(t, filepath.Join(filepath.Dir(list), "aliases.json"), `{"all": {"action": "alias", "to": ["ann", "bob@first.test"]}}`)
	file := filepath.Join(folder, "tarishi.yaml")
	write(t, file, fmt.Sprintf(`
hostname: n.example
data: %s
smtp: {listen: ["127.0.0.1:0"], relay_from: ["203.0.113.0/24"]}
admin: {listen: "127.0.0.1:0"}
plugins: {run: [aliases, {name: hosts, settings: {via: "lmtp:%s"}}]}
log: {level: error}
`, filepath.Join(folder, "data"), host.addr))
	conf, err := daemon.Load(file, nil)
	if err != nil {
		t.Fatal(err)
	}
	n := &served{conf: conf, ended: make(chan error, 1)}
	n.start(t)
	defer n.stop(t)

	c, err := smtp.Dial(n.smtp)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	send := func(to string) error {
		if err := c.Mail("s@away.test"); err != nil {
			t.Fatal(err)
		}
		if err := c.Rcpt(to); err != nil {
			_ = c.Reset()
			return err
		}
		w, err := c.Data()
		if err != nil {
			t.Fatal(err)
		}
		_, _ = w.Write([]byte("Subject: x\r\n\r\n"))
		return w.Close()
	}
	if err := send("x@second.test"); err == nil || !strings.Contains(err.Error(), "Relaying denied") {
		t.Error(err)
	}
	if err := send("x@first.test"); err != nil {
		t.Error(err)
	}
	write(t, list, "first.test\nsecond.test\n")
	if v, err := n.admin.ReloadPlugins(t.Context(), admin.PluginsOrder{}); err != nil {
		t.Fatal(v, err)
	}
	if err := send("x@second.test"); err != nil {
		t.Error(err)
	}
	if err := send("all+x@second.test"); err != nil {
		t.Error(err)
	}
	waitFor(t, "all of it", func() bool {
		for _, rcpt := range []string{"x@first.test", "x@second.test", "ann@second.test", "bob@first.test"} {
			if len(host.box(rcpt)) != 1 {
				return false
			}
		}
		return true
	})
}
