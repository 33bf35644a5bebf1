package queue

import (
	"context"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/tarishi/tarishi/mail"
	"github.com/tarishi/tarishi/proto"
)

// Suppression is one entry of the list of those who are sent nothing.
type Suppression struct {
	Address string // in canonical form, see CanonicalAddress
	Tenant  string // whose mail it concerns; empty: everybody's
	Reason  string
	Class   string // the bounce class, of a bounce
	Source  string // SourceBounce, SourceAPI or SourceOperator
	Event   string // of a bounce: the delivery and its attempt, "01K9….0/3"
	Author  string
	At      time.Time
	Expires time.Time // zero: never
}

// Where entries come from.
const (
	SourceBounce   = "bounce"
	SourceAPI      = "api"
	SourceOperator = "operator"
)

// SuppressionList is the list of those who are sent nothing: one for everybody's mail
// and one for each tenant's. It is a JetStream key-value bucket, SUPPRESS, kept as
// often as the queue. A filter in memory answers for nearly all addresses that are not
// on it; whom it cannot clear, the store is asked about. Safe for concurrent use.
type SuppressionList struct {
	q      *Queue
	filter hashSet
	// whole: the filter holds all that is stored. Until then it clears nobody.
	whole atomic.Bool
	own   sync.Map // hashes that this node has stored and not seen come back yet
	soon  chan Suppression
	lost  atomic.Int64 // bounces that found soon full
	seen  chan struct{}
}

// Suppressions is the queue's suppression list.
func (q *Queue) Suppressions() *SuppressionList { return q.suppress }

func newSuppressionList(q *Queue) *SuppressionList {
	return &SuppressionList{q: q, soon: make(chan Suppression, 4096), seen: make(chan struct{})}
}

// CanonicalAddress is what addresses are compared by: the domain in canonical form,
// the local part in lower case and without quotes that it does not need. RFC 5321
// lets a host tell Bob from bob; the list, whose errors cost reputation, does not.
// Empty: an address without a domain, which is never on the list.
func CanonicalAddress(a mail.Address) string {
	if a.Domain == "" {
		return ""
	}
	local := a.Local()
	if n := len(local); n > 2 && local[0] == '"' && local[n-1] == '"' {
		if bare := unquoted(local[1 : n-1]); plainLocal(bare) {
			local = bare
		} else {
			local = quoted(bare)
		}
	}
	return strings.ToLower(local) + "@" + string(a.Domain)
}

// unquoted takes the backslashes of quoted pairs away: "b\ob" is bob (RFC 5321 §4.1.2).
func unquoted(s string) string {
	if !strings.Contains(s, `\`) {
		return s
	}
	var b strings.Builder
	for i := 0; i < len(s); i++ {
		if s[i] == '\\' && i+1 < len(s) {
			i++
		}
		b.WriteByte(s[i])
	}
	return b.String()
}

// quoted is s as a quoted string, with no quoted pair that it does not need.
func quoted(s string) string {
	return `"` + strings.NewReplacer(`\`, `\\`, `"`, `\"`).Replace(s) + `"`
}

// plainLocal tells whether a local part means the same without its quotes.
func plainLocal(s string) bool {
	if s == "" || s[0] == '.' || s[len(s)-1] == '.' || strings.Contains(s, "..") {
		return false
	}
	return !strings.ContainsFunc(s, func(r rune) bool {
		return r <= ' ' || r == 0x7f || strings.ContainsRune(`"\@(),:;<>[]`, r)
	})
}

// listKey names an entry: its scope and a hash of scope and address. The hash's first
// eight octets stand for it in the filter.
type listKey struct {
	tenant string
	sum    [16]byte
}

func keyOf(canonical, tenant string) listKey {
	h := sha256.Sum256([]byte(tenant + "\x00" + canonical))
	k := listKey{tenant: tenant}
	copy(k.sum[:], h[:])
	return k
}

func (k listKey) hash() uint64 { return binary.BigEndian.Uint64(k.sum[:8]) }

func (k listKey) subject() string { return scopeSubject(k.tenant) + hex.EncodeToString(k.sum[:]) }

const subjectSuppress = "$KV.SUPPRESS."

// scopeSubject is where the entries of one scope lie.
func scopeSubject(tenant string) string {
	if tenant == "" {
		return subjectSuppress + "all."
	}
	return subjectSuppress + "tenant." + tenantToken(tenant) + "."
}

// hashOf reads a subject's hash.
func hashOf(subject string) (uint64, bool) {
	i := strings.LastIndexByte(subject, '.')
	b, err := hex.DecodeString(subject[i+1:])
	if err != nil || len(b) != 16 {
		return 0, false
	}
	return binary.BigEndian.Uint64(b[:8]), true
}

