//go:build soak

package queue

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"math/rand/v2"
	"os"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/tarishi/tarishi/mail"
)

// TestSoakDeliverer is the deliverer's process.
func TestSoakDeliverer(t *testing.T) {
	urls := os.Getenv("TARISHI_SOAK_URLS")
	if urls == "" {
		t.Skip("only as a process of TestSoakTeam")
	}
	out, err := os.OpenFile(os.Getenv("TARISHI_SOAK_LOG"), os.O_APPEND|os.O_WRONLY, 0)
	if err != nil {
		t.Fatal(err)
	}
	var word atomic.Pointer[soakWord]
	word.Store(&soakWord{})
	name := os.Getenv("TARISHI_SOAK_NAME")
	logs, err := os.OpenFile(os.Getenv("TARISHI_SOAK_LOG")+"."+name, os.O_APPEND|os.O_WRONLY|os.O_CREATE, 0o600)
	if err != nil {
		t.Fatal(err)
	}
	q, err := Open(t.Context(), Options{
		URLs: strings.Split(urls, ","), Cluster: true, Replicas: 3, Node: name, AckWait: soakAckWait, MaxInline: 500,
		Log: slog.New(slog.NewTextHandler(logs, &slog.HandlerOptions{Level: slog.LevelDebug})),
		MayWork: func(p uint32, epoch uint64) bool {
			w := word.Load()
			return w.Parts[p] == epoch && monotonic() < w.Until
		},
	})
	if err != nil {
		t.Fatal(err)
	}
	go func() {
		held := map[uint32]uint64{}
		in := bufio.NewScanner(os.Stdin)
		in.Buffer(nil, 1<<20)
		for in.Scan() {
			var w soakWord
			if err := json.Unmarshal(in.Bytes(), &w); err != nil {
				panic(err)
			}
			word.Store(&w)
			for p, e := range held {
				if w.Parts[p] != e {
					q.Lost(p, e)
					delete(held, p)
				}
			}
			for p, e := range w.Parts {
				if held[p] != e && monotonic() < w.Until {
					held[p] = e
					if err := q.Hold(p, e); err != nil {
						panic(err)
					}
				}
			}
			fmt.Println("heard")
		}
		os.Exit(0)
	}()
	soakDeliver(t.Context(), q, out, name)
}

// soakDeliver delivers, defers, parks, gives back and is slow, by chance.
func soakDeliver(ctx context.Context, q *Queue, out io.Writer, name string) {
	sem := make(chan struct{}, 400)
	do := func(j *Job) {
		defer func() { <-sem }()
		switch n := rand.IntN(100); {
		case n < 5:
			j.Release()
			return
		case n < 15:
			j.Wait(j.Delivery, nil)
			return
		case n < 16:
			time.Sleep(time.Duration(rand.IntN(12)) * time.Second)
		default:
			time.Sleep(time.Duration(rand.IntN(50)) * time.Millisecond)
		}
		if r, err := j.Open(ctx); err != nil {
			fmt.Fprintf(out, "!%s %v\n", j.ID(), err)
		} else if b, err := io.ReadAll(r); err != nil || int64(len(b)) != j.Message.Size {
			fmt.Fprintf(out, "?%s %d octets of %d at %s: %s\n", j.ID(), len(b), j.Message.Size, name, strings.ReplaceAll(fmt.Sprint(err), "\n", " "))
			next := j.Delivery
			next.Due = time.Now().Add(time.Second)
			j.Wait(next, nil)
			return
		}
		if err := j.Dot(ctx, name); err != nil {
			j.Release()
			return
		}
		next := j.Delivery
		if rand.IntN(4) == 0 {
			next.Attempts++
			next.Due = time.Now().Add(time.Duration(rand.IntN(2000)) * time.Millisecond)
			j.Wait(next, &Attempt{Outcomes: []mail.Outcome{{Recipient: j.Recipients[0], Status: mail.Deferred}}})
			return
		}
		fmt.Fprintf(out, "%s %s %d\n", j.ID(), name, time.Now().UnixMilli())
		if rand.IntN(10) == 0 {
			time.Sleep(time.Duration(rand.IntN(200)) * time.Millisecond)
		}
		j.Done(Attempt{Outcomes: []mail.Outcome{{Recipient: j.Recipients[0], Status: mail.Delivered}}})
	}
	take := func(j *Job) {
		sem <- struct{}{}
		go do(j)
	}
	go func() {
		_ = q.Drain(ctx, func(mail.Line) int { return max(1, 20-len(sem)/20) }, func(j *Job) { go func() { take(j) }() })
	}()
	for ctx.Err() == nil {
		js, err := q.Fetch(ctx, 50)
		for _, j := range js {
			take(j)
		}
		if err != nil {
			time.Sleep(100 * time.Millisecond)
		}
	}
}
