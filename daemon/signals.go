package daemon

import (
	"context"
	"os"
	"os/signal"
	"syscall"
)

// Signals returns a context that ends at the first SIGTERM or SIGINT, which asks
// for a drain. A second one calls exit(1): somebody is waiting at the terminal.
// stop undoes it and ends the goroutine that waits.
func Signals(parent context.Context, exit func(code int)) (ctx context.Context, stop func()) {
	ch := make(chan os.Signal, 2)
	signal.Notify(ch, syscall.SIGTERM, os.Interrupt)
	ctx, cancel := signalContext(parent, ch, exit)
	return ctx, func() {
		signal.Stop(ch)
		cancel()
	}
}

// Hangups delivers SIGHUP, which asks for plugins to be loaded anew, until stop is
// called. From then on it ends the process, as it does by nature.
func Hangups() (hangups <-chan os.Signal, stop func()) {
	ch := make(chan os.Signal, 1)
	signal.Notify(ch, syscall.SIGHUP)
	return ch, func() { signal.Stop(ch) }
}

// signalContext is Signals without the operating system. cancel returns once the
// goroutine has ended.
func signalContext(parent context.Context, ch <-chan os.Signal, exit func(code int)) (context.Context, func()) {
	ctx, cancel := context.WithCancel(parent)
	quit, done := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(done)
		select {
		case <-ch:
			cancel()
		case <-quit:
			return
		}
		select {
		case <-ch:
			exit(1)
		case <-quit:
		}
	}()
	var stopped bool
	return ctx, func() {
		if !stopped {
			stopped = true
			close(quit)
			<-done
			cancel()
		}
	}
}
