package ingress

import (
	"context"
	"log/slog"
	"net"
	"net/netip"

	"github.com/tarishi/tarishi/mail"
	"github.com/tarishi/tarishi/plugin"
)

// asked is what a session keeps of the plugins it asks. The zero value asks nobody.
type asked struct {
	conn  *plugin.Connection  // nil: nobody has been asked yet
	chain *plugin.Chain       // of the open transaction, from its MAIL to its end
	tx    *plugin.Transaction // nil: none is open, or nobody is asked about it
}

// asks tells whether anybody is to be asked at a moment of the connection. Without
// plugins that is one look at a pointer, and all that plugins cost.
func (s *session) asks(h plugin.Hook) bool { return s.h.p.Plugins.Has(h) }

// asksOf is asks for a moment of the open transaction.
func (s *session) asksOf(h plugin.Hook) bool { return s.asked.tx != nil && s.asked.chain.Has(h) }

// ask puts a moment before the plugins: those of the transaction's own chain while
// one is open, otherwise those in force.
func (s *session) ask(ctx context.Context, e *plugin.Event) plugin.Verdict {
	ch := s.asked.chain
	if ch == nil {
		if ch = s.h.p.Plugins.Take(); ch == nil {
			return plugin.Verdict{}
		}
		defer ch.Release()
	}
	if !ch.Has(e.Hook) {
		return plugin.Verdict{}
	}
	e.Connection, e.Transaction, e.Watch = s.connection(), s.asked.tx, s.h.p.Watch
	v := ch.Run(ctx, e)
	if yes := e.Connection.Relaying(); yes != s.trusted { // a plugin has said so
		s.trusted = yes
		s.conn.SetTrusted(yes)
	}
	return v
}

// connection is what plugins know of the client, as far as it has come.
func (s *session) connection() *plugin.Connection {
	c := s.asked.conn
	if c == nil {
		c = &plugin.Connection{ID: s.conn.ID(), Remote: addrPort(s.conn.RemoteAddr()), Local: addrPort(s.conn.LocalAddr()), Spoke: s.conn.Spoke}
		if p := s.conn.ProxyAddr(); p != nil {
			c.Proxy = addrPort(p)
		}
		c.SetRelaying(s.trusted)
		c.SetHost(s.name)
		if name := s.conn.Hello(); name != "" { // plugins came while it was connected
			c.SetHello(name, helloVerb(s.conn.ESMTP()))
		}
		s.asked.conn = c
	}
	if who := s.conn.Identity(); who != c.User() {
		c.SetUser(who)
		c.SetPassword(string(s.login.Password))
	}
	if t := s.conn.TLS(); t != nil && !c.TLS().Enabled {
		c.SetTLS(tlsOf(t))
	}
	if s.conn.EarlyTalker() {
		c.SetEarlyTalker()
	}
	return c
}

func addrPort(a net.Addr) netip.AddrPort {
	if t, ok := a.(*net.TCPAddr); ok {
		p := t.AddrPort()
		return netip.AddrPortFrom(clientIP(a), p.Port())
	}
	return netip.AddrPort{}
}

// refusal is what the client is told when plugins refuse; nil: they do not. hard and
// soft are what is usual at the hook, and their classes hold whatever a plugin says:
// a DENY with a 4yz text would have the client try for ever.
func (s *session) refusal(ctx context.Context, h plugin.Hook, v plugin.Verdict, hard, soft mail.Reply) *mail.Reply {
	if !v.Code.Refuses() {
		return nil
	}
	r := v.Reply
	usual := soft
	if v.Code == plugin.Refuse || v.Code == plugin.RefuseDisconnect {
		usual = hard
	}
	if r.Code/100 != usual.Code/100 {
		r.Code, r.Enhanced = usual.Code, usual.Enhanced
	}
	if r.Text == "" {
		r.Text = usual.Text
	}
	switch {
	case v.Code == plugin.Hangup:
		s.conn.Hangup()
	case v.Code.Ends():
		s.conn.CloseAfterReply()
	}
	s.h.stats.byPlugins.Add(1)
	if log := s.h.p.Log; log.Enabled(ctx, slog.LevelInfo) {
		log.LogAttrs(ctx, slog.LevelInfo, "refused by a plugin",
			slog.String("plugin", v.Plugin), slog.String("hook", string(h)), slog.String("verdict", v.Code.String()),
			slog.String("connection", s.conn.ID()), slog.String("client", s.clientText()), slog.String("helo", s.conn.Hello()),
			slog.String("sender", s.from.Raw), slog.String("reply", r.String()))
	}
	return &r
}

// accepted is what a plugin that has said OK would have the client told; nil: what is usual.
func accepted(v plugin.Verdict) *mail.Reply {
	if v.Code == plugin.OK && v.Reply.Positive() {
		return &v.Reply
	}
	return nil
}
