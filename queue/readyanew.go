package queue

import (
	"context"
	"strconv"
	"strings"
	"time"

	"github.com/nats-io/nats.go/jetstream"
)

// READY's consumer of a cluster is made once and lives for as long as the cluster.
// Should it be lost all the same (somebody deletes it; JetStream takes it for an
// orphan in a start that broke off), another one is made, under another name, since
// it knows nothing of who has what in hand. It carries up to where READY went when it
// was made, and what it offers of that counts as offered for the second time: see
// secondhand.go.

// readyGeneration is the consumer by which READY offers its records.
type readyGeneration struct {
	name   string
	since  int64  // when it was made, Unix seconds
	before uint64 // READY up to here may have been offered by one before it
}

const (
	readyDurable = "deliver"
	// offeredBefore is the consumer's own note of readyGeneration.before.
	offeredBefore = "tarishi-offered-before"
	// readyLost is for how long READY's consumer may be silent before we look whether
	// it is there at all. An election takes less.
	readyLost = 5 * time.Second
)

// readyName is the name of READY's consumer.
func (q *Queue) readyName() string {
	if q.team == nil {
		return readyDurable
	}
	return q.team.ready.Load().name
}

// findReady returns READY's consumer, or makes it. There is never more than one: a
// work queue takes no second.
func (q *Queue) findReady(ctx context.Context) (*jetstream.ConsumerInfo, error) {
	s, err := q.getJS.Stream(ctx, streamReady)
	if err != nil {
		return nil, err
	}
	list := s.ListConsumers(ctx)
	for info := range list.Info() {
		if strings.HasPrefix(info.Name, readyDurable) {
			return info, nil
		}
	}
	if err := list.Err(); err != nil {
		return nil, err
	}
	want := q.readyConsumer()
	if last := s.CachedInfo().State.LastSeq; last > 0 {
		want.Durable += "-" + strconv.FormatInt(time.Now().UnixMilli(), 36)
		want.Metadata = map[string]string{offeredBefore: strconv.FormatUint(last, 10)}
		q.log.Warn("READY's consumer is not there and is made anew; what lies in READY is looked into before it is sent", "up_to", last)
	}
	c, err := q.getJS.CreateConsumer(ctx, streamReady, want)
	if err != nil {
		return nil, err
	}
	return c.CachedInfo(), nil
}

// joinReady notes which consumer it is that offers us records.
func (q *Queue) joinReady(info *jetstream.ConsumerInfo) {
	before, _ := strconv.ParseUint(info.Config.Metadata[offeredBefore], 10, 64)
	q.team.ready.Store(&readyGeneration{name: info.Name, since: info.Created.Unix(), before: before})
}

// lookForReady finds out whether READY's consumer is there, and makes it if not.
func (q *Queue) lookForReady(ctx context.Context) {
	ctx, cancel := context.WithTimeout(ctx, 15*time.Second)
	defer cancel()
	if err := q.openSharedReady(ctx); err != nil && ctx.Err() == nil {
		q.log.Error("READY's consumer cannot be made anew", "error", err)
	}
}

// readyInfo asks for the state of READY's consumer.
func (q *Queue) readyInfo(ctx context.Context) (*jetstream.ConsumerInfo, error) {
	c, err := q.getJS.Consumer(ctx, streamReady, q.readyName())
	if err != nil {
		return nil, err
	}
	return c.CachedInfo(), nil
}
