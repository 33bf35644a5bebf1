package cluster

import (
	"fmt"
	"os"
	"path/filepath"
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

// A file that is made shorter while it is looked through has lost its end, and nothing
// else happens.
func TestLookupInAFileThatShrinks(t *testing.T) {
	path := filepath.Join(t.TempDir(), "1.blk")
	record := make([]byte, 4096)
	record[0], record[1] = 0, 16 // 4096 octets
	copy(record[recordHead:], "NAME")
	var file []byte
	for i := range 64 {
		record[4] = byte(i + 1)
		file = append(file, record...)
	}
	if err := os.WriteFile(path, file, 0o600); err != nil {
		t.Fatal(err)
	}
	n := 0
	err := lookInto(path, []byte("NAME"), 64, func(seq uint64) error {
		n++
		return os.Truncate(path, 8192)
	})
	if err != nil || n < 1 || n > 16 {
		t.Errorf("%d records were found, %v", n, err)
	}
}
