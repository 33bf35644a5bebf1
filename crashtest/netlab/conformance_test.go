//go:build soak

package netlab

import (
	"bufio"
	"io"
	"math/rand/v2"
	"net"
	"strings"
	"testing"
	"time"

	"github.com/tarishi/tarishi/bench/windows"
)

// M1: while the queue has no quorum, every message is refused with 451 4.3.0, within the client's patience, never with a 5xx and
// never accepted; and when it has one again, mail is accepted again.
func TestM1_noQuorum(t *testing.T) {
	c := newCluster(t, Plan{Deliverers: 1})
	c.Start()
	alone := c.Core[0]
	replies, err := dialogue(alone.SMTP(), 30*time.Second)
	if err != nil || !strings.HasPrefix(replies[len(replies)-1], "250") {
		t.Fatalf("before: %q, %v", replies, err)
	}
	for _, how := range []struct {
		name     string
		off, on  func(*Node)
		patience time.Duration
	}{
		{"killed", (*Node).Kill, func(n *Node) {
			if err := n.Start(); err != nil {
				t.Error(err)
			}
		}, time.Minute},
		{"frozen", (*Node).Freeze, (*Node).Thaw, time.Minute},
	} {
		how.off(c.Core[1])
		how.off(c.Core[2])
		for range 5 {
			began := time.Now()
			replies, err := dialogue(alone.SMTP(), 5*time.Minute)
			took := time.Since(began)
			last := replies[len(replies)-1]
			if err != nil || !strings.HasPrefix(last, "451 4.3.0") || took > time.Minute {
				t.Errorf("%s: after %v the last reply is %q (%v), all are %q", how.name, took, last, err, replies)
			}
			for _, r := range replies {
				if r[0] == '5' {
					t.Errorf("%s: %q", how.name, r)
				}
			}
		}
		how.on(c.Core[1])
		how.on(c.Core[2])
		c.Await(how.patience)
		if !Until(how.patience, func() bool {
			replies, err := dialogue(alone.SMTP(), 30*time.Second)
			return err == nil && strings.HasPrefix(replies[len(replies)-1], "250")
		}) {
			t.Errorf("%s: no mail is accepted after they are back", how.name)
		}
	}
}

// dialogue sends one message and returns the replies up to the first refusal or the last one. Its mail is in no book.
func dialogue(addr string, patience time.Duration) (replies []string, err error) {
	replies = []string{"no connection"}
	conn, err := net.DialTimeout("tcp", addr, patience)
	if err != nil {
		return replies, err
	}
	defer conn.Close()
	_ = conn.SetDeadline(time.Now().Add(patience))
	in := bufio.NewReader(conn)
	replies = nil
	for _, c := range []string{"", "EHLO me.test", "MAIL FROM:<m1@me.test>", "RCPT TO:<m1@" + free + ">", "DATA", "Subject: m1\r\n\r\nx\r\n."} {
		if c != "" {
			if _, err := io.WriteString(conn, c+"\r\n"); err != nil {
				return append(replies, "no reply"), err
			}
		}
		for {
			line, err := in.ReadString('\n')
			if err != nil || len(line) < 4 {
				return append(replies, "no reply"), err
			}
			if line[3] != '-' {
				replies = append(replies, strings.TrimSpace(line))
				break
			}
		}
		if r := replies[len(replies)-1]; r[0] != '2' && r[0] != '3' {
			return replies, nil
		}
	}
	return replies, nil
}

// M2: kill -9 of any node between dot and 250: exactly once where the 250 was said, and once or not at all where it was not.
func TestM2_killBetweenDotAnd250(t *testing.T) {
	c := newCluster(t, Plan{Deliverers: 2})
	c.Start()
	rng := rand.New(rand.NewPCG(newSeed(t), 2))
	for _, n := range c.Core {
		// So many at a time that there is always one between its dot and its 250.
		c.Load(Load{To: n, Domain: free, Connections: 20, Rate: 60})
	}
	for i := range 9 {
		time.Sleep(500*time.Millisecond + rand.N(time.Second)) // a moment nobody chose
		n := c.Core[rng.IntN(3)]
		t.Logf("kill %d: %s", i, n.Name)
		n.Kill()
		time.Sleep(time.Duration(rng.IntN(4000)) * time.Millisecond) // so long it is gone
		if err := n.Start(); err != nil {
			t.Fatal(err)
		}
		c.Await(time.Minute)
	}
	var unknown uint64
	c.StopLoads()
	for _, o := range c.loads {
		r, _ := o.Stop()
		unknown += r.Unknown
	}
	if unknown == 0 {
		t.Error("no kill met a message between its dot and its 250: this run proves nothing")
	}
	c.Finish(windows.Rules{}, 2*time.Minute) // Repeated counts those without a 250 too
}

// M3: the scheduler's leader is killed in the middle of windows, again and again: no window is exceeded, no message forgotten.
func TestM3_leaderKilledDuringWindow(t *testing.T) {
	c := newCluster(t, Plan{Deliverers: 3})
	c.Start()
	rng := rand.New(rand.NewPCG(newSeed(t), 3))
	c.loadAll(nil, 90*time.Second)
	for range 8 {
		time.Sleep(4*time.Second + time.Duration(rng.IntN(4000))*time.Millisecond) // a window and a part of one
		n, err := c.AwaitLeader(20 * time.Second)
		if err != nil {
			t.Fatal(err)
		}
		t.Logf("%.3f s: the leader %s is killed", float64(Now()-c.begun)/1e9, n.Name)
		n.Kill()
		time.Sleep(time.Duration(rng.IntN(3000)) * time.Millisecond)
		if err := n.Start(); err != nil {
			t.Fatal(err)
		}
		c.Await(time.Minute)
	}
	c.Accepted(2 * time.Minute)
	c.Finish(limits(), 3*time.Minute)
}

// M4: a deliverer is killed after the receiver's 250 and before it could say so: at most one duplicate of each message, and
// each of them is listed.
func TestM4_delivererKilledAfter250(t *testing.T) {
	l := New(t)
	l.Sink("sink", []string{free}, "--delay", "100ms") // most of the time there is a message between its dot and its 250
	c := l.Cluster(Plan{Deliverers: 3, Config: "retry: {schedule: [1s], expire: 1d}\n"})
	c.Start()
	c.Load(Load{To: c.Core[0], Domain: free, Rate: 150, Connections: 8})
	for i := range 10 {
		time.Sleep(time.Second + rand.N(time.Second))
		n := c.Deliverers()[i%3]
		n.Kill()
		if err := n.Start(); err != nil {
			t.Fatal(err)
		}
		c.Await(time.Minute)
	}
	c.Finish(windows.Rules{}, 3*time.Minute)
	books, err := c.compare()
	if err != nil {
		t.Fatal(err)
	}
	if books.Duplicates == 0 {
		t.Error("no kill met a message that its receiver had taken: this run proves nothing")
	}
	t.Logf("%d duplicates of %d messages", books.Duplicates, books.Repeated)
}
