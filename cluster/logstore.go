package cluster

import (
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"hash/crc32"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"
	"time"

	"github.com/hashicorp/raft"
	bolt "go.etcd.io/bbolt"
	boltErrors "go.etcd.io/bbolt/errors"
)

// The store keeps raft's log, its vote and who this node is in one bbolt file. It is
// our own since raft-boltdb 2.3.1 does not build with raft 1.8.0.
//
// raft 1.8.0 can also keep the commit index beside the log and replay up to it inside
// NewRaft. We do not: it replays through a channel that nobody reads yet and stands
// still for ever after some 8,000 entries, and all that reads our state asks the leader.
type logStore struct {
	db   *bolt.DB
	path string

	// trouble is told when a write failed. A log that could not be written is in doubt
	// (part of it may be on the disk), so the node must end and read it anew.
	trouble func(error)
	// writes goes up by one when a write begins and when it ends: odd while one is under way.
	writes  atomic.Uint64
	writing sync.Mutex
}

// storeFormat is the number in the file; a greater one is refused.
const storeFormat = 1

var (
	bucketLogs = []byte("logs") // index (8, big endian) → record
	bucketConf = []byte("conf") // raft's term and vote
	bucketMeta = []byte("meta") // format, identity
	keyFormat  = []byte("format")
	keySelf    = []byte("identity")

	// raft knows this error by its text alone.
	errNotFound = errors.New("not found")
)

// ErrNewer is what a file written by a later release gives.
var ErrNewer = errors.New("written by a newer release")

// openStore opens the file, made when missing.
func openStore(dir string) (*logStore, error) {
	if err := os.MkdirAll(dir, 0o750); err != nil {
		return nil, err
	}
	path := filepath.Join(dir, "raft.db")
	if err := compactStore(path); err != nil {
		return nil, err
	}
	db, err := openBolt(path)
	if err != nil {
		return nil, err
	}
	s := &logStore{db: db, path: path, trouble: func(error) {}}
	if err := s.prepare(); err != nil {
		return nil, errors.Join(err, db.Close())
	}
	return s, nil
}

func openBolt(path string) (*bolt.DB, error) {
	db, err := bolt.Open(path, 0o600, &bolt.Options{
		Timeout: time.Second,
		// A freelist written with every append made Consul's raft.db slow and large.
		NoFreelistSync: true,
		FreelistType:   bolt.FreelistMapType,
	})
	if errors.Is(err, boltErrors.ErrTimeout) {
		return nil, fmt.Errorf("%s is in use by another process; a data folder belongs to one node", path)
	}
	if err != nil {
		return nil, fmt.Errorf("open %s: %w", path, err)
	}
	return db, nil
}

// prepare makes a new file's buckets, refuses a newer file and reads every record once:
// raft can only panic on a damaged one when it comes to it.
func (s *logStore) prepare() error {
	return s.db.Update(func(tx *bolt.Tx) error {
		meta, err := tx.CreateBucketIfNotExists(bucketMeta)
		if err != nil {
			return err
		}
		switch v := meta.Get(keyFormat); {
		case v == nil:
			if err := meta.Put(keyFormat, key64(storeFormat)); err != nil {
				return err
			}
		case len(v) != 8 || binary.BigEndian.Uint64(v) > storeFormat:
			return fmt.Errorf("%s has format %x, this release reads %d: %w; start the release that wrote it, or a later one", s.path, v, storeFormat, ErrNewer)
		}
		for _, b := range [][]byte{bucketLogs, bucketConf} {
			if _, err := tx.CreateBucketIfNotExists(b); err != nil {
				return err
			}
		}
		last := uint64(0)
		return tx.Bucket(bucketLogs).ForEach(func(k, v []byte) error {
			var l raft.Log
			if len(k) != 8 {
				return s.damaged("a key of %d octets", len(k))
			}
			i := binary.BigEndian.Uint64(k)
			if err := decodeLog(i, v, &l); err != nil {
				return s.damaged("entry %d: %w", i, err)
			}
			if l.Term < last {
				return s.damaged("entry %d has term %d after term %d", i, l.Term, last)
			}
			last = l.Term
			return nil
		})
	})
}

