package proto

import (
	"bytes"
	"encoding/hex"
	"errors"
	"flag"
	"os"
	"path/filepath"
	"reflect"
	"testing"
	"time"

	pb "google.golang.org/protobuf/proto"
	"pgregory.net/rapid"

	"github.com/tarishi/tarishi/mail"
)

var update = flag.Bool("update", false, "write the golden files anew")

func sample() (*mail.Message, []mail.Delivery) {
	m := &mail.Message{
		ID: "1M803F4PC1Z4V96W481B", Received: time.Date(2026, 11, 21, 22, 0, 0, 123456000, time.UTC),
		Sender: mail.NewAddress(`"a b"@Example.COM`), Body: mail.Body8BitMIME, SMTPUTF8: true, EnvelopeID: "QQ314159",
		Ret: "HDRS", Size: 5120, ClientIP: "192.0.2.7", Helo: "client.example", Protocol: "ESMTPS", Origin: "1M803F4PC1Z4V96W481A",
	}
	return m, []mail.Delivery{{
		Message: m, Index: 3, Destination: "example.net",
		Recipients: []mail.Recipient{
			{Address: mail.NewAddress("u@example.net"), Notify: "FAILURE,DELAY", ORcpt: "rfc822;v@example.org"},
			{Address: mail.NewAddress("Ü@example.net")},
		},
		Attempts: 2, Due: m.Received.Add(5 * time.Minute), Expires: m.Received.Add(120 * time.Hour),
		LastAttempt: m.Received.Add(time.Minute), LastHost: "mx.example.net[192.0.2.1]:25",
		LastReply: mail.R(451, "4.7.1", "greylisted\ncome back"), DelayNoticed: true, Held: true, Generation: 4,
	}}
}

func mailFrame(t *testing.T) []byte {
	m, ds := sample()
	return frameOf(t, m, ds)
}

// tenantFrame is mailFrame with what has been added to Mail since.
func tenantFrame(t *testing.T) []byte {
	m, ds := sample()
	m.Tenant = "acme"
	return frameOf(t, m, ds)
}

// plannedFrame is tenantFrame with what says when it may go, and what goes first.
func plannedFrame(t *testing.T) []byte {
	m, ds := planned()
	return frameOf(t, m, ds)
}

func planned() (*mail.Message, []mail.Delivery) {
	m, ds := sample()
	m.Tenant, m.Class, m.Hours = "acme", mail.Bulk, "Mon-Fri 09:00-18:00 Europe/Berlin"
	m.SendAt, m.HoldRequest = m.Received.Add(36*time.Hour), "for;129600"
	return m, ds
}

// reroutedFrame is plannedFrame with what replies change.
func reroutedFrame(t *testing.T) []byte {
	m, ds := rerouted()
	return frameOf(t, m, ds)
}

func rerouted() (*mail.Message, []mail.Delivery) {
	m, ds := planned()
	ds[0].Route, ds[0].LastClass = "backup", "QuotaIssues"
	ds[0].Recipients[1].NotBefore = m.Received.Add(10 * time.Hour)
	return m, ds
}

// notedFrame is reroutedFrame with what plugins have noted.
func notedFrame(t *testing.T) []byte {
	m, ds := noted()
	return frameOf(t, m, ds)
}

func noted() (*mail.Message, []mail.Delivery) {
	m, ds := rerouted()
	m.Notes = []byte(`{"karma":{"score":-3}}`)
	return m, ds
}

func suppression() *Suppression {
	return &Suppression{
		Address: "u@example.net", Tenant: "acme", Reason: "550 5.1.1 no such user", Class: "InvalidRecipient", Source: "bounce",
		Event: "1M803F4PC1Z4V96W481B.3/2", Author: "mx1", AtUs: 1763762400123456, ExpiresUs: 1779314400123456,
	}
}

func frameOf(t *testing.T, m *mail.Message, ds []mail.Delivery) []byte {
	head := FromMessage(m)
	for i := range ds {
		head.Deliveries = append(head.Deliveries, FromDelivery(&ds[i]))
	}
	head.Body = &BodyRef{Chunks: []uint64{7, 9}, Crc32C: 0xdeadbeef, Deliveries: 2}
	return frame(t, KindMail, head, []byte("Subject: x\r\n\r\nbody\r\n"))
}

