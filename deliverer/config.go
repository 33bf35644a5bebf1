package deliverer

import (
	"context"
	"errors"
	"log/slog"
	"net"
	"net/netip"
	"time"

	"github.com/tarishi/tarishi/plugin"
	"github.com/tarishi/tarishi/replies"
	"github.com/tarishi/tarishi/shaping"
	"github.com/tarishi/tarishi/smtp"
)

// Config is what a Deliverer works with. Queue, Store and Hostname are required;
// Hosts too unless every destination has a route.
type Config struct {
	Hostname  string // our FQDN: EHLO, Reporting-MTA, Message-ID
	Queue     Queue
	Store     Store
	Hosts     Hosts
	Routes    *Routes         // before Hosts
	Rules     *shaping.Rules  // of this process, where Scheduler has no limit of its own
	Scheduler Scheduler       // nil: no limits but Rules
	Retry     shaping.Retry   // zero: shaping.DefaultRetry
	Backoff   shaping.Backoff // nil: shaping.DefaultBackoff
	Replies   *replies.Pack   // what replies mean; nil: what their codes say
	Reactor   Reactor         // nil: nothing is done about replies
	Log       *slog.Logger    // nil: slog.Default

	Suppressions Suppressions // who is sent nothing; nil: there is no such list

	Plugins *plugin.Current // who is asked before and after attempts; nil: nobody

	HandJobs  int   // deliveries held at most; 0: 2,000
	HandBytes int64 // octets of their messages held at most; 0: 64 MiB
	// Patience is how long a fetched delivery may wait for a connection before it
	// is given back. Given back, it is stored again, which costs more than sending
	// it: a destination that takes its share of the hand within this time is left
	// to set the pace. 0: 4 s.
	Patience time.Duration
	// IdleClose is how long an unused connection is kept; less than what remotes
	// allow, so that we hang up first. 0: 4 s; negative: not at all.
	IdleClose      time.Duration
	ConnectTimeout time.Duration // for one address; 0: 30 s
	// AttemptTimeout ends an attempt whatever the remote does. 0: 1 h.
	AttemptTimeout time.Duration
	DrainTimeout   time.Duration // for open transactions at shutdown; 0: 30 s
	// ClaimAge is the oldest confirmed claim with which a final dot may be sent:
	// half the queue's ack wait, or a frozen process could send what another node
	// was given meanwhile. 0: 15 s.
	ClaimAge      time.Duration
	DelayNotice   time.Duration // age at which the sender is told of a delay, once; 0: 4 h; negative: never
	MaxRecipients int           // in a transaction; 0: 100 (RFC 5321 §4.5.3.1.8)
	Port          string        // of mail hosts found by Hosts; "": 25
	Timeouts      smtp.ClientTimeouts
	TLS           smtp.TLSPolicy
	// PlaintextAfterTLSFailure is what RFC 7435 asks of opportunistic TLS: a new
	// connection without it. RequireWorkingTLS turns that off.
	RequireWorkingTLS bool
	Source            netip.Addr // the address to send from; zero: the kernel's choice
	// Dial opens connections instead of the network; then Source is its affair. With
	// it an address counts as dialled once, whatever it dials.
	Dial  func(ctx context.Context, network, addr string) (net.Conn, error)
	Debug func(dir, line string) // every line of every dialogue
}

// check names what is missing or does not go together.
func (c *Config) check() error {
	switch {
	case c.Queue == nil:
		return errors.New("deliverer: no queue to take mail from")
	case c.Store == nil:
		return errors.New("deliverer: no store for delivery status notifications")
	case c.Hostname == "":
		return errors.New("deliverer: no hostname to introduce ourselves with")
	case c.Source.IsValid() && c.Dial != nil:
		return errors.New("deliverer: a source address and a dialler of its own; give one of them")
	}
	return nil
}

func (c *Config) setDefaults() {
	setDefault(&c.HandJobs, 2000)
	setDefault(&c.HandBytes, 64<<20)
	setDefault(&c.Patience, 4*time.Second)
	setDefault(&c.IdleClose, 4*time.Second)
	setDefault(&c.ConnectTimeout, 30*time.Second)
	setDefault(&c.AttemptTimeout, time.Hour)
	setDefault(&c.DrainTimeout, 30*time.Second)
	setDefault(&c.ClaimAge, 15*time.Second)
	setDefault(&c.DelayNotice, 4*time.Hour)
	setDefault(&c.MaxRecipients, 100)
	setDefault(&c.Port, "25")
	if len(c.Retry.Schedule) == 0 {
		c.Retry.Schedule = shaping.DefaultRetry().Schedule
	}
	setDefault(&c.Retry.Expire, shaping.DefaultRetry().Expire)
	if c.Backoff == nil {
		c.Backoff = shaping.DefaultBackoff()
	}
	if c.Log == nil {
		c.Log = slog.Default()
	}
}

func setDefault[T comparable](v *T, to T) {
	var zero T
	if *v == zero {
		*v = to
	}
}
