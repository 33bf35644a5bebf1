package scheduler

import (
	"encoding/json"
	"fmt"
	"hash/crc64"
	"sync"

	"github.com/tarishi/tarishi/shaping"
)

// nodeFrame is one message from a node to a scheduler. In one process it is handed
// over as it is; between processes it is encoded (wire_node.go).
type nodeFrame struct {
	sent   int64  // the node's clock when it was sent; comes back as the answer's echo
	seen   uint64 // number of the last leaderFrame the node has worked in
	behind int64  // ns by which the leader's clock lags behind what it showed before
	open   *openFrame
	hello  *helloFrame
	beat   *Beat
	busy   bool // with beat: something waits for the leader, or permits are in hand
	bye    bool
	call   *callFrame

	sightings []shaping.Sighting // with beat: replies seen since the last one
}

// openFrame is the first word of a node. The leader answers it with its term, which the
// node must know to say hello, and with the session: a new one for 0.
type openFrame struct {
	node    string
	session SessionID
	former  SessionID // of the node's last process, which is known to have ended; 0: none
}

// helloFrame says what a session holds.
type helloFrame struct {
	Hello
	sum uint64 // of the rules the node works by, see ruleBook
}

// leaderFrame is one message from a scheduler to a node.
type leaderFrame struct {
	number   uint64
	echo     int64 // sent of the last nodeFrame worked in
	stamp    Time
	term     uint64
	session  SessionID
	lease    Time
	led      Time   // see Leader.Led
	ack      uint64 // highest beat worked in
	rules    *ruleBook
	orders   []Order
	redirect *redirect
	gone     bool // the session said hello with is over
	again    bool // what the node wants was dropped meanwhile
	reply    *replyFrame
}

// redirect says that a scheduler does not lead, and who does; why is for people.
type redirect struct{ node, addr, why string }

// callFrame asks something for an operator, replyFrame answers; both carry JSON.
type callFrame struct {
	what string
	json []byte
}

type replyFrame struct {
	json              []byte
	last              bool
	err               string // empty: it went well
	kind, field, mend string // of err
}

// ruleBook is the limits as sessions get them: without the history, which only
// operators ask for. The sum names the content: two books of the same version may
// differ when a cluster was made anew.
type ruleBook struct {
	version uint64
	sum     uint64
	book    *shaping.Book
	encoded []byte
}

var crcTable = crc64.MakeTable(crc64.ECMA)

func newRuleBook(b *shaping.Book) (*ruleBook, error) {
	short := *b
	short.History, short.FileHashes = nil, nil
	enc, err := json.Marshal(&short)
	if err != nil {
		return nil, fmt.Errorf("encode the limits: %w", err)
	}
	return &ruleBook{b.Version, crc64.Checksum(enc, crcTable), &short, enc}, nil
}

// parseRuleBook reads what newRuleBook encoded.
func parseRuleBook(version uint64, enc []byte) (*ruleBook, error) {
	b := &shaping.Book{}
	if err := json.Unmarshal(enc, b); err != nil {
		return nil, fmt.Errorf("limits of the leader: %w", err)
	}
	if b.Version != version {
		return nil, fmt.Errorf("limits of the leader: version %d came as %d", b.Version, version)
	}
	return &ruleBook{version, crc64.Checksum(enc, crcTable), b, enc}, nil
}

// link is one stream of frames between a node and a scheduler, seen from one end.
// Send and Recv may be called at the same time, each by one goroutine.
type link[Out, In any] interface {
	Send(*Out) error
	Recv() (*In, error)
	Close() error
}

type (
	nodeLink   = link[nodeFrame, leaderFrame] // the node's end
	leaderLink = link[leaderFrame, nodeFrame] // the scheduler's
)

// pipe joins a node and a scheduler in one process: no sockets, no encoding. A
// frame belongs to its receiver once sent.
func pipe() (nodeLink, leaderLink) {
	up, down := make(chan *nodeFrame, 1), make(chan *leaderFrame, 1)
	p := &pipeEnds{done: make(chan struct{})}
	return pipeLink[nodeFrame, leaderFrame]{p, up, down}, pipeLink[leaderFrame, nodeFrame]{p, down, up}
}

type pipeEnds struct {
	once sync.Once
	done chan struct{}
}

type pipeLink[Out, In any] struct {
	ends *pipeEnds
	out  chan<- *Out
	in   <-chan *In
}

func (p pipeLink[Out, In]) Send(f *Out) error {
	select {
	case <-p.ends.done:
		return errClosed
	default:
	}
	select {
	case p.out <- f:
		return nil
	case <-p.ends.done:
		return errClosed
	}
}

func (p pipeLink[Out, In]) Recv() (*In, error) {
	select {
	case f := <-p.in:
		return f, nil
	default:
	}
	select {
	case f := <-p.in:
		return f, nil
	case <-p.ends.done:
		return nil, errClosed
	}
}

func (p pipeLink[Out, In]) Close() error {
	p.ends.once.Do(func() { close(p.ends.done) })
	return nil
}
