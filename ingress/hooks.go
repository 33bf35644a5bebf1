package ingress

import (
	"context"
	"crypto/tls"
	"strconv"
	"time"

	"github.com/tarishi/tarishi/mail"
	"github.com/tarishi/tarishi/plugin"
	"github.com/tarishi/tarishi/smtp"
)

// The moments at which plugins are asked, in the order of a dialogue. Those of the
// message itself are in handover.go.

var (
	notWelcome  = mail.R(554, "5.7.1", "Your host is not welcome here")
	notNow      = mail.R(421, "4.7.1", "Not now, try again later")
	helloDenied = mail.R(550, "5.7.1", "Your name is not welcome here")
	helloLater  = mail.R(450, "4.7.1", "Not under this name now, try again later")
	mailDenied  = mail.R(550, "5.7.1", "This sender is not welcome here")
	mailLater   = mail.R(450, "4.7.1", "This sender is not taken now, try again later")
	rcptDenied  = mail.R(550, "5.7.1", "This recipient is not taken here")
	rcptLater   = mail.R(450, "4.7.1", "This recipient is not taken now, try again later")
	dataDenied  = mail.R(554, "5.7.1", "Your message is not welcome here")
	dataLater   = mail.R(451, "4.7.1", "Your message is not taken now, try again later")
	verbDenied  = mail.R(500, "5.5.1", "Command not taken")
	verbLater   = mail.R(450, "4.7.1", "Command not taken now, try again later")
	bigDenied   = mail.R(552, "5.3.4", "Message size exceeds the limit")
	bigLater    = mail.R(452, "4.3.4", "Message size exceeds the limit for now")
)

// meet asks about a client that has just come.
func (s *session) meet(ctx context.Context) *mail.Reply {
	if s.asks(plugin.ConnectInit) {
		s.ask(ctx, &plugin.Event{Hook: plugin.ConnectInit})
	}
	if s.asks(plugin.LookupRDNS) {
		v := s.ask(ctx, &plugin.Event{Hook: plugin.LookupRDNS})
		if r := s.refusal(ctx, plugin.LookupRDNS, v, notWelcome, notNow); r != nil {
			return r
		}
		if name, ok := v.Value.(string); ok && v.Code == plugin.OK {
			s.connection().SetHost(name)
		}
		if name := s.connection().Host(); name != "" {
			s.name, s.named = name, true
		}
	}
	for _, h := range []plugin.Hook{plugin.Connect, plugin.Helo, plugin.Ehlo, plugin.Mail, plugin.Rcpt} {
		if s.asks(h) { // somebody may want to know the name before there is mail
			s.lookUpName(ctx)
			break
		}
	}
	if s.asks(plugin.Connect) {
		v := s.ask(ctx, &plugin.Event{Hook: plugin.Connect})
		return s.refusal(ctx, plugin.Connect, v, notWelcome, notNow)
	}
	return nil
}

func helloVerb(esmtp bool) string {
	if esmtp {
		return "EHLO"
	}
	return "HELO"
}

// introduced asks about the client's name, and what it is to be offered.
func (s *session) introduced(ctx context.Context, name string, esmtp bool) *mail.Reply {
	hook := plugin.Helo
	if esmtp {
		hook = plugin.Ehlo
	}
	if c := s.asked.conn; c != nil {
		c.SetHello(name, helloVerb(esmtp))
	}
	var said *mail.Reply
	if s.asks(hook) {
		s.connection().SetHello(name, helloVerb(esmtp))
		v := s.ask(ctx, &plugin.Event{Hook: hook, Name: name})
		if r := s.refusal(ctx, hook, v, helloDenied, helloLater); r != nil {
			s.asked.conn.SetHello("", "")
			return r
		}
		said = accepted(v)
	}
	if esmtp && s.asks(plugin.Capabilities) {
		s.connection().DropCapabilities()
		s.ask(ctx, &plugin.Event{Hook: plugin.Capabilities})
	}
	return said
}

// capabilities are the keywords that plugins offer.
func (s *session) capabilities() []string {
	if s.asked.conn == nil {
		return nil
	}
	return s.asked.conn.Capabilities()
}

// unknown asks about a verb that is not ours.
func (s *session) unknown(ctx context.Context, verb, args string) *mail.Reply {
	if !s.asks(plugin.UnknownCommand) {
		return nil
	}
	v := s.ask(ctx, &plugin.Event{Hook: plugin.UnknownCommand, Verb: verb, Name: args})
	if r := s.refusal(ctx, plugin.UnknownCommand, v, verbDenied, verbLater); r != nil {
		return r
	}
	if v.Code != plugin.OK {
		return nil
	}
	if v.Reply.Code >= 200 {
		return &v.Reply
	}
	return &mail.Reply{Code: 250, Enhanced: mail.EnhancedCode{2, 0, 0}, Text: "OK"}
}

