package cluster

import (
	"bufio"
	"context"
	"crypto/rand"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"strconv"
	"strings"
	"time"

	"github.com/nats-io/nats-server/v2/server"
)

// The system account, in which servers may be removed. Its password is made anew by
// each process and never leaves it: everybody else is in the account that keeps mail.
const systemUser = "tarishi-system"

// doorman lets this process alone into the server's system account. It leaves the
// accounts as NATS makes them, and with them how JetStream is recovered.
type doorman struct {
	password string
	srv      *server.Server // set before the first client can connect
}

func newDoorman() *doorman { return &doorman{password: rand.Text()} }

// Check is part of server.Authentication.
func (d *doorman) Check(c server.ClientAuthentication) bool {
	o := c.GetOpts()
	if o.Username == systemUser && subtle.ConstantTimeCompare([]byte(o.Password), []byte(d.password)) == 1 {
		c.RegisterUser(&server.User{Username: systemUser, Account: d.srv.SystemAccount()})
	}
	return true
}

// codeNoMember is JetStream's answer about a server that it does not know.
const codeNoMember = 10044

// ErrNoMember means that there is nothing to remove.
var ErrNoMember = errors.New("it is no member; `tarishi nodes` lists them")

// peerID is how JetStream's groups know a server. It forgets the names of those that
// were gone before it started itself.
func peerID(node string) string {
	const digits = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
	sum := sha256.Sum256([]byte(node))
	b := sum[:8]
	for i := range b {
		b[i] = digits[int(b[i])%len(digits)]
	}
	return string(b)
}

// Evict makes JetStream forget a node that is gone for good: its copies are no longer
// waited for, and are made anew on another node if there is one.
func (n *NATS) Evict(ctx context.Context, node string) error {
	if n.cluster == nil {
		return errors.New("one node on its own has no others to forget")
	}
	body, err := json.Marshal(server.JSApiMetaServerRemoveRequest{Server: node, Peer: peerID(node)})
	if err != nil {
		return err
	}
	for {
		// Only JetStream's leader answers, and it may just be another.
		try, cancel := context.WithTimeout(ctx, 2*time.Second)
		reply, err := n.askSystem(try, server.JSApiRemoveServer, body)
		cancel()
		var a server.JSApiMetaServerRemoveResponse
		if err == nil {
			err = json.Unmarshal(reply, &a)
		}
		switch {
		case err == nil && a.Error == nil:
			return nil
		case err == nil && a.Error.ErrCode == codeNoMember:
			return fmt.Errorf("%s: %w", node, ErrNoMember)
		case err == nil:
			return fmt.Errorf("JetStream: %s", a.Error.Description)
		case ctx.Err() != nil:
			return fmt.Errorf("JetStream's leader does not answer: %w", err)
		}
	}
}

// askSystem asks one question in the system account. This much of the NATS protocol is
// less than a second dependency on its client.
func (n *NATS) askSystem(ctx context.Context, subject string, body []byte) ([]byte, error) {
	c, err := n.srv.InProcessConn()
	if err != nil {
		return nil, err
	}
	defer c.Close()
	stop := context.AfterFunc(ctx, func() { c.SetDeadline(time.Now()) })
	defer stop()
	reply, err := askRaw(c, n.door.password, subject, body)
	if ctx.Err() != nil {
		return nil, context.Cause(ctx)
	}
	return reply, err
}

func askRaw(c net.Conn, password, subject string, body []byte) ([]byte, error) {
	r := bufio.NewReader(c)
	if _, err := r.ReadString('\n'); err != nil { // INFO
		return nil, err
	}
	inbox := "_INBOX." + rand.Text()
	_, err := fmt.Fprintf(c, "CONNECT {\"user\":%q,\"pass\":%q,\"verbose\":false}\r\nSUB %s 1\r\nPUB %s %s %d\r\n%s\r\n",
		systemUser, password, inbox, subject, inbox, len(body), body)
	if err != nil {
		return nil, err
	}
	for {
		line, err := r.ReadString('\n')
		if err != nil {
			return nil, err
		}
		switch f := strings.Fields(line); {
		case len(f) == 0:
		case f[0] == "PING":
			if _, err := io.WriteString(c, "PONG\r\n"); err != nil {
				return nil, err
			}
		case f[0] == "-ERR":
			return nil, fmt.Errorf("NATS: %s", strings.TrimSpace(line))
		case f[0] == "MSG":
			n, err := strconv.Atoi(f[len(f)-1])
			if err != nil || n < 0 || n > MaxRecord {
				return nil, fmt.Errorf("NATS: %s", strings.TrimSpace(line))
			}
			b := make([]byte, n)
			_, err = io.ReadFull(r, b)
			return b, err
		}
	}
}
