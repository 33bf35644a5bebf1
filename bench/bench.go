// Package bench answers one question: how fast is a mail server, and does it
// lose or repeat anything?
//
// A [Source] sends numbered messages and remembers what was acknowledged; a
// [Sink] receives them at the other end, counts each number, and can be as slow,
// full or moody as real receivers are; [Check] compares what one was promised
// with what the other got. The server under test stands between the two:
//
//	tarishi bench sink   --listen 127.0.0.1:2600 --expect 100000 --ids got
//	tarishi bench source --to 127.0.0.1:2525 --messages 100000 --connections 50 --keep-ids sent
//	tarishi bench check  --sent sent --received got
//
// With --record the sink also keeps an account of when what came in, by which
// bench/windows (tarishi bench windows) judges whether limits were kept.
//
// It is an independent yardstick: it speaks SMTP by its own few lines and works
// against any server. It never imports our own SMTP engine, and it never judges
// a figure; it only reports it.
package bench

import (
	"fmt"
	"strconv"
	"time"
)

// The header fields that carry the evidence from source to sink.
const (
	idHeader   = "X-Bench-Id"
	hashHeader = "X-Bench-Sha256" // of the body octets after the empty line, dots unstuffed
)

// TLSMode says when TLS begins.
type TLSMode string

// The modes. Certificates are never verified: this is a yardstick, not a mail client.
const (
	TLSOff      TLSMode = "off"
	TLSStart    TLSMode = "starttls" // RFC 3207
	TLSImplicit TLSMode = "implicit" // RFC 8314 §3
)

func (m TLSMode) check() error {
	switch m {
	case "", TLSOff, TLSStart, TLSImplicit:
		return nil
	}
	return fmt.Errorf("tls: %q is not one of off, starttls, implicit", m)
}

// newRun names a run so that two runs on one machine never share an id.
func newRun(now time.Time) string {
	return "r" + strconv.FormatInt(now.UnixNano(), 36)
}

// perMessage divides a duration among n messages, in microseconds.
func perMessage(d time.Duration, n uint64) float64 {
	if n == 0 {
		return 0
	}
	return float64(d.Nanoseconds()) / 1e3 / float64(n)
}

// perSecond is n over d; zero when no time has passed.
func perSecond(n uint64, d time.Duration) float64 {
	if d <= 0 {
		return 0
	}
	return float64(n) / d.Seconds()
}
