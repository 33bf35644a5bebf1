package deliverer

import (
	"fmt"
	"testing"
	"time"

	"github.com/tarishi/tarishi/smtp/smtptest"
)

// More mail comes for a limited destination than its window lets through, for long:
// what has waited goes before what comes, or the oldest would never go at all.
func TestOldestFirst(t *testing.T) {
	tell(t, func(s *story) {
		s.under(map[string]memRule{"*": {messages: []memWindow{{20, 20 * time.Second}}}})
		sink := &smtptest.Sink{}
		defer sink.Close()
		s.mx("there.test", 1)
		s.sink(1, sink)
		s.start()
		sent := map[string]int{}
		for i := range 300 { // one and a half a second, and one a second may go
			sent[s.send(fmt.Sprintf("u%d@there.test", i))] = i
			s.after(time.Second * 2 / 3)
		}
		s.after(5 * time.Second)
		worst, at := 0, 0
		order, highest := 0, 0
		for _, e := range s.q.all() {
			if e.how != "done" {
				continue
			}
			i := sent[e.id]
			highest = max(highest, i)
			if d := highest - i; d > worst {
				worst, at = d, i
			}
			order++
		}
		if order < 180 {
			s.Errorf("%d of 300 went in 205 s, and one a second may", order)
		}
		if worst > 40 {
			s.Errorf("number %d was overtaken by one that came %d later", at, worst)
		}
		if left := 300 - order; highest > 300-left+40 {
			s.Errorf("%d went, and among them number %d", order, highest)
		}
	})
}

// all is how every delivery ended, or was stored anew, in order.
func (q *memQueue) all() []ending {
	q.mu.Lock()
	defer q.mu.Unlock()
	return append([]ending(nil), q.ended...)
}
