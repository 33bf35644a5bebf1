package command

import (
	"log/slog"
	"net"
	"net/netip"
	"strings"
	"time"

	"github.com/tarishi/tarishi/daemon"
	"github.com/tarishi/tarishi/deliverer"
	"github.com/tarishi/tarishi/dns"
	"github.com/tarishi/tarishi/queue"
	"github.com/tarishi/tarishi/shaping"
	"github.com/tarishi/tarishi/smtp"
)

func delivererConfig(c *daemon.Config, q *queue.Queue, resolver *dns.Resolver, log *slog.Logger) (conf deliverer.Config, err error) {
	table, err := routesOf(c)
	if err != nil {
		return conf, err
	}
	// Where no limit says otherwise; limits are the scheduler's.
	rules, err := shaping.NewRules([]shaping.ConnectionRule{
		{To: "*", Limit: shaping.Limit{Connections: c.Delivery.Connections, PerConnection: c.Delivery.PerConnection}},
	})
	if err != nil {
		return conf, err
	}
	var source netip.Addr
	if c.Delivery.Source != "" {
		source = netip.MustParseAddr(c.Delivery.Source) // its check has parsed it
	}
	self := dns.SelfInfo{Names: []string{c.Hostname, c.SMTP.Hostname}, Addrs: ownAddrs()}
	d := c.Delivery
	policy := smtp.TLSOpportunistic
	if d.TLS == "off" {
		policy = smtp.TLSNever
	}
	attempts := log
	if !c.Log.Attempts {
		attempts = slog.New(quiet{log.Handler()})
	}
	meaning, err := c.ReplyPack()
	if err != nil {
		return conf, err
	}
	return deliverer.Config{
		Replies: meaning, Suppressions: newSuppressions(c, q),
		Hostname: d.Helo, Queue: outQueue{q}, Store: q, Hosts: mailHosts{resolver, self}, Routes: table, Rules: rules,
		Source: source,
		Retry:  shaping.Retry{Schedule: c.Retry.Schedule, Expire: c.Retry.Expire, Jitter: c.Retry.Jitter},
		Log:    attempts, HandJobs: d.Hand.Jobs, HandBytes: int64(d.Hand.Bytes), IdleClose: orNever(d.Idle),
		ConnectTimeout: d.Timeouts.Connect, DrainTimeout: max(c.Drain, time.Nanosecond), DelayNotice: orNever(c.Retry.DelayNotice),
		Timeouts: smtp.ClientTimeouts{
			Greeting: d.Timeouts.Banner, Hello: d.Timeouts.Banner, Mail: d.Timeouts.Command, Rcpt: d.Timeouts.Command,
			Data: d.Timeouts.Data, Block: d.Timeouts.Block, Dot: d.Timeouts.Dot,
		},
		TLS: policy,
	}, nil
}

// orNever turns the configuration's "0: never" into the deliverer's.
func orNever(d time.Duration) time.Duration {
	if d == 0 {
		return -1
	}
	return d
}

// ownAddrs are this machine's addresses: mail that resolves to them would loop.
func ownAddrs() []netip.Addr {
	var out []netip.Addr
	nets, err := net.InterfaceAddrs()
	if err != nil {
		return nil
	}
	for _, n := range nets {
		if p, err := netip.ParsePrefix(n.String()); err == nil {
			out = append(out, p.Addr())
		}
	}
	return out
}

func addrs(list []net.Addr) string {
	var s []string
	for _, a := range list {
		s = append(s, a.String())
	}
	return strings.Join(s, " and ")
}
