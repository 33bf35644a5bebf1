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
