package cluster

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"path/filepath"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/hashicorp/raft"
)

// RaftOptions says how to run the replicated state.
type RaftOptions struct {
	Dir string // raft's folder; made when missing
	FSM FSM

	// Cluster mode. Without peers the node is one on its own: it listens nowhere.
	Cluster   string
	Node      string
	Peers     []Peer     // the same list on all nodes, this one included
	Transport *Transport // stays the caller's, who closes it after Stop

	// Fatal is told, once, that the process must end: the disk stands still or has
	// failed, or nothing is committed although this node leads. It should not return. A
	// leader with a stalled disk keeps its leadership, for heartbeats need no disk, and
	// nothing but the end of its process makes room for another.
	Fatal func(error)

	// Waits is told why the node takes no part yet, as often as that changes. nil: nobody.
	Waits func(why string)

	Timing  Timing
	Release string       // shown to the other nodes
	Log     *slog.Logger // nil: silent

	// For tests: no fsync; a snapshot after so many entries; so many entries kept then.
	noSync             bool
	snapshot, trailing uint64
}

// Timing is how long raft waits for what. Zero values take the defaults.
type Timing struct {
	Heartbeat time.Duration // without a word from the leader a node stands for election after 1 to 3 of these; 650 ms
	Lease     time.Duration // a leader that reaches no majority for so long steps down; 500 ms
	Probe     time.Duration // how often nodes ask each other how they are; 1 s
	Report    time.Duration // how often a missing quorum is logged; 5 s
	Stable    time.Duration // a joiner that has been well for so long gets its vote; 10 s
	Dead      time.Duration // a node not seen for so long is removed once it is replaced; 10 min
	Stall     time.Duration // see RaftOptions.Fatal; 3 s
}

func (t *Timing) fill() {
	for _, f := range []struct {
		v *time.Duration
		d time.Duration
	}{
		// Of two followers of a dead leader both must have missed it, each within three
		// heartbeats: 1.95 s at the worst, and as much again in the rare case that both
		// stand at the same moment.
		{&t.Heartbeat, 650 * time.Millisecond},
		{&t.Lease, 500 * time.Millisecond},
		{&t.Probe, time.Second},
		{&t.Report, 5 * time.Second},
		{&t.Stable, 10 * time.Second},
		{&t.Dead, 10 * time.Minute},
		{&t.Stall, 3 * time.Second},
	} {
		if *f.v == 0 {
			*f.v = f.d
		}
	}
	t.Lease = min(t.Lease, t.Heartbeat)
}

// Raft is one node of the replicated state.
type Raft struct {
	o     RaftOptions
	log   *slog.Logger
	store *logStore
	self  Peer // zero: one node on its own

	raft   *raft.Raft
	layer  *streamLayer // nil: one node on its own
	wire   raft.Transport
	notify chan bool
	events chan Leadership
	leads  atomic.Uint64             // the term this node leads in; 0: none
	led    atomic.Pointer[time.Time] // when a leader was last known, or this process began
	asked  asked
	probes *prober // nil: one node on its own
	fatal  sync.Once
	stop   sync.Once

	running atomic.Bool // raft runs
	started chan struct{}
	leaving atomic.Bool
	mu      sync.Mutex
	id      identity
	changes sync.Mutex // one change of members at a time

	ctx    context.Context
	cancel context.CancelFunc
	wg     sync.WaitGroup
}

// StartRaft opens the folder and runs raft. A node without a log first forms the
// cluster with its peers or joins the one there is, which takes until they are there:
// StartRaft returns when this node takes part, when ctx ends, or when what it finds
// cannot become a cluster.
func StartRaft(ctx context.Context, o RaftOptions) (*Raft, error) {
	o.Timing.fill()
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	r := &Raft{o: o, log: o.Log, notify: make(chan bool), events: make(chan Leadership, 2), started: make(chan struct{})}
	r.ctx, r.cancel = context.WithCancel(context.Background())
	r.sawLeader()
	if err := r.checkOptions(); err != nil {
		r.cancel()
		return nil, err
	}
	if err := r.open(); err != nil {
		r.cancel()
		return nil, err
	}
	if err := r.takePart(ctx); err != nil {
		return nil, errors.Join(err, r.Stop())
	}
	r.wg.Go(r.watch)
	if r.clustered() {
		r.wg.Go(r.mind)
	}
	return r, nil
}

func (r *Raft) clustered() bool { return r.o.Transport != nil }

func (r *Raft) checkOptions() error {
	if r.o.FSM == nil {
		return errors.New("raft needs a state to replicate")
	}
	if len(r.o.Peers) == 0 && r.o.Transport == nil {
		return nil
	}
	if r.o.Transport == nil || r.o.Transport.ln == nil {
		return errors.New("a cluster needs a transport that listens")
	}
	if r.o.Cluster == "" {
		return errors.New("a cluster needs a name")
	}
	if err := CheckPeers(r.o.Peers); err != nil {
		return err
	}
	for _, p := range r.o.Peers {
		if p.Node == r.o.Node {
			r.self = p
		}
	}
	if r.self.Node == "" {
		return fmt.Errorf("node %q is not among the peers (%s); peers lists every node that runs a scheduler, this one included", r.o.Node, listPeers(r.o.Peers))
	}
	return nil
}

// open opens the folder and settles who this node is.
func (r *Raft) open() error {
	s, err := openStore(r.o.Dir)
	if err != nil {
		return err
	}
	s.db.NoSync = r.o.noSync
	s.trouble = func(err error) { r.end(fmt.Errorf("the raft log cannot be trusted any more: %w", err)) }
	r.store = s
	id, ok, err := s.identity()
	switch {
	case err != nil:
	case ok:
		err = id.check(r.o.Dir, r.o.Cluster, r.o.Node)
	default:
		id = newIdentity(r.o.Cluster, r.o.Node)
		err = s.setIdentity(id)
	}
	if err != nil {
		return errors.Join(err, s.Close())
	}
	r.id = id
	return nil
}

