package command

import (
	"strings"
	"testing"

	"github.com/tarishi/tarishi/daemon"
	"github.com/tarishi/tarishi/scheduler"
)

// A node that only delivers is ready when it has a session; one that also takes mail
// in does so without.
func TestReadyWithoutSession(t *testing.T) {
	client := scheduler.NewClient(scheduler.ClientOptions{Params: schedulerParams(), Clock: scheduler.BootTime})
	for _, x := range []struct {
		roles  []string
		client *scheduler.Client
		want   string
	}{
		{[]string{"deliverer"}, client, "no live session"},
		{[]string{"deliverer", "ingress"}, client, ""},
		{[]string{"ingress"}, nil, ""},
	} {
		c := &daemon.Config{Roles: x.roles}
		err := schedulerReady(&council{c: c}, &session{conf: c, client: x.client})
		if (err == nil) != (x.want == "") || err != nil && !strings.Contains(err.Error(), x.want) {
			t.Errorf("%v: %v", x.roles, err)
		}
	}
}
