//go:build soak

package queue

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
	"unsafe"

	"github.com/tarishi/tarishi/cluster"
	"github.com/tarishi/tarishi/mail"
	"github.com/tarishi/tarishi/proto"
)

// The soak runs deliverers as processes of their own on three replicated servers, and
// kills and freezes them while leaders step down and partitions go from one to the
// other. A deliverer notes each delivery in a file at the moment it would send it.
// TARISHI_SEED repeats the order of faults, TARISHI_SOAK sets how long it takes.

const soakAckWait = 6 * time.Second

// soakWord is what the test tells a deliverer: what it holds, and until when.
type soakWord struct {
	Until int64             `json:"until"` // CLOCK_MONOTONIC in ns
	Parts map[uint32]uint64 `json:"parts"` // partition -> epoch
}

func monotonic() int64 {
	var ts syscall.Timespec
	_, _, _ = syscall.Syscall(syscall.SYS_CLOCK_GETTIME, 1, uintptr(unsafe.Pointer(&ts)), 0)
	return ts.Nano()
}

// soakNode is a deliverer's process as the test sees it.
type soakNode struct {
	name   string
	cmd    *exec.Cmd
	in     io.Writer
	parts  map[uint32]uint64
	until  int64
	heard  chan struct{}
	frozen time.Time // until when it is stopped
}

type soak struct {
	*testing.T
	rng   *rand.Rand
	r     *replicas
	log   string
	nodes []*soakNode
	epoch uint64
	runs  int
	free  map[uint32]int64 // partitions of nobody, from when on
	down  int              // the server that is stopped; -1: none
	up    time.Time        // when it is to be started again
	going sync.WaitGroup
}

func (s *soak) start() *soakNode {
	s.runs++
	n := &soakNode{name: fmt.Sprint("d", s.runs), parts: map[uint32]uint64{}, heard: make(chan struct{}, 1000)}
	n.cmd = exec.Command(os.Args[0], "-test.run", "^TestSoakDeliverer$", "-test.timeout", "0")
	n.cmd.Env = append(os.Environ(), "TARISHI_SOAK_URLS="+strings.Join(cluster.ClientURLs(s.r.peers), ","),
		"TARISHI_SOAK_LOG="+s.log, "TARISHI_SOAK_NAME="+n.name)
	in, err := n.cmd.StdinPipe()
	if err != nil {
		s.Fatal(err)
	}
	out, err := n.cmd.StdoutPipe()
	if err != nil {
		s.Fatal(err)
	}
	if err := n.cmd.Start(); err != nil {
		s.Fatal(err)
	}
	n.in = in
	go func() {
		for sc := bufio.NewScanner(out); sc.Scan(); {
			if sc.Text() == "heard" {
				n.heard <- struct{}{}
			}
		}
	}()
	return n
}

const soakLease = 4 * time.Second

// tick renews the leases of those that answer, takes those of the silent away when
// they have lapsed, and spreads what is free.
func (s *soak) tick() {
	now := monotonic()
	for _, n := range s.nodes {
		alive := false
		for len(n.heard) > 0 {
			<-n.heard
			alive = true
		}
		if alive || n.until == 0 {
			n.until = now + int64(soakLease)
		} else if now > n.until+int64(500*time.Millisecond) {
			for p := range n.parts {
				s.free[p] = now
			}
			n.parts = map[uint32]uint64{}
		}
		if s.rng.IntN(40) == 0 { // it loses one, without a word to let it go first
			for p := range n.parts {
				s.free[p] = n.until + int64(500*time.Millisecond)
				delete(n.parts, p)
				break
			}
		}
	}
	for p, from := range s.free {
		if now < from || len(s.nodes) == 0 {
			continue
		}
		n := s.nodes[s.rng.IntN(len(s.nodes))]
		if now > n.until {
			continue
		}
		s.epoch++
		n.parts[p] = s.epoch
		delete(s.free, p)
	}
	for _, n := range s.nodes {
		b, _ := json.Marshal(soakWord{n.until, n.parts})
		if len(n.heard) < 500 {
			go func() { _, _ = fmt.Fprintf(n.in, "%s\n", b) }()
		}
	}
}

