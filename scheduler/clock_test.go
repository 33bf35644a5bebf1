package scheduler

import (
	"testing"

	"pgregory.net/rapid"
)

// machine draws a clock whose rate is as far off as it may be, or less.
func machine(p Params) *rapid.Generator[localClock] {
	return rapid.Custom(func(t *rapid.T) localClock {
		rate := rapid.SampledFrom([]float64{1 - p.Rho, 1, 1 + p.Rho, 1 + p.Rho/3}).Draw(t, "rate")
		return localClock{rapid.Int64Range(0, 1<<50).Draw(t, "offset"), rate}
	})
}

// Between the bounds there is the leader's clock, whatever the delays.
func TestIntervalHoldsTheLeadersClock(t *testing.T) {
	p := DefaultParams()
	rapid.Check(t, func(t *rapid.T) {
		mine, its := machine(p).Draw(t, "session"), machine(p).Draw(t, "leader")
		leader := StartClock(Time(rapid.Int64Range(0, 1<<50).Draw(t, "base")), its.at(0))
		var v Interval
		now := int64(0)
		for range rapid.IntRange(1, 12).Draw(t, "answers") {
			now += rapid.Int64Range(0, 20*sec).Draw(t, "pause")
			q := mine.at(now)
			now += rapid.Int64Range(0, 3*sec).Draw(t, "there")
			stamp := leader.At(its.at(now))
			now += rapid.Int64Range(0, 3*sec).Draw(t, "back")
			if behind := v.Observe(p, q, stamp, mine.at(now)); behind > 20*Millisecond {
				t.Fatalf("a clock that runs is said to have stood still for %v", behind)
			}
			for _, later := range []int64{0, sec, 60 * sec} {
				x, c := mine.at(now+later), leader.At(its.at(now+later))
				if slack := Time(later/100_000 + 2000); v.Lower(p, x) > c+slack/100 || v.Upper(p, x) < c-slack/100 {
					t.Fatalf("the clock reads %d, and is said to be in [%d, %d]", c, v.Lower(p, x), v.Upper(p, x))
				}
				if at := v.when(p, v.Upper(p, x)); at > x+int64(Millisecond) {
					t.Fatalf("what may be now, at %d, is said to be at %d", x, at)
				}
				if at := v.after(p, v.Lower(p, x)); at < x {
					t.Fatalf("what is certain at %d is said to be at %d", x, at)
				}
			}
		}
	})
}

func TestIntervalUnmasksAClockThatStoodStill(t *testing.T) {
	p := DefaultParams()
	var v Interval
	v.Observe(p, 0, 100*Second, int64(Millisecond))
	up := v.Upper(p, 10*sec)
	// Ten seconds later the leader's clock has counted two.
	if behind := v.Observe(p, 10*sec, 102*Second, 10*sec+ms); behind < 7*Second {
		t.Errorf("it is said to lag by %v", behind)
	}
	if now := v.Upper(p, 10*sec+ms); now < up-10*Millisecond {
		t.Errorf("the upper bound goes back from %v to %v", up, now)
	}
}

// A follower's bound is never ahead of the leader whose stamps it follows.
func TestFollowerIsNeverAhead(t *testing.T) {
	p := DefaultParams()
	rapid.Check(t, func(t *rapid.T) {
		mine := machine(p).Draw(t, "follower")
		var f Follower
		now, base := int64(0), Time(rapid.Int64Range(0, 1<<40).Draw(t, "base"))
		for term := uint64(1); term <= 3; term++ {
			its := machine(p).Draw(t, "leader")
			leader := StartClock(base, its.at(now))
			for range rapid.IntRange(1, 6).Draw(t, "entries") {
				now += rapid.Int64Range(0, 20*sec).Draw(t, "pause")
				stamp := leader.At(its.at(now))
				now += rapid.Int64Range(0, 3*sec).Draw(t, "delay")
				f.Observe(p, term, stamp, mine.at(now))
				f.Observe(p, term-1, stamp+Hour, mine.at(now)) // of an older term, late
				if bound, c := f.At(p, mine.at(now)), leader.At(its.at(now)); bound > c+1 {
					t.Fatalf("term %d: the bound %d is ahead of %d", term, bound, c)
				}
			}
			// The next leader begins at its own bound, which may be well behind.
			base = f.At(p, mine.at(now)) - Time(rapid.Int64Range(0, int64(10*Second)).Draw(t, "behind"))
		}
	})
}

func TestFollowerTellsOfALeaderThatStoodStill(t *testing.T) {
	p := DefaultParams()
	var f Follower
	if f.At(p, 5*sec) != 0 {
		t.Error("one that knows nothing knows the time")
	}
	f.Observe(p, 1, 100*Second, 0)
	if ahead := f.Observe(p, 1, 101*Second, 5*sec); ahead < 3900*Millisecond {
		t.Errorf("it is said to lag by %v", ahead)
	}
	if ahead := f.Observe(p, 2, 90*Second, 6*sec); ahead != 0 {
		t.Errorf("a new leader may begin behind, and is said to lag by %v", ahead)
	}
}