// begin opens the transaction for the plugins, which keeps its chain to its end.
func (s *session) begin(ctx context.Context, from mail.Address, o *smtp.MailOptions) *mail.Reply {
	ch := s.h.p.Plugins.Take()
	if !ch.Inbound() {
		ch.Release()
		return nil
	}
	s.asked.chain = ch
	s.asked.tx = s.connection().Begin(mail.NewID(time.Now()), from)
	if !ch.Has(plugin.Mail) {
		return nil
	}
	v := s.ask(ctx, &plugin.Event{Hook: plugin.Mail, Address: from, Params: mailParams(o)})
	if r := s.refusal(ctx, plugin.Mail, v, mailDenied, mailLater); r != nil {
		s.over(ctx)
		return r
	}
	return accepted(v)
}

// over ends the transaction for the plugins.
func (s *session) over(ctx context.Context) {
	if s.asked.tx == nil {
		return
	}
	if s.asksOf(plugin.ResetTransaction) {
		// It is asked whatever ended the connection: a plugin may count on it.
		s.ask(context.WithoutCancel(ctx), &plugin.Event{Hook: plugin.ResetTransaction})
	}
	s.asked.conn.End()
	s.asked.chain.Release()
	s.asked.tx, s.asked.chain = nil, nil
}

// gone says goodbye for a client, in whatever way it has left.
func (s *session) gone(ctx context.Context) {
	s.over(ctx)
	if s.asks(plugin.Disconnect) {
		s.ask(context.WithoutCancel(ctx), &plugin.Event{Hook: plugin.Disconnect})
	}
	if c := s.asked.conn; c != nil {
		c.Over()
	}
}

// Rset, Noop, Vrfy and Quit ask about the commands that move no mail.
func (s *session) Rset(ctx context.Context) *mail.Reply {
	return s.aside(ctx, &plugin.Event{Hook: plugin.Rset})
}

func (s *session) Noop(ctx context.Context, args string) *mail.Reply {
	return s.aside(ctx, &plugin.Event{Hook: plugin.Noop, Name: args})
}

func (s *session) Vrfy(ctx context.Context, args string) *mail.Reply {
	a, _ := smtp.ParseMailbox(args) // or whatever else it is
	return s.aside(ctx, &plugin.Event{Hook: plugin.Vrfy, Name: args, Address: a})
}

func (s *session) Quit(ctx context.Context) *mail.Reply {
	return s.aside(ctx, &plugin.Event{Hook: plugin.Quit})
}

func (s *session) aside(ctx context.Context, e *plugin.Event) *mail.Reply {
	if !s.asks(e.Hook) {
		return nil
	}
	v := s.ask(ctx, e)
	if r := s.refusal(ctx, e.Hook, v, verbDenied, verbLater); r != nil {
		return r
	}
	return accepted(v)
}

// DataExceeded asks what is said of a message that is too big.
func (s *session) DataExceeded(ctx context.Context, _ int64) *mail.Reply {
	if !s.asksOf(plugin.MaxDataExceeded) {
		return nil
	}
	v := s.ask(ctx, &plugin.Event{Hook: plugin.MaxDataExceeded})
	return s.refusal(ctx, plugin.MaxDataExceeded, v, bigDenied, bigLater)
}

// mailParams are the parameters of MAIL as the client may have written them.
func mailParams(o *smtp.MailOptions) []plugin.Param {
	var ps []plugin.Param
	add := func(k, v string, given bool) {
		if given {
			ps = append(ps, plugin.Param{Key: k, Value: v})
		}
	}
	add("BODY", string(o.Body), o.Body != "")
	add("SIZE", strconv.FormatInt(o.Size, 10), o.Size > 0)
	add("SMTPUTF8", "", o.UTF8)
	add("RET", string(o.Return), o.Return != "")
	add("ENVID", o.Envid, o.Envid != "")
	if o.Auth != nil {
		add("AUTH", *o.Auth, true)
	}
	return ps
}

// rcptParams are those of RCPT.
func rcptParams(o *smtp.RcptOptions) []plugin.Param {
	var ps []plugin.Param
	if n := o.NotifyList(); n != "" {
		ps = append(ps, plugin.Param{Key: "NOTIFY", Value: n})
	}
	if o.Orcpt != "" {
		ps = append(ps, plugin.Param{Key: "ORCPT", Value: o.Orcpt})
	}
	return ps
}

func tlsOf(t *tls.ConnectionState) plugin.TLS {
	out := plugin.TLS{
		Enabled: true, Version: tls.VersionName(t.Version), Cipher: tls.CipherSuiteName(t.CipherSuite), ServerName: t.ServerName,
	}
	if len(t.VerifiedChains) > 0 {
		out.PeerSubject = t.VerifiedChains[0][0].Subject.String()
	}
	return out
}
