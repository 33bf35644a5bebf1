package dnstest

import (
	"encoding/binary"
	"strings"
	"time"

	"github.com/miekg/dns"
)

// Fault is what goes wrong with the answers about a name. Fields may be combined.
type Fault struct {
	Rcode    int           // answer this and nothing else; see ServFail
	Drop     bool          // no answer at all
	Delay    time.Duration // before the answer
	Truncate bool          // over UDP: TC=1 and no records
	Torn     bool          // over UDP: TC=1, and the packet ends in the middle of a record
	NoTCP    bool          // over TCP: no answer
	NoEDNS   bool          // FORMERR to questions with EDNS
	Forge    bool          // first an answer with another id, and one to another question, then the true one
	Loop     bool          // a name that points at itself (compression loop)
	Raw      []byte        // these octets after the question, counted as one answer
	NoRA     bool          // not recursive, nor authoritative: a referral in place of "no data"
	BareCut  bool          // leave out what CNAMEs lead to, as if their target lived elsewhere
	NoSOA    bool          // leave the SOA out of negative answers
	Times    int           // so many questions, then all is well; 0: for ever
}

// Fault sets what goes wrong from now on with a name ("mx.example"), with one
// type of it ("mx.example AAAA"), or with all ("") that have no fault of their
// own; the narrowest counts. The zero Fault heals.
func (s *Server) Fault(what string, f Fault) {
	s.mu.Lock()
	defer s.mu.Unlock()
	name, typ, one := strings.Cut(what, " ")
	switch {
	case one:
		what = fqdn(name) + " " + typ
	case what != "":
		what = fqdn(name)
	}
	s.faults[what] = &f
}

// faultFor takes one use of the fault for a question. The caller holds mu.
func (s *Server) faultFor(name, typ string) Fault {
	for _, key := range []string{name + " " + typ, name, ""} {
		f := s.faults[key]
		if f == nil {
			continue
		}
		out := *f
		if f.Times > 0 {
			if f.Times--; f.Times == 0 {
				delete(s.faults, key)
			}
		}
		return out
	}
	return Fault{}
}

// reply returns the packets that answer one packet.
func (s *Server) reply(b []byte, network string) [][]byte {
	q := new(dns.Msg)
	if err := q.Unpack(b); err != nil || len(q.Question) != 1 {
		return nil
	}
	name := strings.ToLower(q.Question[0].Name)
	opt := q.IsEdns0()
	limit := 65535
	seen := Query{Network: network, Name: strings.TrimSuffix(name, "."), Type: dns.TypeToString[q.Question[0].Qtype],
		AD: q.AuthenticatedData, CD: q.CheckingDisabled}
	if network == "udp" {
		limit = dns.MinMsgSize
	}
	if opt != nil {
		seen.EDNS = opt.UDPSize()
		if network == "udp" {
			limit = int(opt.UDPSize())
		}
	}

	s.mu.Lock()
	s.queries = append(s.queries, seen)
	f := s.faultFor(name, seen.Type)
	m := s.answer(q, f)
	s.mu.Unlock()

	if !s.wait(f.Delay) || f.Drop || f.NoTCP && network == "tcp" {
		return nil
	}
	switch {
	case f.Loop:
		// The owner's name is a pointer to itself: offset 12 + question.
		at := 12 + len(name) + 1 + 4
		ptr := binary.BigEndian.AppendUint16(nil, 0xc000|uint16(at))
		return [][]byte{raw(m, append(ptr, 0, 15, 0, 1, 0, 0, 0, 60, 0, 4, 0, 10, ptr[0], ptr[1]))}
	case f.Raw != nil:
		return [][]byte{raw(m, f.Raw)}
	case f.NoEDNS && opt != nil:
		m = new(dns.Msg).SetRcode(q, FormErr)
	case f.Rcode != 0:
		m = new(dns.Msg).SetRcode(q, f.Rcode)
	case f.Truncate && network == "udp":
		m.Answer, m.Ns, m.Truncated = nil, nil, true
	case f.Torn && network == "udp":
		m.Truncated, m.Extra = true, nil
		b := s.pack(m)
		return [][]byte{b[:len(b)-3]}
	case m.Len() > limit && network == "udp":
		m.Truncate(limit)
	}
	var out [][]byte
	if f.Forge {
		lie := new(dns.Msg).SetReply(q)
		lie.Answer = []dns.RR{&dns.MX{Hdr: dns.RR_Header{Name: name, Rrtype: dns.TypeMX, Class: dns.ClassINET, Ttl: 60}, Preference: 1, Mx: "forged.example."}}
		lie.Id = q.Id + 1
		out = append(out, s.pack(lie))
		other := lie.Copy()
		other.Id, other.Question[0].Name = q.Id, "other.example."
		out = append(out, s.pack(other))
	}
	return append(out, s.pack(m))
}

