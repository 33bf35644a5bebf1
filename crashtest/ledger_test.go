package crashtest

import (
	"fmt"
	"sort"
	"strings"
	"sync"
	"testing"

	"github.com/tarishi/tarishi/mail"
)

// ledger keeps the three books of a run. It is safe for concurrent use.
type ledger struct {
	mu        sync.Mutex
	acked     map[string]ack    // by crash id: the program said 250 after the dot
	delivered map[copyOf]int    // the sink said 250 after the dot
	message   map[string]string // crash id to the program's own message id, from a 250 or a Received field
	bounced   map[copyOf]bool   // a DSN reached the sink
	faults    []string          // what is wrong whatever else happens: damaged messages
}

// ack is one acknowledged message.
type ack struct {
	id      string // X-Crash-Id
	message string // the program's id, from the text of its 250; "" when it gave none
	rcpts   []string
}

// copyOf is what is owed: one message to one recipient, once.
type copyOf struct{ id, rcpt string }

// doubt is one line of `queue doubts`: a delivery that may arrive twice.
type doubt struct{ message, destination string }

func newLedger() *ledger {
	return &ledger{acked: map[string]ack{}, delivered: map[copyOf]int{}, message: map[string]string{}, bounced: map[copyOf]bool{}}
}

func (l *ledger) addAck(a ack) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.acked[a.id] = a
	if a.message != "" {
		l.message[a.id] = a.message
	}
}

func (l *ledger) addDelivered(id, message string, rcpts []string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, r := range rcpts {
		l.delivered[copyOf{id, r}]++
	}
	if message != "" && l.message[id] == "" {
		l.message[id] = message
	}
}

func (l *ledger) addBounced(id string, rcpts []string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, r := range rcpts {
		l.bounced[copyOf{id, r}] = true
	}
}

func (l *ledger) addFault(format string, args ...any) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.faults = append(l.faults, fmt.Sprintf(format, args...))
}

func (l *ledger) ackedCount() int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return len(l.acked)
}

// totals says in a line what the books hold.
func (l *ledger) totals() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	copies, extra := 0, 0
	for _, n := range l.delivered {
		copies += n
		extra += n - 1
	}
	return fmt.Sprintf("%d acknowledged, %d copies delivered, %d of them again, %d recipients bounced", len(l.acked), copies, extra, len(l.bounced))
}

// lost lists every acknowledged copy that was neither delivered nor bounced and is not in the queue. queued holds, by the
// program's message id, the recipients still open.
func (l *ledger) lost(queued map[string][]string) (out []string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, a := range l.acked {
	next:
		for _, r := range a.rcpts {
			c := copyOf{a.id, r}
			if l.delivered[c] > 0 || l.bounced[c] {
				continue
			}
			for _, open := range queued[a.message] {
				if strings.EqualFold(open, r) {
					continue next
				}
			}
			out = append(out, fmt.Sprintf("LOST %s (message %s) for %s: 250 was said; it was not delivered, not bounced and is not queued", a.id, a.message, r))
		}
	}
	sort.Strings(out)
	return out
}

// repeated lists every copy that arrived more often than the program's own list of doubts admits: once, and once more for
// each doubt about its delivery.
func (l *ledger) repeated(doubts []doubt) (out []string) {
	admitted := map[doubt]int{}
	for _, d := range doubts {
		admitted[d]++
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	for c, n := range l.delivered {
		_, domain, _ := strings.Cut(c.rcpt, "@")
		d := doubt{l.message[c.id], strings.ToLower(domain)}
		if n > 1+admitted[d] {
			out = append(out, fmt.Sprintf("REPEATED %s (message %s) for %s: %d times, with %d doubts listed", c.id, d.message, c.rcpt, n, admitted[d]))
		}
	}
	sort.Strings(out)
	return out
}

// report fails the test with the first few of a list.
func report(t *testing.T, list []string) {
	t.Helper()
	for i, s := range list {
		if i == 10 {
			t.Errorf("… and %d more", len(list)-i)
			return
		}
		t.Error(s)
	}
}

// doubtOf makes a doubt of a delivery id and a destination.
func doubtOf(delivery, destination string) doubt {
	message, _ := mail.SplitDeliveryID(delivery)
	return doubt{message, strings.ToLower(destination)}
}

func TestLedger(t *testing.T) {
	one := ack{"c1", "M1", []string{"a@x.test", "b@y.test"}}
	for _, c := range []struct {
		name      string
		delivered []string // "rcpt message"
		bounced   []string
		queued    map[string][]string
		doubts    []doubt
		lost      int
		repeated  int
	}{
		{name: "nothing arrived", lost: 2},
		{name: "one arrived", delivered: []string{"a@x.test M1"}, lost: 1},
		{name: "both arrived", delivered: []string{"a@x.test M1", "b@y.test M1"}},
		{name: "one arrived, one bounced", delivered: []string{"a@x.test M1"}, bounced: []string{"b@y.test"}},
		{name: "one arrived, one queued", delivered: []string{"a@x.test M1"}, queued: map[string][]string{"M1": {"B@y.test"}}},
		{name: "another message's queue does not count", delivered: []string{"a@x.test M1"}, queued: map[string][]string{"M2": {"b@y.test"}}, lost: 1},
		{name: "twice, no doubt", delivered: []string{"a@x.test M1", "a@x.test M1", "b@y.test M1"}, repeated: 1},
		{name: "twice, doubted", delivered: []string{"a@x.test M1", "a@x.test M1", "b@y.test M1"}, doubts: []doubt{doubtOf("M1.0", "X.test")}},
		{name: "twice, the other delivery doubted", delivered: []string{"a@x.test M1", "a@x.test M1", "b@y.test M1"}, doubts: []doubt{doubtOf("M1.1", "y.test")}, repeated: 1},
		{name: "three times, doubted once", delivered: []string{"a@x.test M1", "a@x.test M1", "a@x.test M1", "b@y.test M1"}, doubts: []doubt{doubtOf("M1.0", "x.test")}, repeated: 1},
	} {
		l := newLedger()
		l.addAck(one)
		for _, d := range c.delivered {
			f := strings.Fields(d)
			l.addDelivered("c1", f[1], f[:1])
		}
		l.addBounced("c1", c.bounced)
		if lost, again := l.lost(c.queued), l.repeated(c.doubts); len(lost) != c.lost || len(again) != c.repeated {
			t.Errorf("%s: lost %v, repeated %v; want %d and %d", c.name, lost, again, c.lost, c.repeated)
		}
	}
}
