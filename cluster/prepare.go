package cluster

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"
)

// PrepareOptions says which store to check and what to do about damage.
type PrepareOptions struct {
	Dir    string        // JetStream's folder, as in NATSOptions
	Keep   string        // folder that copies of damaged files go to, made when needed
	Accept bool          // keep copies of what is damaged and go on without it
	Budget time.Duration // how long to read after a clean stop; zero means 3 s
	// Unsynced is how old a write may be that a power cut takes; zero means 3 s,
	// three times JetStream's own sync and a thousand times the barrier's.
	Unsynced time.Duration
	Log      *slog.Logger // nil: silent
}

// Damage is a file of the store that is not as it was written. As an error it
// refuses a start; nothing has been changed then.
type Damage struct {
	Stream string
	File   string
	Offset int64  // octets; -1: the file as a whole
	Why    string // a sentence without its full stop
	Others int    // damaged places beside this one
	Keep   string // where --accept-damage would keep copies

	block *blockFile
}

func (d *Damage) Error() string {
	where := d.File
	if d.Offset >= 0 {
		where += fmt.Sprintf(" at offset %d", d.Offset)
	}
	also := ""
	if d.Others > 0 {
		also = fmt.Sprintf(" (and %d more, see the log)", d.Others)
	}
	return fmt.Sprintf("the queue is damaged: %s: %s%s; nothing was changed: restore the data folder from a backup, "+
		"or start once with `tarishi serve --accept-damage`, which copies what is damaged to %s and goes on without what cannot be read",
		where, d.Why, also, d.Keep)
}

// Rest is what a start after a clean stop had no time to check. Nil is nothing.
type Rest struct {
	blocks []streamBlock
	log    *slog.Logger
}

type streamBlock struct {
	blockFile
	stream string
	latest bool // the stream's newest block, which is written to
}

// preparation is one run of Prepare.
type preparation struct {
	PrepareOptions
	clean *cleanList // nil: the last stop was not a clean one
	mu    sync.Mutex
	scans map[string]blockScan // by path
	list  []*Damage
	heal  []string // streams whose meta files are to be put back
}

// Prepare checks the store before StartNATS opens it. It returns a *Damage when
// something was lost on the disk and Accept is not set. What is read when:
//
//   - always: the streams' meta files, and the newest block of every stream;
//   - after an unclean stop: every block, for JetStream will do so too and cut off
//     at the first record that it does not understand;
//   - after a clean stop: whether every block is there in its size, and of their
//     contents as much as Budget allows, newest and oldest first. Rest.Run reads what
//     remains while the node runs; JetStream leaves those blocks alone until then.
//
// An incomplete end of what was written last is not damage: a kill or a power cut
// leaves it, and nobody was told that it was stored.
func Prepare(ctx context.Context, o PrepareOptions) (*Rest, error) {
	if o.Budget == 0 {
		o.Budget = 3 * time.Second
	}
	if o.Unsynced == 0 {
		o.Unsynced = 3 * time.Second
	}
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	p := &preparation{PrepareOptions: o, clean: readClean(o.Dir), scans: map[string]blockScan{}}
	blocks, err := p.look()
	if err != nil {
		return nil, fmt.Errorf("check the queue's files: %w", err)
	}
	octets := int64(0)
	for _, b := range blocks {
		octets += b.size
	}
	if p.clean == nil && octets > 1<<30 {
		o.Log.Info("the last stop was not a clean one; checking all of the queue's files", "mib", octets>>20)
	}
	began := time.Now()
	rest, err := p.read(ctx, blocks, began.Add(o.Budget))
	if err != nil {
		return nil, fmt.Errorf("check the queue's files: %w", err)
	}
	p.judge(blocks)
	o.Log.Debug("checked the queue's files", "blocks", len(p.scans), "left", len(rest), "clean", p.clean != nil, "took", time.Since(began))
	if len(p.list) > 0 && !o.Accept {
		for _, d := range p.list {
			o.Log.Error("damaged", "stream", d.Stream, "file", d.File, "offset", d.Offset, "reason", d.Why)
		}
		first := *p.list[0]
		first.Others = len(p.list) - 1
		return nil, &first
	}
	if err := p.mend(); err != nil {
		return nil, fmt.Errorf("keep what is damaged: %w", err)
	}
	if err := p.forgetConsumers(); err != nil {
		return nil, err
	}
	if len(rest) == 0 {
		return nil, nil
	}
	return &Rest{rest, o.Log}, nil
}

func (p *preparation) damaged(d Damage) {
	d.Keep = p.Keep
	p.mu.Lock()
	defer p.mu.Unlock()
	p.list = append(p.list, &d)
}

// look checks what can be seen without reading blocks, and lists these.
func (p *preparation) look() ([]streamBlock, error) {
	streams, err := streamFolders(p.Dir)
	if err != nil {
		return nil, err
	}
	files := map[string][]blockFile{}
	for _, s := range streams {
		if files[s], err = blockFiles(filepath.Join(StreamsDir(p.Dir), s)); err != nil {
			return nil, err
		}
	}
	if p.clean != nil && !p.clean.covers(files) {
		// Something has written since, such as an older release that knows no list.
		p.clean = nil
	}
	known, err := p.knownStreams()
	if err != nil {
		return nil, err
	}
	for _, s := range known {
		if !slices.Contains(streams, s) {
			p.damaged(Damage{Stream: s, File: filepath.Join(StreamsDir(p.Dir), s), Offset: -1, Why: "the folder of a stream is missing"})
		}
	}
	var out []streamBlock
	for _, s := range streams {
		fs := files[s]
		if p.clean != nil {
			p.compare(s, fs)
		}
		octets := int64(0)
		for i, f := range fs {
			octets += f.size
			out = append(out, streamBlock{f, s, i == len(fs)-1})
		}
		p.checkMeta(s, octets > 0)
	}
	return out, nil
}

