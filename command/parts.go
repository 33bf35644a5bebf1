package command

// Parts fit together here: roles never import one another, each says what it
// needs in its own words, and these few lines translate.

import (
	"context"
	"errors"
	"log/slog"
	"net/netip"
	"slices"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/tarishi/tarishi/admin"
	"github.com/tarishi/tarishi/certs"
	"github.com/tarishi/tarishi/deliverer"
	"github.com/tarishi/tarishi/dns"
	"github.com/tarishi/tarishi/ingress"
	"github.com/tarishi/tarishi/mail"
	"github.com/tarishi/tarishi/queue"
	"github.com/tarishi/tarishi/smtp"
)

// outQueue is the queue as the deliverer sees it.
type outQueue struct{ *queue.Queue }

type outJob struct{ *queue.Job }

func (j outJob) Envelope() *mail.Delivery { return &j.Job.Delivery }
func (j outJob) Done(a deliverer.Attempt) { j.Job.Done(queue.Attempt(a)) }
func (j outJob) Wait(next mail.Delivery, a *deliverer.Attempt) {
	j.Job.Wait(next, (*queue.Attempt)(a))
}

func (j outJob) Decide(ctx context.Context, a deliverer.Attempt, number int) error {
	return j.Job.Decide(ctx, queue.Attempt(a), number)
}
func (j outJob) Decided() (*deliverer.Attempt, int) {
	a, n := j.Job.Decided()
	return (*deliverer.Attempt)(a), n
}

func (q outQueue) Fetch(ctx context.Context, max int) ([]deliverer.Job, error) {
	js, err := q.Queue.Fetch(ctx, max)
	out := make([]deliverer.Job, len(js))
	for i, j := range js {
		out[i] = outJob{j}
	}
	return out, err
}

func (q outQueue) Drain(ctx context.Context, room func(mail.Line) int, take func(deliverer.Job)) error {
	return q.Queue.Drain(ctx, room, func(j *queue.Job) { take(outJob{j}) })
}

// mailHosts is the resolver as the deliverer sees it.
type mailHosts struct {
	r    *dns.Resolver
	self dns.SelfInfo
}

func (m mailHosts) MailHosts(ctx context.Context, d mail.Domain) (string, []deliverer.Host, error) {
	hosts, err := m.r.MailHosts(ctx, d)
	if err != nil {
		return "", nil, noHosts(err)
	}
	cs, err := m.r.CandidatesOf(ctx, d, hosts, m.self)
	if err != nil {
		return "", nil, noHosts(err)
	}
	return dns.Site(hosts), allHosts(hosts, cs), nil
}

// allHosts are those that can be dialled, in order, and behind them the others of the
// MX, without addresses: whose limits hold must not depend on which host's address
// could be found today.
func allHosts(hosts []dns.MailHost, dialled []dns.Candidate) []deliverer.Host {
	out := make([]deliverer.Host, 0, len(hosts))
	for _, c := range dialled {
		out = append(out, deliverer.Host{Name: c.Host, Addrs: c.Addrs})
	}
	for _, h := range hosts {
		if !slices.ContainsFunc(dialled, func(c dns.Candidate) bool { return c.Host == h.Host }) {
			out = append(out, deliverer.Host{Name: h.Host})
		}
	}
	return out
}

func noHosts(err error) error {
	var f *dns.Failure
	if errors.As(err, &f) {
		return &deliverer.NoHosts{Reply: f.Reply}
	}
	return err
}

// verifiedName is the name of a client's address that leads back to it, or "": a
// name that does not is anybody's claim.
func verifiedName(ctx context.Context, r *dns.Resolver, ip netip.Addr) string {
	ptr, err := r.LookupPTR(ctx, ip)
	if err != nil {
		return ""
	}
	for _, name := range ptr.Names[:min(len(ptr.Names), 3)] {
		as, err := r.LookupAddrs(ctx, name)
		if err == nil && (slices.Contains(as.V4, ip.Unmap()) || slices.Contains(as.V6, ip)) {
			return strings.TrimSuffix(name, ".")
		}
	}
	return ""
}

