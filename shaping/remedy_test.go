package shaping

import (
	"encoding/json"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"
)

func TestParseRemedy(t *testing.T) {
	for _, x := range []struct{ in, want string }{
		{"slow", "slow 0.5 from 60/1m floor 1/1m recover 5%/5m"},
		{"slow 0.25 per source from 1000/1h for 6h", "slow 0.25 per source from 1000/1h floor 1/1m for 6h"},
		{"slow recover 10%/10m for 1d per source,tenant", "slow 0.5 per source,tenant from 60/1m floor 1/1m recover 10%/10m for 1d"},
		{"slow from 1/1h", "slow 0.5 from 1/1h floor 1/1h recover 5%/5m"},
		{"suspend per source for 2h", "suspend per source for 2h"},
		{"hold for 1h", "hold for 1h"},
		{"hold per source for 1h", "hold per source,tenant for 1h"},
		{"connections for 90m", "connections 0.5 for 1h30m"},
		{"  connections 0.1   per source for 1h ", "connections 0.1 per source for 1h"},
		{"reconnect", "reconnect"},
		{"delay for 30m", "delay for 30m"},
		{"reroute via backup", "reroute via backup"},
	} {
		r, err := ParseRemedy(x.in)
		if err != nil || r.String() != x.want {
			t.Errorf("%q: %q, %v; want %q", x.in, r, err, x.want)
		}
		if again, err := ParseRemedy(r.String()); err != nil || again != r {
			t.Errorf("%q is read back as %q, %v", r, again, err)
		}
	}
}

func TestParseRemedyRefuses(t *testing.T) {
	for _, x := range []struct{ in, want string }{
		{"", "no action is given; write one of slow, suspend"},
		{"halve", `"halve" is no action; write one of slow`},
		{"slow 2", "factor: 2 does not lower"},
		{"slow 0", "factor: 0 leaves nothing"},
		{"connections 0", "factor: 0 leaves nothing"},
		{"slow 0.0001", "factor: 0.0001 does not lower"},
		{"slow -1", "factor: -1 does not lower"},
		{"slow NaN", "factor: NaN does not lower"},
		{"slow 0.5 for", `nothing follows "for"; write it as in "slow 0.5`},
		{"slow for 1h for 2h", `"for" is said twice`},
		{"slow gently 1h", `"gently" is nothing that slow takes`},
		{"slow from 1/1h floor 1/1m", "floor: 1/1m is more than 1/1h"},
		{"slow floor 0/1h", "floor: 0/1h lets nothing through"},
		{"slow recover 5/1m", `recover: "5/1m" is no recovery`},
		{"slow recover 5%/1s", "recover: a step every 1s; at least every 10s"},
		{"slow recover 101%/1m", "recover: 101%/1m is no step"},
		{"suspend", "for: how long is not said"},
		{"suspend for 60d", "for: 60d is not between 1s and 30d"},
		{"suspend 0.5 for 1h", `"0.5" is nothing that suspend takes`},
		{"suspend for 1h recover 5%/1m", "suspend takes no factor"},
		{"suspend per moon for 1h", `per: "moon" is nothing to count by`},
		{"connections per tenant for 1h", "per: tenants share connections"},
		{"delay per source for 1h", "per: delay is about the attempt alone"},
		{"reconnect for 1h", "for: reconnect is over at once"},
		{"reroute", "via: a route goes with reroute"},
		{"delay for 1h via x", "via: a route goes with reroute"},
	} {
		_, err := ParseRemedy(x.in)
		if err == nil || !strings.Contains(err.Error(), x.want) {
			t.Errorf("%q: %v; want %q", x.in, err, x.want)
		}
	}
}

// Whatever is taken reads back as the same, in JSON, too: the log keeps it so.
func TestRemedyRoundTrip(t *testing.T) {
	word := rapid.SampledFrom(strings.Fields("slow suspend hold connections reconnect delay reroute 0.5 0.333 per source tenant source,tenant from 60/1m 7/3s floor 1/1m recover 7%/10m 0.3%/1h for 1h 30s via backup"))
	rapid.Check(t, func(t *rapid.T) {
		r, err := ParseRemedy(strings.Join(rapid.SliceOfN(word, 1, 9).Draw(t, "words"), " "))
		if err != nil {
			return
		}
		b, err := json.Marshal(r)
		if err != nil {
			t.Fatal(err)
		}
		var again Remedy
		if err := json.Unmarshal(b, &again); err != nil || again != r {
			t.Fatalf("%s is read back as %v, %v", b, again, err)
		}
	})
}

func TestThreshold(t *testing.T) {
	for _, x := range []struct {
		in   string
		want Threshold
		bad  string
	}{
		{in: "3 in 10m", want: Threshold{3, 10 * time.Minute}},
		{in: "1 in 1s", want: Threshold{1, time.Second}},
		{in: "3", bad: "is no threshold"},
		{in: "x in 10m", bad: "is no number of replies"},
		{in: "0 in 10m", bad: "0 replies; write 1 to 1000"},
		{in: "3 in 10ms", bad: "write 1s to 7d"},
	} {
		th, err := ParseThreshold(x.in)
		if x.bad != "" {
			if err == nil || !strings.Contains(err.Error(), x.bad) {
				t.Errorf("%q: %v; want %q", x.in, err, x.bad)
			}
			continue
		}
		if err != nil || th != x.want || th.String() != x.in {
			t.Errorf("%q: %v, %v", x.in, th, err)
		}
	}
}
