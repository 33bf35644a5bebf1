package conformance

import (
	"fmt"
	"os"
	"strings"
	"testing"
)

const root = "../.."

func find(t *testing.T) []Test {
	t.Helper()
	tests, err := Find(root)
	if err != nil {
		t.Fatal(err)
	}
	return tests
}

func TestEveryRuleHasATestOrAReason(t *testing.T) {
	tests := find(t)
	known := map[string]bool{}
	for i, s := range Sections() {
		for j, r := range s.Rules {
			if want := fmt.Sprintf("%c%d", 'A'+i, j+1); r.ID != want {
				t.Errorf("%s stands where %s should", r.ID, want)
			}
			known[r.ID] = true
			if len(Of(tests, r.ID)) == 0 && r.Not == "" {
				t.Errorf("%s has neither a test nor a reason why not: %s", r.ID, r.What)
			}
		}
	}
	for _, x := range tests {
		for _, id := range x.IDs {
			if id[0] <= 'H' && !known[id] {
				t.Errorf("%s of %s/%s proves %s, which is no rule", x.Name, x.Dir, x.File, id)
			}
		}
	}
}

func TestPageIsCurrent(t *testing.T) {
	page, err := os.ReadFile(root + "/docs/conformance.md")
	if err != nil {
		t.Fatal(err)
	}
	want := Page(find(t), func(Test) Result { return "pass" })
	if string(page) == want {
		return
	}
	have := strings.Split(string(page), "\n")
	for i, line := range strings.Split(want, "\n") {
		if i >= len(have) || have[i] != line {
			t.Fatalf("docs/conformance.md is out of date: run make conformance. Line %d should be\n%s", i+1, line)
		}
	}
	t.Fatal("docs/conformance.md is out of date: run make conformance")
}

func TestIDs(t *testing.T) {
	for name, want := range map[string]string{
		"TestB1_smuggling": "B1", "TestD1_M1_later": "D1 M1", "TestA10_bareLF": "A10", "TestB1": "B1",
		"TestBody": "", "TestA0_x": "", "TestA100_x": "", "TestN1_x": "", "BenchmarkA1_x": "", "FuzzA1": "", "TestStory_B1": "",
	} {
		if got := strings.Join(idsOf(name), " "); got != want {
			t.Errorf("%s: %q, want %q", name, got, want)
		}
	}
	if got := (Test{IDs: []string{"D1", "M1"}, Name: "TestD1_M1_no_room"}).Short(); got != "no_room" {
		t.Error(got)
	}
	if got := tagOf([]byte("// remark\n\n//go:build soak\n\npackage x\n")); got != "soak" {
		t.Error(got)
	}
	if got := tagOf([]byte("package x\n//go:build soak\n")); got != "" {
		t.Error(got)
	}
}

func TestStates(t *testing.T) {
	proof := []Test{{IDs: []string{"A1"}, Name: "TestA1_x"}}
	tagged := []Test{{IDs: []string{"A1"}, Name: "TestA1_x", Tag: "soak"}}
	for _, x := range []struct {
		not    string
		tests  []Test
		result Result
		want   string
	}{
		{"", proof, "pass", "holds"},
		{"", proof, "fail", "**FAILS**"},
		{"", proof, "skip", "**FAILS**"},
		{"", proof, "", "**FAILS**"},
		{"why", proof, "pass", "holds in part"},
		{"why", proof, "fail", "**FAILS**"},
		{"why", nil, "", "does not hold"},
		{"", nil, "", "**NOT PROVED**"},
		{"", tagged, "", "**NOT PROVED**"},
	} {
		if got := state(Rule{ID: "A1", Not: x.not}, x.tests, func(Test) Result { return x.result }); got != x.want {
			t.Errorf("%+v: %s", x, got)
		}
	}
}
