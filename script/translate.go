package script

import (
	"encoding/json"
	"net/netip"
	"strings"

	"github.com/tarishi/tarishi/plugin"
	"github.com/tarishi/tarishi/script/frame"
)

func ip(a netip.AddrPort) string {
	if !a.IsValid() {
		return ""
	}
	return a.Addr().Unmap().String()
}

// args are what the hook's functions are told besides connection and transaction.
func args(f *frame.Args, e *plugin.Event) {
	f.Name, f.Verb, f.Text = e.Name, e.Verb, e.Text
	f.Address = e.Address.Raw
	if e.Recipient != nil {
		f.Address = e.Recipient.Raw
	}
	for _, p := range e.Params {
		f.Params = append(f.Params, frame.Param(p))
	}
	if r := e.Refused; r != nil {
		f.At, f.Code, f.Plugin, f.Function = string(e.At), byte(r.Code), r.Plugin, r.Function
		f.Lines = strings.Split(r.Reply.Text, "\n")
		switch e.At {
		case plugin.Mail, plugin.Rcpt, plugin.RcptOK, plugin.Vrfy:
			f.DenyArgs = true
		}
	}
	f.Secured, f.Authenticated = e.Secured, e.Authenticated
	f.Expected, f.Host = uint64(max(0, e.Pause.Milliseconds())), e.Host
	for _, o := range e.Outcomes {
		f.Outcomes = append(f.Outcomes, frame.Outcome{Recipient: o.Recipient.Raw, Reply: o.Reply.String()})
	}
}

// delivery is what the hooks of a delivery are told of it.
func delivery(e *plugin.Event) *frame.Delivery {
	d := e.Delivery
	f := &frame.Delivery{Name: d.ID(), Domain: string(d.Destination), Failures: uint64(d.Attempts)}
	if m := d.Message; m != nil {
		f.Message = m.ID
		f.From = m.Sender.Raw
		f.Queued = uint64(m.Received.UnixMilli())
	}
	for _, r := range d.Recipients {
		f.Recipients = append(f.Recipients, r.Raw)
	}
	if e.Transaction != nil {
		f.Notes, _ = changedNotes(&e.Transaction.Notes, 0)
	}
	return f
}

// resultJSON is a result as scripts see it: one object, lists and values side by side.
func resultJSON(r plugin.Result) string {
	m := map[string]any{}
	for k, v := range r.Values {
		m[k] = v
	}
	for k, l := range map[plugin.List][]string{plugin.Pass: r.Pass, plugin.Fail: r.Fail, plugin.Msg: r.Msg, plugin.Err: r.Err, plugin.Skip: r.Skip} {
		if l == nil {
			l = []string{}
		}
		m[string(k)] = l
	}
	b, err := json.Marshal(m)
	if err != nil {
		return "{}"
	}
	return string(b)
}

// edit makes one change of results.
func edit(r *plugin.Results, x frame.ResultEdit) {
	v := frame.Decoded(x.Value)
	switch x.Kind {
	case frame.ResultAppend:
		text, ok := v.(string)
		if !ok {
			b, _ := json.Marshal(v)
			text = string(b)
		}
		r.Add(x.Plugin, plugin.List(x.Key), text)
	case frame.ResultSet:
		r.Set(x.Plugin, x.Key, v)
	case frame.ResultIncrease:
		n, _ := v.(float64)
		r.Increase(x.Plugin, x.Key, n)
	}
}
