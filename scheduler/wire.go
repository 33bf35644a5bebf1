package scheduler

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"time"

	pb "google.golang.org/protobuf/proto"
)

// A frame on the wire is its length (4 octets, big-endian) and so many octets of
// protobuf: NodeFrame towards the scheduler, LeaderFrame back.

const (
	maxFrame  = 16 << 20 // octets; a book of some 50,000 rules
	readStep  = 64 << 10 // a frame's room grows as its octets come, not as its length claims
	writeTime = 5 * time.Second
	frameTime = 10 * time.Second
)

// Errors of a stream.
var (
	errClosed   = errors.New("the stream is closed")
	errTooLarge = fmt.Errorf("frame of more than %d octets", maxFrame)
)

// protocolError is a frame that nobody of ours would send.
type protocolError struct{ what string }

func (e *protocolError) Error() string { return "not understood: " + e.what }

func malformed(format string, args ...any) error {
	return &protocolError{fmt.Sprintf(format, args...)}
}

// wire is a link over a connection.
type wire[Out, In any] struct {
	conn     net.Conn
	idle     time.Duration // longest silence of the other end; 0: any
	patience time.Duration // for the rest of a frame that has begun
	buf      []byte
	head     [4]byte
	out      []byte
	encode   func(*Out) pb.Message
	decode   func([]byte) (*In, error)
}

// dialled makes the node's end of a connection.
func dialled(conn net.Conn, idle time.Duration) nodeLink {
	e, d := &laneWriter{}, &laneReader{}
	return &wire[nodeFrame, leaderFrame]{conn: conn, idle: idle, patience: frameTime,
		encode: func(f *nodeFrame) pb.Message { return encodeNode(f, e) },
		decode: func(b []byte) (*leaderFrame, error) { return decodeLeader(b, d) }}
}

// accepted makes the scheduler's end of a connection.
func accepted(conn net.Conn, idle time.Duration) leaderLink {
	e, d := &laneWriter{}, &laneReader{}
	return &wire[leaderFrame, nodeFrame]{conn: conn, idle: idle, patience: frameTime,
		encode: func(f *leaderFrame) pb.Message { return encodeLeader(f, e) },
		decode: func(b []byte) (*nodeFrame, error) { return decodeNode(b, d) }}
}

func (w *wire[Out, In]) Send(f *Out) error {
	m := w.encode(f)
	n := pb.Size(m)
	if n > maxFrame {
		return errTooLarge
	}
	b := binary.BigEndian.AppendUint32(w.out[:0], uint32(n))
	b, err := pb.MarshalOptions{UseCachedSize: true}.MarshalAppend(b, m)
	if err != nil {
		return fmt.Errorf("encode a frame: %w", err)
	}
	if w.out = b; cap(b) > 1<<20 {
		w.out = nil
	}
	if err := w.conn.SetWriteDeadline(time.Now().Add(writeTime)); err != nil {
		return err
	}
	_, err = w.conn.Write(b)
	return err
}

func (w *wire[Out, In]) Recv() (*In, error) {
	var until time.Time
	if w.idle > 0 {
		until = time.Now().Add(w.idle)
	}
	if err := w.conn.SetReadDeadline(until); err != nil {
		return nil, err
	}
	if _, err := io.ReadFull(w.conn, w.head[:1]); err != nil {
		return nil, err
	}
	if err := w.conn.SetReadDeadline(time.Now().Add(w.patience)); err != nil {
		return nil, err
	}
	if _, err := io.ReadFull(w.conn, w.head[1:]); err != nil {
		return nil, err
	}
	n := binary.BigEndian.Uint32(w.head[:])
	if n > maxFrame {
		return nil, malformed("%v", errTooLarge)
	}
	b, err := w.body(int(n))
	if err != nil {
		return nil, err
	}
	return w.decode(b)
}

// body reads n octets. What it returns is good until the next call.
func (w *wire[Out, In]) body(n int) ([]byte, error) {
	b := w.buf[:0]
	for len(b) < n {
		step := min(n-len(b), readStep)
		at := len(b)
		if cap(b)-at < step {
			b = append(b, make([]byte, step)...)
		} else {
			b = b[:at+step]
		}
		if _, err := io.ReadFull(w.conn, b[at:at+step]); err != nil {
			return nil, err
		}
		b = b[:at+step]
	}
	if w.buf = b; cap(b) > 1<<20 {
		w.buf = nil
	}
	return b, nil
}

func (w *wire[Out, In]) Close() error { return w.conn.Close() }
