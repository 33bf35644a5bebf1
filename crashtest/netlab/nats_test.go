package netlab

import (
	"bufio"
	"encoding/json"
	"strings"
	"testing"
	"time"
)

// The NATS servers find each other, and offer JetStream.
func TestNATS(t *testing.T) {
	l := New(t)
	c := l.NATS()
	if !strings.Contains(c.Config(), "nats://"+c.Hosts[2].Addr.String()+":4222") {
		t.Errorf("configuration: %s", c.Config())
	}
	for _, h := range c.Hosts {
		var info struct {
			JetStream bool
			URLs      []string `json:"connect_urls"`
		}
		if !Until(20*time.Second, func() bool {
			conn, err := h.Dial(h.Addr.String()+":4222", time.Second)
			if err != nil {
				return false
			}
			defer conn.Close()
			_ = conn.SetDeadline(time.Now().Add(time.Second))
			line, _ := bufio.NewReader(conn).ReadString('\n')
			return json.Unmarshal([]byte(strings.TrimPrefix(line, "INFO ")), &info) == nil && info.JetStream && len(info.URLs) == 3
		}) {
			t.Errorf("%s: %+v", h.Name, info)
		}
	}
}
