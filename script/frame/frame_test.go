package frame

import (
	"bytes"
	"errors"
	"io"
	"reflect"
	"strings"
	"testing"
)

// everything is one frame of each type, with all that it can have.
func everything() []Frame {
	notes := []Pair{{"a", "text"}, {"b", 1.5}, {"c", true}, {"d", false}, {"e", nil}, {"f", JSON(`{"x":[1]}`)}}
	return []Frame{
		&Load{Folder: "/p", Level: 6, Turn: 500, Memory: 1 << 27, Me: "mx", Servers: []string{"192.0.2.53"}, Append: []string{"config/list"}, Scripts: []Script{{"a", "/p/a.js"}}},
		&Call{
			Seq: 7, Hook: "rcpt", Functions: []uint64{3},
			Connection: Connection{
				ID: 9, Changed: 1<<12 - 1, Name: "C", RemoteIP: "192.0.2.1", LocalIP: "192.0.2.2", ProxyIP: "192.0.2.3", RemotePort: 1, LocalPort: 25,
				StartedMilliseconds: 5, Host: "h", HelloName: "n", HelloVerb: "EHLO", TLS: true, TLSVersion: "v", TLSCipher: "c", TLSServer: "s",
				TLSPeer: "p", User: "u", Secret: true, Relaying: true, Early: true, Messages: 2, Capabilities: []string{"X"}, Notes: notes,
				Results: []string{"spf"},
			},
			Transaction: Transaction{
				No: 2, Changed: 1<<12 - 1, Name: "T", From: "a@b", Recipients: []string{"c@d", "e@f"}, Size: 10, Header: 3, Notes: notes,
				HeaderOctets: []byte("A: b\r\n"), BodyOctets: []byte("x"), HasHeader: true, HasBody: true, Results: []string{"spf"},
			},
			Args: Args{
				Name: "n", Verb: "V", Address: "a@b", Params: []Param{{"SIZE", "1"}}, Text: "t", At: "mail", Code: 2, Plugin: "p", Function: "f",
				DenyArgs: true, Lines: []string{"one", "two"}, Expected: 60000, Host: "mx", Outcomes: []Outcome{{"a@b", "250 ok"}},
			},
			Delivery: &Delivery{"01.0", "01", "b.test", "a@b", []string{"c@d"}, 3, 4, notes},
		},
		&Cancel{1}, &Forget{2}, &Ping{}, &Pong{},
		&Piece{Seq: 1, Octets: []byte("octets"), Last: true, Fault: "none"},
		&Loaded{Script: "a", Fault: "f", Functions: []Function{{"a", "mail", "hook_mail", -100}}, Files: []string{"/p/b.js"}},
		&Answer{
			Seq: 7, Code: 2, ReplyCode: 550, Enhanced: "5.7.1", Text: "no", Number: 1.5, Value: "v", Took: 1500,
			Changes: Changes{
				Connection:  Edits{Changed: ChangedHost | ChangedFlags | ChangedCapabilities | ChangedNotes | ChangedResults, Host: "h", Relaying: true, Early: true, Capabilities: []string{"X"}, Notes: notes, Results: []ResultEdit{{"p", ResultSet, "k", 1.0}}},
				Transaction: Edits{Changed: ChangedFrom | ChangedRecipients | ChangedMessage, From: "a@b", Recipients: []string{"c@d"}, Discard: true},
				Header:      []HeaderEdit{{HeaderLead, "A", "b"}}, Skip: []string{"q"},
			},
		},
		&Answer{Seq: 8, Fault: "it threw", Took: 3},
		&Ask{Seq: 1, What: AskBody, Offset: 65536, Name: "spf"},
		&Line{Level: 6, Plugin: "p", ID: "C", Text: "t"},
		&Dying{Seq: 4, Why: "memory"},
	}
}

func TestFramesComeOutAsTheyWentIn(t *testing.T) {
	var pipe bytes.Buffer
	w := NewWriter(&pipe)
	all := everything()
	for i, f := range all {
		send := w.Send
		if i%2 == 0 {
			send = w.Add
		}
		if err := send(f); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Flush(); err != nil {
		t.Fatal(err)
	}
	r := NewReader(&pipe)
	for _, want := range all {
		got, err := r.Next()
		if err != nil {
			t.Fatalf("%T: %v", want, err)
		}
		if !reflect.DeepEqual(got, want) {
			t.Errorf("%T: got %+v, want %+v", want, got, want)
		}
	}
	if _, err := r.Next(); err != io.EOF {
		t.Errorf("behind the last frame: %v", err)
	}
}

func TestALengthAloneTakesNoMemory(t *testing.T) {
	head := []byte{0, 0xff, 0xff, 0xff, byte(TypeCall)} // nearly 16 MiB, and then nothing
	n := testing.AllocsPerRun(1, func() {
		if _, err := NewReader(bytes.NewReader(head)).Next(); !errors.Is(err, io.ErrUnexpectedEOF) {
			t.Errorf("a frame that is cut off: %v", err)
		}
	})
	if n > 20 {
		t.Errorf("%v allocations", n)
	}
	for _, bad := range []string{"\x00\x00\x00\x00", "\xff\xff\xff\xff\x01", "\x00\x00\x00\x01\x63", "\x00\x00\x00\x02\x03\x80"} {
		if f, err := NewReader(strings.NewReader(bad)).Next(); err == nil {
			t.Errorf("%q is read as %+v", bad, f)
		}
	}
	w := NewWriter(io.Discard)
	if w.Add(&Piece{Octets: make([]byte, Max+1)}) == nil {
		t.Error("a frame beyond the bound is sent")
	}
	if err := w.Send(&Cancel{1}); err != nil {
		t.Errorf("and the next one is not: %v", err)
	}
}

// Whatever octets come, they are a frame or an error; and a frame that was read says
// the same when it is sent on.
func FuzzFrame(f *testing.F) {
	for _, x := range everything() {
		var b Buffer
		x.put(&b)
		f.Add(byte(x.kind()), b.B)
	}
	f.Fuzz(func(t *testing.T, kind byte, octets []byte) {
		x, err := Decode(Type(kind), octets)
		if err != nil {
			return
		}
		var b Buffer
		x.put(&b)
		y, err := Decode(Type(kind), b.B)
		if err != nil {
			t.Fatalf("%+v does not survive being sent: %v", x, err)
		}
		var again Buffer
		y.put(&again)
		if !bytes.Equal(b.B, again.B) {
			t.Fatalf("%+v became %+v", x, y)
		}
	})
}
