package queue

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strconv"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/tarishi/tarishi/proto"
)

// streamState is what a stream's leader tells of it.
type streamState struct {
	Msgs     uint64            `json:"messages"`
	Bytes    uint64            `json:"bytes"`
	FirstSeq uint64            `json:"first_seq"`
	LastSeq  uint64            `json:"last_seq"`
	Subjects map[string]uint64 `json:"subjects"` // records under each, of those asked for
	places   *streamPlaces
}

// streamState asks a stream's leader, page by page, and how many records lie under the
// subjects of a filter, if one is given. The counts are of a moment no earlier than
// that of the sequences.
func (q *Queue) streamState(ctx context.Context, stream, filter string) (streamState, error) {
	var out streamState
	for offset := 0; ; {
		var page struct {
			State  streamState         `json:"state"`
			Total  int                 `json:"total"`
			Places *streamPlaces       `json:"cluster"`
			Error  *jetstream.APIError `json:"error"`
		}
		body := []byte{}
		if filter != "" {
			body = fmt.Appendf(nil, `{"subjects_filter":%q,"offset":%d}`, filter, offset)
		}
		err := q.ask(ctx, "$JS.API.STREAM.INFO."+stream, body, &page)
		if err == nil && page.Error != nil {
			err = page.Error
		}
		if err == nil {
			err = page.Places.fault()
		}
		if err != nil {
			return out, fmt.Errorf("%w: asking for the state of %s: %w", ErrUnavailable, stream, err)
		}
		if offset == 0 {
			out = page.State
			out.places = page.Places
		}
		if out.Subjects == nil {
			out.Subjects = map[string]uint64{}
		}
		for s, n := range page.State.Subjects {
			out.Subjects[s] = n
		}
		offset += len(page.State.Subjects)
		if len(page.State.Subjects) == 0 || offset >= page.Total {
			return out, nil
		}
	}
}

// ask sends one question to JetStream and reads its JSON answer. In a cluster nobody
// answers while a stream has no leader, nor does one that dies with the question: it is
// asked again, with more patience each time.
func (q *Queue) ask(ctx context.Context, subject string, body []byte, answer any) error {
	patience, most := 10*time.Second, 10*time.Second
	if q.team != nil {
		patience, most = askTry, 15*askTry
	}
	ctx, cancel := context.WithTimeout(ctx, most)
	defer cancel()
	for ; ; patience *= 2 {
		try, cancel := context.WithTimeout(ctx, patience)
		m, err := q.get.RequestWithContext(try, subject, body)
		cancel()
		if err == nil {
			return json.Unmarshal(m.Data, answer)
		}
		if q.team == nil || ctx.Err() != nil {
			return err
		}
		if errors.Is(err, nats.ErrNoResponders) {
			select {
			case <-ctx.Done():
			case <-time.After(100 * time.Millisecond):
			}
			patience /= 2
		}
	}
}

// askTry is for how long the first answer is waited for.
const askTry = time.Second

// countSlots asks how many records lie in each slot under a filter, and up to which
// sequence of WAIT they have been counted at least.
func (q *Queue) countSlots(ctx context.Context, filter string) (map[slotName]int, uint64, error) {
	st, err := q.streamState(ctx, streamWait, filter)
	if err != nil {
		return nil, 0, err
	}
	out := map[slotName]int{}
	for subject, n := range st.Subjects {
		if _, ok := fenceOf(subject); ok {
			continue
		}
		s, err := parseSlot(subject)
		if err != nil {
			return nil, 0, fmt.Errorf("WAIT holds a subject this version does not know: %w: %w", err, proto.ErrNewer)
		}
		out[s] = int(n)
	}
	return out, st.LastSeq, nil
}

// lastOf returns the last record under each subject that matches, and how far the
// replica that answered had got in the stream. One that has died or is frozen never
// answers: another is asked.
func (q *Queue) lastOf(ctx context.Context, stream, filter string) (out []stored, upTo uint64, err error) {
	ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	for {
		out, upTo, err = q.lastOnce(ctx, stream, filter)
		if !errors.Is(err, context.DeadlineExceeded) || ctx.Err() != nil {
			return out, upTo, err
		}
	}
}

