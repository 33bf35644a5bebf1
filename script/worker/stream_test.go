package worker

import (
	"context"
	"testing"

	"github.com/dop251/goja"

	"github.com/tarishi/tarishi/script/api"
)

// The streams that scripts pipe: to one, to several one after the other, to slow ones,
// and to those that are taken off.
func TestMessageStream(t *testing.T) {
	rt, err := api.New(api.Options{Folder: t.TempDir()})
	if err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(context.Background())
	ended := make(chan struct{})
	go func() { rt.Run(ctx); close(ended) }()
	defer func() { stop(); <-ended; rt.Close() }()
	vm := rt.VM()
	eval := func(src string) string {
		out := make(chan string, 1)
		rt.Do(nil, func() error {
			vm.Set("done", func(s string) { out <- s })
			_, err := vm.RunString(src)
			if err != nil {
				out <- err.Error()
			}
			return nil
		})
		return <-out
	}
	rt.Do(nil, func() error {
		class, err := vm.RunString(streamSource)
		if err != nil {
			t.Error(err)
			return nil
		}
		events, err := rt.Require("events")
		if err != nil {
			t.Error(err)
			return nil
		}
		f, _ := goja.AssertFunction(class)
		stream, err := f(goja.Undefined(), events, vm.Get("setImmediate"))
		if err != nil {
			t.Error(err)
			return nil
		}
		vm.Set("Stream", stream)
		vm.Set("EventEmitter", events)
		return nil
	})
	eval(`
		// make is a stream of pieces.
		function make(...pieces) { return new Stream(() => { const left = [...pieces]; return () => left.length ? Buffer.from(left.shift()) : null }) }
		// Sink takes so many pieces before it wants a pause.
		class Sink extends EventEmitter {
			constructor(room = Infinity) { super(); this.room = room; this.got = [] }
			write(piece) {
				if (this.ended) throw new Error('write after end')
				this.got.push(String(piece))
				if (this.got.length % this.room) return true
				setTimeout(() => this.emit('drain'), 1)
				return false
			}
			end() { this.got.push('end'); this.ended = true; this.emit('finish') }
		}
		done('')`)
	for _, x := range []struct{ name, src, want string }{
		{"one", `const s = new Sink(); s.on('finish', () => done(s.got.join())); make('a', 'b').pipe(s)`, "a,b,end"},
		{"one that is not ended", `const s = new Sink(), m = make('a'); m.on('end', () => setTimeout(() => done(s.got.join()), 1)); m.pipe(s, { end: false })`, "a"},
		{"slow", `const s = new Sink(1); s.on('finish', () => setTimeout(() => done(s.got.join()), 3)); make('a', 'b', 'c').pipe(s)`, "a,b,c,end"},
		{"a drain at once", `const s = new Sink(); let n = 0; s.write = (p) => { s.got.push(String(p)); queueMicrotask(() => s.emit('drain')); return false };
			s.on('finish', () => setTimeout(() => done(s.got.join()), 3)); make('a', 'b', 'c').pipe(s)`, "a,b,c,end"},
		{"one after the other", `const m = make('a', 'b'), one = new Sink(), two = new Sink();
			one.on('finish', () => setTimeout(() => m.pipe(two), 1)); two.on('finish', () => done(one.got.join() + ' ' + two.got.join())); m.pipe(one)`, "a,b,end a,b,end"},
		{"two at a time", `const m = make('a', 'b'), one = new Sink(1), two = new Sink();
			two.on('finish', () => setTimeout(() => done(one.got.join() + ' ' + two.got.join()), 1)); m.pipe(one); m.pipe(two)`, "a,b,end a,b,end"},
		{"taken off", `const m = make('a', 'b', 'c'), one = new Sink(1), two = new Sink();
			one.write = (p) => { one.got.push(String(p)); m.unpipe(one); setTimeout(() => m.pipe(two), 2); return false };
			two.on('finish', () => done(one.got.join() + ' ' + two.got.join())); m.pipe(one)`, "a a,b,c,end"},
		{"listened to", `const m = make('a', 'b'), got = []; m.on('data', (p) => got.push(String(p))).on('end', () => done(got.join()))`, "a,b"},
		{"listened to once", `const m = make('a', 'b'), got = []; m.once('data', (p) => got.push(String(p))).on('end', () => done(got.join()))`, "a"},
		{"waited for", `EventEmitter.once(make('a', 'b'), 'data').then(([p]) => done(String(p)))`, "a"},
		{"listened to otherwise", `let n = 0; for (const on of ['addListener', 'prependListener', 'prependOnceListener']) make('a')[on]('data', () => { if (++n === 3) done('all') })`, "all"},
		{"paused", `const m = make('a', 'b'), got = []; m.pause(); m.on('data', (p) => got.push(String(p))).on('end', () => done(got.join()));
			setTimeout(() => { got.push('on'); m.resume(); m.resume() }, 2)`, "on,a,b"},
	} {
		if got := eval("{" + x.src + "}"); got != x.want {
			t.Errorf("%s: %s, want %s", x.name, got, x.want)
		}
	}
}