// answer looks the question up in the zone. The caller holds mu.
func (s *Server) answer(q *dns.Msg, f Fault) *dns.Msg {
	m := new(dns.Msg).SetReply(q)
	m.RecursionAvailable = !f.NoRA
	m.Compress = true
	name, typ := strings.ToLower(q.Question[0].Name), q.Question[0].Qtype
	m.AuthenticatedData = q.AuthenticatedData
	cut := false
	for hop := 0; hop < 12; hop++ {
		m.AuthenticatedData = m.AuthenticatedData && s.secure[name]
		var alias *dns.CNAME
		found := false
		for _, rr := range s.records[name] {
			if rr.Header().Rrtype == typ {
				m.Answer = append(m.Answer, rr)
				found = true
			} else if c, ok := rr.(*dns.CNAME); ok {
				alias = c
			}
		}
		if found || alias == nil {
			break
		}
		m.Answer = append(m.Answer, alias)
		if name = strings.ToLower(alias.Target); f.BareCut {
			cut = true
			break
		}
	}
	if n := len(m.Answer); !cut && !f.NoRA && (n == 0 || m.Answer[n-1].Header().Rrtype != typ) {
		if !s.exists(name) {
			m.Rcode = dns.RcodeNameError
		}
		if !f.NoSOA {
			m.Ns = []dns.RR{&dns.SOA{Hdr: dns.RR_Header{Name: ".", Rrtype: dns.TypeSOA, Class: dns.ClassINET, Ttl: 900},
				Ns: "ns.test.", Mbox: "hostmaster.test.", Serial: 1, Refresh: 3600, Retry: 600, Expire: 86400, Minttl: 60}}
		}
	}
	if opt := q.IsEdns0(); opt != nil {
		m.SetEdns0(4096, opt.Do())
	}
	return m
}

// exists tells whether a name or one below it is in the zone (RFC 8020). The caller holds mu.
func (s *Server) exists(name string) bool {
	for owner := range s.records {
		if owner == name || name == "." || strings.HasSuffix(owner, "."+name) {
			return true
		}
	}
	return false
}

// pack makes octets of a message; one that does not fit into 64 KiB becomes SERVFAIL.
func (s *Server) pack(m *dns.Msg) []byte {
	b, err := m.Pack()
	if err != nil || len(b) > 65535 {
		m.Answer, m.Ns, m.Extra, m.Rcode = nil, nil, nil, ServFail
		if b, err = m.Pack(); err != nil {
			s.tb.Errorf("dnstest: %v", err)
		}
	}
	return b
}

// raw is the header and question of m with one answer of any octets.
func raw(m *dns.Msg, octets []byte) []byte {
	m = m.Copy()
	m.Answer, m.Ns, m.Extra, m.Compress = nil, nil, nil, false
	b, err := m.Pack()
	if err != nil {
		return nil
	}
	binary.BigEndian.PutUint16(b[6:], 1) // ANCOUNT
	return append(b, octets...)
}
