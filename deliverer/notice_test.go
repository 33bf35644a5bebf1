package deliverer

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/tarishi/tarishi/mail"
	"github.com/tarishi/tarishi/smtp/smtptest"
)

func TestH4_D5_nobodyIsToBeTold(t *testing.T) {
	for name, change := range map[string]func(*memJob){
		"null sender":    func(j *memJob) { j.env.Message.Sender = mail.Address{} },
		"NOTIFY=NEVER":   func(j *memJob) { j.env.Recipients[0].Notify = "NEVER" },
		"NOTIFY=SUCCESS": func(j *memJob) { j.env.Recipients[0].Notify = "SUCCESS" },
	} {
		t.Run(name, func(t *testing.T) {
			tell(t, func(s *story) {
				sink := &smtptest.Sink{}
				defer sink.Close()
				sink.On("RCPT", "", smtptest.Answer{Reply: "550 5.1.1 No such user"})
				s.mx("there.test", 1)
				s.sink(1, sink)
				s.start()
				j := s.letter("b@there.test")
				change(j)
				s.q.add(j)
				s.after(time.Second)
				s.expect(j.env.ID(), "done: b failed 550")
				if n := len(s.q.stored()); n != 0 {
					s.Errorf("%d notices", n)
				}
				if st := s.d.Stats(); st.Swallowed != 1 {
					s.Errorf("not counted: %+v", st)
				}
			})
		})
	}
}

func TestH5_noticeBeforeSettlement(t *testing.T) {
	tell(t, func(s *story) {
		sink := &smtptest.Sink{}
		defer sink.Close()
		sink.On("RCPT", "<no@", smtptest.Answer{Reply: "550 5.1.1 No such user"})
		s.mx("there.test", 1)
		s.sink(1, sink)
		s.q.putErr = errors.New("disk full")
		s.start()
		id := s.send("no@there.test", "yes@there.test")
		s.after(10 * time.Second)
		es := s.expect(id, "wait: no deferred 550 yes delivered 250")
		if next := es[0].next; len(next.Recipients) != 1 || next.Recipients[0].Raw != "no@there.test" {
			s.Errorf("kept: %+v", next.Recipients)
		}
		s.q.mu.Lock()
		s.q.putErr = nil
		s.q.mu.Unlock()
		s.after(10 * time.Minute)
		s.expect(id, "wait: no deferred 550 yes delivered 250", "done: no failed 550")
		ns := s.q.stored()
		if len(ns) != 1 {
			s.Fatalf("%d notices", len(ns))
		}
		n := ns[0]
		if n.m.Origin != fmt.Sprintf("%020d", 1) || !n.m.Sender.IsNull() || len(n.ds) != 1 || n.ds[0].Destination != "here.test" ||
			n.ds[0].Recipients[0].Raw != "a@here.test" || n.ds[0].Expires.IsZero() || n.m.Size != int64(len(n.body)) || len(n.m.ID) != 20 {
			s.Errorf("%+v %+v", n.m, n.ds)
		}
		r := parseReport(s.T, n.body)
		if r.quoted != "From: a@here.test\r\nSubject: hello\r\n" {
			s.Errorf("quoted %q", r.quoted)
		}
	})
}

func TestNoticeIDIsOfTheAttempt(t *testing.T) {
	env := letter(7, time.Unix(0, 0), "b@there.test").env
	about := []verdict{{recipient: env.Recipients[0]}}
	a, b, c := noticeID(&env, "failed", 1, about), noticeID(&env, "failed", 1, about), noticeID(&env, "failed", 2, about)
	// An operator's bounce has the number of the attempt before it, and tells of others.
	other := noticeID(&env, "failed", 1, []verdict{{recipient: mail.Recipient{Address: mail.NewAddress("c@there.test")}}})
	env.Index = 1
	d := noticeID(&env, "failed", 1, about)
	if a != b || a == c || a == d || a == other || len(a) != 20 || strings.ContainsAny(a, ".") {
		t.Error(a, b, c, d)
	}
}

func TestDelayNoticeOnce(t *testing.T) {
	tell(t, func(s *story) {
		sink := &smtptest.Sink{}
		defer sink.Close()
		sink.On("RCPT", "", smtptest.Answer{Reply: "450 4.2.1 Busy"})
		s.mx("there.test", 1)
		s.sink(1, sink)
		s.start()
		quiet := s.letter("q@there.test")
		quiet.env.Recipients[0].Notify = "FAILURE"
		s.q.add(quiet)
		s.send("b@there.test")
		s.after(3*time.Hour + 50*time.Minute)
		if n := len(s.q.stored()); n != 0 {
			s.Errorf("%d notices before 4 hours", n)
		}
		s.after(4 * 24 * time.Hour)
		ns := s.q.stored()
		if len(ns) != 1 {
			s.Fatalf("%d delay notices, want 1", len(ns))
		}
		r := parseReport(s.T, ns[0].body)
		if r.rcpts[0].Get("Action") != "delayed" || r.rcpts[0].Get("Status") != "4.2.1" || r.rcpts[0].Get("Will-Retry-Until") != "Thu, 06 Jan 2000 00:00:00 +0000" {
			s.Errorf("%v", r.rcpts[0])
		}
	})
}

