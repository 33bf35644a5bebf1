package queue

import (
	"bufio"
	"net"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
)

// freezes is a server that takes connections, greets, and then says nothing more. met
// counts those it has greeted.
func freezes(t *testing.T, met *atomic.Int64) (url string) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = l.Close() })
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			t.Cleanup(func() { _ = c.Close() })
			go func() {
				_, _ = c.Write([]byte(`INFO {"server_id":"F","version":"2.15.2","headers":true,"max_payload":9000000}` + "\r\n"))
				for r := bufio.NewReader(c); ; {
					line, err := r.ReadString('\n')
					if err != nil {
						return
					}
					if strings.HasPrefix(line, "PING") {
						_, _ = c.Write([]byte("PONG\r\n"))
						met.Add(1)
						return
					}
				}
			}()
		}
	}()
	return "nats://" + l.Addr().String()
}

// A client leaves a server that is frozen for another one, soon enough that deliveries
// go on within ten seconds.
func TestFrozenServerIsLeft(t *testing.T) {
	t.Parallel()
	var met atomic.Int64
	q := &Queue{o: Options{Cluster: true, URLs: []string{freezes(t, &met), freezes(t, &met)}}.withDefaults()}
	q.log = q.o.Log
	nc, _, err := q.connect(t.Context(), "test")
	if err != nil {
		t.Fatal(err)
	}
	defer nc.Close()
	began := time.Now()
	eventually(t, "it goes elsewhere", func() bool { return met.Load() == 2 })
	if d := time.Since(began); d > 6*time.Second {
		t.Errorf("after %v", d)
	}
}

// A replica that is frozen takes its share of the questions and answers none.
func TestFrozenReplicaIsNotWaitedFor(t *testing.T) {
	t.Parallel()
	f := newFleet(t, Options{})
	m := f.join("node1")
	nc, err := nats.Connect("", nats.InProcessServer(f.server))
	if err != nil {
		t.Fatal(err)
	}
	defer nc.Close()
	var asked atomic.Int64
	_, err = nc.Subscribe("$JS.API.DIRECT.GET.FROZEN", func(q *nats.Msg) {
		if asked.Add(1) == 1 {
			return
		}
		_ = q.RespondMsg(&nats.Msg{Header: nats.Header{"Status": {"204"}, "Nats-UpTo-Sequence": {"7"}}})
	})
	if err == nil {
		err = nc.Flush()
	}
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		asked.Store(0)
		if a, err := m.request(t.Context(), "$JS.API.DIRECT.GET.FROZEN", nil); err != nil || asked.Load() != 2 {
			t.Error(a, err)
		}
	}()
	if _, upTo, err := m.lastOf(t.Context(), "FROZEN", ">"); err != nil || upTo != 7 {
		t.Error(upTo, err)
	}
}
