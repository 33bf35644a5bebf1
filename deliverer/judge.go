package deliverer

import (
	"slices"

	"github.com/tarishi/tarishi/mail"
	"github.com/tarishi/tarishi/replies"
	"github.com/tarishi/tarishi/shaping"
	"github.com/tarishi/tarishi/smtp"
)

// phases are the places in a dialogue as rules call them.
var phases = map[smtp.Stage]replies.Phase{
	smtp.StageGreeting: replies.Connect, smtp.StageHello: replies.Hello, smtp.StageStartTLS: replies.Hello, smtp.StageAuth: replies.Hello,
	smtp.StageReset: replies.Mail, smtp.StageMail: replies.Mail, smtp.StageRcpt: replies.Rcpt, smtp.StageTooMany: replies.Rcpt,
	smtp.StageData: replies.Data, smtp.StageDot: replies.Dot,
}

// judging is what has been looked up in one transaction: a refused MAIL is the
// reply to all of its recipients.
type judging struct {
	reply   mail.Reply
	stage   smtp.Stage
	verdict replies.Verdict
	told    []string // rules that have been reacted to
}

// judge says what a host's reply means for a domain's mail, and reacts to it.
func (c *carrier) judge(j *judging, r mail.Reply, at smtp.Stage, host target, dest mail.Domain, tenant string) replies.Verdict {
	if r.Code < 400 {
		return replies.Verdict{}
	}
	if r == j.reply && at == j.stage {
		return j.verdict
	}
	d := c.d
	to := shaping.Destination{}
	if c.path != nil {
		to = c.path.to
	}
	v := d.c.Replies.Look(replies.Reply{Reply: r, Phase: phases[at], Domain: dest, Destination: to, Host: host.name, Ours: at == smtp.StageLocal})
	j.reply, j.stage, j.verdict = r, at, v
	if len(v.Hits) > 0 && !slices.Contains(j.told, v.Rule) {
		j.told = append(j.told, v.Rule)
		c.react(&v, r, host.name)
	}
	return v
}

// domain is whose mail the carrier connects for.
func (c *carrier) domain() mail.Domain {
	if c.cur != nil {
		return c.cur.env.Destination
	}
	return c.lane.dest
}

// classify gives their class to outcomes that have none: our own words.
func (d *Deliverer) classify(dest mail.Domain, outs []mail.Outcome) {
	for i := range outs {
		o := &outs[i]
		if o.Status == mail.Delivered || o.Class != "" {
			continue
		}
		v := d.c.Replies.Look(replies.Reply{Reply: o.Reply, Ours: o.Host == "", Domain: dest})
		o.Class, o.Action = string(v.Class), string(v.Action)
	}
}

// ClassCount is how many recipients had an outcome of one bounce class.
type ClassCount struct {
	Class            string
	Deferred, Failed uint64
}

// countClass counts an outcome by its class.
func (m *metrics) countClass(o *mail.Outcome) {
	i, ok := replies.Class(o.Class).Index()
	if !ok {
		i, _ = replies.Unclassified.Index()
	}
	switch o.Status {
	case mail.Deferred:
		m.classes[i][0].Add(1)
	case mail.Failed:
		m.classes[i][1].Add(1)
	}
}

// byClass lists the classes that have been seen.
func (m *metrics) byClass() []ClassCount {
	var out []ClassCount
	for i := range m.classes {
		c := ClassCount{string(replies.Classes[i].Class), m.classes[i][0].Load(), m.classes[i][1].Load()}
		if c.Deferred+c.Failed > 0 {
			out = append(out, c)
		}
	}
	return out
}
