package command

import (
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/tarishi/tarishi/admin"
)

// nodesCommand is `tarishi nodes`: who is there, who leads, and is the queue whole?
func nodesCommand() *cobra.Command {
	n := &node{}
	c := &cobra.Command{
		Use:   "nodes",
		Short: "Show the cluster's nodes, who leads, their sessions and the queue's copies (exit 1: something is wrong)",
		Args:  noArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			client, err := n.client()
			if err != nil {
				return err
			}
			v, err := client.Nodes(c.Context())
			if err != nil {
				return err
			}
			if n.asJSON {
				err = printJSON(c.OutOrStdout(), v)
			} else {
				width, _ := ttySize(c.OutOrStdout())
				printNodes(c.OutOrStdout(), v, width)
			}
			if err == nil && len(v.Reasons) > 0 {
				return partly("the cluster is not whole")
			}
			return err
		},
	}
	n.flags(c)
	return operator(c)
}

// printNodes prints the nodes, the streams, and what is wrong.
func printNodes(w io.Writer, v admin.NodesView, width int) {
	t := table{head: []string{"NODE", "ADDRESS", "ROLES", "STATE", ">RAFT TERM", "CONTACT", "LEASE", ">LIMITS", ">PARTS", ">SLOTS", ">CONNECTIONS", "RELEASE"}}
	for _, x := range v.Nodes {
		state, term, contact := raftState(v.Now, x)
		s := sessionsOf(v.Now, x.Sessions)
		conns := ""
		if x.Connections != nil {
			conns = count(*x.Connections)
		}
		name := x.Node
		if x.Here {
			name += " *"
		}
		t.add(name, x.Addr, strings.Join(x.Roles, ", "), state, term, contact, s.lease, s.version, s.parts, s.slots, conns, x.Release)
	}
	t.write(w, width)
	if len(v.Streams) > 0 {
		fmt.Fprintln(w)
		t := table{head: []string{"STREAM", "LEADER", ">RECORDS", ">SIZE", "COPIES"}}
		for _, x := range v.Streams {
			t.add(x.Stream, x.Leader, count(x.Messages), size(x.Bytes), copies(v.Now, x))
		}
		t.write(w, width)
	}
	fmt.Fprintln(w)
	fmt.Fprintln(w, leadership(v))
	for _, r := range v.Reasons {
		fmt.Fprintf(w, "WRONG  %s\n", clean(r))
	}
}

// leadership is the line that says who leads.
func leadership(v admin.NodesView) string {
	switch {
	case v.Cluster == "":
		return "One node on its own."
	case v.Leader == "":
		return fmt.Sprintf("Cluster %s has no leader.", clean(v.Cluster))
	}
	return fmt.Sprintf("Cluster %s, led by %s (raft term %d).", clean(v.Cluster), clean(v.Leader), v.Term)
}

// raftState is a node's part in keeping the limits, in words.
func raftState(now time.Time, x admin.NodeLine) (state, term, contact string) {
	r := x.Raft
	switch {
	case x.Error != "":
		state = "unreachable"
	case r == nil:
		return "", "", ""
	case !r.Voter && r.State != "":
		state = r.State + ", no vote"
	default:
		state = r.State
	}
	if r == nil {
		return state, "", ""
	}
	if r.Term > 0 {
		term = fmt.Sprint(r.Term)
	}
	return state, term, ago(now, r.Contact)
}

// sessionCells is a node's sessions in the cells of its row.
type sessionCells struct{ lease, version, parts, slots string }

func sessionsOf(now time.Time, ss []admin.SessionLine) sessionCells {
	if len(ss) == 0 {
		return sessionCells{}
	}
	var c sessionCells
	parts, slots := 0, 0
	for i, s := range ss {
		if i == 0 {
			c.lease, c.version = lease(now, s), fmt.Sprint(s.Version)
		} else {
			c.lease, c.version = c.lease+", "+lease(now, s), c.version+", "+fmt.Sprint(s.Version)
		}
		parts, slots = parts+s.Partitions, slots+s.Slots
	}
	c.parts, c.slots = count(parts), count(slots)
	return c
}

// lease is how long a session may go on without a word from the leader.
func lease(now time.Time, s admin.SessionLine) string {
	left := s.Lease.Sub(now)
	text := "lapsed"
	if left > 0 {
		text = spell(left)
	}
	if s.Draining {
		text += ", leaving"
	}
	return text
}

// copies says which nodes have all of a stream besides its leader, and which lag.
func copies(now time.Time, x admin.StreamLine) string {
	if x.Error != "" {
		return x.Error
	}
	var items []string
	for _, r := range x.Replicas {
		s := r.Node
		switch {
		case r.Current:
		case r.Lag > 0:
			s += " lags by " + count(r.Lag)
		default:
			s += " lags"
		}
		if !r.Current && !r.Seen.IsZero() {
			s += " (seen " + ago(now, r.Seen) + ")"
		}
		items = append(items, s)
	}
	return strings.Join(items, ", ")
}
