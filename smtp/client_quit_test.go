package smtp

import (
	"testing"
	"testing/synctest"
	"time"

	"github.com/tarishi/tarishi/smtp/smtptest"
)

// Only a host that has hung up after its 221 certainly counts us no more.
func TestQuitToEnd(t *testing.T) {
	for name, tc := range map[string]struct {
		script string
		want   bool
		took   time.Duration
	}{
		"hangs up":           {"C! QUIT\nS: 221 2.0.0 bye\ncut", true, 0},
		"hangs up later":     {"C! QUIT\nS: 221 2.0.0 bye\nwait 1s\ncut", true, time.Second},
		"stays":              {"C! QUIT\nS: 221 2.0.0 bye\nhang", false, 2 * time.Second},
		"does not answer":    {"C! QUIT\nhang", false, 2 * time.Second},
		"cuts without a 221": {"C! QUIT\ncut", false, 0},
	} {
		t.Run(name, func(t *testing.T) {
			clientSays(t, helloWith("PIPELINING")+tc.script, func(t *testing.T, dial func(ClientOptions) (*Client, error)) {
				c, err := dial(ClientOptions{})
				mustClient(t, c, err)
				began := time.Now()
				if got := c.QuitToEnd(t.Context()); got != tc.want {
					t.Errorf("%v, want %v", got, tc.want)
				}
				if took := time.Since(began); took != tc.took {
					t.Errorf("took %v, want %v", took, tc.took)
				}
				if c.Usable() || c.QuitToEnd(t.Context()) {
					t.Error("usable after QUIT")
				}
			})
		})
	}
	t.Run("TLS", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			sink := &smtptest.Sink{TLS: smtptest.TLSConfig()}
			defer sink.Close()
			c, err := NewClient(t.Context(), sink.Dial(), ClientOptions{Hello: "us.test"})
			mustClient(t, c, err)
			if _, ok := c.TLS(); !ok || !c.QuitToEnd(t.Context()) {
				t.Errorf("TLS %v, and its end was not seen", ok)
			}
		})
	})
}
