package queue

import (
	"cmp"
	"fmt"
	"strconv"
	"strings"
)

// recordID names a record: the delivery, its generation, and in a cluster the claim
// under which it was stored. Two nodes that believe to have the same delivery never
// store under the same name, so that the store cannot take one for the other's repeat.
type recordID struct {
	delivery   string
	generation int
	claim      claim
}

func generationID(delivery string, generation int) string {
	return delivery + "/" + strconv.Itoa(generation)
}

func (id recordID) String() string {
	s := generationID(id.delivery, id.generation)
	if id.claim != (claim{}) {
		s += "/" + id.claim.String()
	}
	return s
}

func parseRecordID(s string) (id recordID, ok bool) {
	delivery, rest, ok := strings.Cut(s, "/")
	if !ok {
		return id, false
	}
	gen, c, claimed := strings.Cut(rest, "/")
	n, err := strconv.Atoi(gen)
	if err != nil {
		return id, false
	}
	id = recordID{delivery: delivery, generation: n}
	if claimed {
		id.claim, ok = parseClaim(c)
	}
	return id, ok
}

// claim is by what right a record of WAIT was stored: having been offered a record
// of READY, or holding the partition. Zero on a node alone.
type claim struct {
	ready uint64 // READY sequence; 0: the partition was held
	offer offer  // of it
	fence fence  // of the partition
}

// offer counts how often a record of READY has been offered. A consumer that had to
// be made anew counts from 1 again, so its age belongs to the count.
type offer struct {
	since int64 // when the consumer was made, Unix seconds
	n     uint64
}

// after tells whether o was made later than p. What an older consumer offered was
// offered before anything that a younger one did.
func (o offer) after(p offer) bool {
	return cmp.Or(cmp.Compare(o.since, p.since), cmp.Compare(o.n, p.n)) > 0
}

// fence numbers the holders of a partition: the scheduler's epoch, and an era that
// grows when a scheduler without a memory begins to count epochs anew.
type fence struct {
	era, epoch uint64
}

func (f fence) compare(g fence) int {
	return cmp.Or(cmp.Compare(f.era, g.era), cmp.Compare(f.epoch, g.epoch))
}

func (f fence) String() string { return fmt.Sprintf("%d.%d", f.era, f.epoch) }

func parseFence(s string) (f fence, ok bool) {
	era, epoch, found := strings.Cut(s, ".")
	var err, err2 error
	f.era, err = strconv.ParseUint(era, 10, 64)
	f.epoch, err2 = strconv.ParseUint(epoch, 10, 64)
	return f, found && err == nil && err2 == nil
}

// A claim is written e<era>.<epoch> or r<READY sequence>.<n>.<since, base 36>.
func (c claim) String() string {
	if c.ready == 0 {
		return "e" + c.fence.String()
	}
	return "r" + offered(c.ready, c.offer)
}

func offered(seq uint64, o offer) string {
	return strconv.FormatUint(seq, 10) + "." + strconv.FormatUint(o.n, 10) + "." + strconv.FormatInt(o.since, 36)
}

func parseClaim(s string) (c claim, ok bool) {
	switch {
	case strings.HasPrefix(s, "e"):
		c.fence, ok = parseFence(s[1:])
	case strings.HasPrefix(s, "r"):
		c.ready, c.offer, ok = parseOffered(s[1:])
	}
	return c, ok
}

func parseOffered(s string) (seq uint64, o offer, ok bool) {
	parts := strings.Split(s, ".")
	if len(parts) != 3 {
		return 0, o, false
	}
	var errs [3]error
	seq, errs[0] = strconv.ParseUint(parts[0], 10, 64)
	o.n, errs[1] = strconv.ParseUint(parts[1], 10, 64)
	o.since, errs[2] = strconv.ParseInt(parts[2], 36, 64)
	return seq, o, errs == [3]error{} && seq > 0
}
