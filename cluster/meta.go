package cluster

import (
	"bytes"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
)

// A stream's meta.inf is its configuration, meta.sum the checksum. Without them
// JetStream passes the stream over as if it did not exist, whatever its blocks
// hold. It writes them one after the other, so a kill can leave a pair that does
// not match. Copies are therefore kept in a folder of our own, meta, as
// <stream>.inf and <stream>.sum.
const metaFolder = "meta"

func metaCopy(dir, stream string) (inf, sum string) {
	base := filepath.Join(dir, metaFolder, stream)
	return base + ".inf", base + ".sum"
}

func metaFiles(dir, stream string) (inf, sum string) {
	base := filepath.Join(StreamsDir(dir), stream)
	return filepath.Join(base, "meta.inf"), filepath.Join(base, "meta.sum")
}

// readMeta reads a pair, or says why it is none.
func readMeta(stream, infPath, sumPath string) (inf, sum []byte, why string) {
	inf, err := os.ReadFile(infPath)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil, "the stream's configuration is missing"
	}
	if err != nil {
		return nil, nil, err.Error()
	}
	sum, err = os.ReadFile(sumPath)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil, "meta.sum, the checksum of this file, is missing"
	}
	if err != nil {
		return nil, nil, err.Error()
	}
	h := newHash(stream)
	h.Write(inf)
	if string(sum) != hex.EncodeToString(h.Sum(nil)) {
		return nil, nil, "the stream's configuration does not match its checksum in meta.sum"
	}
	return inf, sum, ""
}

// checkMeta finds a stream that JetStream would pass over.
func (p *preparation) checkMeta(stream string, holds bool) {
	inf, sum := metaFiles(p.Dir, stream)
	_, _, why := readMeta(stream, inf, sum)
	if why == "" {
		return
	}
	copyInf, copySum := metaCopy(p.Dir, stream)
	if _, _, bad := readMeta(stream, copyInf, copySum); bad == "" {
		p.heal = append(p.heal, stream)
		p.Log.Warn("a stream's configuration is damaged; the copy is put in its place", "stream", stream, "file", inf, "reason", why)
		return
	}
	if holds { // else it was being made for the first time
		p.damaged(Damage{Stream: stream, File: inf, Offset: -1, Why: why})
	}
}

// keptStreams lists the streams that copies are kept of.
func keptStreams(dir string) ([]string, error) {
	es, err := os.ReadDir(filepath.Join(dir, metaFolder))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	var out []string
	for _, e := range es {
		if s, ok := strings.CutSuffix(e.Name(), ".inf"); ok {
			out = append(out, s)
		}
	}
	return out, err
}

// KeepMeta copies the configuration of every stream, for a start that finds one
// damaged. It is called once the streams are as this run wants them.
func (n *NATS) KeepMeta() error {
	if err := n.keepMeta(); err != nil {
		return fmt.Errorf("keep a copy of the streams' configuration: %w", err)
	}
	return nil
}

func (n *NATS) keepMeta() error {
	streams, err := streamFolders(n.dir)
	if err != nil {
		return err
	}
	if err := os.MkdirAll(filepath.Join(n.dir, metaFolder), 0o750); err != nil {
		return err
	}
	for _, s := range streams {
		infPath, sumPath := metaFiles(n.dir, s)
		inf, sum, why := readMeta(s, infPath, sumPath)
		if why != "" {
			return fmt.Errorf("%s: %s", infPath, why)
		}
		copyInf, copySum := metaCopy(n.dir, s)
		if was, _, _ := readMeta(s, copyInf, copySum); bytes.Equal(was, inf) {
			continue
		}
		if err := errors.Join(writeFile(copySum, sum), writeFile(copyInf, inf)); err != nil {
			return err
		}
	}
	return syncPath(n.dir)
}

// putMetaBack restores a stream's configuration from its copy.
func putMetaBack(dir, stream string) error {
	copyInf, copySum := metaCopy(dir, stream)
	inf, sum, why := readMeta(stream, copyInf, copySum)
	if why != "" {
		return fmt.Errorf("%s: %s", copyInf, why)
	}
	infPath, sumPath := metaFiles(dir, stream)
	return errors.Join(writeFile(sumPath, sum), writeFile(infPath, inf))
}
