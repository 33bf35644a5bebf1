package queue

import (
	"context"
	"fmt"
	"time"
)

// suppressions copies the suppression list. What an operator has put on the cluster's
// list meanwhile is newer and stays; an entry that comes twice is the same one.
func (x *migration) suppressions(ctx context.Context) error {
	in := x.from.newStreamReader(streamSuppress, x.Suppress+1, subjectSuppress+">")
	defer in.close()
	for {
		ms, err := in.read(ctx, migrateRecords)
		if err != nil || len(ms) == 0 {
			return err
		}
		now := time.Now()
		var list []outgoing
		for _, m := range ms {
			if marker(m.header) {
				continue
			}
			s, err := readSuppression(m)
			if err != nil {
				return fmt.Errorf("suppression list, sequence %d of the old queue: %w", m.seq, err)
			}
			if !s.lives(now) {
				continue
			}
			k, h, _, err := s.record(now)
			if err != nil {
				return err
			}
			had, found, err := x.to.suppress.get(ctx, k)
			if err != nil {
				return err
			}
			if found && had.At.After(s.At) {
				continue
			}
			list = append(list, outgoing{subject: m.subject, header: h, frame: m.data})
		}
		if err := x.store(ctx, list); err != nil {
			return err
		}
		x.Suppressed += int64(len(list))
		x.Suppress = ms[len(ms)-1].seq
		if err := x.note(); err != nil {
			return err
		}
	}
}
