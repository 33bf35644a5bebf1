package scheduler

import (
	"testing"
	"time"

	"pgregory.net/rapid"
)

// naive is what a ledger must never be below: every start by itself.
type naive struct{ at []Time }

func (o *naive) count(after Time) (n int64) {
	for _, t := range o.at {
		if t > after {
			n++
		}
	}
	return n
}

func TestLedgerAgainstEveryStart(t *testing.T) {
	p := DefaultParams()
	rapid.Check(t, func(t *rapid.T) {
		lengths := rapid.SliceOfNDistinct(rapid.SampledFrom([]Time{Second, 2 * Second, 10 * Second, Minute, Hour}), 1, 3, rapid.ID[Time]).Draw(t, "lengths")
		var g ledger
		set := func(now Time) {
			var ws []window
			for _, l := range lengths {
				ws = append(ws, window{max: int64(rapid.IntRange(1, 40).Draw(t, "max")), length: l, wide: p.widened(l)})
			}
			g.setWindows(ws, now)
		}
		now := Time(rapid.Int64Range(0, 1<<40).Draw(t, "start"))
		set(now)
		var o naive
		type open struct {
			end Time
			n   int64
		}
		var grants []open
		t.Repeat(map[string]func(*rapid.T){
			"pass": func(t *rapid.T) {
				now += Time(rapid.Int64Range(1, int64(20*Second)).Draw(t, "by"))
			},
			"hour": func(t *rapid.T) { now += Time(rapid.Int64Range(1, int64(Hour)).Draw(t, "by")) },
			"grant": func(t *rapid.T) {
				g.advance(now, 2*Hour)
				need := int64(rapid.IntRange(1, 5).Draw(t, "need"))
				at := g.earliest(now, need, true)
				if at == never {
					return
				}
				// No start may be admitted that the naive count forbids.
				for i := range g.windows {
					w := &g.windows[i]
					held := o.count(at - w.wide)
					for _, x := range grants {
						if x.end > at-w.wide {
							held += x.n
						}
					}
					if held+need > w.max && at == now {
						t.Fatalf("%d of %d in %v and %d more at %v", held, w.max, w.length, need, at)
					}
				}
				if room := g.room(at, true); room < need {
					t.Fatalf("room for %d at the instant that was to have room for %d", room, need)
				}
				now = at
				g.advance(now, 2*Hour)
				end := now + 500*Millisecond
				g.add(end, need)
				grants = append(grants, open{end, need})
			},
			"report": func(t *rapid.T) {
				if len(grants) == 0 {
					return
				}
				x := grants[0]
				grants = grants[1:]
				if now > x.end+settleAfter { // all count as used at the end
					for range x.n {
						o.at = append(o.at, x.end)
					}
					return
				}
				used := rapid.Int64Range(0, x.n).Draw(t, "used")
				at := x.end - Time(rapid.Int64Range(0, int64(3*Second)).Draw(t, "before"))
				g.remove(x.end, x.n)
				if used > 0 {
					g.add(at, used)
				}
				for range used {
					o.at = append(o.at, at)
				}
			},
			"thin": func(t *rapid.T) {
				g.left = 1 << 20
				g.advance(now, 2*Hour)
			},
			"limits": func(t *rapid.T) {
				g.advance(now, 2*Hour)
				set(now)
			},
			"": func(t *rapid.T) {
				g.advance(now, 2*Hour)
				for i := range g.windows {
					w := &g.windows[i]
					sum, last := int64(0), Time(-1<<62)
					for k, c := range g.cells {
						if c.at < last || c.n <= 0 {
							t.Fatalf("cell %d: %v after %v", k, c, last)
						}
						last = c.at
						if k >= int(w.first) {
							sum += c.n
						}
					}
					if sum != w.count {
						t.Fatalf("window %v counts %d, its cells hold %d", w.length, w.count, sum)
					}
					if n := o.count(now - w.wide); w.count < n {
						t.Fatalf("window %v counts %d of %d starts", w.length, w.count, n)
					}
				}
			},
		})
	})
}

// A window that is always full gives back its places close to when they are due.
func TestLedgerWastesLittle(t *testing.T) {
	p := DefaultParams()
	for _, c := range []struct {
		n      int64
		length time.Duration
	}{{1000, time.Second}, {100, 10 * time.Second}, {1000, time.Minute}, {20_000, time.Hour}} {
		length := Time(c.length)
		var g ledger
		g.setWindows([]window{{max: c.n, length: length, wide: p.widened(length)}}, 0)
		starts := int64(0)
		for now := Time(0); now < 20*length; {
			g.advance(now, 2*length)
			if at := g.earliest(now, 1, true); at > now {
				now = at
				continue
			}
			g.add(now, 1)
			starts++
			now += length / Time(c.n) * 7 / 10 // faster than the window allows
		}
		ideal := float64(c.n) * 20 * float64(length) / float64(p.widened(length))
		if share := float64(starts) / ideal; share < 0.995 || share > 1.06 {
			t.Errorf("%d/%v: %.4f of what its guard leaves", c.n, c.length, share)
		}
		if n := len(g.cells); n > 1500 {
			t.Errorf("%d/%v: %d cells", c.n, c.length, n)
		}
	}
}

// The log's history forgets nothing early: of what was started since any instant, no
// less is left.
func TestThinNeverForgetsEarly(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		var cells []cell
		now := Time(0)
		for range rapid.IntRange(1, 200).Draw(t, "starts") {
			now += Time(rapid.SampledFrom([]int64{0, 1, 10, 100, 1000, 30_000}).Draw(t, "pause")) * Millisecond
			cells = addStart(cells, now, rapid.Int64Range(1, 9).Draw(t, "n"))
		}
		now += Time(rapid.Int64Range(0, int64(2*Hour)).Draw(t, "since"))
		before := append([]cell(nil), cells...)
		thinned := thin(cells, now, Hour)
		for _, x := range before {
			if now-x.at > Hour {
				continue
			}
			was, is := int64(0), int64(0)
			for _, c := range before {
				if c.at >= x.at {
					was += c.n
				}
			}
			for _, c := range thinned {
				if c.at >= x.at {
					is += c.n
				}
			}
			if is < was {
				t.Fatalf("%d of %d starts since %v ago are left", is, was, now-x.at)
			}
		}
		if n := len(thinned); n > 128*13 {
			t.Fatalf("%d cells are left", n)
		}
	})
}
