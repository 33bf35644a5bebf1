package admin

import (
	"strings"
	"testing"
	"time"
)

// A filter that can match nothing is refused, not obeyed: who takes mail out of the
// queue by it would believe that there was none.
func TestFilterThatMatchesNothing(t *testing.T) {
	one, five := 1, 5
	for _, tt := range []struct {
		sel  Selection
		want string
	}{
		{Selection{Bounce: "BadMailbox"}, `"BadMailbox" is no bounce class; they are InvalidRecipient, `},
		{Selection{Destination: "*.test"}, `"*.test" is no destination`},
		{Selection{MinAttempts: &five, MaxAttempts: &one}, "nothing has had at least 5 attempts and at most 1"},
		{Selection{Sender: "a@b@c"}, `"a@b@c" is no sender`},
	} {
		if _, err := tt.sel.Filter(time.Now()); err == nil || !strings.Contains(err.Error(), tt.want) {
			t.Errorf("%+v: %v, want %q", tt.sel, err, tt.want)
		}
	}
	f, err := (&Selection{Bounce: "quotaissues", Sender: `"a@b"@c.test`}).Filter(time.Now())
	if err != nil || f.Bounce != "QuotaIssues" || f.Sender != `"a@b"@c.test` {
		t.Errorf("%+v, %v", f, err)
	}
}