func TestSoakTeam(t *testing.T) {
	seed := uint64(time.Now().UnixNano())
	if x := os.Getenv("TARISHI_SEED"); x != "" {
		seed, _ = strconv.ParseUint(x, 10, 64)
	}
	lasts := 2 * time.Minute
	if x := os.Getenv("TARISHI_SOAK"); x != "" {
		lasts, _ = time.ParseDuration(x)
	}
	t.Logf("TARISHI_SEED=%d", seed)
	dir := t.TempDir()
	if x := os.Getenv("TARISHI_SOAK_DIR"); x != "" {
		dir = x
	}
	s := &soak{T: t, rng: rand.New(rand.NewPCG(seed, 0)), r: startReplicas(t), log: filepath.Join(dir, "sent"), free: map[uint32]int64{}, down: -1}
	if err := os.WriteFile(s.log, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	for p := range uint32(Partitions) {
		s.free[p] = 0
	}
	f := fleetOn(t, nil, Options{URLs: cluster.ClientURLs(s.r.peers), MaxBytes: 10 << 30, Replicas: 3, AckWait: soakAckWait, MaxInline: 500})
	in := f.joinOn("in", nil)
	for range 3 {
		s.nodes = append(s.nodes, s.start())
	}
	defer func() {
		for _, n := range s.nodes {
			_ = n.cmd.Process.Signal(syscall.SIGCONT)
			_ = n.cmd.Process.Kill()
			_ = n.cmd.Wait()
		}
	}()
	accepted := map[string]bool{}
	var mu sync.Mutex
	ctx, stop := context.WithCancel(t.Context())
	var wg sync.WaitGroup
	for k := range 4 {
		wg.Go(func() {
			for i := 0; ctx.Err() == nil; i++ {
				id := fmt.Sprintf("m%d-%d", k, i)
				to := []string{fmt.Sprintf("u@d%d.test", i%7), "u@e.test", "u@f.test"}[:1+i%3]
				msg, ds := message(id, to...)
				w := in.NewWriter(id)
				_, _ = io.WriteString(w, strings.Repeat("x\r\n", 1+i%400))
				if err := w.Commit(ctx, msg, ds); err != nil {
					if ctx.Err() == nil {
						t.Log("not accepted: ", id, err)
					}
					continue
				}
				mu.Lock()
				for j := range to {
					accepted[mail.DeliveryID(id, j)] = true
				}
				mu.Unlock()
				time.Sleep(10 * time.Millisecond)
			}
		})
	}
	tick := time.NewTicker(500 * time.Millisecond)
	defer tick.Stop()
	end := time.Now().Add(lasts)
	for time.Now().Before(end) {
		<-tick.C
		s.faults(in)
		s.tick()
	}
	stop()
	wg.Wait()
	s.going.Wait()
	if s.down >= 0 {
		s.r.start(s.down)
	}
	for _, n := range s.nodes {
		_ = n.cmd.Process.Signal(syscall.SIGCONT)
		n.frozen = time.Time{}
	}
	t.Logf("%d deliveries accepted; %d processes", len(accepted), s.runs)
	calm := time.Now().Add(3 * time.Minute)
	for {
		<-tick.C
		s.tick()
		left := 0
		err := in.scan(t.Context(), func(stored) error { left++; return nil })
		if err == nil && left == 0 {
			break
		}
		if time.Now().After(calm) {
			t.Errorf("%d are left, %v", left, err)
			break
		}
	}
	s.judge(accepted, in)
}

// faults does something bad now and then.
func (s *soak) faults(in *member) {
	for _, n := range s.nodes {
		if !n.frozen.IsZero() && time.Now().After(n.frozen) {
			n.frozen = time.Time{}
			_ = n.cmd.Process.Signal(syscall.SIGCONT)
		}
	}
	if s.down >= 0 && time.Now().After(s.up) {
		s.going.Wait()
		s.r.start(s.down)
		s.down, s.up = -1, time.Now().Add(20*time.Second) // to catch up
	}
	switch i := s.rng.IntN(len(s.nodes)); s.rng.IntN(20) {
	case 4: // a server stops for a while
		if s.down >= 0 || time.Now().Before(s.up) {
			break
		}
		s.down, s.up = s.rng.IntN(3), time.Now().Add(time.Duration(5+s.rng.IntN(10))*time.Second)
		n := s.r.nats[s.down]
		s.r.nats[s.down] = nil
		s.going.Go(n.Stop)
	case 0: // kill one, start another
		n := s.nodes[i]
		_ = n.cmd.Process.Kill()
		_ = n.cmd.Wait()
		for p := range n.parts {
			s.free[p] = n.until + int64(500*time.Millisecond)
		}
		s.nodes[i] = s.start()
	case 1, 2:
		if n := s.nodes[i]; n.frozen.IsZero() {
			n.frozen = time.Now().Add(time.Duration(1+s.rng.IntN(20)) * time.Second)
			_ = n.cmd.Process.Signal(syscall.SIGSTOP)
		}
	case 3:
		what := []string{"STREAM.LEADER.STEPDOWN.READY", "CONSUMER.LEADER.STEPDOWN.READY.deliver",
			"STREAM.LEADER.STEPDOWN.WAIT", "STREAM.LEADER.STEPDOWN.EVENT", "STREAM.LEADER.STEPDOWN.BODY"}
		in.stepDown(what[s.rng.IntN(len(what))])
	}
}

// judge reads what was sent.
func (s *soak) judge(accepted map[string]bool, in *member) {
	b, err := os.ReadFile(s.log)
	if err != nil {
		s.Fatal(err)
	}
	sent := map[string][]string{}
	for _, line := range strings.Split(strings.TrimSpace(string(b)), "\n") {
		if line[0] == '!' || line[0] == '?' {
			s.Log(line)
			continue
		}
		id, rest, _ := strings.Cut(line, " ")
		sent[id] = append(sent[id], rest)
	}
	doubts := map[string]bool{}
	for _, id := range doubted(s.T, in) {
		doubts[id] = true
	}
	twice := 0
	for _, id := range slices.Sorted(maps.Keys(accepted)) {
		switch n := len(sent[id]); {
		case n == 0:
			s.Errorf("%s was never delivered", id)
		case n > 1:
			twice++
			if !doubts[id] {
				s.Errorf("%s was delivered %d times and is no doubt: %q\n%s", id, n, sent[id], in.story(id))
			}
		}
	}
	s.Logf("%d deliveries, %d made twice, %d doubts", len(accepted), twice, len(doubts))
}

// story is what the journals tell of a delivery.
func (m *member) story(id string) string {
	var b strings.Builder
	in := m.newStreamReader(streamEvent, 1, subjectJournal+".>", subjectDoubt)
	defer in.close()
	for {
		ms, err := in.read(m.t.Context(), 512)
		if err != nil || len(ms) == 0 {
			return b.String()
		}
		for _, x := range ms {
			var rec proto.Journal
			if _, err := proto.ReadFrame(x.data, proto.KindJournal, &rec); err != nil {
				continue
			}
			for _, e := range rec.Events {
				if mail.DeliveryID(e.MessageId, int(e.Delivery)) == id {
					fmt.Fprintf(&b, "\t%d %s %s: %s generation %d, wait %d, said %s stored %s\n", x.seq, x.subject, rec.Node, e.Kind, e.Generation, e.WaitSeq,
						time.UnixMicro(e.AtUs).Format("05.000"), x.at.Format("05.000"))
				}
			}
		}
	}
}
