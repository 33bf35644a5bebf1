package deliverer

import (
	"fmt"
	"math"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/tarishi/tarishi/mail"
)

// stand puts n deliveries into a line.
func stand(q *line, n int) {
	for range n {
		q.push(held{})
	}
}

// Over any stretch in which two tenants of a class both wait, each has turns by its
// weight, to within a turn of each.
func TestTurnsByWeight(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		p := &path{}
		var lines []*line
		for i := range rapid.IntRange(2, 6).Draw(t, "tenants") {
			w := rapid.IntRange(1, 20).Draw(t, "weight")
			for k := range rapid.IntRange(1, 3).Draw(t, "lines") {
				l := &lane{laneKey: laneKey{dest: mail.Domain(fmt.Sprint(k))}, path: p}
				q := l.line(party{tenant: fmt.Sprint("t", i)})
				q.weight = w
				lines = append(lines, q)
			}
		}
		// Since both wait without a pause: turns of each, and their weights.
		type both struct{ a, b string }
		since := map[both][2]int{}
		weight := map[string]int{}
		for _, q := range lines {
			weight[q.tenant] = q.weight
		}
		waits := func() map[string]int {
			n := map[string]int{}
			for _, q := range lines {
				n[q.tenant] += q.len()
			}
			return n
		}
		for range rapid.IntRange(1, 200).Draw(t, "steps") {
			if rapid.Bool().Draw(t, "arrival") {
				q := lines[rapid.IntRange(0, len(lines)-1).Draw(t, "line")]
				stand(q, rapid.IntRange(1, 30).Draw(t, "n"))
				continue
			}
			had := waits()
			q := p.turns.next(time.Time{}, func(q *line) bool { return true })
			if q == nil {
				for who, n := range had {
					if n > 0 {
						t.Fatalf("nobody goes although %s waits", who)
					}
				}
				continue
			}
			q.pop()
			for a, na := range had {
				for b, nb := range had {
					if a >= b {
						continue
					}
					k := both{a, b}
					if na == 0 || nb == 0 {
						delete(since, k)
						continue
					}
					n := since[k]
					if q.tenant == a {
						n[0]++
					} else if q.tenant == b {
						n[1]++
					}
					since[k] = n
					wa, wb := float64(weight[a]), float64(weight[b])
					if d := math.Abs(float64(n[0])/wa - float64(n[1])/wb); d > 1/wa+1/wb+1e-6 {
						t.Fatalf("%s (weight %v) had %d turns, %s (weight %v) had %d", a, wa, n[0], b, wb, n[1])
					}
				}
			}
		}
	})
}

// No line starves, whatever its class and weight, whoever else comes and may not go;
// and high mail waits for one turn of each lower class at most.
func TestNoLineStarves(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		p := &path{}
		l := &lane{path: p}
		var lines []*line
		sum := 0
		for i := range rapid.IntRange(1, 8).Draw(t, "lines") {
			q := l.line(party{fmt.Sprint(i), rapid.SampledFrom(mail.Classes[:]).Draw(t, "class")})
			q.weight = rapid.IntRange(1, 10).Draw(t, "weight")
			sum += q.weight
			lines = append(lines, q)
			stand(q, 1)
		}
		waited := map[*line]int{} // turns that others had while it waited and might go
		for range 3000 {
			shut := lines[rapid.IntRange(0, len(lines)-1).Draw(t, "shut")]
			if rapid.IntRange(0, 3).Draw(t, "none is") > 0 {
				shut = nil
			}
			q := p.turns.next(time.Time{}, func(q *line) bool { return q != shut })
			if q == nil {
				continue
			}
			q.pop()
			stand(q, 1)
			for _, o := range lines {
				switch {
				case o == q:
					waited[o] = 0
				case o != shut:
					waited[o]++
				}
				// Its class has one turn of 20, of 400 the lowest, and in it a tenant one of
				// all weights; twice that for what was on its way when it could not go.
				most := map[mail.Class]int{mail.High: 1, mail.Normal: 21, mail.Bulk: 421}[o.class]
				if waited[o] > 2*(most+1)*(sum+1) {
					t.Fatalf("%v of %s has waited for %d turns of others", o.class, o.tenant, waited[o])
				}
			}
		}
	})
}

func TestTurnsByClass(t *testing.T) {
	p := &path{}
	l := &lane{path: p}
	of := func(c mail.Class) *line { return l.line(party{"a", c}) }
	got := map[mail.Class]int{}
	turn := func() mail.Class {
		q := p.turns.next(time.Time{}, func(*line) bool { return true })
		q.pop()
		got[q.class]++
		return q.class
	}
	stand(of(mail.Bulk), 5000)
	for range 100 {
		turn() // alone, it has them all
	}
	stand(of(mail.Normal), 5000)
	clear(got)
	for range 2100 {
		turn()
	}
	if got[mail.Bulk] < 99 || got[mail.Bulk] > 101 {
		t.Errorf("bulk had %d of 2100 turns beside normal mail, want 100", got[mail.Bulk])
	}
	for range 50 {
		stand(of(mail.High), 1)
		if c := turn(); c != mail.High {
			if c = turn(); c != mail.High {
				t.Fatal("a high message waits for two others")
			}
		}
	}
	stand(of(mail.High), 5000)
	clear(got)
	for range 4210 {
		turn()
	}
	if got[mail.Normal] < 195 || got[mail.Normal] > 205 || got[mail.Bulk] < 9 || got[mail.Bulk] > 11 {
		t.Errorf("of 4210 turns high had %d, normal %d, bulk %d; want 4000, 200, 10", got[mail.High], got[mail.Normal], got[mail.Bulk])
	}
}

// What is shut for a time has saved up no turns.
func TestTurnsAreNotSavedUp(t *testing.T) {
	p := &path{}
	l := &lane{path: p}
	a, b := l.line(party{tenant: "a"}), l.line(party{tenant: "b"})
	stand(a, 1000)
	stand(b, 1000)
	for range 500 {
		p.turns.next(time.Time{}, func(q *line) bool { return q == a }).pop()
	}
	n := 0
	for range 20 {
		q := p.turns.next(time.Time{}, func(*line) bool { return true })
		q.pop()
		if q == b {
			n++
		}
	}
	if n < 9 || n > 11 {
		t.Errorf("b had %d of 20 turns after its time off, want 10", n)
	}
	high := l.line(party{"a", mail.High})
	stand(high, 1000)
	for range 100 {
		p.turns.next(time.Time{}, func(q *line) bool { return q != high }).pop()
	}
	n = 0
	for range 42 {
		q := p.turns.next(time.Time{}, func(*line) bool { return true })
		q.pop()
		if q != high {
			n++
		}
	}
	if n < 1 || n > 3 {
		t.Errorf("normal mail had %d of 42 turns after high mail's time off, want 2", n)
	}
}
