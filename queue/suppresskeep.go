package queue

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
)

// streamSuppress is the key-value bucket SUPPRESS as JetStream calls it.
const streamSuppress = "KV_SUPPRESS"

// markerLife is for how long it is known that an entry was removed: a node that was cut
// off for longer has it in its filter until its next start, and asks the store.
const markerLife = time.Hour

func (q *Queue) suppressConfig() jetstream.StreamConfig {
	most := q.o.MaxBytes
	if most == 0 {
		most = q.o.NewBytes
	}
	c := jetstream.StreamConfig{
		Name: streamSuppress, Subjects: []string{subjectSuppress + ">"}, Storage: jetstream.FileStorage, Replicas: q.o.Replicas,
		MaxMsgsPerSubject: 1, Discard: jetstream.DiscardNew, AllowDirect: true, AllowRollup: true,
		Duplicates: 100 * time.Millisecond, AllowMsgTTL: true, SubjectDeleteMarkerTTL: markerLife,
	}
	if most > 0 { // else streams are only opened here, never made
		c.MaxBytes = max(most/10, 1<<30)
	}
	return c
}

func (q *Queue) openSuppress(ctx context.Context) error {
	c := q.suppressConfig()
	var err error
	if q.o.Cluster {
		_, err = q.openShared(ctx, c)
	} else {
		ctx, cancel := context.WithTimeout(ctx, time.Minute)
		defer cancel()
		_, err = q.openOwn(ctx, c)
	}
	if err != nil {
		return fmt.Errorf("open the suppression list, stream %s: %w", c.Name, err)
	}
	return nil
}

// Add puts entries on the list, each in place of the one of the same address and
// tenant. When it returns nil they are on disk, and this node's filter knows them;
// the other nodes' know them a moment later.
func (l *SuppressionList) Add(ctx context.Context, list ...Suppression) error {
	ps := make([]pending, 0, len(list))
	var first error
	for i := range list {
		p, err := l.put(ctx, &list[i])
		if err != nil {
			first = err
			break
		}
		ps = append(ps, p)
	}
	for i, p := range ps {
		_, err := p.wait(ctx)
		if err != nil && l.q.o.Cluster && first == nil && !errors.Is(err, ErrFull) {
			err = l.putSurely(ctx, &list[i]) // a leader went: the next one is asked
		}
		if err != nil {
			l.own.Delete(keyOf(list[i].Address, list[i].Tenant).hash())
			if first == nil {
				first = err
			}
		}
	}
	if first != nil {
		return fmt.Errorf("store the suppression list: %w", first)
	}
	if err := l.q.barrier.Wait(ctx, streamSuppress); err != nil {
		return err
	}
	return nil
}

// put begins to store an entry, and lets the filter know it: too early is safe.
func (l *SuppressionList) put(ctx context.Context, s *Suppression) (pending, error) {
	k, h, frame, err := s.record(time.Now())
	if err != nil {
		return pending{}, err
	}
	l.own.Store(k.hash(), nil)
	l.filter.add(k.hash())
	p, err := l.q.publishAsync(ctx, k.subject(), h, frame)
	if err != nil {
		l.own.Delete(k.hash())
	}
	return p, err
}

func (l *SuppressionList) putSurely(ctx context.Context, s *Suppression) error {
	k, h, frame, err := s.record(time.Now())
	if err != nil {
		return err
	}
	_, err = l.q.publish(ctx, k.subject(), h, frame)
	return err
}

// record is how an entry is stored. One that expires is dropped by the store some time
// after that: what counts is the time in the entry.
func (s *Suppression) record(now time.Time) (listKey, nats.Header, []byte, error) {
	k := keyOf(s.Address, s.Tenant)
	frame, err := s.frame()
	if err != nil || s.Expires.IsZero() {
		return k, nil, frame, err
	}
	return k, lifetime(max(s.Expires.Sub(now), 0) + markerLife), frame, nil
}

func lifetime(d time.Duration) nats.Header {
	return nats.Header{jetstream.MsgTTLHeader: {strconv.FormatInt(int64(d/time.Second)+1, 10)}}
}

// Remove takes an entry off the list and tells whether there was one.
func (l *SuppressionList) Remove(ctx context.Context, canonical, tenant string) (bool, error) {
	k := keyOf(canonical, tenant)
	_, found, err := l.get(ctx, k)
	if err != nil || !found {
		return false, err
	}
	h := lifetime(markerLife)
	h.Set("KV-Operation", "DEL")
	if _, err := l.q.publish(ctx, k.subject(), h, nil); err != nil {
		return false, fmt.Errorf("store the suppression list: %w", err)
	}
	if err := l.q.barrier.Wait(ctx, streamSuppress); err != nil {
		return false, err
	}
	return true, nil // the filter hears of it with the others'
}

// AddSoon puts an entry on the list in passing, unless there is one that lasts as
// long. It does not block; what it cannot take, for the store does not follow, is
// counted: the next bounce says it again.
func (l *SuppressionList) AddSoon(s Suppression) {
	select {
	case l.soon <- s:
	default:
		if l.lost.Add(1) == 1 {
			l.q.log.Warn("the suppression list does not follow; bounces are not noted until it does")
		}
	}
}

// feed stores what AddSoon was given, as much at once as there is.
func (l *SuppressionList) feed(ctx context.Context) {
	const most = 256
	for {
		var list []Suppression
		select {
		case <-ctx.Done():
			return
		case s := <-l.soon:
			list = append(list, s)
		}
		for more := true; more && len(list) < most; {
			select {
			case s := <-l.soon:
				list = append(list, s)
			default:
				more = false
			}
		}
		l.feedSome(ctx, list)
		if n := l.lost.Swap(0); n > 0 {
			l.q.log.Warn("bounces were not noted on the suppression list", "count", n)
		}
	}
}

func (l *SuppressionList) feedSome(ctx context.Context, list []Suppression) {
	for pause := time.Second; ; pause = min(2*pause, 30*time.Second) {
		err := l.addMissing(ctx, list)
		if err == nil || ctx.Err() != nil || errors.Is(err, ErrFull) {
			if err != nil && ctx.Err() == nil {
				l.q.log.Error("bounces cannot be noted on the suppression list", "count", len(list), "error", err)
			}
			return
		}
		l.q.log.Warn("noting bounces on the suppression list failed, trying again", "count", len(list), "error", err)
		select {
		case <-ctx.Done():
			return
		case <-time.After(pause):
		}
	}
}

// addMissing adds those that say something new: an operator's entry that never
// expires is not replaced by a bounce's that does.
func (l *SuppressionList) addMissing(ctx context.Context, list []Suppression) error {
	var fresh []Suppression
	for _, s := range list {
		k := keyOf(s.Address, s.Tenant)
		if !l.whole.Load() || l.filter.has(k.hash()) {
			had, found, err := l.get(ctx, k)
			if err != nil {
				return err
			}
			if found && (had.Expires.IsZero() || !s.Expires.IsZero() && !had.Expires.Before(s.Expires)) {
				continue
			}
		}
		fresh = append(fresh, s)
		l.q.log.Info("put on the suppression list", "recipient", s.Address, "tenant", s.Tenant, "event", s.Event, "class", s.Class)
	}
	return l.Add(ctx, fresh...)
}
