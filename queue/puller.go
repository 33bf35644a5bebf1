package queue

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
)

// puller takes mail from READY in a cluster. It knows of each record when the request
// was sent that brought it, which is when our claim on it may have begun at the
// earliest: a record may have lain in a frozen process's socket for minutes, and may
// be another's by then. What a server sends late is not lost for the length of the
// ack wait, and a server that dies while we wait is noticed by its silence. One
// goroutine uses it.
type puller struct {
	q    *Queue
	msgs chan *nats.Msg
	open []*pull // the last request, and those given up while an answer may still come
}

type pull struct {
	sub  *nats.Subscription
	sent time.Time
}

func newPuller(q *Queue) *puller { return &puller{q: q, msgs: make(chan *nats.Msg, 1<<13)} }

// pullWait is how long a request waits for mail: well within the time for which a
// claim that began when it was sent is good. pullSilence is for how long a server may
// say nothing at all.
func (p *puller) pullWait() time.Duration { return p.q.o.AckWait / 6 }
func (p *puller) pullSilence() time.Duration {
	return min(p.q.o.AckWait/6, 2*time.Second) + time.Second
}

// fetch returns up to max records and a few that came late. With wait it waits for
// one, else it returns what is there. None and no error: ask again.
func (p *puller) fetch(ctx context.Context, max int, wait bool) ([]*readyMsg, error) {
	out := p.late()
	if len(out) >= max || len(out) > 0 && wait {
		return out, nil
	}
	want := max - len(out)
	body := fmt.Appendf(nil, `{"batch":%d,"no_wait":true}`, want)
	if wait {
		// Ask for one only: what is asked for and not taken would lie in our buffer
		// while its claim runs out.
		want = 1
		body = fmt.Appendf(nil, `{"batch":1,"expires":%d,"idle_heartbeat":%d}`, p.pullWait(), p.pullWait()/3)
	}
	x, err := p.send(body)
	if err != nil {
		return out, err
	}
	silence := time.NewTimer(p.pullSilence())
	defer silence.Stop()
	for want > 0 {
		select {
		case <-ctx.Done():
			return out, ctx.Err()
		case <-silence.C:
			return out, errSilent
		case m := <-p.msgs:
			silence.Reset(p.pullSilence())
			msg, end, err := p.read(m)
			if msg != nil {
				out = append(out, msg)
			}
			if m.Sub != x.sub {
				continue
			}
			if msg != nil {
				want--
			}
			if end || err != nil {
				p.end(x)
				return out, err
			}
		}
	}
	p.end(x)
	return out, nil
}

var errSilent = errors.New("READY's consumer does not answer")

func (p *puller) send(body []byte) (*pull, error) {
	inbox := p.q.get.NewInbox()
	sub, err := p.q.get.ChanSubscribe(inbox, p.msgs)
	if err != nil {
		return nil, err
	}
	x := &pull{sub, time.Now()}
	p.open = append(p.open, x)
	err = p.q.get.PublishRequest("$JS.API.CONSUMER.MSG.NEXT."+streamReady+"."+p.q.team.ready.Load().name, inbox, body)
	if err != nil {
		p.end(x)
	}
	return x, err
}

func (p *puller) end(x *pull) {
	_ = x.sub.Unsubscribe()
	p.open = slices.DeleteFunc(p.open, func(y *pull) bool { return x == y })
}

// late returns what has come since a request was given up, and forgets old ones.
func (p *puller) late() (out []*readyMsg) {
	for {
		select {
		case m := <-p.msgs:
			if msg, _, _ := p.read(m); msg != nil {
				out = append(out, msg)
			}
			continue
		default:
		}
		break
	}
	for len(p.open) > 0 && time.Since(p.open[0].sent) > renewable(p.q.o.AckWait) {
		p.end(p.open[0])
	}
	return out
}

// read tells a record from the end of a request.
func (p *puller) read(m *nats.Msg) (msg *readyMsg, end bool, err error) {
	switch status := m.Header.Get("Status"); status {
	case "":
		for _, x := range p.open {
			if x.sub == m.Sub {
				return &readyMsg{m: m, nc: p.q.get, sent: x.sent}, false, nil
			}
		}
		return nil, false, nil // of a request too old to tell since when we would have it
	case "100":
		return nil, false, nil
	case "404", "408": // none there, time is up
		return nil, true, nil
	default:
		return nil, true, fmt.Errorf("READY's consumer: %s %s", status, m.Header.Get("Description"))
	}
}

// close lets the server give to others what it has not sent.
func (p *puller) close() {
	for len(p.open) > 0 {
		p.end(p.open[0])
	}
}

// readyMsg is a record of READY as the server sent it.
type readyMsg struct {
	m    *nats.Msg
	nc   *nats.Conn
	sent time.Time // when it was asked for
	jetstream.Msg
}

func (r *readyMsg) Metadata() (*jetstream.MsgMetadata, error) {
	md, err := r.m.Metadata()
	if err != nil {
		return nil, err
	}
	return &jetstream.MsgMetadata{
		Sequence:     jetstream.SequencePair{Consumer: md.Sequence.Consumer, Stream: md.Sequence.Stream},
		NumDelivered: md.NumDelivered, NumPending: md.NumPending, Timestamp: md.Timestamp, Stream: md.Stream, Consumer: md.Consumer,
	}, nil
}

func (r *readyMsg) Data() []byte         { return r.m.Data }
func (r *readyMsg) Headers() nats.Header { return r.m.Header }
func (r *readyMsg) Subject() string      { return r.m.Subject }
func (r *readyMsg) Reply() string        { return r.m.Reply }
func (r *readyMsg) Ack() error           { return r.nc.Publish(r.m.Reply, []byte("+ACK")) }
func (r *readyMsg) Nak() error           { return r.nc.Publish(r.m.Reply, []byte("-NAK")) }
func (r *readyMsg) InProgress() error    { return r.nc.Publish(r.m.Reply, []byte("+WPI")) }
