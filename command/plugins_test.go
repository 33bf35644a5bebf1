package command

import (
	"context"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/tarishi/tarishi/admin"
	"github.com/tarishi/tarishi/daemon"
	"github.com/tarishi/tarishi/mail"
	"github.com/tarishi/tarishi/plugin"
)

// greedy is a plugin that takes over whatever it is given, and says a word.
type greedy struct {
	name, word string
	took       *int
}

func (g *greedy) Name() string { return g.name }
func (g *greedy) Register(r *plugin.Registrar) error {
	r.On(plugin.Mail, func(_ context.Context, e *plugin.Event) plugin.Verdict {
		e.Transaction.Notes.Set("word", g.word)
		return plugin.Verdict{}
	})
	r.On(plugin.Rcpt, func(_ context.Context, e *plugin.Event) plugin.Verdict {
		if e.Address.Domain == "taken.test" {
			e.Transaction.Results.Add(g.name, plugin.Pass, "rcpt")
			e.Transaction.Results.Set(g.name, "hops", 2)
			return plugin.Verdict{Code: plugin.OK}
		}
		return plugin.Denied("not\x1b[31m him")
	})
	r.On(plugin.Queue, func(context.Context, *plugin.Event) plugin.Verdict {
		*g.took++
		return plugin.Verdict{Code: plugin.OK}
	})
	r.On(plugin.PreSend, func(_ context.Context, e *plugin.Event) plugin.Verdict {
		_ = e.Transaction.AddField("X-Word", g.word)
		return plugin.Verdict{}
	})
	return nil
}

func greedyKind(took *int) []plugin.Kind {
	return []plugin.Kind{{Name: "greedy", New: func(s plugin.Setup) (plugin.Plugin, error) {
		var o struct {
			Word string `yaml:"word" default:"none"`
		}
		err := s.Settings(&o)
		return &greedy{s.Name, o.Word, took}, err
	}}}
}

func pluginConfig(t *testing.T, file, word string) *daemon.Config {
	t.Helper()
	src := "hostname: mx.test\nplugins:\n  run:\n    - name: greedy\n      timeout: 2s\n      settings: {word: " + word + "}\n"
	if err := os.WriteFile(file, []byte(src), 0o600); err != nil {
		t.Fatal(err)
	}
	c, err := daemon.Load(file, nil)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// A try asks all but those that could take the message away, and shows what it would be.
func TestTry(t *testing.T) {
	took := 0
	c := pluginConfig(t, filepath.Join(t.TempDir(), "t.yaml"), "one")
	x := tryOut{ip: "192.0.2.1", name: "client.test", hello: "client.test", from: "", to: []string{"u@taken.test", "v@other.test"},
		message: []byte("Subject: x\r\n\r\nb\xf6dy\r\n")}
	r, err := x.run(t.Context(), c, greedyKind(&took), slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	if took != 0 || strings.Join(r.NotAsked, " ") != "queue" {
		t.Errorf("the queue hook was asked %d times; not asked: %v", took, r.NotAsked)
	}
	if s := r.Stored; r.Accepted || s == nil || strings.Join(s.To, " ") != "u@taken.test" || string(s.Notes) != `{"word":"one"}` || !strings.HasSuffix(s.Text, "b\xf6dy\r\n") {
		t.Errorf("the result is %+v, stored %+v", r, r.Stored)
	}
	var out strings.Builder
	printTry(&out, r, 0)
	for _, want := range []string{
		"C: MAIL FROM:<> BODY=8BITMIME\n  HOOK  PLUGIN  FUNCTION   VERDICT", "rcpt  greedy  hook_rcpt  DENY", "S: 550 5.7.1 not?[31m him",
		"Not asked, as nothing is stored: queue.", "Result of greedy, of the message: pass: rcpt; hops = 2;\n", "Would be stored: from <> to u@taken.test", `Notes: {"word":"one"}`, "+ X-Word: one", "+ Received: from client.test (client.test [192.0.2.1])",
	} {
		if !strings.Contains(out.String(), want) {
			t.Errorf("no %q in\n%s", want, out.String())
		}
	}
	if strings.Contains(out.String(), "\x1b") {
		t.Error("a plugin's text reaches the terminal raw")
	}
}

// A reload takes plugins from the configuration as it is now; one with a fault is
// told, and changes nothing.
func TestPluginHost_reload(t *testing.T) {
	took := 0
	file := filepath.Join(t.TempDir(), "t.yaml")
	p, err := openPlugins(pluginConfig(t, file, "one"), greedyKind(&took), nil, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	word := func() string {
		ch := p.loader.Current.Take()
		defer ch.Release()
		tx := (&plugin.Connection{}).Begin("id", mail.Address{})
		ch.Run(t.Context(), &plugin.Event{Hook: plugin.Mail, Transaction: tx})
		return tx.Notes.Text("word")
	}
	if got := word(); got != "one" {
		t.Errorf("the word is %q", got)
	}
	pluginConfig(t, file, "two")
	if err := p.reload(); err != nil || word() != "two" {
		t.Errorf("%v; the word is %q", err, word())
	}
	if err := os.WriteFile(file, []byte("plugins: {runn: []}"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := p.reload(); err == nil || word() != "two" {
		t.Errorf("a configuration that cannot be read: %v; the word is %q", err, word())
	}
	v := operatorPlugins{p}.Plugins()
	if v.Loads != 2 || !strings.Contains(v.Fault, `:1: unknown key "runn" in plugins`) || len(v.Functions) != 4 || v.Functions[0].TimeoutSeconds != 2 {
		t.Errorf("operators see %+v", v)
	}
	var out strings.Builder
	printPlugins(&out, v, 0, time.Now())
	for _, want := range []string{"mail                  greedy  hook_mail                         0       2s      2", "WRONG  The newest state is not in force"} {
		if !strings.Contains(out.String(), want) {
			t.Errorf("no %q in\n%s", want, out.String())
		}
	}
	out.Reset()
	printPlugins(&out, admin.PluginsView{}, 0, time.Now())
	if !strings.HasPrefix(out.String(), "No plugins run") {
		t.Errorf("without any: %s", out.String())
	}
	p.close()
	if p.loader.Current.Has(plugin.Mail) {
		t.Error("plugins are asked after the end")
	}
}
