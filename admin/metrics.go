package admin

import (
	"context"
	"net/http"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/prometheus/client_golang/prometheus/promhttp"
)

// metricsHandler serves the counters of Stats in the Prometheus text format, with
// the runtime's and the process's own. Every label has a fixed, small set of
// values: no destination, sender or host ever becomes one.
func (s *Server) metricsHandler() http.Handler {
	reg := prometheus.NewRegistry()
	reg.MustRegister(
		&exporter{s: s},
		collectors.NewGoCollector(),
		collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}),
	)
	return promhttp.HandlerFor(reg, promhttp.HandlerOpts{
		MaxRequestsInFlight: 4,
		ErrorHandling:       promhttp.ContinueOnError,
	})
}

// exporter turns one snapshot of Stats into metrics at each scrape.
type exporter struct{ s *Server }

var (
	buildInfo = desc("build_info", "Always 1; the version is in the label.", "version")
	started   = desc("start_time_seconds", "When this node started, in seconds since 1970.")

	ready = desc("ready", "1 while a check of readiness passes, as /readyz asks it.", "check")

	smtpConns    = desc("smtp_connections", "Incoming SMTP connections that are open.")
	smtpTotal    = desc("smtp_connections_total", "Incoming SMTP connections since the start.")
	smtpRefused  = desc("smtp_connections_refused_total", "Incoming SMTP connections turned away because a limit was reached.")
	smtpAccepted = desc("smtp_messages_accepted_total", "Messages answered 250 after the final dot.")
	smtpBytes    = desc("smtp_bytes_accepted_total", "Octets of the accepted messages.")
	smtpCerts    = desc("smtp_certificates", "Certificates that TLS clients are shown.")
	smtpCertsBad = desc("smtp_certificates_broken", "Of those, with a file that cannot be used: what was in it before is in force.")
	smtpCertsEnd = desc("smtp_certificate_first_expiry_seconds", "When the first of them runs out, in seconds since 1970.")
	smtpReplies  = desc("smtp_replies_total", "Replies given to SMTP clients, by class.", "class")

	outAttempts = desc("delivery_attempts_total", "Delivery attempts made.")
	outOutcomes = desc("delivery_outcomes_total", "Outcomes of attempts, per recipient.", "status")
	outClasses  = desc("delivery_bounces_total", "Recipients deferred or failed, by bounce class.", "class", "status")
	outConns    = desc("delivery_connections", "Outgoing connections that are open.")
	outOpened   = desc("delivery_connections_opened_total", "Outgoing connections opened.")
	outReused   = desc("delivery_connections_reused_total", "Transactions on a connection that had carried one before.")
	outPlugins  = desc("delivery_plugins_total", "What plugins have done, and could not do, about deliveries.", "what")
	outNotices  = desc("delivery_notices_total", "Failure and delay notices stored for senders.")

	permits     = desc("permits_total", "Permits of the scheduler: what became of them on this node.", "what")
	lateStarts  = desc("permits_late_starts_total", "Starts later than their permit allowed: a limit may have been exceeded.")
	slotsHeld   = desc("connection_slots", "Connections held under a limit.")
	leasesCut   = desc("connection_leases_cut_total", "Connections cut because their lease ran out.")
	sessionLive = desc("session_live", "1 while the session with the scheduler lives and something may start.")
	sessionLost = desc("sessions_lost_total", "Sessions with the scheduler that lapsed.")

	leading       = desc("limits_leading", "1 on the node that leads the limits.")
	leaderTerm    = desc("limits_term", "Term of the limits that this leader leads in: it grows with each change of leader.")
	leaderWindows = desc("limits_counters", "Counters of limits (a limit of one destination, source or tenant) that are in use at this leader.")
	leaderWaits   = desc("limits_lines_waiting", "Lines of mail that wait for a permit at this leader.")
	leaderGranted = desc("limits_granted", "Permits that this leader has granted in its term.")
	leaderLate    = desc("limits_late", "Late starts that this leader has been told of in its term.")
	leaderReacts  = desc("limits_reactions", "Reactions to replies in force, as this leader knows.")
	leaderNodes   = desc("limits_sessions", "Sessions that are connected to this leader.")

	queueDepth    = desc("queue_deliveries", "Deliveries queued, by state; those being sent are in ready or waiting.", "state")
	queueActive   = desc("queue_active", "Deliveries in a deliverer's hand.")
	queueBytes    = desc("queue_bytes", "Octets that the queue's store holds.")
	queueMax      = desc("queue_max_bytes", "Octets that the queue's store may hold.")
	queueStored   = desc("queue_messages_stored_total", "Messages made durable.")
	queueDirect   = desc("queue_direct_total", "Messages stored where mail waits at the door, not in READY.")
	queueBarriers = desc("queue_barriers_total", "Storage barriers (fsync) done.")
	queueSizes    = desc("queue_barrier_messages", "Messages that shared one storage barrier.")
	queueSeconds  = desc("queue_barrier_seconds", "How long a storage barrier took.")
	queueRecords  = desc("queue_journal_records_total", "Records written to the journal.")
	queueEntries  = desc("queue_journal_entries_total", "Entries in those records.")
)

