package api

import (
	"context"
	"errors"
	"net/netip"
	"strings"
	"time"

	"github.com/dop251/goja"

	"github.com/tarishi/tarishi/dns"
	"github.com/tarishi/tarishi/mail"
)

// Bounds of what a script may have under way beside its turn.
const (
	maxUnderway = 1000             // questions and reads of one runtime
	dnsTimeout  = 30 * time.Second // of one question
)

// aside does work beside the loop, and calls back in a turn of the owner whose turn
// it is now. work gets a context that ends with the runtime.
func (r *Runtime) aside(work func(context.Context) func() error) {
	if r.underway >= maxUnderway {
		r.throw("EAGAIN", "more than %d questions and reads under way", maxUnderway)
	}
	r.underway++
	owner := r.owner
	go func() {
		then := work(r.life)
		r.Do(owner, func() error { r.underway--; return then() })
	}()
}

// recordTypes are those that our resolver knows.
var recordTypes = map[string]dns.Type{
	"A": dns.TypeA, "AAAA": dns.TypeAAAA, "CNAME": dns.TypeCNAME, "MX": dns.TypeMX,
	"NS": dns.TypeNS, "PTR": dns.TypePTR, "TXT": dns.TypeTXT,
}

// nativeDNS is what js/dns.js leaves to Go. Every function ends with a callback
// (code, message, value); code is empty when all is well.
func nativeDNS(r *Runtime) any {
	vm := r.vm
	o := vm.NewObject()
	o.Set("query", func(c goja.FunctionCall) goja.Value {
		name, kind, done := c.Argument(0).String(), c.Argument(1).String(), c.Argument(3)
		t, ok := recordTypes[kind]
		if !ok {
			r.throw("ERR_INVALID_ARG_VALUE", "scripts cannot ask for records of type %s (docs/scripts.md)", kind)
		}
		r.ask(c.Argument(2), done, func(ctx context.Context) (func() goja.Value, error) {
			a, err := r.o.Resolver.Query(ctx, name, t)
			if err == nil {
				err = statusError(a.Status)
			}
			return func() goja.Value { return r.records(a) }, err
		})
		return goja.Undefined()
	})
	o.Set("reverse", func(c goja.FunctionCall) goja.Value {
		ip, err := netip.ParseAddr(c.Argument(0).String())
		if err != nil {
			r.throw("EINVAL", "getHostByAddr EINVAL %s", c.Argument(0).String())
		}
		r.ask(c.Argument(1), c.Argument(2), func(ctx context.Context) (func() goja.Value, error) {
			a, err := r.o.Resolver.LookupPTR(ctx, ip)
			if err == nil {
				err = statusError(a.Status)
			}
			return func() goja.Value { return r.records(a) }, err
		})
		return goja.Undefined()
	})
	o.Set("addresses", func(c goja.FunctionCall) goja.Value {
		host := c.Argument(0).String()
		r.ask(c.Argument(1), c.Argument(2), func(ctx context.Context) (func() goja.Value, error) {
			a, err := r.addresses(ctx, host)
			return func() goja.Value {
				var list []any
				for _, ip := range append(a.V4, a.V6...) {
					list = append(list, ip.String())
				}
				return vm.NewArray(list...)
			}, err
		})
		return goja.Undefined()
	})
	return o
}

// addresses are those of a host; localhost needs no DNS (RFC 6761 §6.3).
func (r *Runtime) addresses(ctx context.Context, host string) (dns.Addrs, error) {
	if h := strings.ToLower(strings.TrimSuffix(host, ".")); h == "localhost" || strings.HasSuffix(h, ".localhost") {
		return dns.Addrs{V4: []netip.Addr{netip.MustParseAddr("127.0.0.1")}, V6: []netip.Addr{netip.IPv6Loopback()}}, nil
	}
	a, err := r.o.Resolver.LookupAddrs(ctx, host)
	if err == nil {
		err = statusError(a.Status)
	}
	return a, err
}

// ask puts a question aside; timeout is in milliseconds, undefined: the usual.
func (r *Runtime) ask(timeout, done goja.Value, question func(context.Context) (func() goja.Value, error)) {
	limit := dnsTimeout
	if ms := timeout.ToFloat(); ms > 0 && ms < float64(dnsTimeout/time.Millisecond) {
		limit = time.Duration(ms) * time.Millisecond
	}
	r.aside(func(ctx context.Context) func() error {
		ctx, cancel := context.WithTimeout(ctx, limit)
		defer cancel()
		value, err := question(ctx)
		return func() error {
			if err != nil {
				return r.call(done, goja.Undefined(), r.vm.ToValue(dnsCode(err)), r.vm.ToValue(err.Error()))
			}
			return r.call(done, goja.Undefined(), r.vm.ToValue(""), goja.Undefined(), value())
		}
	})
}

// noResolver is in the place of one that the worker was not given.
type noResolver struct{}

var errNoResolver = errors.New("there is no resolver")

func (noResolver) Query(context.Context, string, dns.Type) (dns.Answer, error) {
	return dns.Answer{}, errNoResolver
}

func (noResolver) LookupPTR(context.Context, netip.Addr) (dns.Answer, error) {
	return dns.Answer{}, errNoResolver
}

func (noResolver) LookupAddrs(context.Context, string) (dns.Addrs, error) {
	return dns.Addrs{}, errNoResolver
}

func (noResolver) LookupMX(context.Context, mail.Domain) (dns.Answer, error) {
	return dns.Answer{}, errNoResolver
}

// statusFault is a definite answer without records, which is an error in Node.
type statusFault dns.Status

func (e statusFault) Error() string { return dns.Status(e).String() }

func statusError(s dns.Status) error {
	if s == dns.Found {
		return nil
	}
	return statusFault(s)
}

// dnsCode is Node's code of what went wrong.
func dnsCode(err error) string {
	var s statusFault
	switch {
	case errors.As(err, &s) && dns.Status(s) == dns.NoData:
		return "ENODATA"
	case errors.As(err, &s):
		return "ENOTFOUND"
	case errors.Is(err, context.DeadlineExceeded):
		return "ETIMEOUT"
	case errors.Is(err, context.Canceled):
		return "ECANCELLED"
	}
	return "ESERVFAIL"
}

// records makes an answer's records of Node's form, each with its TTL.
func (r *Runtime) records(a dns.Answer) goja.Value {
	var list []any
	switch a.Type {
	case dns.TypeA, dns.TypeAAAA:
		ttl := max(int64(time.Until(a.Expires).Seconds()), 0)
		for _, ip := range a.Addrs {
			x := r.vm.NewObject()
			x.Set("address", ip.String())
			x.Set("ttl", ttl)
			list = append(list, x)
		}
	case dns.TypeMX:
		for _, m := range a.MX {
			x := r.vm.NewObject()
			x.Set("exchange", strings.TrimSuffix(m.Host, "."))
			x.Set("priority", m.Preference)
			list = append(list, x)
		}
	case dns.TypeTXT:
		for _, t := range a.Texts {
			list = append(list, r.vm.NewArray(asString(strings.ToValidUTF8(t, "\ufffd"))))
		}
	default:
		for _, n := range a.Names {
			list = append(list, n)
		}
	}
	return r.vm.NewArray(list...)
}