// covers tells whether the list can speak of these files: none is new, none has grown.
func (c *cleanList) covers(files map[string][]blockFile) bool {
	for s, fs := range files {
		for _, f := range fs {
			if size, ok := c.Streams[s].Blocks[f.n]; !ok || f.size > size {
				return false
			}
		}
	}
	return true
}

// knownStreams are those that an earlier run has had.
func (p *preparation) knownStreams() ([]string, error) {
	known, err := keptStreams(p.Dir)
	if p.clean != nil {
		for s := range p.clean.Streams {
			if !slices.Contains(known, s) {
				known = append(known, s)
			}
		}
	}
	slices.Sort(known)
	return known, err
}

// compare finds blocks that have gone or shrunk since the last stop.
func (p *preparation) compare(stream string, files []blockFile) {
	sizes := map[uint64]int64{}
	for _, f := range files {
		sizes[f.n] = f.size
	}
	for n, was := range p.clean.Streams[stream].Blocks {
		file := filepath.Join(StreamsDir(p.Dir), stream, "msgs", fmt.Sprint(n)+".blk")
		switch now, ok := sizes[n]; {
		case !ok && was > 0:
			p.damaged(Damage{Stream: stream, File: file, Offset: -1, Why: fmt.Sprintf("the file is missing; the last stop left %d octets", was)})
		case ok && now < was:
			i := slices.IndexFunc(files, func(f blockFile) bool { return f.n == n })
			p.damaged(Damage{Stream: stream, File: file, Offset: now, Why: fmt.Sprintf("the file ends here; the last stop left %d octets", was), block: &files[i]})
		}
	}
}

// read scans blocks, two at a time, and returns those it had no time for.
func (p *preparation) read(ctx context.Context, blocks []streamBlock, until time.Time) (rest []streamBlock, err error) {
	trusted := map[string]bool{}
	if p.clean != nil {
		for s := range p.clean.Streams {
			trusted[s] = p.clean.trusts(p.Dir, s)
		}
	}
	var g errgroup.Group
	g.SetLimit(2)
	bufs := sync.Pool{New: func() any { return new([]byte) }}
	for _, b := range endsFirst(blocks) {
		g.Go(func() error {
			if trusted[b.stream] && !b.latest && time.Now().After(until) {
				p.mu.Lock()
				defer p.mu.Unlock()
				rest = append(rest, b)
				return nil
			}
			if ctx.Err() != nil {
				return ctx.Err()
			}
			buf := bufs.Get().(*[]byte)
			defer bufs.Put(buf)
			s, err := b.scan(buf)
			p.mu.Lock()
			defer p.mu.Unlock()
			p.scans[b.path] = s
			return err
		})
	}
	return rest, g.Wait()
}

// endsFirst orders blocks for a check that may not come to all of them: the newest
// of each stream, then from both ends to the middle. What went to the disk last and
// what has lain there longest is damaged most often.
func endsFirst(blocks []streamBlock) []streamBlock {
	place := make(map[string]int, len(blocks)) // by path: the distance to the nearer end
	of := map[string][]string{}
	for _, b := range blocks {
		of[b.stream] = append(of[b.stream], b.path)
	}
	for _, paths := range of {
		for i, path := range paths {
			place[path] = min(i, len(paths)-1-i)
		}
	}
	out := slices.Clone(blocks)
	slices.SortStableFunc(out, func(a, b streamBlock) int {
		if a.latest != b.latest {
			if a.latest {
				return -1
			}
			return 1
		}
		return place[a.path] - place[b.path]
	})
	return out
}

// scan reads the block into *buf and walks over it. What the disk will not give is damage.
func (b *streamBlock) scan(buf *[]byte) (blockScan, error) {
	data, err := readInto(buf, b.path)
	if errors.Is(err, fs.ErrPermission) || errors.Is(err, fs.ErrNotExist) {
		return blockScan{}, err
	}
	s := scanBlock(data, blockHash(b.stream, b.n))
	if err != nil && s.bad < 0 {
		s.bad = len(data)
	}
	if err != nil {
		s.why, s.more = err.Error(), true
	}
	return s, nil
}

// readInto reads a whole file, into *buf when it is large enough.
func readInto(buf *[]byte, path string) ([]byte, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer func() { _ = f.Close() }()
	st, err := f.Stat()
	if err != nil {
		return nil, err
	}
	if int64(cap(*buf)) < st.Size() {
		*buf = make([]byte, st.Size())
	}
	b := (*buf)[:st.Size()]
	for n := 0; n < len(b); {
		m, err := f.Read(b[n:])
		if n += m; err != nil {
			return b[:n], err
		}
	}
	return b, nil
}

// Run checks the rest, gently, and ends when it is done or ctx is. Damage is
// logged, once a file: what JetStream cannot read it does not remove.
func (r *Rest) Run(ctx context.Context) {
	if r == nil {
		return
	}
	var buf []byte
	for _, b := range r.blocks {
		select {
		case <-ctx.Done():
			return
		case <-time.After(100 * time.Millisecond): // 80 MB/s at most: mail comes first
		}
		s, err := b.scan(&buf)
		if errors.Is(err, fs.ErrNotExist) {
			continue // emptied meanwhile
		}
		if err != nil {
			r.log.Warn("a file of the queue could not be checked", "file", b.path, "error", err)
			continue
		}
		if s.bad >= 0 {
			r.log.Error("the queue is damaged: some of the mail in this file cannot be read; stop the node and start it again to be told the way out",
				"stream", b.stream, "file", b.path, "offset", s.bad, "reason", s.why)
		}
	}
}
