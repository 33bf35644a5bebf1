package queue

import (
	"context"
	"time"

	"github.com/tarishi/tarishi/proto"
)

const bodyDelay = 5 * time.Second // twice JetStream's sync interval and some

// sweepBodies removes bodies nobody needs: those of this run a little after their
// last delivery has ended, the others by a look at all deliveries, soon after the
// start and then every few hours. In a cluster one node looks, the one that holds
// partition 0.
func (q *Queue) sweepBodies(ctx context.Context) {
	t := time.NewTicker(bodyDelay)
	defer t.Stop()
	age, every := orphanAge, 6*time.Hour
	if q.team != nil {
		age, every = sharedOrphanAge, 30*time.Minute
	}
	next := time.Now().Add(2 * bodyDelay)
	for {
		select {
		case <-ctx.Done():
			return
		case <-t.C:
		}
		q.removeBodies(ctx, bodyDelay)
		if now := time.Now(); now.After(next) && q.sweeps() {
			if err := q.sweepOrphans(ctx, now.Add(-age)); err != nil && ctx.Err() == nil {
				q.log.Warn("looking for bodies without deliveries failed; tried again later", "error", err)
			}
			next = now.Add(every)
		}
	}
}

// sweeps tells whether this node is the one that looks after what belongs to nobody.
func (q *Queue) sweeps() bool {
	if q.team == nil {
		return true
	}
	h := q.team.holdOf(0)
	return h != nil && h.working.Load() && h.standing() == ours
}

// orphanAge is how old a chunk must be to be an orphan: longer than a publish
// takes from the server's file to its writer's books. In a cluster the writer's books
// are another node's, so there it is longer than a message may take to come in.
const (
	orphanAge       = time.Minute
	sharedOrphanAge = uploadMost + time.Hour
	uploadMost      = time.Hour
)

// sweepOrphans removes what lies in BODY since before without any delivery in READY or WAIT.
// READY is read before WAIT: deliveries move only that way, and are stored anew
// before they are removed, so that none is missed between the two.
func (q *Queue) sweepOrphans(ctx context.Context, before time.Time) error {
	s, err := q.getJS.Stream(ctx, streamBody)
	if err != nil {
		return err
	}
	if s.CachedInfo().State.Msgs == 0 {
		return nil
	}
	upTo := s.CachedInfo().State.LastSeq
	needed := map[uint64]struct{}{}
	note := func(m stored) error {
		var head proto.Mail
		if _, err := proto.ReadFrame(m.data, proto.KindMail, &head); err != nil {
			return err // what cannot be read may need any body: nothing is removed
		}
		for _, c := range head.Body.GetChunks() {
			needed[c] = struct{}{}
		}
		return nil
	}
	scan := func() error { return q.scan(ctx, note) }
	if q.team != nil {
		scan = func() error { return q.scanSurely(ctx, note) }
	}
	if err := scan(); err != nil {
		return err
	}
	in := q.newStreamReader(streamBody, 1, subjectBody, subjectImported)
	in.headers = true
	defer in.close()
	removed := 0
	for ctx.Err() == nil {
		ms, err := in.read(ctx, readMax)
		if err != nil {
			return err
		}
		if len(ms) == 0 {
			break
		}
		for _, m := range ms {
			if _, ok := needed[m.seq]; ok || m.seq > upTo || !m.at.Before(before) || q.bodies.known(m.seq) {
				continue
			}
			if m.subject == subjectImported && time.Since(m.at) < importMost {
				continue // its deliveries may be on their way still
			}
			if err := s.DeleteMsg(ctx, m.seq); err == nil {
				removed++
			}
		}
	}
	if removed > 0 {
		q.log.Info("removed body chunks that no delivery needs", "chunks", removed)
	}
	return ctx.Err()
}

// scan gives each every record of READY and then of WAIT, until what was there at the
// end of the pass has been seen.
func (q *Queue) scan(ctx context.Context, each func(stored) error) error {
	if err := q.scanReady(ctx, each); err != nil {
		return err
	}
	return q.scanWaitFrom(ctx, 1, []string{"wait.>"}, each)
}

// scanWaitFrom gives each every record of WAIT under the subjects from a sequence on,
// until what was there at the end of the pass has been seen.
func (q *Queue) scanWaitFrom(ctx context.Context, from uint64, subjects []string, each func(stored) error) error {
	wait := q.newReader(from, subjects...)
	defer wait.close()
	for {
		ms, err := wait.read(ctx, readMax)
		if err == nil && len(ms) == 0 {
			// The sweep trusts the end, so it must be one.
			ms, err = wait.fresh(ctx, readMax)
		}
		if err != nil || len(ms) == 0 {
			return err
		}
		for _, m := range ms {
			if _, fence := fenceOf(m.subject); fence {
				continue
			}
			if err := each(m); err != nil {
				return err
			}
		}
	}
}

func (q *Queue) scanReady(ctx context.Context, each func(stored) error) error {
	return q.scanReadyFrom(ctx, 1, each)
}

// scanReadyFrom is scanReady from a sequence on.
func (q *Queue) scanReadyFrom(ctx context.Context, from uint64, each func(stored) error) error {
	ready := &readyReader{q: q, next: from}
	for {
		ms, _, err := ready.read(ctx, 512)
		if err != nil {
			return err
		}
		for _, m := range ms {
			if q.claims.wasRemoved(m.seq) {
				continue // its acknowledgement is on its way
			}
			m.subject = ""
			if err := each(m); err != nil {
				return err
			}
		}
		if len(ms) == 0 {
			break
		}
	}
	return nil
}

// scanSurely is scan in a cluster, for who must not miss one.
func (q *Queue) scanSurely(ctx context.Context, each func(stored) error) error {
	if err := q.scanReady(ctx, each); err != nil {
		return err
	}
	mark, err := q.storeFence(ctx, markFence, "")
	if err != nil {
		return err
	}
	err = q.passWait(ctx, []string{"wait.>"}, 1, mark, true, func(m stored) error {
		if _, fence := fenceOf(m.subject); fence {
			return nil
		}
		return each(m)
	})
	if err != nil {
		return err
	}
	return q.deleteRecord(ctx, streamWait, mark)
}
