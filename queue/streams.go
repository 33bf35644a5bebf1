package queue

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/nats-io/nats.go/jetstream"
)

// Names of the streams, which are also their folders' names.
const (
	streamReady = "READY"
	streamWait  = "WAIT"
	streamBody  = "BODY"
	streamEvent = "EVENT"

	subjectReady = "ready.normal.0"
	allWaiting   = "wait.>"
	subjectBody  = "body.0"
	// Bodies that come from another store, before their deliveries do.
	subjectImported = "body.import"
	subjectJournal  = "event.journal"
	subjectDoubt    = "event.doubt"
)

// importMost is for how long an import may be under way.
const importMost = 7 * 24 * time.Hour

// dedupeWindow is for how long a cluster's streams know what has been stored: longer
// than a publish is repeated. A change of a stream's leader takes 4 to 8 s.
const dedupeWindow = 2 * time.Minute

// streamConfigs are the four streams as this version wants them. Full streams
// refuse (discard new); only the journal forgets, by age.
func (q *Queue) streamConfigs() []jetstream.StreamConfig {
	most := q.o.MaxBytes
	if most == 0 {
		most = q.o.NewBytes
	}
	base := func(name string, subjects ...string) jetstream.StreamConfig {
		return jetstream.StreamConfig{
			Name: name, Subjects: subjects, Storage: jetstream.FileStorage, Replicas: q.o.Replicas,
			Discard: jetstream.DiscardNew, MaxBytes: most, AllowDirect: true,
			Duplicates: 100 * time.Millisecond,
		}
	}
	ready := base(streamReady, "ready.>")
	ready.Retention = jetstream.WorkQueuePolicy
	wait := base(streamWait, allWaiting)
	wait.Duplicates = 30 * time.Second // a publish that timed out is repeated with the same id
	if q.o.Cluster {
		ready.Duplicates, wait.Duplicates = dedupeWindow, dedupeWindow
	}
	body := base(streamBody, "body.>")
	event := base(streamEvent, "event.>")
	event.Discard = jetstream.DiscardOld
	event.MaxAge = 7 * 24 * time.Hour
	event.MaxBytes = max(most/10, 64<<20)
	event.AllowRollup = q.o.Cluster // each run has one mark, which is set anew
	return []jetstream.StreamConfig{ready, wait, body, event}
}

// openStreams makes or opens the four streams.
func (q *Queue) openStreams(ctx context.Context) error {
	if !q.o.Cluster {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, time.Minute)
		defer cancel()
	}
	for _, c := range q.streamConfigs() {
		var s jetstream.Stream
		var err error
		if q.o.Cluster {
			s, err = q.openShared(ctx, c)
		} else {
			s, err = q.openOwn(ctx, c)
		}
		if err != nil {
			return fmt.Errorf("open stream %s: %w", c.Name, err)
		}
		if c.Name == streamWait {
			q.waitStream = s
		}
	}
	return nil
}

func (q *Queue) openOwn(ctx context.Context, c jetstream.StreamConfig) (jetstream.Stream, error) {
	if err := q.mayCreate(ctx, c.Name); err != nil {
		return nil, err
	}
	return q.putJS.CreateOrUpdateStream(ctx, c)
}

// ErrVanished means that the folder of a stream holds records and JetStream does
// not know the stream. Making it anew would be the end of them.
var ErrVanished = errors.New("the queue is damaged: JetStream does not offer a stream that holds records")

// mayCreate refuses to make a stream whose folder already holds something.
func (q *Queue) mayCreate(ctx context.Context, name string) error {
	_, err := q.putJS.Stream(ctx, name)
	if err == nil {
		return nil
	}
	if !errors.Is(err, jetstream.ErrStreamNotFound) {
		return err
	}
	dir := filepath.Join(q.o.StreamsDir, name)
	files, err := os.ReadDir(filepath.Join(dir, "msgs"))
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	for _, f := range files {
		if st, err := f.Info(); err == nil && st.Size() > 0 && strings.HasSuffix(f.Name(), ".blk") {
			return fmt.Errorf("%w: %s; its files were not touched, and JetStream's lines in the log say why: "+
				"restore the data folder from a backup, or move this one folder away to begin without what is in it", ErrVanished, dir)
		}
	}
	return nil
}

