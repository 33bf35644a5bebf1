package nearest

import "testing"

func TestTo(t *testing.T) {
	for _, x := range []struct{ in, want string }{{"limts", "limits"}, {"lmiits", "limits"}, {"LIMITS", "limits"}, {"routs", "routes"}, {"zzzzzz", ""}, {"a", ""}} {
		if got := To(x.in, []string{"limits", "routes", "data"}); got != x.want {
			t.Errorf("%s: %q", x.in, got)
		}
	}
}

func TestDistance(t *testing.T) {
	for _, x := range []struct {
		a, b string
		want int
	}{{"", "", 0}, {"a", "", 1}, {"smtp", "smpt", 1}, {"listen", "listn", 1}, {"abc", "xyz", 3}, {"data", "date", 1}} {
		if got := distance(x.a, x.b); got != x.want {
			t.Errorf("%s, %s: %d, want %d", x.a, x.b, got, x.want)
		}
	}
}
