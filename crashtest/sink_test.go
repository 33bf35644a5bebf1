package crashtest

import (
	"bufio"
	"fmt"
	"hash/crc32"
	"math/rand/v2"
	"net"
	"regexp"
	"strings"
	"sync"
	"testing"
	"time"
)

// sink takes mail and enters it into the ledger at the moment it decides on its 250. It lives as long as the test, through
// all the program's deaths.
type sink struct {
	addr   string
	ledger *ledger

	mu    sync.Mutex
	mood  mood
	rng   *rand.Rand
	conns map[net.Conn]bool
}

// mood is how the sink treats its clients.
type mood struct {
	rcpt451, dot451 int           // percent
	rcpt550         int           // percent
	lag             time.Duration // up to so long passes before the reply to the dot: room for a kill between dot and reply
}

func newSink(t *testing.T, l *ledger, seed uint64) *sink {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	s := &sink{addr: ln.Addr().String(), ledger: l, rng: rand.New(rand.NewPCG(seed, 99)), conns: map[net.Conn]bool{}}
	var wg sync.WaitGroup
	wg.Go(func() {
		for {
			c, err := ln.Accept()
			if err != nil {
				return
			}
			s.mu.Lock()
			s.conns[c] = true
			s.mu.Unlock()
			wg.Go(func() {
				s.serve(c)
				s.mu.Lock()
				delete(s.conns, c)
				s.mu.Unlock()
			})
		}
	})
	t.Cleanup(func() {
		ln.Close()
		s.mu.Lock()
		for c := range s.conns {
			c.Close()
		}
		s.mu.Unlock()
		wg.Wait()
	})
	return s
}

func (s *sink) set(m mood) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.mood = m
}

// chance tells whether something of so many percent happens now.
func (s *sink) chance(percent func(mood) int) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.rng.IntN(100) < percent(s.mood)
}

func (s *sink) lag() time.Duration {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.mood.lag == 0 {
		return 0
	}
	return rand.N(s.mood.lag)
}

func (s *sink) serve(c net.Conn) {
	defer c.Close()
	r, w := bufio.NewReaderSize(c, 64<<10), bufio.NewWriter(c)
	say := func(line string) bool {
		w.WriteString(line + "\r\n")
		return r.Buffered() > 0 || w.Flush() == nil // PIPELINING (RFC 2920): answer when the input is drained
	}
	if !say("220 sink.test ESMTP") {
		return
	}
	var from string
	var rcpts []string
	for {
		line, err := r.ReadString('\n')
		if err != nil {
			return
		}
		line = strings.TrimRight(line, "\r\n")
		verb, _, _ := strings.Cut(strings.ToUpper(line), " ")
		ok := true
		switch verb {
		case "EHLO":
			ok = say("250-sink.test") && say("250-PIPELINING") && say("250-8BITMIME") && say("250-ENHANCEDSTATUSCODES") && say("250 SIZE 100000000")
		case "HELO":
			ok = say("250 sink.test")
		case "MAIL":
			from, rcpts = path(line), nil
			ok = say("250 2.1.0 ok")
		case "RCPT":
			switch {
			case s.chance(func(m mood) int { return m.rcpt451 }):
				ok = say("451 4.2.0 not now")
			case from != "" && s.chance(func(m mood) int { return m.rcpt550 }):
				ok = say("550 5.1.1 nobody here")
			default:
				rcpts = append(rcpts, path(line))
				ok = say("250 2.1.5 ok")
			}
		case "DATA":
			if len(rcpts) == 0 {
				ok = say("503 5.5.1 no valid recipients")
				break
			}
			if ok = say("354 go on") && w.Flush() == nil; !ok {
				break
			}
			msg, err := readDots(r)
			if err != nil {
				return
			}
			if lag := s.lag(); lag > 0 {
				time.Sleep(lag) // a slow receiver
			}
			if s.chance(func(m mood) int { return m.dot451 }) {
				ok = say("451 4.3.0 not now")
			} else {
				s.take(from, rcpts, msg)
				ok = say("250 2.0.0 ok")
			}
			rcpts = nil
		case "RSET":
			rcpts = nil
			ok = say("250 2.0.0 ok")
		case "NOOP":
			ok = say("250 2.0.0 ok")
		case "QUIT":
			say("221 2.0.0 bye")
			return
		default:
			ok = say("500 5.5.2 what?")
		}
		if !ok {
			return
		}
	}
}

func path(line string) string {
	_, rest, _ := strings.Cut(line, "<")
	p, _, _ := strings.Cut(rest, ">")
	return p
}

// readDots reads a message up to its final dot and takes the dot-stuffing off.
func readDots(r *bufio.Reader) (string, error) {
	var b strings.Builder
	for {
		line, err := r.ReadString('\n')
		if err != nil {
			return "", err
		}
		if line == ".\r\n" {
			return b.String(), nil
		}
		b.WriteString(strings.TrimPrefix(line, "."))
	}
}

var (
	receivedID = regexp.MustCompile(`(?s)^Received:.*?\sid\s+([0-9A-HJKMNP-TV-Z]{20})\b`)
	crashID    = regexp.MustCompile(`(?m)^X-Crash-Id: (\S+)\r$`)
	crashSum   = regexp.MustCompile(`(?m)^X-Crash-Sum: (\S+)\r$`)
	failedRcpt = regexp.MustCompile(`(?mi)^Final-Recipient: rfc822; ?(\S+)\r$`)
	failedMark = regexp.MustCompile(`(?mi)^Action: failed\r$`)
)

// take enters one accepted message: a delivery, or (with the null sender) a DSN.
func (s *sink) take(from string, rcpts []string, msg string) {
	id := crashID.FindStringSubmatch(msg)
	if id == nil {
		s.ledger.addFault("DAMAGED: a message from <%s> for %v without X-Crash-Id: %.200q", from, rcpts, msg)
		return
	}
	if from == "" {
		if failedMark.MatchString(msg) {
			for _, r := range failedRcpt.FindAllStringSubmatch(msg, -1) {
				s.ledger.addBounced(id[1], []string{r[1]})
			}
		}
		return
	}
	_, body, _ := strings.Cut(msg, "\r\n\r\n")
	sum := crashSum.FindStringSubmatch(msg)
	if got := fmt.Sprintf("%08x", crc32.ChecksumIEEE([]byte(body))); sum == nil || sum[1] != got {
		s.ledger.addFault("DAMAGED: %s for %v arrived with another body (sum %s, header %v, %d octets)", id[1], rcpts, got, sum, len(body))
	}
	message := ""
	if m := receivedID.FindStringSubmatch(msg); m != nil {
		message = m[1]
	}
	s.ledger.addDelivered(id[1], message, rcpts)
}
