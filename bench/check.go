package bench

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"strconv"
	"strings"
)

// CheckReport compares what was acknowledged with what arrived. Where the files name
// recipients, a copy is an id for one recipient; otherwise it is an id.
type CheckReport struct {
	Sent       int      `json:"sent"`               // copies acknowledged
	Received   int      `json:"received"`           // different copies that arrived
	Lost       int      `json:"lost"`               // acknowledged and not arrived
	Duplicates int      `json:"duplicates"`         // arrivals beyond the first of their copy
	Repeated   int      `json:"repeated"`           // copies that arrived more than once
	Unasked    int      `json:"unacknowledged"`     // arrived without having been acknowledged: allowed, RFC 5321 §6.1
	LostIDs    []string `json:"lost_ids,omitempty"` // the first hundred, in the order sent
	RepeatIDs  []string `json:"repeated_ids,omitempty"`
}

const maxListed = 100

// ErrLost says that acknowledged mail did not arrive.
var ErrLost = errors.New("acknowledged mail was lost")

// Err is ErrLost when anything was lost. Duplicates are no error: SMTP allows them.
func (r *CheckReport) Err() error {
	if r.Lost > 0 {
		return fmt.Errorf("%w: %d of %d", ErrLost, r.Lost, r.Sent)
	}
	return nil
}

// String is the report for a terminal.
func (r *CheckReport) String() string {
	var b strings.Builder
	fmt.Fprintf(&b, "check    %d sent, %d received, %d lost, %d duplicates of %d, %d arrived unacknowledged\n",
		r.Sent, r.Received, r.Lost, r.Duplicates, r.Repeated, r.Unasked)
	for _, id := range r.LostIDs {
		fmt.Fprintf(&b, "lost     %s\n", strings.ReplaceAll(id, "\t", " for "))
	}
	for _, id := range r.RepeatIDs {
		fmt.Fprintf(&b, "repeated %s\n", strings.ReplaceAll(id, "\t", " for "))
	}
	return b.String()
}

// Check reads the source's file and the sinks'. Lines are "id" or
// "id<TAB>unix_nanos<TAB>rcpt" and perhaps more; a last line without its end was cut off by a crash and
// does not count. Recipients are compared without regard to case. Memory is a map
// entry of about 150 B for each copy.
func Check(sent io.Reader, received ...io.Reader) (*CheckReport, error) {
	withRcpt := true
	var order []string
	if err := readEvidence(sent, func(id, rcpt string, _ int64) {
		if rcpt == "" {
			withRcpt = false
		}
		order = append(order, key(id, rcpt))
	}); err != nil {
		return nil, fmt.Errorf("sent: %w", err)
	}
	arrived := make(map[string]int, len(order))
	var repeated []string
	for _, r := range received {
		if err := readEvidence(r, func(id, rcpt string, _ int64) {
			if !withRcpt {
				rcpt = ""
			}
			k := key(id, rcpt)
			arrived[k]++
			if arrived[k] == 2 {
				repeated = append(repeated, k)
			}
		}); err != nil {
			return nil, fmt.Errorf("received: %w", err)
		}
	}
	rep := &CheckReport{Received: len(arrived), Repeated: len(repeated)}
	for _, n := range arrived {
		rep.Duplicates += n - 1
	}
	rep.RepeatIDs = repeated[:min(len(repeated), maxListed)]
	asked := make(map[string]struct{}, len(order))
	known := 0
	for _, k := range order {
		if _, again := asked[k]; again {
			continue // a source's file appended to twice, or a message with the same recipient twice
		}
		asked[k] = struct{}{}
		if arrived[k] > 0 {
			known++
			continue
		}
		rep.Lost++
		if len(rep.LostIDs) < maxListed {
			rep.LostIDs = append(rep.LostIDs, k)
		}
	}
	rep.Sent = len(asked)
	rep.Unasked = len(arrived) - known
	return rep, nil
}

func key(id, rcpt string) string {
	if rcpt == "" {
		return id
	}
	return id + "\t" + rcpt
}

// readEvidence calls each for every whole line; at is 0 when it names no time.
func readEvidence(r io.Reader, each func(id, rcpt string, at int64)) error {
	in := bufio.NewReaderSize(r, 64<<10)
	for {
		line, err := in.ReadSlice('\n')
		switch {
		case err == io.EOF:
			return nil
		case err != nil:
			return err
		}
		line = bytes.TrimRight(line, "\r\n")
		if len(line) == 0 {
			continue
		}
		id, rest, _ := bytes.Cut(line, []byte("\t"))
		when, rcpt, _ := bytes.Cut(rest, []byte("\t"))
		rcpt, _, _ = bytes.Cut(rcpt, []byte("\t"))
		at, _ := strconv.ParseInt(string(when), 10, 64)
		each(string(id), string(bytes.ToLower(rcpt)), at)
	}
}
