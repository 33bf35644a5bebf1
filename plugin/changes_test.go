package plugin

import (
	"maps"
	"slices"
	"testing"

	"pgregory.net/rapid"
)

// A copy of notes that is told the changes now and then is the same as the notes.
func TestChangesKeepACopyUp(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		var n Notes
		mirror, seen := map[string]any{}, uint64(0)
		for range rapid.IntRange(1, 30).Draw(t, "steps") {
			key := rapid.SampledFrom([]string{"a", "b", "c"}).Draw(t, "key")
			switch rapid.IntRange(0, 4).Draw(t, "step") {
			case 0:
				n.Set(key, nil)
			case 1:
				if err := n.Unpack([]byte(`{"` + key + `":true}`)); err != nil {
					t.Fatal(err)
				}
			case 2:
				var changed map[string]any
				changed, seen = n.Changes(seen)
				for k, v := range changed {
					if mirror[k] = v; v == nil {
						delete(mirror, k)
					}
				}
				all := n.All()
				if !maps.Equal(mirror, all) || len(all) != n.Len() || seen != n.Version() {
					t.Fatalf("the copy is %v, the notes %v (%d)", mirror, all, n.Len())
				}
			default:
				n.Set(key, rapid.IntRange(0, 3).Draw(t, "value"))
			}
		}
	})
}

func TestResultsTellWhoseChanged(t *testing.T) {
	var r Results
	r.Add("spf", Pass, "mfrom")
	r.Set("karma", "score", 3.0)
	changed, seen := r.Changes(0)
	if !slices.Equal(changed, []string{"karma", "spf"}) {
		t.Errorf("changed: %v", changed)
	}
	r.Increase("karma", "score", 1)
	if changed, _ = r.Changes(seen); !slices.Equal(changed, []string{"karma"}) {
		t.Errorf("changed since: %v", changed)
	}
	if _, ok := r.Get("nobody"); ok {
		t.Error("nobody has results")
	}
}
