package queue

import (
	"testing"
	"time"

	"github.com/nats-io/nats.go"
)

// A consumer that died with its server never answers. Another one reads on, soon.
func TestReaderOfADeadServer(t *testing.T) {
	t.Parallel()
	f := newFleet(t, Options{})
	a := f.join("a")
	a.park(numbered("m", 5), "u@d.test")
	asked := make(chan struct{}, 1)
	sub, err := a.get.Subscribe("$JS.API.CONSUMER.MSG.NEXT."+streamWait+".dead", func(*nats.Msg) { nudge(asked) })
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = sub.Unsubscribe() }()
	in := a.newReader(1, allWaiting)
	defer in.close()
	in.cons, in.silence = "dead", 100*time.Millisecond
	ms, err := in.read(t.Context(), readMax)
	if err != nil || len(ms) != 5 || len(asked) != 1 {
		t.Errorf("%d are read, %v; the dead one was asked: %v", len(ms), err, len(asked) == 1)
	}
}
