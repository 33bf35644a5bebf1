package netlab

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"strconv"
	"strings"
	"time"

	"github.com/tarishi/tarishi/bench"
	"github.com/tarishi/tarishi/bench/windows"
)

// Doubt is a delivery that may have been made twice, as the nodes list it.
type Doubt struct{ Message, Domain string }

// compare holds what all sources were promised against what all sinks took so far.
func (l *Lab) compare() (*bench.CheckReport, error) { return l.compareUntil(time.Time{}) }

// compareUntil does so for the promises made before a moment; zero: for all.
func (l *Lab) compareUntil(moment time.Time) (*bench.CheckReport, error) {
	var files []*os.File
	defer func() {
		for _, f := range files {
			f.Close()
		}
	}()
	open := func(name string) (io.Reader, error) {
		f, err := os.Open(name)
		if errors.Is(err, fs.ErrNotExist) {
			return strings.NewReader(""), nil // nothing yet
		}
		if err == nil {
			files = append(files, f)
		}
		return f, err
	}
	var sent, got []io.Reader
	for _, o := range l.loads {
		r, err := open(o.sent)
		if err != nil {
			return nil, err
		}
		if !moment.IsZero() {
			if r, err = before(r, moment); err != nil {
				return nil, err
			}
		}
		sent = append(sent, r)
	}
	for _, s := range l.sinks {
		r, err := open(s.IDs)
		if err != nil {
			return nil, err
		}
		got = append(got, r)
	}
	return bench.Check(io.MultiReader(sent...), got...)
}

// before leaves the lines of a source's file that are older than the moment.
func before(r io.Reader, moment time.Time) (io.Reader, error) {
	text, err := io.ReadAll(r)
	var old strings.Builder
	for line := range strings.Lines(string(text)) {
		_, rest, _ := strings.Cut(line, "\t")
		nanos, _, _ := strings.Cut(rest, "\t")
		if at, err := strconv.ParseInt(nanos, 10, 64); err == nil && at < moment.UnixNano() {
			old.WriteString(line)
		}
	}
	return strings.NewReader(old.String()), err
}

// Arrived tells whether all that was acknowledged so far has been delivered, and what is missing.
func (l *Lab) Arrived() (*bench.CheckReport, bool) {
	r, err := l.compare()
	if err != nil {
		return &bench.CheckReport{LostIDs: []string{err.Error()}}, false
	}
	return r, r.Lost == 0 && r.Sent > 0
}

// Drained waits until everything acknowledged has been delivered.
func (l *Lab) Drained(patience time.Duration) (*bench.CheckReport, bool) {
	var r *bench.CheckReport
	end := time.Now().Add(patience)
	tick := time.NewTicker(250 * time.Millisecond)
	defer tick.Stop()
	for {
		var ok bool
		if r, ok = l.Arrived(); ok || time.Now().After(end) {
			return r, ok
		}
		<-tick.C
	}
}

// CloseSinks ends all sinks, so that their records are whole.
func (l *Lab) CloseSinks() error {
	var all error
	for _, s := range l.sinks {
		all = errors.Join(all, s.Close())
	}
	return all
}

// Trace reads the records of all sinks.
func (l *Lab) Trace() (*windows.Trace, error) {
	var records []io.Reader
	for _, s := range l.sinks {
		f, err := os.Open(s.Record)
		if err != nil {
			return nil, err
		}
		defer f.Close()
		records = append(records, f)
	}
	return windows.Read(nil, records...)
}

// Repeated lists every copy that arrived more often than the doubts admit: once, and once more for each doubt about it. The
// sinks must be closed.
func (l *Lab) Repeated(doubts []Doubt) ([]string, error) {
	admitted := map[Doubt]int{}
	for _, d := range doubts {
		admitted[d]++
	}
	traces := map[string]string{} // X-Bench-Id to the program's own message id
	copies := map[string]int{}
	for _, s := range l.sinks {
		if err := readFile(s.Record, func(r io.Reader) error {
			_, err := bench.ReadRecord(r, func(line bench.RecordLine) error {
				if line.Event == "data" && len(line.ID) > 0 {
					traces[string(line.ID)] = string(line.Trace)
				}
				return nil
			})
			return err
		}); err != nil {
			return nil, err
		}
		if err := readFile(s.IDs, func(r io.Reader) error {
			text, err := io.ReadAll(r)
			for line := range strings.Lines(string(text)) {
				if f := strings.Split(strings.TrimSpace(line), "\t"); len(f) == 3 {
					copies[f[0]+"\t"+strings.ToLower(f[2])]++
				}
			}
			return err
		}); err != nil {
			return nil, err
		}
	}
	var out []string
	for c, n := range copies {
		id, rcpt, _ := strings.Cut(c, "\t")
		_, domain, _ := strings.Cut(rcpt, "@")
		d := Doubt{traces[id], domain}
		if n > 1+admitted[d] {
			out = append(out, fmt.Sprintf("REPEATED %s (message %s) for %s: %d times, with %d doubts listed", id, d.Message, rcpt, n, admitted[d]))
		}
	}
	return out, nil
}

func readFile(name string, read func(io.Reader) error) error {
	f, err := os.Open(name)
	if err != nil {
		return err
	}
	defer f.Close()
	if err := read(f); err != nil {
		return fmt.Errorf("%s: %w", name, err)
	}
	return nil
}
