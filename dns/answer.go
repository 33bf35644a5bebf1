package dns

import (
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"time"

	"github.com/miekg/dns"
)

// Type is a record type.
type Type uint16

// The record types that an [Answer] has a field for.
const (
	TypeA     = Type(dns.TypeA)
	TypeNS    = Type(dns.TypeNS)
	TypeCNAME = Type(dns.TypeCNAME)
	TypePTR   = Type(dns.TypePTR)
	TypeMX    = Type(dns.TypeMX)
	TypeTXT   = Type(dns.TypeTXT)
	TypeAAAA  = Type(dns.TypeAAAA)
	TypeTLSA  = Type(dns.TypeTLSA)
)

func (t Type) String() string { return dns.Type(t).String() }

// Status tells the three definite answers apart. What is not definite is an error.
type Status int

const (
	Found    Status = iota // there are records
	NoData                 // the name exists, with no record of this type
	NXDomain               // the name does not exist (or cannot: it is no domain name)
)

func (s Status) String() string {
	switch s {
	case Found:
		return "found"
	case NoData:
		return "no data"
	default:
		return "no such domain"
	}
}

// MX is one mail exchanger. Host is "." for the null MX of RFC 7505, and may be
// anything the zone's owner wrote: check it before use, as MailHosts does.
type MX struct {
	Host       string // lower case, no trailing dot
	Preference uint16 // lower is better
}

// TLSA is one certificate association (RFC 6698 §2.1), as it stands in the zone.
type TLSA struct {
	Usage, Selector, Matching uint8
	Data                      string // hexadecimal
}

// Answer is what DNS says of one name and type. Only the list of the type asked
// for is filled. The slices are the caller's own.
type Answer struct {
	Name      string // as asked: lower case, no trailing dot
	Type      Type
	Canonical string // where the CNAMEs lead; Name when there are none
	Status    Status
	Secure    bool      // a trusted resolver validated all of it (AD); also of NoData and NXDomain
	Expires   time.Time // when the answer is to be asked for again

	MX    []MX
	Addrs []netip.Addr // A or AAAA
	Texts []string     // TXT, the strings of a record joined (RFC 7208 §3.3)
	Names []string     // PTR, NS or CNAME; lower case, no trailing dot
	TLSA  []TLSA

	ttl time.Duration
}

// clone gives a caller slices of its own: answers are shared through the cache.
func (a Answer) clone() Answer {
	a.MX, a.Addrs, a.Texts = slices.Clone(a.MX), slices.Clone(a.Addrs), slices.Clone(a.Texts)
	a.Names, a.TLSA = slices.Clone(a.Names), slices.Clone(a.TLSA)
	return a
}

// bytes estimates what the answer takes in memory.
func (a *Answer) bytes() int {
	n := 400 + len(a.Name) + len(a.Canonical) + 24*(len(a.MX)+len(a.Addrs)+len(a.Texts)+len(a.Names)) + 24*len(a.TLSA)
	for _, m := range a.MX {
		n += len(m.Host)
	}
	for _, s := range a.Texts {
		n += len(s)
	}
	for _, s := range a.Names {
		n += len(s)
	}
	for _, t := range a.TLSA {
		n += len(t.Data)
	}
	return n
}

// maxCNAME is how many CNAMEs are followed for one question. RFC 1034 §3.6.2
// wants chains followed and names no limit; real ones have one to three.
const maxCNAME = 8

var (
	errChain    = fmt.Errorf("more than %d CNAMEs, or a loop of them", maxCNAME)
	errBoth     = errors.New("the answer says that the name does not exist and gives records of it")
	errReferral = errors.New("the server refers us to others; it is no recursive resolver")
)

// rcodeError is an answer that settles nothing: SERVFAIL (which is also what a
// validating resolver says of a bogus answer), REFUSED and their like.
type rcodeError int

func (e rcodeError) Error() string {
	if s, ok := dns.RcodeToString[int(e)]; ok {
		return s
	}
	return fmt.Sprintf("RCODE%d", int(e))
}

// read makes an Answer of a message about name, whose CNAMEs it follows inside
// the message. hops is how many have been followed already; it returns the new
// count. When the chain leads out of the message, next is the name to ask for.
// It decides nothing about the sender of the message: ask has checked that.
func read(m *dns.Msg, name string, t Type, hops int) (a Answer, next string, _ int, err error) {
	if m.Rcode != dns.RcodeSuccess && m.Rcode != dns.RcodeNameError {
		return Answer{}, "", hops, rcodeError(m.Rcode)
	}
	a = Answer{Name: name, Type: t, Canonical: name, Secure: m.AuthenticatedData, ttl: maxDuration}
	for {
		var alias *dns.CNAME
		for _, rr := range m.Answer {
			h := rr.Header()
			if h.Class != dns.ClassINET || bare(h.Name) != a.Canonical {
				continue
			}
			if h.Rrtype == uint16(t) {
				if a.add(rr) {
					a.ttl = min(a.ttl, ttlOf(h))
				}
			} else if c, ok := rr.(*dns.CNAME); ok && alias == nil {
				alias = c
			}
		}
		if a.count() > 0 || alias == nil {
			break
		}
		if hops++; hops > maxCNAME {
			return Answer{}, "", hops, errChain
		}
		a.ttl = min(a.ttl, ttlOf(&alias.Hdr))
		a.Canonical = bare(alias.Target)
	}

	soa := negativeTTL(m)
	switch {
	case a.count() > 0 && m.Rcode == dns.RcodeNameError:
		return Answer{}, "", hops, errBoth
	case a.count() > 0:
		return a, "", hops, nil
	case m.Rcode == dns.RcodeNameError:
		// RFC 2308 §2.1, RFC 6604 §3: said of the last name of the chain.
		a.Status, a.ttl = NXDomain, min(a.ttl, max(soa, 0))
		return a, "", hops, nil
	case soa >= 0:
		a.Status, a.ttl = NoData, min(a.ttl, soa)
		return a, "", hops, nil
	case a.Canonical != name && !isName(a.Canonical):
		a.Status = NoData // the root, or octets that we do not ask for: no mail lives there
		return a, "", hops, nil
	case a.Canonical != name:
		return a, a.Canonical, hops, nil // an alias without its target, and no word that there is none
	case !m.RecursionAvailable && !m.Authoritative:
		// Taking a referral for "no data" would bounce mail.
		return Answer{}, "", hops, errReferral
	default:
		a.Status, a.ttl = NoData, 0 // RFC 2308 §5: without an SOA it must not be cached
		return a, "", hops, nil
	}
}

