package queue

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/tarishi/tarishi/proto"
)

// A removal that was sent may not have reached its file: what the journal says of
// the record must be read for a while yet, however old the epoch is that it left in.
func TestJournalKeepsWhatHasJustLeft(t *testing.T) {
	now := time.Now()
	j := newJournal(&Queue{lastEvent: 10})
	j.epochs[0].began = now.Add(-time.Hour) // nothing happened for an hour
	r := &record{}
	j.add(r, entry{event: &proto.Event{}})
	j.last = 11
	if got := j.from(now).start; got != 11 {
		t.Errorf("while the record is open, from is %d, want 11", got)
	}
	j.epochs[len(j.epochs)-1].began = now.Add(-time.Hour)
	j.leave(r)
	j.last = 12
	if got := j.from(now.Add(time.Second)).start; got != 11 {
		t.Errorf("a second after the record's removal was sent, from is %d, want 11", got)
	}
	if got := j.from(now.Add(2 * settleMargin)).start; got <= 11 {
		t.Errorf("long after, from is %d still", got)
	}
	if len(j.epochs) > 2 {
		t.Errorf("%d epochs are kept", len(j.epochs))
	}
}

// A clean stop right after an unclean one must not forget what the journal knows of
// records that READY has not offered again.
func TestCleanStopBeforeReadyIsSeenAgain(t *testing.T) {
	n := open(t, Options{})
	n.accept("m0", "x\r\n", "u@d.test")
	n.accept("m1", "x\r\n", "u@d.test")
	settledOnly(t, n, n.fetch(2)[0])
	n.crash()
	n.start()
	n.stop()
	n.start()
	if got, want := ids(n.fetch(1)), []string{"m1.0"}; !slices.Equal(got, want) {
		t.Errorf("offered again: %v, want %v", got, want)
	}
}

// The server refuses a record above its limit; the journal's never come near it.
func TestJournalRecordsAreBounded(t *testing.T) {
	event := func(outcomes int) entry {
		e := &proto.Event{Kind: proto.Event_SETTLED, MessageId: "m"}
		for range outcomes {
			e.Outcomes = append(e.Outcomes, &proto.Outcome{Recipient: strings.Repeat("r", 200)})
		}
		return entry{event: e}
	}
	batch := []entry{event(3000), event(2000), event(3000), event(2000), event(100000), event(0)}
	for _, want := range []int{2, 4} {
		n := fitting(batch)
		if n != want {
			t.Errorf("%d entries in one record, want %d", n, want)
		}
		batch = batch[n:]
	}
}

// Parking more than may be on its way at once must not wait for itself.
func TestParkManyLargeDeliveries(t *testing.T) {
	n := open(t, Options{Sync: noSync})
	body := strings.Repeat(strings.Repeat("x", 70)+"\r\n", 850) // 60 KiB: inline
	const count = inFlightBytes/61000 + 50
	for i := range count {
		n.accept(fmt.Sprint("m", i), body, "u@d.test")
	}
	js := n.fetch(count)
	n.settler.mu.Lock() // all in one list, as when they come while a round runs
	for _, j := range js {
		next := j.Delivery
		next.Generation++
		n.settler.list = append(n.settler.list, settling{job: j, next: &next, wave: n.settler.underway.begin()})
	}
	n.settler.mu.Unlock()
	n.settler.wake <- struct{}{}
	flush(t, n)
	if s := n.Stats(); s.Waiting != count {
		t.Errorf("%+v", s)
	}
}

// Only an answer that says the record is not there stands for its removal.
func TestAnswersToRemovals(t *testing.T) {
	for data, removed := range map[string]bool{
		`{"success":true}`: true,
		`{"error":{"code":400,"err_code":10043,"description":"sequence 7 not found"}}`: true,
		`{"error":{"code":500,"err_code":10057,"description":"no message found"}}`:     true,
		`{"error":{"code":500,"err_code":10057,"description":"input/output error"}}`:   false,
		`{"error":{"code":503,"err_code":10008,"description":"no JetStream"}}`:         false,
		``: false,
	} {
		if err := answer(&nats.Msg{Data: []byte(data)}); (err == nil) != removed {
			t.Errorf("%s: %v", data, err)
		}
	}
}
