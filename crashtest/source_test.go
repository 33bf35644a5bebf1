package crashtest

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"hash/crc32"
	"math/rand/v2"
	"net"
	"regexp"
	"strings"
	"sync"
	"sync/atomic"
	"time"
)

// sender is the envelope sender of all mail of a run.
const sender = "crash@source.test"

// source feeds a program over SMTP from several connections, and notes each message that was acknowledged. It goes on
// through refusals and broken connections; no id is ever sent twice.
type source struct {
	addr    string
	ledger  *ledger
	clients int
	pause   time.Duration // between two messages of one connection: the load, not a wait for anything
	large   int           // one message in so many has 70 to 300 KiB; 0: none
	domains int           // d0.crash.test to d<n-1>.crash.test
	seed    uint64

	refused atomic.Int64 // transactions ended by a 4xx: allowed at any time
}

var messageID = regexp.MustCompile(`\b[0-9A-HJKMNP-TV-Z]{20}\b`)

// run sends until ctx ends.
func (s *source) run(ctx context.Context) {
	var wg sync.WaitGroup
	for i := range s.clients {
		wg.Go(func() {
			rng := rand.New(rand.NewPCG(s.seed, uint64(i)))
			for n := 0; ctx.Err() == nil; {
				s.session(ctx, rng, i, &n)
				wait(ctx, 10*time.Millisecond) // the program may be dead just now: ask again soon
			}
		})
	}
	wg.Wait()
}

func wait(ctx context.Context, d time.Duration) {
	select {
	case <-ctx.Done():
	case <-time.After(d):
	}
}

// session sends over one connection until it breaks, or ctx ends.
func (s *source) session(ctx context.Context, rng *rand.Rand, client int, n *int) {
	var d net.Dialer
	conn, err := d.DialContext(ctx, "tcp", s.addr)
	if err != nil {
		return
	}
	defer conn.Close()
	stop := context.AfterFunc(ctx, func() { conn.SetDeadline(time.Now().Add(5 * time.Second)) }) // let the last one end
	defer stop()
	c := &wire{conn: conn, r: bufio.NewReader(conn)}
	if code, _, err := c.reply(); err != nil || code != 220 {
		return
	}
	if code, _, err := c.cmd("EHLO source.test"); err != nil || code != 250 {
		return
	}
	for ctx.Err() == nil {
		*n++
		id := fmt.Sprintf("%x-%d-%d", s.seed, client, *n)
		a, err := s.send(c, rng, id)
		switch {
		case err == nil:
			s.ledger.addAck(a)
		case errors.Is(err, errRefused):
			s.refused.Add(1)
			if code, _, err := c.cmd("RSET"); err != nil || code != 250 {
				return
			}
		default:
			return
		}
		wait(ctx, s.pause)
	}
	c.cmd("QUIT")
}

var errRefused = errors.New("refused for now")

// send does one transaction. A nil error means that the program took responsibility.
func (s *source) send(c *wire, rng *rand.Rand, id string) (ack, error) {
	a := ack{id: id}
	if code, _, err := c.cmd("MAIL FROM:<" + sender + ">"); err != nil || code != 250 {
		return a, orRefused(err)
	}
	want := 1
	if rng.IntN(4) == 0 {
		want = 2 + rng.IntN(3) // some to several destinations, some with two recipients at one
	}
	for i := range want {
		rcpt := fmt.Sprintf("r%d@d%d.crash.test", i, rng.IntN(s.domains))
		code, _, err := c.cmd("RCPT TO:<" + rcpt + ">")
		if err != nil {
			return a, err
		}
		if code == 250 {
			a.rcpts = append(a.rcpts, rcpt)
		}
	}
	if len(a.rcpts) == 0 {
		return a, errRefused
	}
	if code, _, err := c.cmd("DATA"); err != nil || code != 354 {
		return a, orRefused(err)
	}
	size := 200 + rng.IntN(3000)
	if s.large > 0 && rng.IntN(s.large) == 0 {
		size = 70<<10 + rng.IntN(230<<10)
	}
	if _, err := c.conn.Write([]byte(compose(id, size, rng) + ".\r\n")); err != nil {
		return a, err
	}
	code, text, err := c.reply()
	if err != nil || code != 250 {
		return a, orRefused(err)
	}
	a.message = messageID.FindString(text)
	return a, nil
}

func orRefused(err error) error {
	if err == nil {
		return errRefused
	}
	return err
}

// compose writes a message whose header says which it is and what its body must add up to, and whose end says that it is whole.
func compose(id string, size int, rng *rand.Rand) string {
	var b strings.Builder
	for b.Len() < size {
		fmt.Fprintf(&b, "%016x%016x%016x%016x\r\n", rng.Uint64(), rng.Uint64(), rng.Uint64(), rng.Uint64())
	}
	fmt.Fprintf(&b, "X-Crash-End: %s\r\n", id)
	return fmt.Sprintf("From: <%s>\r\nTo: undisclosed-recipients:;\r\nSubject: crash test\r\nX-Crash-Id: %s\r\nX-Crash-Sum: %08x\r\n\r\n%s",
		sender, id, crc32.ChecksumIEEE([]byte(b.String())), b.String())
}

// wire is the client's side of one SMTP connection, as small as it can be.
type wire struct {
	conn net.Conn
	r    *bufio.Reader
}

func (c *wire) cmd(line string) (int, string, error) {
	if _, err := c.conn.Write([]byte(line + "\r\n")); err != nil {
		return 0, "", err
	}
	return c.reply()
}

// reply reads a reply, all its lines.
func (c *wire) reply() (code int, text string, err error) {
	for {
		line, err := c.r.ReadString('\n')
		if err != nil {
			return 0, "", err
		}
		if len(line) < 5 {
			return 0, "", fmt.Errorf("reply %q", line)
		}
		text += line[4:]
		if line[3] != '-' {
			_, err = fmt.Sscanf(line[:3], "%d", &code)
			return code, text, err
		}
	}
}