func desc(name, help string, labels ...string) *prometheus.Desc {
	return prometheus.NewDesc("tarishi_"+name, help, labels, nil)
}

// Describe sends nothing: which metrics there are depends on the node's roles
// (an unchecked collector, as client_golang calls it).
func (e *exporter) Describe(chan<- *prometheus.Desc) {}

func (e *exporter) Collect(ch chan<- prometheus.Metric) {
	count := func(d *prometheus.Desc, v uint64, labels ...string) {
		ch <- prometheus.MustNewConstMetric(d, prometheus.CounterValue, float64(v), labels...)
	}
	gauge := func(d *prometheus.Desc, v float64, labels ...string) {
		ch <- prometheus.MustNewConstMetric(d, prometheus.GaugeValue, v, labels...)
	}
	gauge(buildInfo, 1, e.s.c.Version)
	gauge(started, float64(e.s.c.Started.UnixMilli())/1000)
	ctx, cancel := context.WithTimeout(context.Background(), checkTime)
	defer cancel()
	for _, c := range e.s.c.Checks {
		gauge(ready, truth(c.Ask(ctx) == nil), c.Name)
	}
	e.collectPlugins(ch)
	st := e.s.c.Stats()
	if s := st.SMTP; s != nil {
		gauge(smtpConns, float64(s.Connections))
		count(smtpTotal, s.Connected)
		count(smtpRefused, s.Refused)
		count(smtpAccepted, s.Accepted)
		count(smtpBytes, s.Bytes)
		count(smtpReplies, s.Replies2xx, "2xx")
		count(smtpReplies, s.Replies3xx, "3xx")
		count(smtpReplies, s.Replies4xx, "4xx")
		count(smtpReplies, s.Replies5xx, "5xx")
		if n := len(s.Certificates); n > 0 {
			first, bad := FirstExpiry(s.Certificates)
			gauge(smtpCerts, float64(n))
			gauge(smtpCertsBad, float64(bad))
			gauge(smtpCertsEnd, float64(first.NotAfter.Unix()))
		}
	}
	if d := st.Delivery; d != nil {
		count(outAttempts, d.Attempts)
		count(outOutcomes, d.Delivered, "delivered")
		count(outOutcomes, d.Deferred, "deferred")
		count(outOutcomes, d.Failed, "failed")
		for _, c := range d.Classes {
			count(outClasses, c.Deferred, c.Class, "deferred")
			count(outClasses, c.Failed, c.Class, "failed")
		}
		gauge(outConns, float64(d.Connections))
		count(outOpened, d.Opened)
		count(outReused, d.Reused)
		count(outNotices, d.Notices)
		for what, n := range map[string]uint64{"put_off": d.PutOff, "dropped": d.Dropped, "unasked": d.Unasked, "untold": d.Untold} {
			count(outPlugins, n, what)
		}
	}
	if p := st.Permits; p != nil {
		for what, n := range map[string]uint64{"taken": p.Taken, "used": p.Used, "returned": p.Returned, "expired": p.Expired, "refused": p.Refused} {
			count(permits, n, what)
		}
		count(lateStarts, p.LateStarts)
		gauge(slotsHeld, float64(p.Slots))
		count(leasesCut, p.LeasesCut)
		gauge(sessionLive, truth(p.Live))
		count(sessionLost, p.LostSession)
	}
	if l := st.Limits; l != nil {
		gauge(leading, truth(l.Leading))
		if l.Leading {
			gauge(leaderTerm, float64(l.Term))
			gauge(leaderWindows, float64(l.Counters))
			gauge(leaderWaits, float64(l.Waiting))
			gauge(leaderGranted, float64(l.Granted))
			gauge(leaderLate, float64(l.Late))
			gauge(leaderNodes, float64(l.Sessions))
			gauge(leaderReacts, float64(l.Reactions))
		}
	}
	if q := st.Queue; q != nil {
		gauge(queueDepth, float64(q.Ready), "ready")
		gauge(queueDepth, float64(q.Waiting), "waiting")
		gauge(queueDepth, float64(q.Held), "held")
		gauge(queueActive, float64(q.Active))
		gauge(queueBytes, float64(q.Bytes))
		if q.MaxBytes > 0 {
			gauge(queueMax, float64(q.MaxBytes))
		}
		count(queueStored, q.Stored)
		count(queueBarriers, q.Barriers)
		count(queueDirect, q.Direct)
		histogram(ch, queueSizes, q.BarrierSizes)
		histogram(ch, queueSeconds, q.BarrierSeconds)
		count(queueRecords, q.JournalRecords)
		count(queueEntries, q.JournalEntries)
	}
}

func truth(b bool) float64 {
	if b {
		return 1
	}
	return 0
}

// histogram sends h, or nothing when it is not measured or not well formed.
func histogram(ch chan<- prometheus.Metric, d *prometheus.Desc, h *Histogram) {
	if h == nil || len(h.Counts) != len(h.Bounds)+1 {
		return
	}
	upTo := make(map[float64]uint64, len(h.Bounds))
	var n uint64
	for i, b := range h.Bounds {
		n += h.Counts[i]
		upTo[b] = n
	}
	n += h.Counts[len(h.Bounds)]
	ch <- prometheus.MustNewConstHistogram(d, n, h.Sum, upTo)
}
