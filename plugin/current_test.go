package plugin

import (
	"context"
	"testing"
	"testing/synctest"
	"time"
)

// closable is a plugin that tells when it is closed.
type closable struct {
	name   string
	closed chan struct{}
}

func newClosable(name string) *closable { return &closable{name, make(chan struct{})} }

func (p *closable) Name() string                { return p.name }
func (p *closable) Register(*Registrar) error   { return nil }
func (p *closable) Close(context.Context) error { close(p.closed); return nil }

func (p *closable) isClosed() bool {
	select {
	case <-p.closed:
		return true
	default:
		return false
	}
}

func TestCurrent_usersKeepTheirChain(t *testing.T) {
	var c Current
	if c.Take() != nil {
		t.Fatal("a chain where none was put in force")
	}
	p1, p2 := newClosable("one"), newClosable("two")
	one, err := New(Options{}, p1)
	if err != nil {
		t.Fatal(err)
	}
	two, err := New(Options{}, p2)
	if err != nil {
		t.Fatal(err)
	}
	c.Swap(one)
	a, b := c.Take(), c.Take()
	c.Swap(two)
	if got := c.Take(); got != two {
		t.Fatal("the chain of before is given to new users")
	} else {
		got.Release()
	}
	a.Release()
	if p1.isClosed() {
		t.Fatal("closed, although somebody uses it")
	}
	b.Release()
	<-p1.closed
	if err := c.Close(t.Context()); err != nil {
		t.Fatal(err)
	}
	if !p2.isClosed() || c.Take() != nil {
		t.Error("Close left a chain in force")
	}
}

// At the end a function that does not come back is not waited for long; its plugin is
// closed all the same.
func TestCurrent_closeHurries(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := newClosable("stuck")
		ch, err := New(Options{Timeout: time.Second}, p)
		if err != nil {
			t.Fatal(err)
		}
		f := &function{hook: Mail, plugin: "stuck", timeout: time.Second, fn: func(context.Context, *Event) Verdict {
			time.Sleep(time.Hour)
			return Verdict{}
		}}
		ch.fns[Mail] = []*function{f}
		var c Current
		c.Swap(ch)
		ch.Run(t.Context(), &Event{Hook: Mail})
		began := time.Now()
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		if err := c.Close(ctx); err != nil || !p.isClosed() {
			t.Errorf("%v; closed: %v", err, p.isClosed())
		}
		if took := time.Since(began); took != lastPatience {
			t.Errorf("it took %s", took)
		}
		time.Sleep(time.Hour)
	})
}

func TestCurrent_closeWaits(t *testing.T) {
	var c Current
	p := newClosable("one")
	ch, err := New(Options{}, p)
	if err != nil {
		t.Fatal(err)
	}
	c.Swap(ch)
	c.Take()
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := c.Close(ctx); err == nil || p.isClosed() {
		t.Errorf("Close = %v with a user left; closed: %v", err, p.isClosed())
	}
	ch.Release()
	<-p.closed
}
