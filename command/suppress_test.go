package command

import (
	"bytes"
	"fmt"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/tarishi/tarishi/admin"
	"github.com/tarishi/tarishi/admin/admintest"
	"github.com/tarishi/tarishi/mail"
)

func suppressNode(t *testing.T) (string, *admintest.Suppressions) {
	t.Helper()
	l := &admintest.Suppressions{}
	s := admin.New(admin.Config{Queue: admintest.New(), Suppressions: l, Now: func() time.Time { return admintest.Now }})
	srv := httptest.NewServer(s.Handler())
	t.Cleanup(srv.Close)
	return srv.URL, l
}

// A mailbox of a local domain that is not there today may be there tomorrow: no bounce
// of it is remembered. There is no list here that could.
func TestSuppressions_local(t *testing.T) {
	s := suppressions{local: []string{"Boxes.test"}}
	s.Bounced(&mail.Delivery{}, 1, &mail.Outcome{Recipient: mail.Recipient{Address: mail.NewAddress("no@boxes.TEST")}})
}

func TestSuppressCommands(t *testing.T) {
	dir := t.TempDir()
	file := filepath.Join(dir, "list.txt")
	text := "# from the old system\n\nann@x.test\nbob@x.test, asked for it\n\"a b\"@x.test\tquoted\nno address\n" +
		`{"address":"cy@x.test","tenant":"acme","reason":"550 5.1.1 unknown","source":"bounce","event":"M.0/1","at":"2026-01-02T03:04:05Z"}` + "\n" +
		`{"address":"cy@x.test","tenent":"acme"}` + "\n"
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	url, _ := suppressNode(t)
	var all []string
	for _, run := range [][]string{
		{"ls"},
		{"add", "Gone@Example.test", "--reason", "left in May", "--expires", "90d"},
		{"add", "u@x.test", "nonsense", "--tenant", "acme"},
		{"add", "u@x.test", "--expires", "yesterday"},
		{"add"},
		{"check", "gone@example.test"},
		{"check", "gone@example.test", "--json"},
		{"check", "u@x.test"},
		{"check", "u@x.test", "--tenant", "acme"},
		{"import", file, "--expires", "30d"},
		{"import", filepath.Join(dir, "missing")},
		{"ls"},
		{"ls", "--max", "2"},
		{"ls", "--tenant", "acme", "--json"},
		{"export", "--tenant", "acme"},
		{"rm", "u@x.test"},
		{"rm", "u@x.test", "--tenant", "acme"},
		{"ls", "--max", "0"},
		{"lst"},
	} {
		all = append(all, dialogue(append(append([]string{"suppress"}, run...), "--admin", url)...))
	}
	golden(t, "suppress.txt", strings.NewReplacer(dir, "DIR", author(), "AUTHOR").Replace(strings.Join(all, "\n")))
}

// What export writes, import reads, and a long list comes in several pieces.
func TestSuppressExportImport(t *testing.T) {
	from, l := suppressNode(t)
	var list []admin.Suppression
	for i := range 2500 {
		e := admin.Suppression{Address: fmt.Sprintf("u%d@x.test", i), Source: "bounce", Reason: "550 <no> such user & more", Event: fmt.Sprintf("M%d.0/1", i), Author: "mx1", At: admintest.Now.Add(-time.Hour).UTC()}
		if i%2 == 0 {
			e.Tenant, e.Expires = "acme", admintest.Now.Add(time.Hour).UTC()
		}
		list = append(list, e)
	}
	if err := l.Add(t.Context(), list); err != nil {
		t.Fatal(err)
	}
	var out bytes.Buffer
	if code := command(nil, &out, "suppress", "export", "--admin", from); code != 0 || bytes.Count(out.Bytes(), []byte("\n")) != 2500 {
		t.Fatalf("exit %d, %d lines", code, bytes.Count(out.Bytes(), []byte("\n")))
	}
	file := filepath.Join(t.TempDir(), "list")
	if err := os.WriteFile(file, out.Bytes(), 0o600); err != nil {
		t.Fatal(err)
	}
	to, there := suppressNode(t)
	out.Reset()
	if code := command(nil, &out, "suppress", "import", file, "--admin", to); code != 0 || !strings.Contains(out.String(), "2,500 addresses put on the list") {
		t.Fatalf("exit %d: %s", code, out.String())
	}
	got, _, err := there.Page(t.Context(), admin.SuppressionFilter{}, 0, 3000)
	if err != nil || len(got) != len(list) {
		t.Fatal(len(got), err)
	}
	for i := range got {
		if got[i] != list[i] {
			t.Fatalf("entry %d\n got %+v\nwant %+v", i, got[i], list[i])
		}
	}
}

// What is not UTF-8 would be put on the list with other letters, where it never matches;
// what is no list at all is told with its line.
func TestSuppressImportOfOtherThings(t *testing.T) {
	to, there := suppressNode(t)
	file := filepath.Join(t.TempDir(), "list")
	for content, want := range map[string]string{
		"a@x.test\nm\xfcller@x.test\n":              ":2: the line is not UTF-8; convert the file",
		"a@x.test\n" + strings.Repeat("x", 300_000): "at line 2: the line has more than 65536 octets",
	} {
		if err := os.WriteFile(file, []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
		var out bytes.Buffer
		if code := command(nil, &out, "suppress", "import", file, "--admin", to); code == 0 || !strings.Contains(out.String(), want) {
			t.Errorf("exit %d: %s; want %q", code, out.String(), want)
		}
	}
	got, _, err := there.Page(t.Context(), admin.SuppressionFilter{}, 0, 10)
	if err != nil || len(got) > 1 || len(got) == 1 && got[0].Address != "a@x.test" {
		t.Error(got, err)
	}
}
