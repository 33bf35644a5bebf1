package smtptest

import (
	"crypto/tls"
	"net"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"
)

// Sink is a remote that takes mail and keeps it. Set its fields, and its rules
// with On, before the first connection; afterwards its methods may be called from
// any goroutine.
type Sink struct {
	Hostname   string      // empty: mx.test
	Extensions []string    // EHLO keywords; nil: DefaultExtensions
	TLS        *tls.Config // when set, STARTTLS is offered
	Implicit   bool        // TLS before the greeting, with TLS
	LMTP       bool        // LHLO, and a reply a recipient after the dot
	OneByte    bool        // read one octet at a time
	Discard    bool        // count messages, keep none
	// Decide, when set, is asked before the rules of On; false leaves it to them. It
	// is called by the connections' goroutines, several at a time.
	Decide func(Step) (Answer, bool)

	mu          sync.Mutex
	rules       []*rule
	grey        map[string]int
	greylist    int
	messages    []Message
	count       int
	commands    []string
	connections int
	open        map[net.Conn]bool
	closed      bool
	over        chan struct{} // closed by Close: ends stalls and waits
	running     sync.WaitGroup
}

// DefaultExtensions are what a modern host offers.
var DefaultExtensions = []string{"PIPELINING", "SIZE 52428800", "8BITMIME", "SMTPUTF8", "ENHANCEDSTATUSCODES", "CHUNKING"}

// Message is one transaction that was taken with a 250, as it was on the wire.
type Message struct {
	Connection int      // connections are counted from 1
	Hello      string   // argument of EHLO, HELO or LHLO
	TLS        bool     // it came through TLS
	From       string   // what followed "MAIL FROM:", parameters included
	To         []string // what followed "RCPT TO:" of the recipients accepted
	Data       []byte   // the message: dots unstuffed, chunks joined
	Wire       []byte   // DATA: the octets after the 354, final dot included; BDAT: the chunks
	Chunks     []int    // sizes of the chunks; nil: DATA
	Received   time.Time
}

// Answer is what the sink does at a command instead of taking it.
type Answer struct {
	Reply string        // without CRLF; lines are separated by \n. A 421 is followed by a hang-up
	Wait  time.Duration // before anything else
	Cut   bool          // hang up; after Reply if there is one
	Stall bool          // say nothing more and read nothing until Close
	Times int           // how often; 0: always
}

// Step is a moment at which a sink may answer otherwise than usual; see On.
type Step struct {
	Verb, Arg  string
	From       string // sender of the transaction under way, with its parameters
	Connection int
}

type rule struct {
	verb, match string
	answer      Answer
	used        int
}

// On has the sink give answer at verb, if what comes with it contains match. Verbs
// are the commands in upper case, and CONNECT (before the greeting), DOT (after the
// body, BDAT LAST too; it comes with sender and recipients, in LMTP with one
// recipient). The first rule that fits counts.
//
//	s.On("RCPT", "<bob@", smtptest.Answer{Reply: "550 5.1.1 No such user"})
//	s.On("DOT", "", smtptest.Answer{Reply: "451 4.3.0 Later", Times: 1})
func (s *Sink) On(verb, match string, a Answer) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.rules = append(s.rules, &rule{verb: verb, match: match, answer: a})
}

// Greylist has the sink answer 451 4.7.1 to the first n attempts of every pair of
// sender and recipient.
func (s *Sink) Greylist(n int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.greylist, s.grey = n, make(map[string]int)
}

func (s *Sink) answer(step Step) (Answer, bool) {
	if s.Decide != nil {
		if a, ok := s.Decide(step); ok {
			return a, true
		}
	}
	verb, arg := step.Verb, step.Arg
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, r := range s.rules {
		if r.verb == verb && strings.Contains(arg, r.match) && (r.answer.Times == 0 || r.used < r.answer.Times) {
			r.used++
			return r.answer, true
		}
	}
	return Answer{}, false
}

func (s *Sink) grey1(from, to string) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.greylist == 0 {
		return false
	}
	s.grey[from+" "+to]++
	return s.grey[from+" "+to] <= s.greylist
}

// Dial returns a connection in memory to the sink.
func (s *Sink) Dial() net.Conn {
	client, server := net.Pipe()
	s.start(server)
	return client
}

// Listen has the sink serve a listener on 127.0.0.1 until the test ends.
func (s *Sink) Listen(t testing.TB) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		s.Serve(l)
	}()
	t.Cleanup(func() {
		l.Close()
		<-done
		s.Close()
	})
	return l.Addr().String()
}

// Serve takes connections from l until l is closed.
func (s *Sink) Serve(l net.Listener) {
	for {
		conn, err := l.Accept()
		if err != nil {
			return
		}
		s.start(conn)
	}
}

func (s *Sink) start(conn net.Conn) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.over == nil {
		s.over = make(chan struct{})
		s.open = make(map[net.Conn]bool)
	}
	if s.closed {
		conn.Close()
		return
	}
	s.connections++
	s.open[conn] = true
	number := s.connections
	s.running.Go(func() {
		s.serve(conn, number)
		conn.Close()
		s.mu.Lock()
		delete(s.open, conn)
		s.mu.Unlock()
	})
}

// Close hangs up on everybody, ends every stall, and returns when the sink is still.
func (s *Sink) Close() {
	s.mu.Lock()
	if !s.closed && s.over != nil {
		close(s.over)
	}
	s.closed = true
	for conn := range s.open {
		conn.Close()
	}
	s.mu.Unlock()
	s.running.Wait()
}

// Messages returns what was taken so far, in order.
func (s *Sink) Messages() []Message {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Clone(s.messages)
}

// Count returns how many messages were taken.
func (s *Sink) Count() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.count
}

// Commands returns every command line of all connections, in order, refused ones included.
func (s *Sink) Commands() []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Clone(s.commands)
}

// Connections returns how many connections there were, and how many are open.
func (s *Sink) Connections() (total, open int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.connections, len(s.open)
}
