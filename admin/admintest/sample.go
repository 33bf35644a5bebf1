package admintest

import (
	"fmt"
	"time"

	"github.com/tarishi/tarishi/admin"
	"github.com/tarishi/tarishi/mail"
)

// Now is the instant that Sample's queue is looked at.
var Now = time.Date(2026, 11, 21, 22, 0, 0, 0, time.UTC)

// SampleID names Sample's messages: 0 is the oldest.
func SampleID(n int) string { return fmt.Sprintf("01K9ABCDEFGH%08d", n) }

// Sample is a small queue with something of everything: a message for three
// destinations, one deferred, one held, one being sent, a bounce, one whose
// strings are hostile.
func Sample() *Queue {
	ago := func(d time.Duration) time.Time { return Now.Add(-d) }
	in := func(d time.Duration) time.Time { return Now.Add(d) }
	to := func(as ...string) []mail.Recipient {
		var rs []mail.Recipient
		for _, a := range as {
			rs = append(rs, mail.Recipient{Address: mail.NewAddress(a)})
		}
		return rs
	}
	alice := &mail.Message{
		ID: SampleID(0), Received: ago(3 * time.Hour), Sender: mail.NewAddress("Alice@example.net"), Size: 5322,
		ClientIP: "192.0.2.7", Helo: "mail.example.net", Protocol: "ESMTPS", Body: mail.Body8BitMIME,
		EnvelopeID: "QQ314159", Ret: "HDRS",
	}
	carol := &mail.Message{ID: SampleID(1), Received: ago(40 * time.Second), Sender: mail.NewAddress("carol@example.net"), Size: 812, ClientIP: "192.0.2.8", Helo: "pc", Protocol: "SMTP"}
	notice := &mail.Message{ID: SampleID(2), Received: ago(26 * time.Hour), Size: 3 << 20, Origin: SampleID(9)}
	hostile := &mail.Message{ID: SampleID(3), Received: ago(5 * 24 * time.Hour), Sender: mail.NewAddress("eve@evil.example"), Size: 100, ClientIP: "203.0.113.66", Helo: "\x1b]0;owned\x07", Protocol: "ESMTP"}

	bobs := to("bob@gmail.example", `"bob two"@gmail.example`)
	bobs[0].Notify, bobs[0].ORcpt = "FAILURE,DELAY", "rfc822;bob@gmail.example"
	q := New(
		admin.Entry{State: "waiting", Delivery: mail.Delivery{
			Message: alice, Index: 0, Destination: "gmail.example", Recipients: bobs,
			Attempts: 3, Due: in(14 * time.Minute), Expires: in(117 * time.Hour), LastAttempt: ago(time.Minute),
			LastHost: "mx1.gmail.example[198.51.100.4]:25", LastReply: mail.R(421, "4.7.28", "Our system has detected an unusual rate of mail\nTry again later"),
		}},
		admin.Entry{State: "held", Delivery: mail.Delivery{
			Message: alice, Index: 1, Destination: "example.org", Recipients: to("dave@example.org"), Held: true, Expires: in(117 * time.Hour),
		}},
		admin.Entry{State: "active", Delivery: mail.Delivery{
			Message: alice, Index: 2, Destination: "example.com", Recipients: to("erin@example.com"), Attempts: 1, Expires: in(117 * time.Hour),
		}},
		admin.Entry{State: "ready", Delivery: mail.Delivery{
			Message: carol, Destination: "gmail.example", Recipients: to("frank@gmail.example"), Expires: in(120 * time.Hour),
		}},
		admin.Entry{State: "waiting", Delivery: mail.Delivery{
			Message: notice, Destination: "gmail.example", Recipients: to("gone@gmail.example"), Attempts: 9, Due: in(3 * time.Hour),
			Expires: in(94 * time.Hour), LastAttempt: ago(time.Hour), LastReply: mail.Reply{Text: "no host could be reached: connection refused"}, DelayNoticed: true,
		}},
		admin.Entry{State: "waiting", Delivery: mail.Delivery{
			Message: hostile, Destination: "evil.example", Recipients: to("x@evil.example"), Attempts: 1, Due: ago(time.Minute),
			Expires: ago(time.Second), LastHost: "mx.evil.example[203.0.113.1]:25",
			LastReply: mail.R(451, "", "\x1b[2J<script>alert(1)</script> \u202egnihsiF"),
		}},
	)
	q.Doubtful = []admin.Doubt{{
		DeliveryID: SampleID(7) + ".0", Attempt: 2, Destination: "example.com", Host: "mx.example.com[198.51.100.9]:25",
		At: ago(10 * time.Minute), Found: ago(9 * time.Minute),
	}}
	q.Bodies[SampleID(0)] = []byte("Received: from mail.example.net\r\n\tby mx1; now\r\nSubject: \x1b[31mred\r\n\r\nHello\r\n.\r\n")
	return q
}

// SampleStats are counters of a node that has been up for a while.
func SampleStats() admin.Stats {
	return admin.Stats{
		SMTP: &admin.SMTPStats{Connections: 50, Connected: 1200, Refused: 3, Accepted: 1204112, Bytes: 6165053440,
			Replies2xx: 3612336, Replies3xx: 1204112, Replies4xx: 17, Replies5xx: 4242},
		Delivery: &admin.DeliveryStats{Attempts: 1208113, Delivered: 1203990, Deferred: 4001, Failed: 122, Connections: 20, Opened: 9000, Reused: 1199113, Notices: 120},
		Queue: &admin.QueueStats{Ready: 2, Waiting: 3, Held: 1, Active: 1, Bytes: 30 << 20, MaxBytes: 8 << 30, Barriers: 40000, Stored: 1204112,
			BarrierSizes:   &admin.Histogram{Bounds: []float64{1, 10, 100}, Counts: []uint64{10, 20, 30, 1}, Sum: 1234},
			JournalRecords: 50000, JournalEntries: 2400000},
	}
}