func TestH6_expiryOnce(t *testing.T) {
	for name, dead := range map[string]bool{"deferred by the host": false, "nobody answers": true} {
		t.Run(name, func(t *testing.T) {
			tell(t, func(s *story) {
				sink := &smtptest.Sink{}
				defer sink.Close()
				sink.On("RCPT", "", smtptest.Answer{Reply: "450 4.2.1 Busy"})
				s.mx("there.test", 1)
				if !dead {
					s.sink(1, sink)
				}
				s.c.DelayNotice = -1
				s.start()
				var ids []string
				for range 5 {
					ids = append(ids, s.send("b@there.test"))
				}
				s.after(5*24*time.Hour - time.Minute)
				if n := len(s.q.stored()); n != 0 {
					s.Errorf("%d notices too early", n)
				}
				s.after(30 * time.Minute) // the gate of a dead host opens every 10 minutes or so
				for _, id := range ids {
					es := attempts(s.q.history(id))
					last := es[len(es)-1]
					if last.how != "done" || last.attempt.Outcomes[0].Reply.Enhanced != (mail.EnhancedCode{4, 4, 7}) {
						s.Errorf("%s ended with %s", id, became(last))
					}
					if late := last.at.Sub(last.attempt.Started); !dead && late > time.Minute {
						s.Errorf("late by %v", late)
					}
				}
				ns := s.q.stored()
				if len(ns) != 5 {
					s.Fatalf("%d notices for 5 deliveries", len(ns))
				}
				r := parseReport(s.T, ns[0].body)
				want := "smtp; 450 4.2.1 Busy"
				if dead {
					want = "x-tarishi; 451 4.4.1 no answer from mx1.test[192.0.2.1]:25: connection refused"
				}
				if got := r.rcpts[0]; got.Get("Status") != "4.4.7" || got.Get("Action") != "failed" || strings.Join(strings.Fields(got.Get("Diagnostic-Code")), " ") != want {
					s.Errorf("%v", got)
				}
				if st := s.d.Stats(); st.Expired != 5 {
					s.Errorf("%+v", st)
				}
			})
		})
	}
}

func TestD4_relayedWhenTheHostKnowsNoDSN(t *testing.T) {
	for _, knows := range []bool{false, true} {
		tell(t, func(s *story) {
			sink := &smtptest.Sink{Extensions: []string{"PIPELINING"}}
			if knows {
				sink.Extensions = append(sink.Extensions, "DSN")
			}
			defer sink.Close()
			s.mx("there.test", 1)
			s.sink(1, sink)
			s.start()
			j := s.letter("b@there.test", "c@there.test")
			j.env.Recipients[0].Notify = "SUCCESS,FAILURE"
			s.q.add(j)
			s.after(time.Second)
			ns := s.q.stored()
			if knows {
				if len(ns) != 0 {
					s.Errorf("%d notices although the host sends its own", len(ns))
				}
				return
			}
			if len(ns) != 1 {
				s.Fatalf("%d notices", len(ns))
			}
			if r := parseReport(s.T, ns[0].body); len(r.rcpts) != 1 || r.rcpts[0].Get("Action") != "relayed" || r.rcpts[0].Get("Status") != "2.1.5" && r.rcpts[0].Get("Status")[0] != '2' {
				s.Errorf("%v", r.rcpts)
			}
		})
	}
}

func TestBounceByOperator(t *testing.T) {
	tell(t, func(s *story) {
		s.start()
		j := s.letter("b@there.test", "c@there.test")
		j.q = s.q
		if err := s.d.Bounce(context.Background(), j, mail.R(451, "4.0.0", "later")); err == nil {
			s.Error("a temporary reply bounced")
		}
		s.q.putErr = errors.New("disk full")
		if err := s.d.Bounce(context.Background(), j, mail.R(554, "5.0.0", "removed by the operator")); err == nil || j.ended {
			s.Error("ended although the notice could not be stored")
		}
		s.q.putErr = nil
		if err := s.d.Bounce(context.Background(), j, mail.R(554, "5.0.0", "removed by the operator")); err != nil {
			s.Error(err)
		}
		s.expect(j.env.ID(), "done: b failed 554 c failed 554")
		if len(s.q.stored()) != 1 {
			s.Error("no notice")
		}
	})
}