// openShared makes or opens a stream of the cluster. Several nodes may do so at
// once: JetStream takes an equal request for the same one. It waits until there is
// a majority of servers, for as long as ctx lasts.
func (q *Queue) openShared(ctx context.Context, want jetstream.StreamConfig) (jetstream.Stream, error) {
	warned := time.Now()
	for {
		s, err := q.tryOpenShared(ctx, want)
		if err == nil || errors.Is(err, ErrUnfit) {
			return s, err
		}
		if time.Since(warned) > 10*time.Second {
			warned = time.Now()
			q.log.Warn("the cluster's JetStream does not serve yet; trying on", "stream", want.Name, "error", err)
		}
		select {
		case <-ctx.Done():
			return nil, fmt.Errorf("no majority of the JetStream servers answered: are %d of them up, and do they reach one another? The last error was: %w", want.Replicas/2+1, err)
		case <-time.After(200 * time.Millisecond):
		}
	}
}

func (q *Queue) tryOpenShared(ctx context.Context, want jetstream.StreamConfig) (jetstream.Stream, error) {
	look, cancel := context.WithTimeout(ctx, time.Second) // nobody answers while there is no leader
	s, err := q.putJS.Stream(look, want.Name)
	cancel()
	if errors.Is(err, jetstream.ErrStreamNotFound) {
		if want.MaxBytes == 0 {
			return nil, errors.New("no node with a queue of its own has made the streams yet")
		}
		var stop context.CancelFunc
		ctx, stop = context.WithTimeout(ctx, 10*time.Second) // it is placed and its servers elect a leader
		defer stop()
		s, err = q.putJS.CreateStream(ctx, want)
		if errors.Is(err, jetstream.ErrStreamNameAlreadyInUse) { // made just now by a node with other settings
			s, err = q.putJS.Stream(ctx, want.Name)
		}
	}
	if err != nil {
		return nil, err
	}
	have := s.CachedInfo().Config
	if err := unfit(have, want); err != nil {
		return nil, err
	}
	if q.o.keepBytes {
		if want.Name == streamReady {
			q.o.MaxBytes = have.MaxBytes // for all streams together, as it was made
		}
		return s, nil
	}
	if have.MaxBytes == want.MaxBytes {
		return s, nil
	}
	q.log.Warn("this node's limit for the queue differs from the stream's and takes its place: set queue.max_bytes to the same value on all nodes",
		"stream", want.Name, "had", have.MaxBytes, "now", want.MaxBytes)
	have.MaxBytes = want.MaxBytes
	return q.putJS.UpdateStream(ctx, have)
}

// ErrUnfit means that a stream of the cluster exists and would break the promise.
var ErrUnfit = errors.New("the stream exists with settings under which mail could be lost")

