package cluster

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"
)

// lookupReaders is how many blocks are read at a time.
const lookupReaders = 2

// Lookup reads a stream's files for records that have name in them, within the first
// head octets behind the subject's beginning (0: anywhere), and were stored after since,
// and gives found their sequences, in no order, one at a time. It reads as fast
// as the disk: asking JetStream for each record costs ten times as much. What it finds
// may have been removed meanwhile; what was stored during the call may be missing.
func Lookup(ctx context.Context, streamsDir, stream string, since time.Time, name []byte, head int, found func(seq uint64) error) error {
	blocks, err := blockFiles(filepath.Join(streamsDir, stream))
	if err != nil {
		return fmt.Errorf("reading the files of %s: %w", stream, err)
	}
	g, ctx := errgroup.WithContext(ctx)
	g.SetLimit(lookupReaders)
	var mu sync.Mutex
	buffers := sync.Pool{New: func() any { return new([]byte) }}
	for _, b := range blocks {
		if b.at.Before(since) {
			continue // written last before anything that is looked for
		}
		g.Go(func() error {
			if err := ctx.Err(); err != nil {
				return err
			}
			buf := buffers.Get().(*[]byte)
			defer buffers.Put(buf)
			data, err := readBlock(b.path, *buf)
			if errors.Is(err, fs.ErrNotExist) {
				return nil // emptied, or made anew under another number: its records are in that
			}
			if err != nil {
				return fmt.Errorf("reading the files of %s: %w", stream, err)
			}
			*buf = data
			return eachNamed(data, name, head, func(seq uint64) error {
				mu.Lock()
				defer mu.Unlock()
				return found(seq)
			})
		})
	}
	return g.Wait()
}

// readBlock reads a file into buf, or into a larger one.
func readBlock(path string, buf []byte) ([]byte, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer func() { _ = f.Close() }() // read only
	st, err := f.Stat()
	if err != nil {
		return nil, err
	}
	if n := int(st.Size()); cap(buf) < n {
		buf = make([]byte, n, n+n/8)
	} else {
		buf = buf[:n]
	}
	n, err := io.ReadFull(f, buf)
	if errors.Is(err, io.ErrUnexpectedEOF) || errors.Is(err, io.EOF) {
		err = nil // it has been made shorter meanwhile
	}
	return buf[:n], err
}

// eachNamed gives the sequence of each record of a block that has name in it. The
// last one may be half-written; behind a length that makes no sense nothing is read.
func eachNamed(b, name []byte, head int, found func(seq uint64) error) error {
	le := binary.LittleEndian
	for len(b) >= recordLeast {
		size := int(le.Uint32(b) &^ bitHeaders)
		if size < recordLeast || size > len(b) {
			return nil
		}
		seq := le.Uint64(b[4:])
		if seq&(bitErased|bitTombstone) == 0 {
			in := b[recordHead : size-recordSum]
			if head > 0 {
				in = in[:min(len(in), head)]
			}
			if bytes.Contains(in, name) {
				if err := found(seq); err != nil {
					return err
				}
			}
		}
		b = b[size:]
	}
	return nil
}
