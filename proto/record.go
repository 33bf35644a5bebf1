// Package proto holds the messages that are stored or cross processes, and the
// frame they travel in. It turns them into the values of package mail and back;
// it never stores or sends anything.
package proto

import (
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"

	pb "google.golang.org/protobuf/proto"
)

// A frame is
//
//	format (1 octet) | kind (1 octet) | CRC-32C of all that follows (4, big-endian)
//	| length of head (uvarint) | head (protobuf) | payload
//
// Every record carries its own checksum because JetStream does not repair a
// damaged block from its peers.
const format = 1

// Kind says which message heads a frame.
type Kind byte

const (
	KindMail    Kind = 1
	KindBody    Kind = 2
	KindJournal Kind = 3
	// KindSuppression heads an entry of the suppression list.
	KindSuppression Kind = 4
)

// Errors of a frame that cannot be read. ErrNewer means that a newer version of
// Tarishi wrote it: the reader stops and keeps it, and never skips it.
var (
	ErrNewer   = errors.New("record was written by a newer version; upgrade this node")
	ErrDamaged = errors.New("record is damaged")
)

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// Checksum is the CRC-32C that frames and body references use.
func Checksum(prev uint32, b []byte) uint32 { return crc32.Update(prev, castagnoli, b) }

const maxHead = 6 + binary.MaxVarintLen64

// FrameSize bounds the length of a frame around head and n octets of payload.
func FrameSize(head pb.Message, n int) int { return maxHead + pb.Size(head) + n }

// AppendFrame appends the frame of head and payload to dst.
func AppendFrame(dst []byte, kind Kind, head pb.Message, payload []byte) ([]byte, error) {
	at := len(dst)
	dst = append(dst, format, byte(kind), 0, 0, 0, 0)
	dst = binary.AppendUvarint(dst, uint64(pb.Size(head)))
	dst, err := pb.MarshalOptions{UseCachedSize: true}.MarshalAppend(dst, head)
	if err != nil {
		return nil, fmt.Errorf("encode record: %w", err)
	}
	dst = append(dst, payload...)
	binary.BigEndian.PutUint32(dst[at+2:], Checksum(0, dst[at+6:]))
	return dst, nil
}

// ReadFrame checks the frame b, reads its head into head and returns its
// payload, which aliases b.
func ReadFrame(b []byte, kind Kind, head pb.Message) (payload []byte, err error) {
	if len(b) < 7 {
		return nil, fmt.Errorf("%w: %d octets", ErrDamaged, len(b))
	}
	if b[0] > format {
		return nil, fmt.Errorf("%w (format %d, this one reads %d)", ErrNewer, b[0], format)
	}
	if b[0] != format || Kind(b[1]) != kind {
		return nil, fmt.Errorf("%w: format %d kind %d where kind %d was expected", ErrDamaged, b[0], b[1], kind)
	}
	if Checksum(0, b[6:]) != binary.BigEndian.Uint32(b[2:]) {
		return nil, fmt.Errorf("%w: checksum differs", ErrDamaged)
	}
	n, w := binary.Uvarint(b[6:])
	if w <= 0 || n > uint64(len(b)-6-w) {
		return nil, fmt.Errorf("%w: head of %d octets in a frame of %d", ErrDamaged, n, len(b))
	}
	rest := b[6+w:]
	if err := pb.Unmarshal(rest[:n], head); err != nil {
		return nil, fmt.Errorf("%w: %w", ErrDamaged, err)
	}
	return rest[n:], nil
}