// Maybe tells whether an address may be on the list for a tenant's mail. It does not
// block; false is certain.
func (l *SuppressionList) Maybe(to mail.Address, tenant string) bool {
	if l.empty() {
		return false
	}
	canonical := CanonicalAddress(to)
	if canonical == "" {
		return false
	}
	if !l.whole.Load() {
		return true
	}
	return l.filter.has(keyOf(canonical, "").hash()) || tenant != "" && l.filter.has(keyOf(canonical, tenant).hash())
}

// empty tells whether it is certain that nobody is on the list.
func (l *SuppressionList) empty() bool { return l.whole.Load() && l.filter.len() == 0 }

// Look finds the entry that keeps a tenant's mail from an address. It asks the store
// only about whom the filter cannot clear.
func (l *SuppressionList) Look(ctx context.Context, to mail.Address, tenant string) (s Suppression, found bool, err error) {
	if l.empty() {
		return s, false, nil
	}
	canonical := CanonicalAddress(to)
	if canonical == "" {
		return s, false, nil
	}
	scopes := []string{"", tenant}
	if tenant == "" {
		scopes = scopes[:1]
	}
	for _, scope := range scopes {
		k := keyOf(canonical, scope)
		if l.whole.Load() && !l.filter.has(k.hash()) {
			continue
		}
		if s, found, err = l.get(ctx, k); err != nil || found {
			return s, found, err
		}
	}
	return s, false, nil
}

// get reads one entry from the store. One whose time is up is not there.
func (l *SuppressionList) get(ctx context.Context, k listKey) (Suppression, bool, error) {
	m, err := l.load(ctx, k.subject())
	if errors.Is(err, errNoRecord) {
		return Suppression{}, false, nil
	}
	if err != nil {
		return Suppression{}, false, fmt.Errorf("%w: reading the suppression list: %w", ErrUnavailable, err)
	}
	if marker(m.header) {
		return Suppression{}, false, nil
	}
	s, err := readSuppression(m)
	if err != nil {
		// Its key is made of the address, so that much is known: it is on the list.
		return Suppression{Tenant: k.tenant, Reason: "the entry cannot be read: " + err.Error(), At: m.at}, true, nil
	}
	return s, s.lives(time.Now()), nil
}

// load reads what lies last under a subject. A replica that does not have it may lag
// behind; the leader does not.
func (l *SuppressionList) load(ctx context.Context, subject string) (stored, error) {
	ctx, cancel := context.WithTimeout(ctx, requestMost)
	defer cancel()
	req := fmt.Appendf(nil, `{"last_by_subj":%q}`, subject)
	m, err := l.q.request(ctx, "$JS.API.DIRECT.GET."+streamSuppress, req)
	if err == nil && m.Header.Get("Status") == "" {
		return directRecord(m)
	}
	if l.q.team == nil {
		if err == nil {
			err = errNoRecord
		}
		return stored{}, err
	}
	return l.q.loadFromLeader(ctx, streamSuppress, req)
}

func (s *Suppression) lives(now time.Time) bool { return s.Expires.IsZero() || now.Before(s.Expires) }

// Len is about how many entries there are, and whether all have been counted yet.
func (l *SuppressionList) Len() (n int, all bool) { return l.filter.len(), l.whole.Load() }

// marker tells whether a record says that an entry is gone.
func marker(h nats.Header) bool {
	return h.Get("KV-Operation") != "" || h.Get("Nats-Marker-Reason") != ""
}

func readSuppression(m stored) (Suppression, error) {
	var p proto.Suppression
	if _, err := proto.ReadFrame(m.data, proto.KindSuppression, &p); err != nil {
		return Suppression{}, err
	}
	return Suppression{
		Address: p.Address, Tenant: p.Tenant, Reason: p.Reason, Class: p.Class, Source: p.Source, Event: p.Event,
		Author: p.Author, At: proto.FromMicros(p.AtUs), Expires: proto.FromMicros(p.ExpiresUs),
	}, nil
}

// frame writes the entry as it is stored.
func (s *Suppression) frame() ([]byte, error) {
	text := func(s string) string { return strings.ToValidUTF8(s, "\uFFFD") }
	return proto.AppendFrame(nil, proto.KindSuppression, &proto.Suppression{
		Address: text(s.Address), Tenant: s.Tenant, Reason: text(s.Reason), Class: s.Class, Source: s.Source, Event: s.Event,
		Author: text(s.Author), AtUs: proto.Micros(s.At), ExpiresUs: proto.Micros(s.Expires),
	}, nil)
}

// tenantToken writes a tenant as one token of a key: what is neither letter, digit,
// hyphen nor underscore becomes =XX.
func tenantToken(tenant string) string {
	var b strings.Builder
	for i := range len(tenant) {
		switch c := tenant[i]; {
		case 'a' <= c && c <= 'z', 'A' <= c && c <= 'Z', '0' <= c && c <= '9', c == '-', c == '_':
			b.WriteByte(c)
		default:
			fmt.Fprintf(&b, "=%02x", c)
		}
	}
	return b.String()
}