// unfit compares what there is with what the promise rests on. A better one is fine.
func unfit(have, want jetstream.StreamConfig) error {
	var why []string
	must := func(ok bool, format string, args ...any) {
		if !ok {
			why = append(why, fmt.Sprintf(format, args...))
		}
	}
	must(have.Replicas >= want.Replicas, "it has %d replicas where %d are wanted", have.Replicas, want.Replicas)
	must(have.Storage == want.Storage, "it is kept in memory")
	must(have.PersistMode == want.PersistMode, "it acknowledges before it writes (persist_mode)")
	must(have.Retention == want.Retention, "its retention is %v, not %v", have.Retention, want.Retention)
	must(have.Discard == want.Discard, "its discard policy is %v, not %v", have.Discard, want.Discard)
	must(slices.Equal(have.Subjects, want.Subjects), "its subjects are %q, not %q", have.Subjects, want.Subjects)
	must(have.MaxAge == want.MaxAge || want.MaxAge != 0 && have.MaxAge > want.MaxAge, "it forgets after %s", have.MaxAge)
	must(have.MaxMsgs <= 0 && (have.MaxMsgsPerSubject <= 0 || have.MaxMsgsPerSubject == want.MaxMsgsPerSubject), "it bounds the number of its records")
	must(have.AllowMsgTTL || !want.AllowMsgTTL, "it does not let records expire by themselves")
	must(have.MaxMsgSize <= 0 || have.MaxMsgSize >= maxRecord, "it takes records of %d octets only, not of %d", have.MaxMsgSize, maxRecord)
	must(have.Duplicates >= want.Duplicates, "it knows repeats for %s only, not for %s", have.Duplicates, want.Duplicates)
	must(have.AllowDirect, "it does not allow direct gets")
	must(have.AllowRollup || !want.AllowRollup, "it does not allow rollups")
	must(!have.NoAck, "it does not acknowledge")
	must(!have.Sealed && !have.DenyDelete, "nothing can be removed from it")
	must(have.Mirror == nil && len(have.Sources) == 0, "it copies from another stream")
	must(have.SubjectTransform == nil && have.RePublish == nil, "it rewrites or repeats its records")
	if len(why) == 0 {
		return nil
	}
	return fmt.Errorf("%w: %s; mend it with the nats command line tool (nats stream edit %s), or let another NATS account hold Tarishi's streams",
		ErrUnfit, strings.Join(why, ", "), want.Name)
}

// maxRecord is the largest record we store, with room to spare.
const maxRecord = 8 << 20

// readyConsumer is how all nodes together take mail from READY.
func (q *Queue) readyConsumer() jetstream.ConsumerConfig {
	return jetstream.ConsumerConfig{
		Durable: readyDurable, AckPolicy: jetstream.AckExplicitPolicy, AckWait: q.o.AckWait,
		MaxAckPending: 1 << 17, DeliverPolicy: jetstream.DeliverAllPolicy,
	}
}

// openReady makes READY's one consumer anew: what was in somebody's hand when the
// process ended is offered again at once, in order, instead of after the ack wait.
// What was acknowledged is gone from the stream, so nothing done comes back by it.
func (q *Queue) openReady(ctx context.Context) error {
	if q.o.Cluster {
		return q.openSharedReady(ctx)
	}
	ctx, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	err := q.getJS.DeleteConsumer(ctx, streamReady, readyDurable)
	if err != nil && !errors.Is(err, jetstream.ErrConsumerNotFound) {
		return fmt.Errorf("reset READY's consumer: %w", err)
	}
	q.ready, err = q.getJS.CreateConsumer(ctx, streamReady, q.readyConsumer())
	if err != nil {
		return fmt.Errorf("open READY's consumer: %w", err)
	}
	return nil
}

// openSharedReady joins READY's one consumer, which lives for as long as the
// cluster: it alone knows what other nodes have in hand.
func (q *Queue) openSharedReady(ctx context.Context) error {
	want := q.readyConsumer()
	for {
		look, cancel := context.WithTimeout(ctx, 10*time.Second) // its servers elect a leader
		info, err := q.findReady(look)
		cancel()
		if err == nil {
			have := info.Config
			if have.AckPolicy != want.AckPolicy || have.AckWait != want.AckWait || have.MaxDeliver > 0 || len(have.BackOff) > 0 || have.FilterSubject != "" || len(have.FilterSubjects) > 0 {
				return fmt.Errorf("%w: READY's consumer %q has other settings than this node's (ack wait %s, here %s): let all nodes run the same version",
					ErrUnfit, want.Durable, have.AckWait, want.AckWait)
			}
			q.joinReady(info)
			return nil
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("open READY's consumer: %w", err)
		case <-time.After(200 * time.Millisecond):
		}
	}
}
