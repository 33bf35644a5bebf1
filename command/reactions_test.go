package command

import (
	"context"
	"strings"
	"testing"
	"time"

	"github.com/tarishi/tarishi/admin"
	"github.com/tarishi/tarishi/admin/admintest"
	"github.com/tarishi/tarishi/shaping"
)

// What a reply has asked for one recipient or one delivery is shown with it.
func TestShowWhatRepliesAskFor(t *testing.T) {
	var b strings.Builder
	printMessage(&b, admin.Messages{Now: admintest.Now, Messages: []admin.Delivery{{ID: "M.0", Message: "M", Destination: "example.net", State: "waiting", Route: "backup",
		Recipients: []admin.Recipient{{Address: "a@example.net"}, {Address: "b@example.net", NotBefore: admintest.Now.Add(2 * time.Hour)}}}}})
	for _, want := range []string{"Route        backup\n", "To           <a@example.net>\n", "<b@example.net>, not before 2026-11-22 00:00:00Z (in 2h)\n"} {
		if !strings.Contains(b.String(), want) {
			t.Errorf("no %q in\n%s", want, b.String())
		}
	}
}

func TestReactionsCommands(t *testing.T) {
	url, l, _ := clusterNode(t)
	slow, err := shaping.ParseRemedy("slow 0.5 per source recover 5%/5m for 6h")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := l.Change(context.Background(), shaping.Change{Op: shaping.OpReact, Author: "tarishi", At: admintest.Now.Add(-2 * time.Minute), Triggers: []shaping.Trigger{
		{Rule: "gmail/rate", Cause: "mx1.google.example: 421 4.7.28 unusual rate of unsolicited mail", To: shaping.Destination{Key: "name:google"}, Source: "192.0.2.1", Remedy: slow}}}); err != nil {
		t.Fatal(err)
	}
	var all []string
	for _, args := range [][]string{
		{"reactions", "ls"}, {"reactions", "show", "r1"}, {"reactions", "show", "1", "--json"},
		{"reactions", "add", "other.example", "suspend", "for", "2h", "--mx", "mx1.other.example,mx2.other.example", "--reason", "they asked for it"},
		{"reactions", "add", "google", "hold for 1h", "--tenant", "acme", "--json"},
		{"reactions", "ls"}, {"reactions", "ls", "--to", "goo", "--json"},
		{"limits", "explain", "google", "--source", "192.0.2.1", "--tenant", "acme"},
		{"limits", "ls", "--max", "1"}, {"limits", "history", "--max", "3"},
		{"reactions", "undo", "r1", "--reason", "lifted"}, {"reactions", "undo", "--to", "other"}, {"reactions", "undo", "--all"}, {"reactions", "undo", "--all"}, {"reactions", "ls"},
		// What is not understood:
		{"reactions", "show", "r9"}, {"reactions", "show", "seven"}, {"reactions", "undo"}, {"reactions", "undo", "r1", "--all"}, {"reactions", "undo", "r1"},
		{"reactions", "add", "google"}, {"reactions", "add", "google", "halve"}, {"reactions", "add", "google", "reconnect"}, {"reactions", "add", "gogle", "suspend for 1h"},
		{"reactions", "add", "google", "suspend per source for 1h"}, {"reactions", "add", "google", "suspend for 1h", "--tenant", "acme"}, {"reactions", "list", "all"}, {"reactions", "lst"},
	} {
		all = append(all, dialogue(append(args, "--admin", url)...))
	}
	golden(t, "reactions.txt", strings.NewReplacer(author(), "AUTHOR").Replace(strings.Join(all, "\n")))
}
