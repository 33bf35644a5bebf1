package frame

import "time"

// Grace is how long a worker may take to stop a script whose turn is over, and to
// answer.
const Grace = 500 * time.Millisecond

// Load is the first frame a worker gets.
type Load struct {
	Folder  string
	Level   byte   // lines above it are not wanted
	Turn    uint64 // milliseconds that JavaScript may run at a stretch
	Memory  uint64 // octets of heap
	Me      string // the node's name
	Servers []string
	Append  []string // files that scripts may append to
	Scripts []Script
}

// Script is a file to be loaded as a plugin.
type Script struct{ Name, File string }

func (*Load) kind() Type { return TypeLoad }

func (l *Load) put(b *Buffer) {
	b.text(l.Folder)
	b.B = append(b.B, l.Level)
	b.uint(l.Turn)
	b.uint(l.Memory)
	b.text(l.Me)
	b.texts(l.Servers)
	b.texts(l.Append)
	b.uint(uint64(len(l.Scripts)))
	for _, s := range l.Scripts {
		b.text(s.Name)
		b.text(s.File)
	}
}

func getLoad(f *fields) *Load {
	l := &Load{Folder: f.text(), Level: f.byte(), Turn: f.uint(), Memory: f.uint(), Me: f.text(), Servers: f.texts(), Append: f.texts()}
	for range f.count() {
		l.Scripts = append(l.Scripts, Script{f.text(), f.text()})
		if f.err != nil {
			break
		}
	}
	return l
}

// Loaded answers it: the functions that the scripts have registered, or what was wrong.
type Loaded struct {
	Script    string // whose fault it is
	Fault     string
	Functions []Function
	Files     []string // that were read besides the scripts' own
}

// Function is one function of a script at a hook. Its place in Loaded is its number.
type Function struct {
	Script   string
	Hook     string
	Name     string
	Priority int
}

func (*Loaded) kind() Type { return TypeLoaded }

func (l *Loaded) put(b *Buffer) {
	b.text(l.Script)
	b.text(l.Fault)
	b.uint(uint64(len(l.Functions)))
	for _, x := range l.Functions {
		b.text(x.Script)
		b.text(x.Hook)
		b.text(x.Name)
		b.uint(uint64(x.Priority + 1000))
	}
	b.texts(l.Files)
}

func getLoaded(f *fields) *Loaded {
	l := &Loaded{Script: f.text(), Fault: f.text()}
	for range f.count() {
		x := Function{Script: f.text(), Hook: f.text(), Name: f.text()}
		p := f.uint()
		if f.err != nil {
			break
		}
		x.Priority = int(min(p, 2000)) - 1000
		l.Functions = append(l.Functions, x)
	}
	l.Files = f.texts()
	return l
}

// Cancel says that nobody waits for the answer to a call any more.
type Cancel struct{ Seq uint64 }

func (*Cancel) kind() Type      { return TypeCancel }
func (c *Cancel) put(b *Buffer) { b.uint(c.Seq) }

// Ping asks whether a worker lives; it answers with Pong beside whatever its scripts do.
type Ping struct{}

func (*Ping) kind() Type  { return TypePing }
func (*Ping) put(*Buffer) {}

// Pong answers it.
type Pong struct{}

func (*Pong) kind() Type  { return TypePong }
func (*Pong) put(*Buffer) {}

// Forget says that a connection is over.
type Forget struct{ Connection uint64 }

func (*Forget) kind() Type      { return TypeForget }
func (c *Forget) put(b *Buffer) { b.uint(c.Connection) }

// What is asked for.
type What byte

// The parts of a message.
const (
	AskHeader   What = iota + 1
	AskBody          // the octets from Offset on, as many as a piece has
	AskResult        // what the plugin called Name has found out about the connection, as JSON
	AskTxResult      // and about the transaction
	AskSecret        // the password with which the client has authenticated
)

// Ask is a worker's question during a call. It is answered by a Piece.
type Ask struct {
	Seq    uint64 // of the call
	What   What
	Offset uint64
	Name   string
}

func (*Ask) kind() Type { return TypeAsk }

func (a *Ask) put(b *Buffer) {
	b.uint(a.Seq)
	b.B = append(b.B, byte(a.What))
	b.uint(a.Offset)
	b.text(a.Name)
}

// Piece answers an Ask.
type Piece struct {
	Seq    uint64
	Octets []byte
	Last   bool
	Fault  string
}

func (*Piece) kind() Type { return TypePiece }

func (p *Piece) put(b *Buffer) {
	b.uint(p.Seq)
	b.octets(p.Octets)
	b.bool(p.Last)
	b.text(p.Fault)
}

func getPiece(f *fields) *Piece {
	p := &Piece{Seq: f.uint()}
	p.Octets = append([]byte(nil), f.octets()...)
	p.Last, p.Fault = f.bool(), f.text()
	return p
}

// Line is a line for the node's log.
type Line struct {
	Level            byte
	Plugin, ID, Text string
}

func (*Line) kind() Type { return TypeLine }

func (l *Line) put(b *Buffer) {
	b.B = append(b.B, l.Level)
	b.text(l.Plugin)
	b.text(l.ID)
	b.text(l.Text)
}

// Dying is a worker's last word: which call it dies of, 0 if it does not know.
type Dying struct {
	Seq uint64
	Why string
}

func (*Dying) kind() Type { return TypeDying }

func (d *Dying) put(b *Buffer) {
	b.uint(d.Seq)
	b.text(d.Why)
}
