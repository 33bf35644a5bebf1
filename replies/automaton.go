package replies

// automaton finds many short texts in one pass over a long one, in any case of
// ASCII letters (Aho and Corasick, 1975). It says which of a thousand regular
// expressions can possibly match, so that at most a few are tried.
type automaton struct {
	class  [256]uint8 // octet → column; 0: in no text
	width  int
	next   []int32   // state*width+class → state
	output [][]int32 // state → ids of the texts that end there
}

// newAutomaton makes one; texts[i] has the id ids[i]. Texts are not empty.
func newAutomaton(texts []string, ids []int32) *automaton {
	a := &automaton{width: 1}
	for _, t := range texts {
		for i := range len(t) {
			c := lower(t[i])
			if a.class[c] == 0 {
				a.class[c] = uint8(a.width)
				a.width++
			}
		}
	}
	for c := byte('a'); c <= 'z'; c++ {
		a.class[c-'a'+'A'] = a.class[c]
	}
	grow := func() int32 {
		a.next = append(a.next, make([]int32, a.width)...)
		a.output = append(a.output, nil)
		return int32(len(a.output) - 1)
	}
	grow()
	for k, t := range texts {
		s := int32(0)
		for i := range len(t) {
			at := int(s)*a.width + int(a.class[lower(t[i])])
			if a.next[at] == 0 {
				n := grow()
				a.next[at] = n
			}
			s = a.next[at]
		}
		a.output[s] = append(a.output[s], ids[k])
	}
	a.link()
	return a
}

// link turns the tree into an automaton: what does not go on goes on as the longest
// end of what was read that begins some text.
func (a *automaton) link() {
	fail := make([]int32, len(a.output))
	var queue []int32
	for c := range a.width {
		if s := a.next[c]; s != 0 {
			queue = append(queue, s)
		}
	}
	for len(queue) > 0 {
		s := queue[0]
		queue = queue[1:]
		if out := a.output[fail[s]]; len(out) > 0 {
			a.output[s] = append(a.output[s], out...)
		}
		for c := range a.width {
			at := int(s)*a.width + c
			elsewhere := a.next[int(fail[s])*a.width+c]
			if n := a.next[at]; n != 0 {
				fail[n] = elsewhere
				queue = append(queue, n)
			} else {
				a.next[at] = elsewhere
			}
		}
	}
}

// find adds the ids of all texts that stand in s to found.
func (a *automaton) find(s string, found *bits) {
	state := int32(0)
	for i := range len(s) {
		state = a.next[int(state)*a.width+int(a.class[s[i]])]
		for _, id := range a.output[state] {
			found.add(int(id))
		}
	}
}

func lower(c byte) byte {
	if c >= 'A' && c <= 'Z' {
		c += 'a' - 'A'
	}
	return c
}

// maxBits bounds rules and phrases together: a set of them lies on the stack.
const maxBits = 2048

// bits is a set of small numbers.
type bits [maxBits / 64]uint64

func (b *bits) add(i int)      { b[i/64] |= 1 << (i % 64) }
func (b *bits) has(i int) bool { return b[i/64]&(1<<(i%64)) != 0 }
