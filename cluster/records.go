package cluster

import (
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"fmt"
	"hash"

	"github.com/minio/highwayhash"
)

// The layout of a block file, <n>.blk, as nats-server 2.15 writes it: records one
// after another, each
//
//	4 octets   length of the whole record, little-endian; top bit: it has headers
//	8          sequence; top bit: erased, next bit: a tombstone (this sequence was removed)
//	8          time of storing, Unix nanoseconds; a tombstone has its record's
//	2          length of the subject; not under the hash, so without headers nothing
//	           tells when the border between subject and payload has moved
//	…          subject; with headers: 4 octets of their length, headers; payload
//	8          HighwayHash-64 of sequence, time, subject, headers and payload
//
// Nothing else is in the file: neither a head nor an end.
const (
	recordHead  = 22
	recordSum   = 8
	recordLeast = recordHead + recordSum
	recordMost  = 32 << 20 // longer ones nats-server takes for damage too

	bitHeaders   = 1 << 31
	bitErased    = 1 << 63
	bitTombstone = 1 << 62
)

// record is what the check needs to know of one record.
type record struct {
	size int    // octets; 0: the length says nothing
	seq  uint64 // without its bits
	at   int64  // Unix nanoseconds; 0 for a tombstone, whose time is another's
	why  string // empty: the record is whole
}

// blockHash is keyed by the stream's name and the block's number, so that a block
// in another's place is damage too. It is not for two goroutines at once.
func blockHash(stream string, block uint64) hash.Hash64 {
	return newHash(fmt.Sprintf("%s-%d", stream, block))
}

func newHash(key string) hash.Hash64 {
	k := sha256.Sum256([]byte(key))
	h, err := highwayhash.New64(k[:])
	if err != nil {
		panic(err) // only for a key that is not 32 octets long
	}
	return h
}

// readRecord reads the record at the beginning of b.
func readRecord(b []byte, h hash.Hash64) record {
	if len(b) < recordHead {
		return record{why: "the record is cut short"}
	}
	le := binary.LittleEndian
	length, seq := le.Uint32(b), le.Uint64(b[4:])
	subject := int(le.Uint16(b[20:]))
	r := record{size: int(length &^ bitHeaders), seq: seq &^ (bitErased | bitTombstone)}
	if seq&bitTombstone == 0 {
		r.at = int64(le.Uint64(b[12:]))
	}
	lead := recordHead + subject
	from := lead
	if length&bitHeaders != 0 {
		from += 4 // the headers' length is not under the hash
	}
	switch {
	case r.size < recordLeast || r.size > recordMost || from > r.size-recordSum:
		r.size, r.why = 0, "the record's length makes no sense"
		return r
	case r.size > len(b):
		r.why = "the record is cut short"
		return r
	}
	h.Reset()
	h.Write(b[4:20])
	h.Write(b[recordHead:lead])
	h.Write(b[from : r.size-recordSum])
	var sum [recordSum]byte
	if !bytes.Equal(h.Sum(sum[:0]), b[r.size-recordSum:r.size]) {
		r.why = "the record's checksum does not match"
	} else if length&bitHeaders != 0 && !headersFit(b[lead:r.size-recordSum]) {
		r.why = "the record's headers are cut short"
	}
	return r
}

// headersFit tells whether the length of the headers, which no checksum covers, is theirs.
func headersFit(b []byte) bool {
	n := int64(binary.LittleEndian.Uint32(b))
	return n <= int64(len(b)-4) && bytes.HasSuffix(b[4:4+n], []byte("\r\n\r\n"))
}

// blockScan is what a walk over a block file has found.
type blockScan struct {
	records int
	first   int64 // time of the first record; 0: no record has one
	last    int64 // the latest time of a record
	bad     int   // offset of the first record that is not whole; -1: all are
	why     string
	// more tells that whole records follow the bad place, the first of them stored
	// at moreAt (0: these are tombstones); lostPage, that zeros stand there as a page
	// leaves that was never written.
	more     bool
	moreAt   int64
	lostPage bool
}

// scanBlock walks over a block's records.
func scanBlock(b []byte, h hash.Hash64) blockScan {
	s := blockScan{bad: -1}
	var seq uint64
	for off := 0; off < len(b); {
		r := readRecord(b[off:], h)
		if r.why != "" {
			s.bad, s.why = off, r.why
			if next := nextRecord(b, off, seq, h); next >= 0 {
				s.more, s.lostPage = true, hasLostPage(b, off, next)
				for next < len(b) {
					if r = readRecord(b[next:], h); r.why != "" {
						break
					}
					if s.moreAt == 0 {
						s.moreAt = r.at
					}
					s.last = max(s.last, r.at)
					next += r.size
				}
			}
			return s
		}
		s.records++
		if s.first == 0 {
			s.first = r.at
		}
		s.last = max(s.last, r.at)
		seq = max(seq, r.seq)
		off += r.size
	}
	return s
}

// seqAhead is how far behind a bad place sequences may be to be believed.
const seqAhead = 1 << 24

// nextRecord looks for a whole record behind the bad one at off; -1: there is none.
func nextRecord(b []byte, off int, seq uint64, h hash.Hash64) int {
	for p := off + 1; p+recordLeast <= len(b); p++ {
		if r := readRecord(b[p:], h); r.why == "" && r.seq > 0 && r.seq < seq+seqAhead {
			return p
		}
	}
	return -1
}

// page is what a kernel writes to a disk as one.
const page = 4096

// hasLostPage tells whether some page between two offsets ends with zeros, which
// is how one looks whose neighbour was written before a power cut and which was not.
func hasLostPage(b []byte, from, to int) bool {
	var zeros [8]byte
	for end := (from/page + 1) * page; end <= to+page && end <= len(b); end += page {
		if end-len(zeros) >= from && bytes.Equal(b[end-len(zeros):end], zeros[:]) {
			return true
		}
	}
	return false
}

// salvage returns the whole records of a damaged block, in their order. lost is how
// many may be missing between them, removed ones included; -1: nobody knows.
//
// Behind a bad record it takes the one that its length points to. Where the length
// is bad, it takes the first record from which whole ones follow up to the end of
// the block, and no other: a message may contain what looks like a record, checksum
// and all, and must not become one.
func salvage(b []byte, h hash.Hash64) (out []byte, records, lost int) {
	seq, gap := uint64(0), false
	for off := 0; off < len(b); {
		r := readRecord(b[off:], h)
		if r.why != "" {
			gap = true
			if r.size > 0 && off+r.size < len(b) && readRecord(b[off+r.size:], h).why == "" {
				off += r.size
				continue
			}
			if off = lastChain(b, off+1, h); off < 0 {
				return out, records, -1
			}
			continue
		}
		out = append(out, b[off:off+r.size]...)
		off += r.size
		if r.at == 0 { // a tombstone
			continue
		}
		switch {
		case gap && seq == 0:
			lost = -1
		case gap && lost >= 0 && r.seq > seq:
			lost += int(r.seq - seq - 1)
		}
		records++
		seq, gap = r.seq, false
	}
	if gap {
		lost = -1
	}
	return out, records, lost
}

// lastChain finds the first offset from p on from which whole records reach the end.
func lastChain(b []byte, p int, h hash.Hash64) int {
	for p+recordLeast <= len(b) {
		if readRecord(b[p:], h).why != "" {
			p++
			continue
		}
		end := p
		for end < len(b) {
			r := readRecord(b[end:], h)
			if r.why != "" {
				break
			}
			end += r.size
		}
		if end == len(b) {
			return p
		}
		p = end // no other record of this chain does better
	}
	return -1
}
