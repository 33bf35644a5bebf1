package dns

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"time"

	"github.com/miekg/dns"
)

const (
	// ednsSize is what we tell servers they may send in one datagram: what
	// passes everywhere without fragments (RFC 9715 §3, DNS flag day 2020).
	ednsSize = 1232
	// readSize is what we read all the same of servers that send more.
	readSize = 4096
)

var errTruncated = errors.New("the answer is truncated over TCP")

// exchange asks the servers until one gives a definite answer: first the one
// that answered last, then the others in order. A silent server is asked again
// in the next round; one that said SERVFAIL or the like is not, because it
// would only say it again (RFC 9520 §3.1). The error names every server.
func (r *Resolver) exchange(k key) (*dns.Msg, error) {
	n := len(r.cfg.Servers)
	worst := r.cfg.Timeout * time.Duration(3*n*r.cfg.Attempts) // UDP, UDP without EDNS, TCP
	ctx, cancel := context.WithTimeout(context.Background(), worst)
	defer cancel()
	select {
	case r.slots <- struct{}{}:
		defer func() { <-r.slots }()
	case <-ctx.Done():
		return nil, fmt.Errorf("%d other questions are under way", r.cfg.Parallel)
	}

	first := int(r.preferred.Load())
	errs := make([]error, n)
	spent := make([]bool, n)
	for range r.cfg.Attempts {
		for i := range n {
			s := (first + i) % n
			if spent[s] {
				continue
			}
			m, err := r.ask(ctx, r.cfg.Servers[s], k)
			if err == nil {
				r.preferred.Store(int32(s))
				m.AuthenticatedData = m.AuthenticatedData && r.trusted[s]
				return m, nil
			}
			errs[s] = fmt.Errorf("%s: %w", r.cfg.Servers[s], err)
			var code rcodeError
			spent[s] = errors.As(err, &code) || errors.Is(err, errReferral) || errors.Is(err, errChain) || errors.Is(err, errBoth)
		}
	}
	return nil, errors.Join(errs...)
}

// ask puts one question to one server and returns a message that answers it.
func (r *Resolver) ask(ctx context.Context, server string, k key) (*dns.Msg, error) {
	m, err := r.send(ctx, "udp", server, k, true)
	edns := true
	if err == nil && (m.Rcode == dns.RcodeFormatError || m.Rcode == dns.RcodeNotImplemented) {
		edns = false // RFC 6891 §7: a server from before EDNS
		m, err = r.send(ctx, "udp", server, k, edns)
	}
	if err == nil && m.Truncated {
		// RFC 7766 §5. What came with TC=1 is not used: half an MX set is a wrong one.
		if m, err = r.send(ctx, "tcp", server, k, edns); err == nil && m.Truncated {
			err = errTruncated
		}
	}
	if err != nil {
		return nil, err
	}
	// Whether the answer is one at all is decided here and not by the caller, so
	// that a server that only fails is passed over for the next.
	_, _, _, err = read(m, k.name, k.typ, 0)
	return m, err
}

// send makes one connection, writes the question and reads until its answer
// comes. On UDP every question has a socket of its own: a fresh random port
// beside the random id (RFC 5452 §9.2).
func (r *Resolver) send(ctx context.Context, network, server string, k key, edns bool) (*dns.Msg, error) {
	q := question(k, edns)
	ctx, cancel := context.WithTimeout(ctx, r.cfg.Timeout)
	defer cancel()
	r.queries.Add(1)
	nc, err := r.cfg.Dial(ctx, network, server)
	if err != nil {
		return nil, err
	}
	defer nc.Close()
	deadline, _ := ctx.Deadline()
	if err := nc.SetDeadline(deadline); err != nil {
		return nil, err
	}
	c := &dns.Conn{Conn: nc, UDPSize: readSize}
	if err := c.WriteMsg(q); err != nil {
		return nil, err
	}
	for {
		var h dns.Header
		b, err := c.ReadMsgHeader(&h)
		if errors.Is(err, dns.ErrShortRead) {
			continue // a datagram too short to be DNS is nobody's answer
		}
		if err != nil {
			return nil, err
		}
		if h.Id != q.Id {
			continue // late, or forged: RFC 5452 §9.1
		}
		m := new(dns.Msg)
		if err := m.Unpack(b); err != nil {
			const tc = 1 << 9
			if h.Bits&tc == 0 || network == "tcp" {
				return nil, fmt.Errorf("malformed answer: %w", err)
			}
			m.MsgHdr = dns.MsgHdr{Id: h.Id, Response: true, Truncated: true} // cut in the middle of a record; TCP will tell
			m.Question = q.Question
		}
		if answers(m, q) {
			return m, nil
		}
	}
}

// question makes the query: recursion, checking left on (CD=0), and AD set,
// which asks for the AD bit without asking for the signatures (RFC 6840 §5.7).
func question(k key, edns bool) *dns.Msg {
	q := new(dns.Msg)
	q.SetQuestion(k.name+".", uint16(k.typ))
	q.AuthenticatedData = true
	if edns {
		q.SetEdns0(ednsSize, false)
	}
	return q
}

// answers tells whether m answers q (RFC 5452 §9.1). Servers that refuse may
// leave the question out.
func answers(m, q *dns.Msg) bool {
	if !m.Response || m.Opcode != dns.OpcodeQuery {
		return false
	}
	if len(m.Question) == 0 {
		return m.Rcode != dns.RcodeSuccess && m.Rcode != dns.RcodeNameError
	}
	a, b := m.Question[0], q.Question[0]
	return len(m.Question) == 1 && a.Qtype == b.Qtype && a.Qclass == b.Qclass && bare(a.Name) == bare(b.Name)
}

// reverseName is the name under which the PTR records of an address live.
func reverseName(ip netip.Addr) string {
	name, err := dns.ReverseAddr(ip.Unmap().WithZone("").String())
	if err != nil {
		return ""
	}
	return bare(name)
}

// timedOut tells whether an error is a silence, for the words of a Failure.
func timedOut(err error) bool {
	var ne net.Error
	return errors.Is(err, context.DeadlineExceeded) || errors.As(err, &ne) && ne.Timeout()
}
