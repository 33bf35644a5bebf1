package admin_test

import (
	"encoding/json"
	"strings"
	"testing"

	"github.com/tarishi/tarishi/admin"
)

func TestReactions(t *testing.T) {
	s, l, _ := limited(t)
	if w := ask(s, "GET", "/v1/reactions", ""); w.Code != 200 || !strings.Contains(w.Body.String(), `"reactions":[]`) {
		t.Errorf("none: HTTP %d %s", w.Code, w.Body)
	}
	w := ask(s, "POST", "/v1/reactions/add", `{"to":"workspace.example","remedy":"slow per source","source":"192.0.2.1","author":"ann","reason":"they asked"}`)
	if w.Code != 200 || !strings.Contains(w.Body.String(), `"final":true`) {
		t.Fatalf("HTTP %d %s", w.Code, w.Body)
	}
	b, _ := l.Book(t.Context())
	r := b.Reactions[0]
	// Its hosts are looked up: it counts with whom its mail counts.
	if r.To.Key != "name:google" || r.Source != "192.0.2.1" || r.Author != "ann" || r.Cause != "they asked" {
		t.Errorf("%+v", r)
	}
	var list admin.ReactionsList
	if err := json.Unmarshal(ask(s, "GET", "/v1/reactions", "").Body.Bytes(), &list); err != nil || len(list.Reactions) != 1 || list.Reactions[0].Whom != r.Whom() || list.Version != b.Version {
		t.Errorf("%+v, %v", list, err)
	}
	if w := ask(s, "GET", "/v1/limits", ""); !strings.Contains(w.Body.String(), `"reactions":1`) {
		t.Errorf("the listing of limits does not count them: %s", w.Body)
	}
	if w := ask(s, "POST", "/v1/reactions/undo", `{"ids":[1],"author":"bob"}`); w.Code != 200 {
		t.Errorf("HTTP %d %s", w.Code, w.Body)
	}
	if b, _ = l.Book(t.Context()); len(b.Reactions) != 0 || b.History[len(b.History)-1].Author != "bob" {
		t.Errorf("%+v", b.History[len(b.History)-1])
	}
}

func TestReactionRefusals(t *testing.T) {
	for _, c := range []struct{ path, body, says string }{
		{"add", `{"to":"google"}`, `add needs "to" and "remedy"`},
		{"add", `{"to":"google","remedy":"suspend for 1h","ids":[1]}`, `add takes no "ids"`},
		{"add", `{"to":"google","remedy":"suspend"}`, "how long is not said"},
		{"add", `{"to":"google","remedy":"delay for 1h"}`, "delay is about one attempt"},
		{"add", `{"to":"gogle","remedy":"suspend for 1h"}`, `did you mean \"google\"?`},
		{"add", `{"too":"google","remedy":"suspend for 1h"}`, "not understood"},
		{"add", `{"to":"google","remedy":"suspend for 1h","author":"a\nb"}`, "one line"},
		{"undo", `{"ids":[]}`, `undo needs "ids"`},
		{"undo", `{"ids":[1],"to":"google"}`, `undo needs "ids"`},
		{"undo", `{"ids":[1]}`, "there is no reaction r1"},
	} {
		s, l, _ := limited(t)
		before, _ := l.Book(t.Context())
		if w := ask(s, "POST", "/v1/reactions/"+c.path, c.body); w.Code != 400 || !strings.Contains(w.Body.String(), strings.ReplaceAll(c.says, `"`, `\"`)) && !strings.Contains(w.Body.String(), c.says) {
			t.Errorf("%s %s: HTTP %d %s; want %q", c.path, c.body, w.Code, w.Body, c.says)
		}
		if after, _ := l.Book(t.Context()); after != before {
			t.Errorf("%s %s was refused and changed something", c.path, c.body)
		}
	}
}