func frame(t *testing.T, k Kind, head pb.Message, payload []byte) []byte {
	b, err := AppendFrame(nil, k, head, payload)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// Golden files are what earlier versions stored: they must be read for ever.
func TestGolden(t *testing.T) {
	for _, c := range []struct {
		name  string
		frame []byte
		head  pb.Message
		kind  Kind
	}{
		{"mail.v1", mailFrame(t), &Mail{}, KindMail},
		{"mail-tenant.v1", tenantFrame(t), &Mail{}, KindMail},
		{"mail-planned.v1", plannedFrame(t), &Mail{}, KindMail},
		{"mail-rerouted.v1", reroutedFrame(t), &Mail{}, KindMail},
		{"mail-noted.v1", notedFrame(t), &Mail{}, KindMail},
		{"suppression.v1", frame(t, KindSuppression, suppression(), nil), &Suppression{}, KindSuppression},
		{"body.v1", frame(t, KindBody, &BodyChunk{MessageId: "1M803F4PC1Z4V96W481B", Number: 2, StoredUs: 1763762400123456}, []byte("octets")), &BodyChunk{}, KindBody},
		{"journal.v1", frame(t, KindJournal, &Journal{
			Node: "mx1", From: 42, ReadySeq: 99, Events: []*Event{
				{Kind: Event_DOT, AtUs: 1, MessageId: "M", Delivery: 1, Generation: 2, Attempt: 3, Destination: "d", Host: "h"},
				{Kind: Event_SETTLED, AtUs: 2, MessageId: "M", DurationUs: 1500, WaitSeq: 17, Note: "n", Outcomes: []*Outcome{
					{Recipient: "u@d", Status: 2, Reply: &Reply{Code: 550, Enhanced: "5.1.1", Text: "no"}}}},
			}}, nil), &Journal{}, KindJournal},
	} {
		path := filepath.Join("testdata", c.name+".hex")
		if *update {
			if err := os.WriteFile(path, []byte(hex.EncodeToString(c.frame)+"\n"), 0o644); err != nil {
				t.Fatal(err)
			}
		}
		text, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		golden, err := hex.DecodeString(string(bytes.TrimSpace(text)))
		if err != nil {
			t.Fatal(err)
		}
		payload, err := ReadFrame(golden, c.kind, c.head)
		if err != nil {
			t.Errorf("%s is not read any more: %v", path, err)
			continue
		}
		if again := frame(t, c.kind, c.head, payload); !bytes.Equal(again, golden) {
			t.Errorf("%s is written differently now:\n%x\n%x", path, again, golden)
		}
	}
}

func TestRoundTrip(t *testing.T) {
	m, ds := noted()
	var head Mail
	if _, err := ReadFrame(notedFrame(t), KindMail, &head); err != nil {
		t.Fatal(err)
	}
	got := head.Message()
	if !reflect.DeepEqual(got, m) {
		t.Errorf("message\n%+v\n%+v", got, m)
	}
	d := head.Deliveries[0].Delivery(m)
	if !reflect.DeepEqual(d, ds[0]) {
		t.Errorf("delivery\n%+v\n%+v", d, ds[0])
	}
}

// What a remote says need not be UTF-8; the record must be storable all the same.
func TestForeignOctets(t *testing.T) {
	d := mail.Delivery{Message: &mail.Message{}, LastReply: mail.Reply{Code: 550, Text: "bo\xeete pleine"}}
	m := &mail.Message{Helo: "\xff\xfe"}
	head := FromMessage(m)
	head.Deliveries = []*Delivery{FromDelivery(&d)}
	b := frame(t, KindMail, head, nil)
	if _, err := ReadFrame(b, KindMail, &Mail{}); err != nil {
		t.Error(err)
	}
}

func TestDamage(t *testing.T) {
	b := mailFrame(t)
	for i := range b {
		c := bytes.Clone(b)
		c[i] ^= 1
		if _, err := ReadFrame(c, KindMail, &Mail{}); err == nil {
			t.Errorf("octet %d changed and nobody noticed", i)
		}
		if _, err := ReadFrame(b[:i], KindMail, &Mail{}); !errors.Is(err, ErrDamaged) {
			t.Errorf("cut to %d octets: %v", i, err)
		}
	}
	newer := bytes.Clone(b)
	newer[0] = format + 1
	if _, err := ReadFrame(newer, KindMail, &Mail{}); !errors.Is(err, ErrNewer) {
		t.Errorf("a newer format: %v", err)
	}
	if _, err := ReadFrame(b, KindJournal, &Journal{}); !errors.Is(err, ErrDamaged) {
		t.Errorf("the wrong kind: %v", err)
	}
}

func TestFrameAppends(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		before := rapid.SliceOf(rapid.Byte()).Draw(t, "before")
		payload := rapid.SliceOf(rapid.Byte()).Draw(t, "payload")
		id := rapid.StringMatching(`[A-Z0-9]{0,40}`).Draw(t, "id")
		b, err := AppendFrame(bytes.Clone(before), KindBody, &BodyChunk{MessageId: id}, payload)
		if err != nil {
			t.Fatal(err)
		}
		if !bytes.HasPrefix(b, before) {
			t.Fatal("what stood before has changed")
		}
		var head BodyChunk
		got, err := ReadFrame(b[len(before):], KindBody, &head)
		if err != nil || !bytes.Equal(got, payload) || head.MessageId != id {
			t.Fatalf("%v %q %q", err, got, head.MessageId)
		}
	})
}

func FuzzReadFrame(f *testing.F) {
	b, _ := AppendFrame(nil, KindMail, &Mail{Id: "x"}, []byte("y"))
	f.Add(b)
	f.Fuzz(func(_ *testing.T, b []byte) {
		var head Mail
		if _, err := ReadFrame(b, KindMail, &head); err == nil {
			m := head.Message()
			for _, d := range head.Deliveries {
				_ = d.Delivery(m)
			}
		}
	})
}
