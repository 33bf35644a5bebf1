package cluster

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"hash/crc32"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/nats-io/nats-server/v2/server"
)

// A clean stop leaves a list of all block files with their sizes, in a file called
// clean. The next start takes it away before anything is written. While it is
// there, a block that is missing or shorter is known to be damage; after a kill
// nobody can tell a lost block from one that JetStream has emptied and removed.
const cleanName = "clean"

// cleanList says what the last stop left. Another release of nats-server, and one
// that finds another index.db, may read (and cut) every block at its start.
type cleanList struct {
	Server  string // nats-server's version
	Streams map[string]cleanStream
}

type cleanStream struct {
	Index  uint32           // CRC-32 of index.db; 0: there was none
	Blocks map[uint64]int64 // octets of each block
}

// blockFile is one <n>.blk.
type blockFile struct {
	n    uint64
	path string
	size int64
	at   time.Time // last written
}

// blockFiles lists a stream's blocks, oldest first; none when the folder is missing.
func blockFiles(stream string) ([]blockFile, error) {
	dir := filepath.Join(stream, "msgs")
	es, err := os.ReadDir(dir)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	var out []blockFile
	for _, e := range es {
		name, ok := strings.CutSuffix(e.Name(), ".blk")
		n, err := strconv.ParseUint(name, 10, 32)
		if !ok || err != nil {
			continue
		}
		st, err := e.Info()
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err != nil {
			return nil, err
		}
		out = append(out, blockFile{n, filepath.Join(dir, e.Name()), st.Size(), st.ModTime()})
	}
	slices.SortFunc(out, func(a, b blockFile) int { return int(min(max(int64(a.n)-int64(b.n), -1), 1)) })
	return out, nil
}

// streamFolders lists the streams that have a folder. JetStream removes by itself
// those that begin with a dot: they are half deleted.
func streamFolders(dir string) ([]string, error) {
	es, err := os.ReadDir(StreamsDir(dir))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	var out []string
	for _, e := range es {
		if e.IsDir() && !strings.HasPrefix(e.Name(), ".") {
			out = append(out, e.Name())
		}
	}
	return out, err
}

// writeClean makes the list after JetStream has closed its files. What it says must
// be true after a power cut, so the blocks written lately are synced before it.
func writeClean(dir string) error {
	streams, err := streamFolders(dir)
	if err != nil {
		return err
	}
	list := cleanList{Server: server.VERSION, Streams: map[string]cleanStream{}}
	for _, s := range streams {
		blocks, err := blockFiles(filepath.Join(StreamsDir(dir), s))
		if err != nil {
			return err
		}
		kept := cleanStream{Index: indexSum(dir, s), Blocks: map[uint64]int64{}}
		list.Streams[s] = kept
		for _, b := range blocks {
			kept.Blocks[b.n] = b.size
			if time.Since(b.at) < time.Minute { // JetStream syncs once a second
				if err := syncPath(b.path); err != nil {
					return err
				}
			}
		}
		if err := syncPath(filepath.Join(StreamsDir(dir), s, "msgs")); err != nil {
			return err
		}
	}
	body, err := json.Marshal(list)
	if err != nil {
		return err
	}
	return writeFile(filepath.Join(dir, cleanName), fmt.Appendf(nil, "%08x\n%s\n", crc32.ChecksumIEEE(body), body))
}

// readClean returns the list, or nil when the last stop left none that can be trusted.
func readClean(dir string) *cleanList {
	b, err := os.ReadFile(filepath.Join(dir, cleanName))
	if err != nil {
		return nil
	}
	sum, body, _ := bytes.Cut(bytes.TrimSuffix(b, []byte("\n")), []byte("\n"))
	var list cleanList
	if string(sum) != fmt.Sprintf("%08x", crc32.ChecksumIEEE(body)) || json.Unmarshal(body, &list) != nil {
		return nil
	}
	return &list
}

// trusts tells whether JetStream will take the stream's index.db as it is, and so
// leave its blocks unread.
func (c *cleanList) trusts(dir, stream string) bool {
	sum := indexSum(dir, stream)
	return c.Server == server.VERSION && sum != 0 && sum == c.Streams[stream].Index
}

// indexSum returns the CRC-32 of a stream's index.db, or 0 when it cannot be read.
func indexSum(dir, stream string) uint32 {
	b, err := os.ReadFile(filepath.Join(StreamsDir(dir), stream, "msgs", "index.db"))
	if err != nil {
		return 0
	}
	return crc32.ChecksumIEEE(b)
}

// removeClean takes the list away, durably: after a kill it would be wrong.
func removeClean(dir string) error {
	err := os.Remove(filepath.Join(dir, cleanName))
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	return errors.Join(err, syncPath(dir))
}

// writeFile replaces a file as a whole, durably.
func writeFile(path string, b []byte) error {
	f, err := os.CreateTemp(filepath.Dir(path), filepath.Base(path)+".tmp*")
	if err != nil {
		return err
	}
	_, err = f.Write(b)
	err = errors.Join(err, f.Chmod(0o640), f.Sync(), f.Close())
	if err == nil {
		err = os.Rename(f.Name(), path)
	}
	if err != nil {
		return errors.Join(err, os.Remove(f.Name()))
	}
	return syncPath(filepath.Dir(path))
}

// syncPath syncs a file or a folder.
func syncPath(path string) error {
	f, err := os.Open(path)
	if err != nil {
		return err
	}
	return errors.Join(f.Sync(), f.Close())
}