func (s *logStore) damaged(f string, v ...any) error {
	return fmt.Errorf("%s is damaged: %w; as long as a majority of the other nodes is well, "+
		"stop this node, move the folder %s away and start again: the node joins anew and copies the state from them",
		s.path, fmt.Errorf(f, v...), filepath.Dir(s.path))
}

// identity returns who this node is; ok is false in a new file.
func (s *logStore) identity() (id identity, ok bool, err error) {
	err = s.db.View(func(tx *bolt.Tx) error {
		v := tx.Bucket(bucketMeta).Get(keySelf)
		if v == nil {
			return nil
		}
		ok = true
		if err := json.Unmarshal(v, &id); err != nil {
			return s.damaged("its identity: %w", err)
		}
		return nil
	})
	return id, ok, err
}

func (s *logStore) setIdentity(id identity) error {
	v, err := json.Marshal(id)
	if err != nil {
		return err
	}
	return s.write(func(tx *bolt.Tx) error { return tx.Bucket(bucketMeta).Put(keySelf, v) })
}

// write is every write of raft's. Its time is seen by the watchdog.
func (s *logStore) write(f func(*bolt.Tx) error) error {
	s.writing.Lock() // bbolt would serialise them too, but then the counter could not tell
	s.writes.Add(1)
	err := s.db.Update(f)
	s.writes.Add(1)
	s.writing.Unlock()
	if err != nil && !errors.Is(err, boltErrors.ErrDatabaseNotOpen) {
		err = fmt.Errorf("write %s: %w", s.path, err)
		s.trouble(err)
	}
	return err
}

// Close closes the file.
func (s *logStore) Close() error { return s.db.Close() }

// FirstIndex is part of raft.LogStore.
func (s *logStore) FirstIndex() (uint64, error) { return s.edge((*bolt.Cursor).First) }

// LastIndex is part of raft.LogStore.
func (s *logStore) LastIndex() (uint64, error) { return s.edge((*bolt.Cursor).Last) }

func (s *logStore) edge(seek func(*bolt.Cursor) (k, v []byte)) (i uint64, err error) {
	err = s.db.View(func(tx *bolt.Tx) error {
		if k, _ := seek(tx.Bucket(bucketLogs).Cursor()); k != nil {
			i = binary.BigEndian.Uint64(k)
		}
		return nil
	})
	return i, err
}

// GetLog is part of raft.LogStore.
func (s *logStore) GetLog(i uint64, l *raft.Log) error {
	return s.db.View(func(tx *bolt.Tx) error {
		v := tx.Bucket(bucketLogs).Get(key64(i))
		if v == nil {
			return raft.ErrLogNotFound
		}
		if err := decodeLog(i, v, l); err != nil {
			err = s.damaged("entry %d: %w", i, err)
			s.trouble(err)
			return err
		}
		return nil
	})
}

// StoreLog is part of raft.LogStore.
func (s *logStore) StoreLog(l *raft.Log) error { return s.StoreLogs([]*raft.Log{l}) }

// StoreLogs is part of raft.LogStore: one fsync for all of them.
func (s *logStore) StoreLogs(ls []*raft.Log) error {
	return s.write(func(tx *bolt.Tx) error {
		b := tx.Bucket(bucketLogs)
		b.FillPercent = 0.9 // keys come in order
		for _, l := range ls {
			if err := b.Put(key64(l.Index), encodeLog(l)); err != nil {
				return err
			}
		}
		return nil
	})
}

