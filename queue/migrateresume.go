package queue

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/tarishi/tarishi/mail"
	"github.com/tarishi/tarishi/proto"
)

// lookBack finds what was stored after the last note: there it lies still, or the
// cluster has delivered it and its journal says so.
func (x *migration) lookBack(ctx context.Context) error {
	in := &readyReader{q: x.to, next: x.After.Ready + 1}
	for {
		ms, hs, err := in.read(ctx, 512)
		if err != nil {
			return err
		}
		for _, h := range hs {
			x.have[h.Get(jetstream.MsgIDHeader)] = true
		}
		if len(ms) > 0 {
			continue
		}
		// The replica that answered may lag behind; the leader does not.
		_, err = x.to.loadFromLeader(ctx, streamReady, fmt.Appendf(nil, `{"seq":%d,"next_by_subj":">"}`, in.next))
		if errors.Is(err, errNoRecord) {
			break
		}
		if err != nil {
			return err
		}
		time.Sleep(20 * time.Millisecond)
	}
	mark, err := x.to.storeFence(ctx, markFence, "")
	if err != nil {
		return err
	}
	err = x.to.passWait(ctx, []string{"wait.>"}, x.After.Wait+1, mark, false, func(m stored) error {
		if id, ok := parseRecordID(m.header.Get(jetstream.MsgIDHeader)); ok {
			x.past.stored(id.delivery, id.generation)
		}
		return nil
	})
	if err != nil {
		return err
	}
	if err := x.to.deleteRecord(ctx, streamWait, mark); err != nil {
		return err
	}
	return x.to.readJournals(ctx, x.After.Event+1, func(_ string, e *proto.Event) {
		switch e.Kind {
		case proto.Event_SETTLED, proto.Event_ATTEMPT, proto.Event_MOVED:
			x.past.stored(mail.DeliveryID(e.MessageId, int(e.Delivery)), int(e.Generation)+1)
		}
	})
}

// traces are the youngest generations of deliveries that the cluster has, or has had.
type traces map[string]int

func (t traces) stored(delivery string, generation int) {
	if g, ok := t[delivery]; !ok || generation > g {
		t[delivery] = generation
	}
}

// has tells whether a delivery has come so far: least is the youngest generation that
// only a delivery that is there could have.
func (t traces) has(delivery string, least int) bool {
	g, ok := t[delivery]
	return ok && g >= least
}