// Whatever a host answers to whom, every recipient ends in exactly one state per
// attempt, and no recipient is ever delivered twice, or both delivered and failed.
func TestRandomRepliesEachRecipientOnce(t *testing.T) {
	codes := []string{"", "", "450 4.2.1 Busy", "550 5.1.1 No", "452 4.5.3 Too many", "421 4.3.2 Bye", "cut"}
	rapid.Check(t, func(rt *rapid.T) {
		n := rapid.IntRange(1, 8).Draw(rt, "recipients")
		var to []string
		for i := range n {
			to = append(to, fmt.Sprintf("r%d@there.test", i))
		}
		at := rapid.SampledFrom([]string{"RCPT", "MAIL", "DATA", "DOT"}).Draw(rt, "verb")
		all := rapid.SampledFrom(codes).Draw(rt, "answer")
		each := make([]string, n)
		for i := range each {
			each[i] = rapid.SampledFrom(codes).Draw(rt, "to recipient")
		}
		tell(t, func(s *story) {
			sink := &smtptest.Sink{}
			defer sink.Close()
			answer := func(verb, match, reply string) {
				switch reply {
				case "":
				case "cut":
					sink.On(verb, match, smtptest.Answer{Cut: true, Times: 1})
				default:
					sink.On(verb, match, smtptest.Answer{Reply: reply, Times: 2})
				}
			}
			for i := range each {
				answer("RCPT", fmt.Sprintf("<r%d@", i), each[i])
			}
			answer(at, "", all)
			s.mx("there.test", 1)
			s.sink(1, sink)
			s.c.DelayNotice = -1
			s.c.Retry.Schedule = []time.Duration{time.Minute}
			s.start()
			id := s.send(to...)
			s.after(40 * time.Minute)
			es := attempts(s.q.history(id))
			if len(es) == 0 || es[len(es)-1].how != "done" {
				s.Fatalf("not done after 40 minutes: %v", es)
			}
			final := map[string]mail.Status{}
			open := slices.Clone(to)
			for _, e := range es {
				var asked, left []string
				for _, o := range e.attempt.Outcomes {
					asked = append(asked, o.Recipient.Raw)
					if o.Status == mail.Deferred {
						left = append(left, o.Recipient.Raw)
						continue
					}
					if was, twice := final[o.Recipient.Raw]; twice {
						s.Errorf("%s was %v, and is %v", o.Recipient.Raw, was, o.Status)
					}
					final[o.Recipient.Raw] = o.Status
				}
				if !slices.Equal(asked, open) {
					s.Errorf("attempt for %v, open were %v", asked, open)
				}
				open = left
			}
			if len(final) != n {
				s.Errorf("%d of %d recipients have an end", len(final), n)
			}
			failed := 0
			for _, st := range final {
				if st == mail.Failed {
					failed++
				}
			}
			reported := 0
			for _, x := range s.q.stored() {
				reported += len(parseReport(s.T, x.body).rcpts)
			}
			if failed != reported {
				s.Errorf("%d failed, %d reported", failed, reported)
			}
		})
		if t.Failed() {
			rt.FailNow()
		}
	})
}

// A notice that comes back is nobody's business any more: were it answered, two
// mail systems would talk to each other for ever. That holds for one that is
// refused, one that expires, and one that was delayed on its way. A notice has two
// locks against it, its null sender and its NOTIFY=NEVER: this fails without both.
func TestH7_noNoticeAboutANotice(t *testing.T) {
	for name, answer := range map[string]string{"refused": "554 5.7.1 We do not like your notices", "never taken": "451 4.7.1 Later"} {
		t.Run(name, func(t *testing.T) {
			tell(t, func(s *story) {
				sink := &smtptest.Sink{}
				defer sink.Close()
				sink.On("RCPT", "<b@there.test>", smtptest.Answer{Reply: "550 5.1.1 No such user"})
				sink.On("MAIL", "<>", smtptest.Answer{Reply: answer})
				s.mx("there.test", 1)
				s.mx("here.test", 1)
				s.sink(1, sink)
				s.c.DelayNotice = time.Hour
				s.start()
				s.send("b@there.test")
				s.after(time.Second)
				ns := s.q.stored()
				if len(ns) != 1 || !ns[0].m.Sender.IsNull() {
					s.Fatalf("%d notices, want one from <>", len(ns))
				}
				notice := &memJob{env: ns[0].ds[0], body: ns[0].body}
				s.q.add(notice)
				s.after(10 * 24 * time.Hour)
				es := attempts(s.q.history(notice.env.ID()))
				if len(es) == 0 || es[len(es)-1].how != "done" {
					s.Errorf("the notice has not ended: %v", es)
				}
				if n := len(s.q.stored()); n != 1 {
					s.Errorf("%d notices", n)
				}
				if st := s.d.Stats(); st.Swallowed != 1 {
					s.Errorf("not counted: %+v", st)
				}
			})
		})
	}
}
