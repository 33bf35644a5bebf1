package plugin

import (
	"io"
	"strings"
	"testing"
)

type memoryMessage struct {
	h    *Header
	body string
}

func (m *memoryMessage) Header() *Header          { return m.h }
func (m *memoryMessage) Size() int64              { return int64(len(m.h.Bytes()) + 2 + len(m.body)) }
func (m *memoryMessage) Body() (io.Reader, error) { return strings.NewReader(m.body), nil }

func TestWhatIsAmendedBeforeTheMessageIsDoneWhenItIsIn(t *testing.T) {
	tx := &Transaction{}
	if tx.Amended() {
		t.Error("nothing was amended")
	}
	for _, err := range []error{tx.AddField("X-Envelope-To", "a@b.test"), tx.RemoveField("subject"), tx.AddLeadingField("X-First", "1")} {
		if err != nil {
			t.Fatal(err)
		}
	}
	if tx.AddField("X-Bad", "a\nInjected: b") == nil {
		t.Error("a value ended its field")
	}
	if !tx.Amended() {
		t.Error("it was amended")
	}
	tx.SetMessage(&memoryMessage{h: ParseHeader([]byte("Subject: hi\r\nTo: b\r\n"))})
	if err := tx.AddField("X-Late", "2"); err != nil {
		t.Fatal(err)
	}
	if got, want := string(tx.Message().Header().Bytes()), "X-First: 1\r\nTo: b\r\nX-Envelope-To: a@b.test\r\nX-Late: 2\r\n"; got != want {
		t.Errorf("the header is %q, want %q", got, want)
	}
	if tx.Amended() {
		t.Error("still to be amended")
	}
}
