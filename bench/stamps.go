package bench

import (
	"strconv"
	"time"
)

// stampFile records when transactions and connections began, to check windows:
//
//	open<TAB>nanos<TAB>connection<TAB>peer
//	mail<TAB>nanos<TAB>connection<TAB>sender<TAB>first recipient
//	close<TAB>nanos<TAB>connection
//
// nanos is CLOCK_MONOTONIC (on Linux), so stamps of several sinks on one machine
// compare. A mail line carries the time of MAIL but is written when the first RCPT
// is known: sort by the second column before use.
type stampFile struct {
	lines *lineFile
	epoch time.Time
	base  int64
}

func openStamps(path string) (*stampFile, error) {
	l, err := openLines(path, 64<<10)
	if err != nil {
		return nil, err
	}
	f := &stampFile{lines: l}
	f.epoch, f.base = monotonicBase()
	return f, nil
}

func (f *stampFile) add(event string, at time.Time, conn uint64, fields ...string) {
	f.lines.add(func(dst []byte) []byte {
		dst = append(append(dst, event...), '\t')
		dst = strconv.AppendInt(dst, f.base+int64(at.Sub(f.epoch)), 10)
		dst = append(dst, '\t')
		dst = strconv.AppendUint(dst, conn, 10)
		for _, s := range fields {
			dst = append(append(dst, '\t'), s...)
		}
		return dst
	})
}
