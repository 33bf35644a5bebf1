package queue

import (
	"strconv"
	"time"

	"github.com/tarishi/tarishi/mail"
)

// Partitions is how many parts WAIT has in a cluster. One node at a time reads a
// part; a node alone keeps everything in part 0.
const Partitions = 64

// spread is over how many partitions one destination goes, so that one with very
// much mail can be drained by several nodes at once.
const spread = 8

// PartitionOf tells in which partition of a cluster a delivery waits. All its
// generations wait in the same one. The result must never change: records lie by it.
func PartitionOf(d mail.Domain, delivery string) uint32 {
	return (fnv1a(string(d)) + fnv1a(delivery)%spread) % Partitions
}

func fnv1a(s string) uint32 {
	h := uint32(2166136261)
	for i := range len(s) {
		h = (h ^ uint32(s[i])) * 16777619
	}
	return h
}

// partPrefix begins the subjects of a partition.
func partPrefix(p uint32) string { return "wait." + strconv.FormatUint(uint64(p), 10) + "." }

// slotFor chooses the slot of a delivery that is about to wait.
func (q *Queue) slotFor(d *mail.Delivery, now time.Time) slotName {
	s := slotFor(d, now)
	if !s.held {
		s.until = q.deadline(d, now)
	}
	if q.team != nil {
		s.part = PartitionOf(d.Destination, d.ID())
	}
	return s
}