const maxDuration = time.Duration(1<<63 - 1)

// count returns how many records were found.
func (a *Answer) count() int {
	return len(a.MX) + len(a.Addrs) + len(a.Texts) + len(a.Names) + len(a.TLSA)
}

// add takes one record of the type asked for; it returns false for one that
// holds nothing we could use (an A record without its four octets).
func (a *Answer) add(rr dns.RR) bool {
	switch rr := rr.(type) {
	case *dns.MX:
		host := bare(rr.Mx)
		if host == "" {
			host = "."
		}
		a.MX = append(a.MX, MX{Host: host, Preference: rr.Preference})
	case *dns.A:
		ip, ok := netip.AddrFromSlice(rr.A.To4())
		if !ok {
			return false
		}
		a.Addrs = append(a.Addrs, ip)
	case *dns.AAAA:
		ip, ok := netip.AddrFromSlice(rr.AAAA.To16()) // stays IPv4-mapped if it is: Policy refuses those
		if !ok {
			return false
		}
		a.Addrs = append(a.Addrs, ip)
	case *dns.TXT:
		a.Texts = append(a.Texts, unescape(strings.Join(rr.Txt, "")))
	case *dns.PTR:
		a.Names = append(a.Names, bare(rr.Ptr))
	case *dns.NS:
		a.Names = append(a.Names, bare(rr.Ns))
	case *dns.CNAME:
		a.Names = append(a.Names, bare(rr.Target))
	case *dns.TLSA:
		a.TLSA = append(a.TLSA, TLSA{rr.Usage, rr.Selector, rr.MatchingType, rr.Certificate})
	default:
		return false
	}
	return true
}

// unescape undoes the presentation form (\DDD and \X, RFC 1035 §5.1) in which
// the library hands out the octets of TXT strings.
func unescape(s string) string {
	if !strings.Contains(s, `\`) {
		return s
	}
	b := make([]byte, 0, len(s))
	for i := 0; i < len(s); i++ {
		if s[i] != '\\' || i+1 == len(s) {
			b = append(b, s[i])
			continue
		}
		if i+3 < len(s) && isDigit(s[i+1]) && isDigit(s[i+2]) && isDigit(s[i+3]) {
			b = append(b, (s[i+1]-'0')*100+(s[i+2]-'0')*10+(s[i+3]-'0'))
			i += 3
			continue
		}
		i++
		b = append(b, s[i])
	}
	return string(b)
}

func isDigit(c byte) bool { return '0' <= c && c <= '9' }

// ttlOf reads a TTL. RFC 2181 §8: one with its top bit set counts as zero.
func ttlOf(h *dns.RR_Header) time.Duration {
	if h.Ttl >= 1<<31 {
		return 0
	}
	return time.Duration(h.Ttl) * time.Second
}

// negativeTTL is how long "there is none" holds (RFC 2308 §5: the lesser of the
// SOA's TTL and its MINIMUM field), or -1 when no SOA says so.
func negativeTTL(m *dns.Msg) time.Duration {
	for _, rr := range m.Ns {
		if soa, ok := rr.(*dns.SOA); ok {
			return min(ttlOf(&soa.Hdr), ttlOf(&dns.RR_Header{Ttl: soa.Minttl}))
		}
	}
	return -1
}

// bare is the form in which names are kept here: lower case, no trailing dot.
func bare(name string) string {
	return strings.ToLower(strings.TrimSuffix(name, "."))
}

// isName tells whether a name can be asked for: labels of 1 to 63 octets, 253 in
// all (RFC 1035 §2.3.4), printable ASCII and no backslash, which the library would
// read as an escape. "" (the root) is none.
func isName(s string) bool {
	if s == "" || len(s) > 253 {
		return false
	}
	for label := range strings.SplitSeq(s, ".") {
		if label == "" || len(label) > 63 {
			return false
		}
	}
	for i := range len(s) {
		if c := s[i]; c <= ' ' || c > '~' || c == '\\' {
			return false
		}
	}
	return true
}

// isHost is isName for what mail may be sent to: letters, digits, hyphens and,
// because people do that, underscores.
func isHost(s string) bool {
	for i := range len(s) {
		c := s[i]
		if !('a' <= c && c <= 'z' || 'A' <= c && c <= 'Z' || isDigit(c) || c == '-' || c == '_' || c == '.') {
			return false
		}
	}
	return isName(s)
}
