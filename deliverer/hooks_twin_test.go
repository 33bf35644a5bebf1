package deliverer

import (
	"context"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/tarishi/tarishi/mail"
	"github.com/tarishi/tarishi/plugin"
)

// own is a plugin of functions, and hears what it was asked.
type own struct {
	fns map[plugin.Hook]plugin.Func

	mu    sync.Mutex
	asked []string // "get_mx there.test", in order
}

func (p *own) Name() string { return "own" }

func (p *own) Register(r *plugin.Registrar) error {
	for h, f := range p.fns {
		r.On(h, func(ctx context.Context, e *plugin.Event) plugin.Verdict {
			line := string(h)
			if e.Name != "" {
				line += " " + e.Name
			}
			for _, o := range e.Outcomes {
				line += " " + o.Recipient.Local() + " " + o.Status.String()
			}
			p.mu.Lock()
			p.asked = append(p.asked, line)
			p.mu.Unlock()
			return f(ctx, e)
		})
	}
	return nil
}

// heard is what it was asked, one line each.
func (p *own) heard() string {
	p.mu.Lock()
	defer p.mu.Unlock()
	return strings.Join(p.asked, "\n")
}

func (p *own) count(hook plugin.Hook) (n int) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, a := range p.asked {
		if verb, _, _ := strings.Cut(a, " "); verb == string(hook) {
			n++
		}
	}
	return n
}

type fns = map[plugin.Hook]plugin.Func

// says is a function that always says so.
func says(v plugin.Verdict) plugin.Func {
	return func(context.Context, *plugin.Event) plugin.Verdict { return v }
}

// plugged gives the story's deliverer a plugin of these functions, with three seconds
// for each. over ends functions that do not look at their context.
func (s *story) plugged(f fns) (p *own, over chan struct{}) {
	s.Helper()
	p, over = &own{fns: f}, make(chan struct{})
	s.c.Plugins = &plugin.Current{}
	s.c.Plugins.Swap(s.chain(p))
	s.Cleanup(func() {
		close(over)
		s.stop()
		if err := s.c.Plugins.Close(context.Background()); err != nil {
			s.Error(err)
		}
	})
	return p, over
}

func (s *story) chain(ps ...plugin.Plugin) *plugin.Chain {
	s.Helper()
	ch, err := plugin.New(plugin.Options{Timeout: 3 * time.Second, Log: s.c.Log}, ps...)
	if err != nil {
		s.Fatal(err)
	}
	return ch
}

// hosts says them at get_mx.
func hosts(to ...any) plugin.Func {
	return says(plugin.Verdict{Code: plugin.OK, Value: to})
}

// never is a function that does not come back before over, and heeds no deadline.
func never(over *chan struct{}) plugin.Func {
	return func(context.Context, *plugin.Event) plugin.Verdict { <-*over; return plugin.Verdict{} }
}

func noted(t testing.TB, d *mail.Delivery) map[string]any {
	t.Helper()
	var n plugin.Notes
	if err := n.Unpack(d.Message.Notes); err != nil {
		t.Error(err)
	}
	return n.All()
}
