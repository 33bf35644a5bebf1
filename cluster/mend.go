package cluster

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"time"
)

// mend copies what is damaged to a folder of its own, then makes of each block what
// its whole records give and lets JetStream index the stream anew.
func (p *preparation) mend() error {
	if len(p.list) == 0 && len(p.heal) == 0 {
		return nil
	}
	folder := filepath.Join(p.Keep, time.Now().UTC().Format("2006-01-02T150405.000Z"))
	touched := slices.Clone(p.heal)
	for _, d := range p.list {
		if !slices.Contains(touched, d.Stream) {
			touched = append(touched, d.Stream)
		}
	}
	// First all the copies, on disk: what comes after them cannot be undone.
	for _, s := range touched {
		if err := p.keepStream(s, folder); err != nil {
			return err
		}
	}
	if err := errors.Join(syncPath(folder), syncPath(p.Keep), syncPath(filepath.Dir(p.Keep))); err != nil {
		return err
	}
	if err := removeClean(p.Dir); err != nil {
		return err
	}
	for _, s := range p.heal {
		if err := putMetaBack(p.Dir, s); err != nil {
			return err
		}
	}
	for _, s := range touched {
		if err := p.mendStream(s, folder); err != nil {
			return err
		}
	}
	return nil
}

// keepStream copies the stream's damaged blocks, its index and its configuration.
func (p *preparation) keepStream(stream, folder string) error {
	from, to := filepath.Join(StreamsDir(p.Dir), stream), filepath.Join(folder, stream)
	if err := os.MkdirAll(filepath.Join(to, "msgs"), 0o750); err != nil {
		return err
	}
	files := []string{"meta.inf", "meta.sum", filepath.Join("msgs", "index.db")}
	for _, d := range p.list {
		if d.Stream == stream && d.block != nil {
			files = append(files, filepath.Join("msgs", filepath.Base(d.File)))
		}
	}
	var buf []byte
	for _, f := range files {
		b, err := readInto(&buf, filepath.Join(from, f))
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if errors.Is(err, fs.ErrPermission) {
			return err
		}
		// Of a file that the disk does not give whole, what it gives.
		if err := writeFile(filepath.Join(to, f), b); err != nil {
			return err
		}
	}
	return syncPath(to)
}

// mendStream takes out what cannot be read.
func (p *preparation) mendStream(stream, folder string) error {
	dir := filepath.Join(StreamsDir(p.Dir), stream)
	endLost, blocks := false, 0
	for _, d := range p.list {
		if d.Stream != stream {
			continue
		}
		switch {
		case d.File == dir:
			p.Log.Error("accepted: the folder of a stream was missing and all it held; it begins anew", "stream", stream)
			return nil
		case d.block != nil:
			lost, err := p.mendBlock(d, folder)
			if err != nil {
				return err
			}
			endLost = endLost || lost && p.isLatest(d)
			blocks++
		case filepath.Base(d.File) == "meta.inf":
			// Nobody knows how the stream was set up. It goes as a whole, and a new one begins.
			whole := filepath.Join(folder, stream, "whole")
			p.Log.Error("accepted: a stream whose configuration is lost was set aside; it begins anew", "stream", stream, "kept", whole)
			return errors.Join(os.Rename(dir, whole), syncPath(filepath.Join(folder, stream)), syncPath(StreamsDir(p.Dir)))
		default:
			p.Log.Error("accepted: a file of the queue was missing and all it held", "stream", stream, "file", d.File)
			endLost = endLost || p.isLatest(d)
			blocks++
		}
	}
	if blocks == 0 || endLost {
		// With the end gone JetStream distrusts index.db and reads the blocks, but takes
		// from it how far the sequences went: none of them may be given again.
		return nil
	}
	err := os.Remove(filepath.Join(dir, "msgs", "index.db"))
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return syncPath(filepath.Join(dir, "msgs"))
}

// isLatest tells whether the damaged file is, or was, the stream's newest block.
func (p *preparation) isLatest(d *Damage) bool {
	latest := uint64(0)
	files, _ := blockFiles(filepath.Join(StreamsDir(p.Dir), d.Stream))
	for _, f := range files {
		latest = max(latest, f.n)
	}
	if p.clean != nil {
		for n := range p.clean.Streams[d.Stream].Blocks {
			latest = max(latest, n)
		}
	}
	return filepath.Base(d.File) == fmt.Sprint(latest)+".blk"
}

// mendBlock leaves a block's whole records. endLost tells that its last one went.
func (p *preparation) mendBlock(d *Damage, folder string) (endLost bool, err error) {
	var buf []byte
	b, readErr := readInto(&buf, d.File)
	if errors.Is(readErr, fs.ErrPermission) {
		return false, readErr
	}
	out, records, lost := salvage(b, blockHash(d.Stream, d.block.n))
	if d.Offset == int64(len(b)) { // cut off between two records
		lost = -1
	}
	log := p.Log.With("stream", d.Stream, "file", d.File, "offset", d.Offset, "reason", d.Why,
		"kept", filepath.Join(folder, d.Stream, "msgs", filepath.Base(d.File)), "records_saved", records)
	if lost >= 0 {
		log = log.With("records_lost_at_most", lost)
	}
	log.Error("accepted: what can be read of a damaged file stays in the queue, the rest is only in the copy")
	if readErr != nil || !bytes.Equal(out, b) {
		if err := writeFile(d.File, out); err != nil {
			return false, err
		}
	}
	end := len(out) - recordSum
	return d.Offset == int64(len(b)) || end < 0 || !bytes.HasSuffix(b, out[end:]), nil
}

// forgetConsumers removes what JetStream kept of the streams' readers. The queue
// makes its readers anew at every start, and these files carry no checksum: a
// damaged one could tell JetStream that mail was done with, or take a stream offline.
func (p *preparation) forgetConsumers() error {
	streams, err := streamFolders(p.Dir)
	if err != nil {
		return err
	}
	for _, s := range streams {
		if err := os.RemoveAll(filepath.Join(StreamsDir(p.Dir), s, "obs")); err != nil {
			return fmt.Errorf("forget the readers of %s: %w", s, err)
		}
	}
	return nil
}