func (q *Queue) lastOnce(ctx context.Context, stream, filter string) (out []stored, upTo uint64, err error) {
	answers, stop, err := q.askMany(ctx, "$JS.API.DIRECT.GET."+stream, fmt.Appendf(nil, `{"multi_last":[%q]}`, filter))
	if err != nil {
		return nil, 0, err
	}
	defer stop()
	for {
		m, err := nextAnswer(ctx, answers)
		if err != nil {
			return nil, 0, err
		}
		switch m.Header.Get("Status") {
		case "":
			s, err := directRecord(m)
			if err != nil {
				return nil, 0, err
			}
			out = append(out, s)
		case "204":
			upTo, err := strconv.ParseUint(m.Header.Get("Nats-UpTo-Sequence"), 10, 64)
			return out, upTo, err
		case "404":
			return nil, 0, nil
		default:
			return nil, 0, fmt.Errorf("%s %s", m.Header.Get("Status"), m.Header.Get("Description"))
		}
	}
}

// nextAnswer waits for the next of several answers, but not through a long silence.
func nextAnswer(ctx context.Context, answers *nats.Subscription) (*nats.Msg, error) {
	ctx, cancel := context.WithTimeout(ctx, publishTry)
	defer cancel()
	return answers.NextMsgWithContext(ctx)
}

func (q *Queue) askMany(ctx context.Context, subject string, body []byte) (answers *nats.Subscription, stop func(), err error) {
	inbox := q.get.NewInbox()
	sub, err := q.get.SubscribeSync(inbox)
	if err != nil {
		return nil, nil, err
	}
	stop = func() { _ = sub.Unsubscribe() }
	if err := q.get.PublishRequest(subject, inbox, body); err != nil {
		stop()
		return nil, nil, err
	}
	return sub, stop, nil
}

// directRecord reads the answer of a direct get.
func directRecord(m *nats.Msg) (stored, error) {
	seq, err := strconv.ParseUint(m.Header.Get(jetstream.SequenceHeader), 10, 64)
	if err != nil {
		return stored{}, fmt.Errorf("%w: an answer without a sequence", ErrUnavailable)
	}
	at, _ := time.Parse(time.RFC3339Nano, m.Header.Get(jetstream.TimeStampHeaer))
	return stored{seq: seq, subject: m.Header.Get(jetstream.SubjectHeader), at: at, data: m.Data, header: m.Header}, nil
}

// errNoRecord means that there is no record at that sequence.
var errNoRecord = errors.New("no such record")

// load reads one record: from whichever replica answers, and when that one does not
// have it, from the leader, since a replica may lag behind. A server that dies with our
// request in hand never answers; another is asked.
func (q *Queue) load(ctx context.Context, stream string, seq uint64) (stored, error) {
	ctx, cancel := context.WithTimeout(ctx, q.o.Patience)
	defer cancel()
	for {
		s, err := q.loadDirect(ctx, stream, seq)
		if err == nil || q.team == nil {
			return s, err
		}
		s, err = q.loadFromLeader(ctx, stream, bySeq(seq))
		if err == nil || errors.Is(err, errNoRecord) {
			return s, err
		}
		select {
		case <-ctx.Done():
			return s, err
		case <-time.After(100 * time.Millisecond):
		}
	}
}

// loadDirect reads one record from the replica that answers first.
func (q *Queue) loadDirect(ctx context.Context, stream string, seq uint64) (stored, error) {
	patience := 10 * time.Second
	if q.team != nil {
		patience = publishTry
	}
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	m, err := q.get.RequestWithContext(ctx, "$JS.API.DIRECT.GET."+stream, bySeq(seq))
	switch {
	case err != nil:
		return stored{}, err
	case m.Header.Get("Status") != "":
		return stored{}, errNoRecord
	}
	return directRecord(m)
}

// bySeq asks for one record.
func bySeq(seq uint64) []byte { return fmt.Appendf(nil, `{"seq":%d}`, seq) }

// loadFromLeader reads one record from the stream's leader, which has all that was acknowledged.
func (q *Queue) loadFromLeader(ctx context.Context, stream string, request []byte) (stored, error) {
	var a struct {
		Message struct {
			Subject string    `json:"subject"`
			Seq     uint64    `json:"seq"`
			Header  []byte    `json:"hdrs"`
			Data    []byte    `json:"data"`
			Time    time.Time `json:"time"`
		} `json:"message"`
		Error *jetstream.APIError `json:"error"`
	}
	if err := q.ask(ctx, "$JS.API.STREAM.MSG.GET."+stream, request, &a); err != nil {
		return stored{}, err
	}
	if a.Error != nil {
		if a.Error.ErrorCode == jetstream.JSErrCodeMessageNotFound {
			return stored{}, errNoRecord
		}
		return stored{}, a.Error
	}
	s := stored{seq: a.Message.Seq, subject: a.Message.Subject, at: a.Message.Time, data: a.Message.Data, whole: true}
	if len(a.Message.Header) > 0 {
		h, err := nats.DecodeHeadersMsg(a.Message.Header)
		if err != nil {
			return stored{}, err
		}
		s.header = h
	}
	return s, nil
}
