package plugin

import (
	"context"
	"errors"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/tarishi/tarishi/mail"
)

// listed is a plugin that refuses what its list says.
type listed struct {
	name, list string
	closed     *atomic.Int32
}

func (p *listed) Name() string { return p.name }
func (p *listed) Register(r *Registrar) error {
	if strings.Contains(p.list, "broken") {
		return errors.New("the list is broken")
	}
	r.On(Mail, func(_ context.Context, e *Event) Verdict {
		if strings.Contains(p.list, e.Address.Raw) {
			return Denied("listed")
		}
		return Verdict{}
	})
	return nil
}
func (p *listed) Close(context.Context) error {
	p.closed.Add(1)
	return nil
}

// newLoader has a kind "listed", which reads config/list, and "rash", which panics.
func newLoader(t *testing.T) (l *Loader, folder string, closed *atomic.Int32) {
	t.Helper()
	folder, closed = t.TempDir(), new(atomic.Int32)
	if err := os.Mkdir(filepath.Join(folder, "config"), 0o700); err != nil {
		t.Fatal(err)
	}
	l = &Loader{Log: slog.New(slog.DiscardHandler), Kinds: []Kind{
		{Name: "listed", New: func(s Setup) (Plugin, error) {
			b, err := s.Read("list")
			if err != nil && !errors.Is(err, fs.ErrNotExist) {
				return nil, err
			}
			return &listed{s.Name, string(b), closed}, nil
		}},
		{Name: "rash", New: func(Setup) (Plugin, error) { panic("no") }},
	}}
	return l, folder, closed
}

func write(t *testing.T, file, text string) {
	t.Helper()
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
}

func refuses(l *Loader, from string) bool {
	ch := l.Current.Take()
	defer ch.Release()
	return ch.Run(context.Background(), &Event{Hook: Mail, Address: mail.NewAddress(from)}).Code == Refuse
}

func TestLoader_watch(t *testing.T) {
	l, folder, _ := newLoader(t)
	list := filepath.Join(folder, "config", "list")
	if err := l.Load(Listing{Folder: folder, Run: []Entry{{Name: "listed"}}}); err != nil {
		t.Fatal(err)
	}
	look := func() { // twice: a file must have come to rest
		l.watched(l.watched(nil))
	}
	if refuses(l, "a@b.test") {
		t.Fatal("refused without a list")
	}
	write(t, list, "a@b.test")
	if seen := l.watched(nil); refuses(l, "a@b.test") {
		t.Error("loaded while the file was perhaps still being written")
	} else {
		write(t, list, "a@b.test c@d.test")
		if l.watched(seen); refuses(l, "a@b.test") {
			t.Error("loaded although the file has changed again since")
		}
	}
	look()
	if !refuses(l, "a@b.test") || !refuses(l, "c@d.test") {
		t.Error("a list that appeared was not read")
	}
	loads := l.State().Loads
	look()
	if l.State().Loads != loads {
		t.Error("loaded anew, although nothing has changed")
	}
	write(t, list, "broken!")
	look()
	if s := l.State(); !strings.Contains(s.Fault, "plugin listed: the list is broken") || !refuses(l, "a@b.test") {
		t.Errorf("a broken list: state %+v; the plugins of before should stay", s)
	}
	if err := os.Remove(list); err != nil {
		t.Fatal(err)
	}
	look()
	if s := l.State(); s.Fault != "" || refuses(l, "a@b.test") {
		t.Errorf("the list is gone: %+v", s)
	}
}

func TestLoader_faults(t *testing.T) {
	l, folder, closed := newLoader(t)
	write(t, filepath.Join(folder, "mine.js"), "")
	for _, x := range []struct{ run, want string }{
		{"listd", `plugin listd: there is no such plugin, and no script ` + folder + `/listd.js; did you mean "listed"?`},
		{"nothing/like.it", `plugin nothing/like.it: there is no such plugin, and no script ` + folder + `/nothing/like.it.js; built-in are listed, rash`},
		{"rash", "plugin rash: panic: no"},
		{"mine", "plugin mine: " + folder + "/mine.js: this program runs no scripts"},
		{"rash listd listed", `plugin rash: panic: no` + "\n" + `plugin listd: there is no such plugin, and no script ` + folder + `/listd.js; did you mean "listed"?`},
	} {
		var entries []Entry
		for name := range strings.FieldsSeq(x.run) {
			entries = append(entries, Entry{Name: name})
		}
		if err := l.Load(Listing{Folder: folder, Run: entries}); err == nil || err.Error() != x.want {
			t.Errorf("%s: %v\nwant %s", x.run, err, x.want)
		}
	}
	if n := closed.Load(); n != 1 {
		t.Errorf("%d plugins closed of those that were made in vain", n)
	}
	l.Scripts = func() (func(string, string) (Plugin, error), error) {
		return func(name, file string) (Plugin, error) { return &listed{name, "a@b.test", closed}, nil }, nil
	}
	if err := l.Load(Listing{Folder: folder, Timeout: time.Second, Run: []Entry{{Name: "mine"}, {Name: "listed", Timeout: time.Minute}}}); err != nil {
		t.Fatal(err)
	}
	if !refuses(l, "a@b.test") {
		t.Error("the script is not asked")
	}
	ch := l.Current.Take()
	if fs := ch.List(); len(fs) != 2 || fs[0].Plugin != "mine" || fs[0].Timeout != time.Second || fs[1].Timeout != time.Minute {
		t.Errorf("the chain is %+v", fs)
	}
	ch.Release()
	if err := l.Load(Listing{}); err != nil || l.Current.Has(Mail) {
		t.Errorf("an empty listing: %v", err)
	}
	if err := l.Current.Close(t.Context()); err != nil {
		t.Error(err)
	}
}