// DeleteRange is part of raft.LogStore.
func (s *logStore) DeleteRange(min, max uint64) error {
	return s.write(func(tx *bolt.Tx) error {
		c := tx.Bucket(bucketLogs).Cursor()
		for k, _ := c.Seek(key64(min)); k != nil && binary.BigEndian.Uint64(k) <= max; k, _ = c.Seek(key64(min)) {
			if err := c.Delete(); err != nil {
				return err
			}
		}
		return nil
	})
}

// follows tells whether the log goes on without a gap after index i (of a snapshot).
func (s *logStore) follows(i uint64) (bool, error) {
	whole := true
	err := s.db.View(func(tx *bolt.Tx) error {
		c := tx.Bucket(bucketLogs).Cursor()
		for k, _ := c.Seek(key64(i + 1)); k != nil; k, _ = c.Next() {
			i++
			if binary.BigEndian.Uint64(k) != i {
				whole = false
				return nil
			}
		}
		return nil
	})
	return whole, err
}

// Set is part of raft.StableStore.
func (s *logStore) Set(k, v []byte) error {
	return s.write(func(tx *bolt.Tx) error { return tx.Bucket(bucketConf).Put(k, v) })
}

// Get is part of raft.StableStore.
func (s *logStore) Get(k []byte) (v []byte, err error) {
	err = s.db.View(func(tx *bolt.Tx) error {
		x := tx.Bucket(bucketConf).Get(k)
		if x == nil {
			return errNotFound
		}
		v = append([]byte{}, x...) // bbolt's memory is gone after the transaction
		return nil
	})
	return v, err
}

// SetUint64 is part of raft.StableStore.
func (s *logStore) SetUint64(k []byte, v uint64) error { return s.Set(k, key64(v)) }

// GetUint64 is part of raft.StableStore.
func (s *logStore) GetUint64(k []byte) (uint64, error) {
	v, err := s.Get(k)
	if err != nil {
		return 0, err
	}
	if len(v) != 8 {
		return 0, s.damaged("%s has %d octets", k, len(v))
	}
	return binary.BigEndian.Uint64(v), nil
}

func key64(i uint64) []byte { return binary.BigEndian.AppendUint64(nil, i) }

// A record: CRC-32C of the rest (4), term (8), type (1), appended at, unix ns (8),
// length of the extensions (4), extensions, data. All big endian.
const entryHead = 4 + 8 + 1 + 8 + 4

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

func encodeLog(l *raft.Log) []byte {
	b := make([]byte, 4, entryHead+len(l.Extensions)+len(l.Data))
	b = binary.BigEndian.AppendUint64(b, l.Term)
	b = append(b, byte(l.Type))
	at := int64(0)
	if !l.AppendedAt.IsZero() {
		at = l.AppendedAt.UnixNano()
	}
	b = binary.BigEndian.AppendUint64(b, uint64(at))
	b = binary.BigEndian.AppendUint32(b, uint32(len(l.Extensions)))
	b = append(append(b, l.Extensions...), l.Data...)
	binary.BigEndian.PutUint32(b, crc32.Checksum(b[4:], castagnoli))
	return b
}

// decodeLog reads a record into memory of its own.
func decodeLog(index uint64, v []byte, l *raft.Log) error {
	if len(v) < entryHead {
		return fmt.Errorf("%d octets are too few", len(v))
	}
	if crc32.Checksum(v[4:], castagnoli) != binary.BigEndian.Uint32(v) {
		return errors.New("its checksum does not match")
	}
	ext := uint64(binary.BigEndian.Uint32(v[21:]))
	if ext > uint64(len(v)-entryHead) {
		return errors.New("its length does not match")
	}
	*l = raft.Log{Index: index, Term: binary.BigEndian.Uint64(v[4:]), Type: raft.LogType(v[12])}
	if at := int64(binary.BigEndian.Uint64(v[13:])); at != 0 {
		l.AppendedAt = time.Unix(0, at)
	}
	if ext > 0 {
		l.Extensions = append([]byte(nil), v[entryHead:entryHead+ext]...)
	}
	l.Data = append([]byte(nil), v[entryHead+ext:]...)
	return nil
}
