package command

import (
	"context"
	"log/slog"
	"sync"
	"time"

	"github.com/tarishi/tarishi/daemon"
	"github.com/tarishi/tarishi/deliverer"
	"github.com/tarishi/tarishi/queue"
	"github.com/tarishi/tarishi/scheduler"
)

// session is this process's session with the scheduler, and what it tells the parts
// that work by it. The zero one, of a node that does not deliver, holds nothing.
type session struct {
	conf   *daemon.Config
	k      *council
	log    *slog.Logger
	client *scheduler.Client // nil: this node does not deliver
	queue  *queue.Queue
	out    *deliverer.Deliverer

	letting sync.WaitGroup // partitions that are let go of
}

func newSession(c *daemon.Config, k *council, log *slog.Logger) *session {
	return &session{conf: c, k: k, log: log}
}

// open makes the client; attach and run follow. folder is nil for a node that keeps nothing.
func (s *session) open(folder *daemon.Folder) schedule {
	o := scheduler.ClientOptions{
		Node: s.k.node(), Params: schedulerParams(), Peers: s.k.reach, Clock: s.k.clock, Rates: s.k.rates,
		Parts:   s.conf.Clustered(),
		News:    func(l scheduler.Lane) { s.out.News(l.Dest, l.Tenant, l.Class) },
		OnPart:  s.partition,
		OnRules: func() { s.out.RulesChanged() },
		Log:     s.log,
	}
	if folder != nil && s.conf.Clustered() { // alone, its scheduler ends with it
		o.Former = readFormer(folder, o.Node, s.log)
		o.Begun = func(id scheduler.SessionID) { keepFormer(folder, o.Node, id, s.log) }
	}
	s.client = scheduler.NewClient(o)
	return schedule{s.client, s.source()}
}

// source names what this node sends from, for limits per source.
func (s *session) source() string {
	if a := s.conf.Delivery.Source; a != "" {
		return a
	}
	return s.k.node()
}

// attach names whom the session tells. It is called before run.
func (s *session) attach(q *queue.Queue, out *deliverer.Deliverer) { s.queue, s.out = q, out }

func (s *session) run(ctx context.Context) error { return s.client.Run(ctx) }

// holds tells whether a partition of WAIT is ours under that epoch.
func (s *session) holds(p uint32, epoch uint64) bool {
	return s.client != nil && s.client.Holds(scheduler.Part{N: p, Epoch: epoch})
}

// partition passes on that a partition has come, is to be let go of, or is lost.
func (s *session) partition(gained bool, p scheduler.Part) {
	switch {
	case gained:
		if err := s.queue.Hold(p.N, p.Epoch); err != nil {
			s.log.Error("a partition of the waiting mail cannot be taken over", "partition", p.N, "error", err)
		}
	case !s.client.Holds(p):
		s.queue.Lost(p.N, p.Epoch)
	default:
		s.letting.Go(func() { s.letGo(p) })
	}
}

// letPatience is how long a partition's deliveries may be under way before we say
// so; until they have ended, nobody else may have the partition.
const letPatience = time.Minute

func (s *session) letGo(p scheduler.Part) {
	for s.client.Holds(p) {
		ctx, cancel := context.WithTimeout(context.Background(), letPatience)
		err := s.queue.Let(ctx, p.N)
		cancel()
		if err == nil {
			s.client.PartGone(p)
			return
		}
		s.log.Info("a partition of the waiting mail is not let go of yet", "partition", p.N, "reason", err)
	}
	s.queue.Lost(p.N, p.Epoch)
}

// drain says that this node is about to leave: it gets nothing new.
func (s *session) drain() {
	if s.client != nil {
		s.client.Drain()
	}
}

// settled waits until the partitions that are being let go of are.
func (s *session) settled() { s.letting.Wait() }

// schedulerParams are the protocol's constants, the same on every node.
func schedulerParams() scheduler.Params {
	p := scheduler.DefaultParams()
	// A slot that changes hands costs a second and a new connection; a turn of ten
	// seconds loses a tenth where others wait, a shorter one a third.
	p.SlotTurn = 10 * scheduler.Second
	return p
}
