package cluster

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
)

// A record is found by the name it begins with, in whichever block it lies, and not by
// what its body says.
func TestLookup(t *testing.T) {
	dir := t.TempDir()
	s, err := StartNATS(NATSOptions{Dir: dir})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Stop()
	nc, err := nats.Connect("", nats.InProcessServer(s))
	if err != nil {
		t.Fatal(err)
	}
	defer nc.Close()
	js, err := jetstream.New(nc)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := js.CreateStream(t.Context(), jetstream.StreamConfig{Name: "WAIT", Subjects: []string{"wait.>"}}); err != nil {
		t.Fatal(err)
	}
	body := strings.Repeat("x", 64<<10)
	began := time.Now()
	for i := range 300 { // three blocks of 8 MiB
		m := &nats.Msg{Subject: fmt.Sprintf("wait.%d", i%7), Data: []byte(body + fmt.Sprintf("NAME%03d", (i+1)%300)), Header: nats.Header{"Nats-Msg-Id": {fmt.Sprintf("NAME%03d.0", i)}}}
		if _, err := js.PublishMsg(t.Context(), m); err != nil {
			t.Fatal(err)
		}
	}
	for _, i := range []int{0, 150, 299} {
		var got []uint64
		err := Lookup(t.Context(), StreamsDir(dir), "WAIT", began.Add(-time.Second), fmt.Appendf(nil, "NAME%03d.", i), 512, func(seq uint64) error { got = append(got, seq); return nil })
		if err != nil || !slices.Equal(got, []uint64{uint64(i + 1)}) {
			t.Errorf("%d is found at %v, %v", i, got, err)
		}
	}
	for name, since := range map[string]time.Time{"NAME300": began.Add(-time.Second), "NAME001": time.Now().Add(time.Hour)} {
		err := Lookup(t.Context(), StreamsDir(dir), "WAIT", since, []byte(name+"."), 512, func(seq uint64) error { t.Errorf("%s is found at %d", name, seq); return nil })
		if err != nil {
			t.Error(err)
		}
	}
}
