package netlab

import (
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"github.com/tarishi/tarishi/bench/windows"
)

// Now is the clock of the sinks' records.
func Now() int64 {
	var ts unix.Timespec
	_ = unix.ClockGettime(unix.CLOCK_MONOTONIC_RAW, &ts) // every Linux has it
	return ts.Nano()
}

// Finish is the end of a run: the loads end, everything acknowledged must be delivered within the patience, nothing may have
// been delivered twice but what the nodes list as doubts, and the sinks' records are judged by rules. It fails the test for
// each, and returns what the sinks recorded.
func (c *Cluster) Finish(rules windows.Rules, patience time.Duration) (*windows.Trace, *windows.Report) {
	t := c.t
	t.Helper()
	c.StopLoads()
	for _, d := range c.Deaths() {
		t.Errorf("%s ended by itself: %s", d.Node, d.LastWords)
	}
	began := time.Now()
	books, even := c.Drained(patience)
	t.Logf("%d copies acknowledged, %d delivered, %d again, %d unacknowledged ones delivered; drained in %v",
		books.Sent, books.Received, books.Duplicates, books.Unasked, time.Since(began).Round(time.Millisecond))
	if books.Sent == 0 {
		t.Fatal("nothing was acknowledged: this run proves nothing")
	}
	if !even {
		t.Errorf("LOST or late: %d copies had their 250 and were not delivered within %v", books.Lost, patience)
		c.explain(books.LostIDs)
		c.portray()
	}
	c.queueEmpties(10 * time.Second)
	doubts, err := c.Doubts()
	if err != nil {
		t.Errorf("doubts: %v", err)
	}
	if err := c.CloseSinks(); err != nil {
		t.Error(err)
	}
	again, err := c.Repeated(doubts)
	if err != nil {
		t.Error(err)
	}
	for i, s := range again {
		if i == 10 {
			t.Errorf("and %d more", len(again)-i)
			break
		}
		t.Error(s)
		if id := messageID.FindString(s); id != "" && i < 2 {
			t.Logf("the logs on %s:\n%s", id, c.logLines(id))
		}
	}
	trace, err := c.Trace()
	if err != nil {
		t.Fatal(err)
	}
	report, err := windows.Judge(trace, rules)
	if err != nil {
		t.Fatal(err)
	}
	t.Logf("%d doubts listed\n%v", len(doubts), report)
	if err := report.Err(); err != nil {
		t.Error(err)
	}
	if report.Unplaced > 0 || report.Torn > 0 {
		t.Errorf("%d transactions or connections belong nowhere, %d lines are torn", report.Unplaced, report.Torn)
	}
	return trace, report
}

// queueEmpties fails the test when mail stays in the queue that has all been delivered.
func (c *Cluster) queueEmpties(patience time.Duration) {
	c.t.Helper()
	var depth int64
	var err error
	if !Until(patience, func() bool { depth, err = c.alive()[0].Depth(); return err == nil && depth == 0 }) {
		c.t.Errorf("all is delivered, yet %d deliveries are queued after %v (%v)", depth, patience, err)
	}
}

// portray writes down how every node sees the world and what each of its goroutines does, into the lab's folder, which is kept
// where NETLAB_KEEP says.
func (c *Cluster) portray() {
	for _, n := range c.alive() {
		for name, path := range map[string]string{
			"queue": "/v1/queue", "nodes": "/v1/nodes", "limits": "/v1/limits", "status": "/v1/status", "metrics": "/metrics", "ready": "/readyz",
			"goroutines": "/debug/pprof/goroutine?debug=2",
		} {
			var text string
			if err := n.Get(path, &text); err != nil {
				text = err.Error()
			}
			if err := os.WriteFile(filepath.Join(n.folder, name+".txt"), []byte(text), 0o600); err != nil {
				c.t.Log(err)
			}
		}
	}
}

var messageID = regexp.MustCompile(`\b[0-9A-HJKMNP-TV-Z]{20}\b`)

// explain shows what the nodes logged about the first of some lost messages; each is "id<TAB>recipient".
func (c *Cluster) explain(lost []string) {
	for i, line := range lost {
		if i == 5 {
			return
		}
		id, rcpt, _ := strings.Cut(line, "\t")
		own := c.ownID(id)
		c.t.Logf("LOST %s (message %s) for %s; the logs on it:\n%s", id, own, rcpt, c.logLines(own))
	}
}

// ownID is the program's id of a message, by its 250.
func (l *Lab) ownID(id string) string {
	for _, o := range l.loads {
		text, _ := os.ReadFile(o.sent)
		for line := range strings.Lines(string(text)) {
			if f := strings.Split(strings.TrimSpace(line), "\t"); f[0] == id && len(f) > 3 {
				return messageID.FindString(f[3])
			}
		}
	}
	return ""
}

// logLines is what all nodes logged with id in it, with the node's name before each line.
func (l *Lab) logLines(id string) string {
	if id == "" {
		return ""
	}
	logs, _ := filepath.Glob(filepath.Join(l.dir, "*.log"))
	var out []string
	for _, name := range logs {
		text, _ := os.ReadFile(name)
		for line := range strings.Lines(string(text)) {
			if strings.Contains(line, id) || strings.HasPrefix(line, "--- ") {
				out = append(out, strings.TrimSuffix(filepath.Base(name), ".log")+": "+line)
			}
		}
	}
	return strings.Join(out[max(0, len(out)-60):], "")
}