// stats gathers what the parts count.
func stats(q *queue.Queue, server *smtp.Server, store *certs.Store, in *ingress.Handler, out *deliverer.Deliverer, s *session) admin.Stats {
	n := q.Stats()
	v := admin.Stats{Queue: &admin.QueueStats{
		Part:  s.conf.Clustered(),
		Ready: n.Ready, Waiting: n.Waiting - n.Held, Held: n.Held, Active: n.Active,
		Bytes: uint64(n.Bytes), MaxBytes: uint64(n.MaxBytes), Barriers: uint64(n.Barriers), Stored: uint64(n.Accepted),
		Direct: uint64(n.Direct), JournalRecords: uint64(n.JournalRecords), JournalEntries: uint64(n.JournalEntries),
		BarrierSizes: (*admin.Histogram)(&n.BarrierSizes), BarrierSeconds: (*admin.Histogram)(&n.BarrierSeconds),
	}}
	if in != nil {
		i, w := in.Stats(), server.Stats()
		v.SMTP = &admin.SMTPStats{
			Connections: w.Open, Connected: uint64(i.Connections), Refused: w.Refused,
			Accepted: uint64(i.Accepted), Bytes: uint64(i.AcceptedBytes),
			Certificates: certificateStats(store),
			Replies2xx:   w.Replies[2], Replies3xx: w.Replies[3], Replies4xx: w.Replies[4], Replies5xx: w.Replies[5],
		}
	}
	if out != nil {
		d := out.Stats()
		v.Delivery = &admin.DeliveryStats{
			Attempts: d.Attempts, Delivered: d.Delivered, Deferred: d.Deferred, Failed: d.Failed,
			Connections: d.ConnectionsOpen, Opened: d.ConnectionsOpened, Reused: d.Reused,
			Notices: d.Notices + d.DelayNotices,
			PutOff:  d.PutOff, Dropped: d.Dropped, Unasked: d.Unasked, Untold: d.Untold,
		}
		for _, c := range d.Classes {
			v.Delivery.Classes = append(v.Delivery.Classes, admin.BounceClass(c))
		}
		v.Permits = permitStats(d)
		if s.client != nil {
			v.Permits.LostSession = s.client.Stats().Lost
		}
	}
	if s.k.server != nil {
		l := s.k.server.Stats()
		v.Limits = &admin.LeaderStats{Leading: l.Leading, Term: l.Term, Sessions: l.Sessions, Granted: l.Granted, Started: l.Started, Late: l.Late, Reactions: l.Reactions, Counters: l.Counters, Waiting: l.Waiting}
	}
	return v
}

func permitStats(d deliverer.Snapshot) *admin.PermitStats {
	return &admin.PermitStats{
		Live: d.Live, Taken: d.PermitsTaken, Used: d.PermitsUsed, Returned: d.PermitsReturned, Expired: d.PermitsExpired,
		Refused: d.PermitsRefused, LateStarts: d.LateStarts, Slots: d.SlotsHeld, LeasesCut: d.LeasesCut,
	}
}

// quiet drops the line of each attempt and keeps everything else.
type quiet struct{ slog.Handler }

func (q quiet) Handle(ctx context.Context, r slog.Record) error {
	if r.Level < slog.LevelWarn && r.Message == "attempt" {
		return nil
	}
	return q.Handler.Handle(ctx, r)
}

// barrierUnsafe says why the shared fsync cannot be relied on for the disk under
// path, or "". JetStream compacts a block by writing it anew and renaming it over
// the old one without a sync. ext4 and btrfs write the new file before such a
// rename; XFS does not promise it, and a power cut could leave an empty file.
func barrierUnsafe(path string) string {
	const xfs = 0x58465342
	var fs unix.Statfs_t
	if err := unix.Statfs(path, &fs); err == nil && fs.Type == xfs {
		return "the data folder is on XFS, which may lose a file that is renamed over another without a sync"
	}
	return ""
}
