package netlab

import (
	"cmp"
	"encoding/json"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"
)

// What the lab asks of the program beyond SMTP, all of it here.

// Leader is the scheduler's leader, by the core node that has seen the latest term; nil: nobody knows one.
func (c *Cluster) Leader() *Node {
	type answer struct {
		Leader string
		Term   uint64
	}
	answers := make([]answer, len(c.Core))
	var all sync.WaitGroup
	for i, n := range c.Core {
		all.Go(func() {
			if n.Running() && n.getWithin("/v1/nodes", &answers[i], 2*time.Second) != nil {
				answers[i] = answer{}
			}
		})
	}
	all.Wait()
	latest := slices.MaxFunc(answers, func(a, b answer) int { return cmp.Compare(a.Term, b.Term) })
	for _, n := range c.Core {
		if n.Name == latest.Leader {
			return n
		}
	}
	return nil
}

// Depth is how much is queued in all, as one node sees it.
func (n *Node) Depth() (int64, error) {
	var v struct{ Ready, Waiting, Held, Active int64 }
	err := n.Get("/v1/queue", &v)
	return v.Ready + v.Waiting + v.Held + v.Active, err
}

// Doubts are the deliveries that may have been made twice, by all the nodes' accounts together.
func (c *Cluster) Doubts() ([]Doubt, error) {
	type line struct {
		Delivery, Destination, Host string
		Attempt                     int
		At                          time.Time
	}
	seen := map[line]bool{}
	var doubts []Doubt
	for _, n := range c.alive() {
		out, err := n.Command("queue", "doubts", "--json")
		if err != nil && ExitCode(err) != 1 { // 1: there are none
			return nil, err
		}
		var v struct{ Doubts []line }
		if err := json.Unmarshal(out, &v); err != nil {
			return nil, fmt.Errorf("queue doubts --json on %s: %w in %.200q", n.Name, err, out)
		}
		for _, d := range v.Doubts {
			if seen[d] {
				continue // the same one from another node
			}
			seen[d] = true
			message, _, _ := strings.Cut(d.Delivery, ".")
			doubts = append(doubts, Doubt{message, strings.ToLower(d.Destination)})
		}
	}
	return doubts, nil
}

// Metric adds up every series of a metric on one node; false: it has none, or does not answer.
func (n *Node) Metric(name string) (sum float64, ok bool) {
	var text string
	if n.Get("/metrics", &text) != nil {
		return 0, false
	}
	for line := range strings.Lines(text) {
		series, value, _ := strings.Cut(strings.TrimSpace(line), " ")
		base, _, _ := strings.Cut(series, "{")
		if base != name {
			continue
		}
		if v, err := strconv.ParseFloat(value, 64); err == nil {
			sum, ok = sum+v, true
		}
	}
	return sum, ok
}