func (r *Raft) identity() identity {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.id
}

// adopt makes the node one of a cluster's; durable before raft hears of it.
func (r *Raft) adopt(clusterID string) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.id.ClusterID == clusterID {
		return nil
	}
	id := r.id
	id.ClusterID = clusterID
	if err := r.store.setIdentity(id); err != nil {
		return err
	}
	r.id = id
	if r.clustered() {
		r.o.Transport.setSelf(r.spoken(id))
	}
	return nil
}

// spoken is how the node introduces itself: without a log it belongs to no cluster yet,
// whatever it was told before.
func (r *Raft) spoken(id identity) identity {
	if !r.hasLog() {
		id.ClusterID = ""
	}
	return id
}

// hasLog tells whether anything has ever been stored here. A vote alone does not count:
// what a majority has not stored was never committed.
func (r *Raft) hasLog() bool {
	last, err := r.store.LastIndex()
	if err != nil || last > 0 {
		return true
	}
	return r.running.Load() && r.raft.LastIndex() > 0
}

func (r *Raft) config() *raft.Config {
	c := raft.DefaultConfig()
	c.LocalID = raft.ServerID(r.id.Server)
	c.HeartbeatTimeout, c.ElectionTimeout = r.o.Timing.Heartbeat, r.o.Timing.Heartbeat
	c.LeaderLeaseTimeout = r.o.Timing.Lease
	if !r.clustered() { // nobody to wait for
		c.HeartbeatTimeout, c.ElectionTimeout, c.LeaderLeaseTimeout = 50*time.Millisecond, 50*time.Millisecond, 50*time.Millisecond
	}
	c.SnapshotThreshold = 4096
	// So many entries remain that the older of the two snapshots can be used as well.
	c.TrailingLogs = 4096 + 2048
	if r.o.snapshot > 0 {
		c.SnapshotThreshold, c.TrailingLogs = r.o.snapshot, r.o.trailing
	}
	c.SnapshotInterval = 30 * time.Second
	c.NotifyCh = r.notify
	c.Logger = newRaftLog(r.log)
	c.NoLegacyTelemetry = true
	return c
}

// run starts raft. found, unless empty, is the configuration of a cluster that this
// node founds.
func (r *Raft) run(found raft.Configuration) error {
	log := newRaftLog(r.log)
	files, err := raft.NewFileSnapshotStoreWithLogger(r.o.Dir, 2, log)
	if err != nil {
		return err
	}
	m := &machine{fsm: r.o.FSM}
	snaps := &snapshots{SnapshotStore: files, store: r.store, machine: m}
	if r.clustered() {
		r.layer = newStreamLayer(r.o.Transport)
		r.wire = newRaftWire(r.ctx, r.layer, r.id, r.self.Addr, log, r.wanted)
	} else {
		_, r.wire = raft.NewInmemTransport(raft.ServerAddress("local"))
	}
	c := r.config()
	if len(found.Servers) > 0 {
		if err := raft.BootstrapCluster(c, r.store, r.store, snaps, r.wire, found); err != nil {
			return fmt.Errorf("found the cluster: %w", err)
		}
	}
	r.wg.Go(r.pump)
	rf, err := raft.NewRaft(c, m, r.store, r.store, snaps, r.wire)
	if err != nil {
		return fmt.Errorf("start raft in %s: %w", r.o.Dir, errors.Join(append([]error{err, m.restoreError()}, snaps.refused...)...))
	}
	snaps.started.Store(true)
	for _, e := range snaps.refused {
		r.log.Error("a snapshot of the replicated state could not be used; an older one and the log were", "error", e)
	}
	r.raft = rf
	r.running.Store(true)
	close(r.started)
	if r.clustered() {
		r.o.Transport.setSelf(r.spoken(r.id))
		r.o.Transport.handle(kindRaft, &kind{check: r.checkRaft, serve: r.layer.serve})
	}
	return nil
}

// wanted tells raft's transport whether to go on offering entries to a server.
func (r *Raft) wanted(id raft.ServerID, to raft.ServerAddress, term uint64) bool {
	return r.running.Load() && r.raft.State() == raft.Leader && r.raft.CurrentTerm() == term &&
		slices.ContainsFunc(r.servers(), func(s raft.Server) bool { return s.ID == id && s.Address == to })
}

// RaftDir is where raft's files lie below a node's data folder.
func RaftDir(data string) string { return filepath.Join(data, "raft") }

// Stop ends raft. It does not hand leadership over (Transfer does), and it leaves the
// transport open.
func (r *Raft) Stop() error {
	var err error
	r.stop.Do(func() { err = r.close() })
	return err
}

func (r *Raft) close() error {
	r.cancel()
	if r.clustered() {
		r.o.Transport.handle(kindRaft, nil)
		r.o.Transport.handle(kindStatus, nil)
	}
	var err error
	if r.running.Load() {
		end := r.raft.Shutdown()
		if r.layer != nil {
			r.layer.Close() // what is under way to silent nodes is not waited for
		}
		err = end.Error()
	}
	if c, ok := r.wire.(raft.WithClose); ok {
		err = errors.Join(err, c.Close())
	}
	if r.probes != nil {
		r.probes.stop()
	}
	r.wg.Wait()
	return errors.Join(err, r.store.Close())
}

// end reports what the process must not survive.
func (r *Raft) end(err error) {
	r.fatal.Do(func() {
		r.log.Error("this node must end", "error", err)
		if r.o.Fatal != nil {
			r.o.Fatal(err)
		}
	})
}
