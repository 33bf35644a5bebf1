package crashtest

import (
	"bufio"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/signal"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/tarishi/tarishi/mail"
)

// The fake is a mail server small enough to be seen to be right: a file for each delivery, synced one by one. The harness
// must find nothing to blame in it; and with one of these faults it must:
//
//	nosync    says 250 without a sync
//	early     says 250 before it has written, and writes a moment later
//	forget    loses what waits for a retry when it is killed
//	swap      removes a delivery before its replacement is on disk
//	nodoubt   does not list what may have arrived twice
//	damage    stores another body than it was given
type fake struct {
	faults string
	dir    string
	via    string
	mu     sync.Mutex
	busy   map[string]bool
}

func (f *fake) has(fault string) bool { return strings.Contains(f.faults, fault) }

func must(err error) {
	if err != nil {
		fmt.Fprintln(os.Stderr, "fake:", err)
		os.Exit(1)
	}
}

// fakeMain understands just the command lines that the harness uses.
func fakeMain(faults string) {
	if os.Args[1] == "queue" {
		if len(os.Args) > 2 && os.Args[2] != "doubts" {
			return // hold and release: nothing to hold here
		}
		res, err := http.Get(os.Args[len(os.Args)-1] + "/v1/queue/doubts")
		must(err)
		_, err = io.Copy(os.Stdout, res.Body)
		must(err)
		return
	}
	yaml, err := os.ReadFile(os.Args[3])
	must(err)
	key := func(name string) string {
		return regexp.MustCompile(name + `:.*?"([^"*]+)"`).FindStringSubmatch(string(yaml))[1]
	}
	f := &fake{faults: faults, dir: key("data"), via: regexp.MustCompile(`via: "([^"]+)"`).FindStringSubmatch(string(yaml))[1], busy: map[string]bool{}}
	must(os.MkdirAll(f.dir, 0o755))
	term := make(chan os.Signal, 1)
	signal.Notify(term, syscall.SIGTERM)
	go func() { <-term; os.Exit(0) }()
	f.recover()
	ln, err := net.Listen("tcp", key("smtp"))
	must(err)
	go f.listen(ln)
	for range 4 {
		go f.deliver()
	}
	http.HandleFunc("/readyz", func(http.ResponseWriter, *http.Request) {})
	http.HandleFunc("/v1/queue", func(w http.ResponseWriter, _ *http.Request) {
		json.NewEncoder(w).Encode(map[string]int{"ready": len(f.list(".msg"))})
	})
	http.HandleFunc("/v1/queue/messages", func(w http.ResponseWriter, _ *http.Request) {
		io.WriteString(w, `{"messages":[]}`) // what it has not delivered in time, it does not own up to
	})
	http.HandleFunc("/v1/queue/doubts", func(w http.ResponseWriter, _ *http.Request) {
		ds := []map[string]string{}
		for _, name := range f.list(".doubt") {
			part := strings.Split(name, "@")
			ds = append(ds, map[string]string{"delivery": part[0], "destination": part[1]})
		}
		json.NewEncoder(w).Encode(map[string]any{"doubts": ds})
	})
	must(http.ListenAndServe(key("admin"), nil))
}

func (f *fake) list(suffix string) (names []string) {
	es, err := os.ReadDir(f.dir)
	must(err)
	for _, e := range es {
		if strings.HasSuffix(e.Name(), suffix) {
			names = append(names, e.Name())
		}
	}
	return names
}

func (f *fake) path(name string) string { return filepath.Join(f.dir, name) }

// recover removes what has a newer version, and makes a doubt of every dot without an end, as a start after a kill must.
func (f *fake) recover() {
	newest := map[string]string{}
	for _, name := range f.list(".msg") { // attempts have four digits: names sort by age
		parts := strings.Split(name, ".")
		if old := newest[parts[0]+parts[1]]; old != "" {
			must(os.Remove(f.path(old)))
		}
		newest[parts[0]+parts[1]] = name
	}
	for _, name := range f.list(".dot") {
		if f.has("nodoubt") {
			os.Remove(f.path(name))
			continue
		}
		must(os.Rename(f.path(name), f.path(fmt.Sprintf("%s@%d.doubt", strings.TrimSuffix(name, ".dot"), time.Now().UnixNano()))))
	}
	if f.has("forget") {
		for _, name := range f.list(".msg") {
			if strings.Contains(name, ".retry") {
				os.Remove(f.path(name))
			}
		}
	}
}

// store writes one file, durably unless the fault says otherwise.
func (f *fake) store(name, content string) {
	tmp := f.path(name + ".tmp")
	h, err := os.Create(tmp)
	must(err)
	_, err = h.WriteString(content)
	must(err)
	sync := !f.has("nosync") && !f.has("swap") || strings.Contains(name, ".0000@") && !f.has("nosync")
	if sync {
		must(h.Sync())
	}
	must(h.Close())
	must(os.Rename(tmp, f.path(name)))
	if sync {
		f.syncDir()
	}
}

func (f *fake) syncDir() {
	d, err := os.Open(f.dir)
	must(err)
	must(d.Sync())
	must(d.Close())
}

func (f *fake) listen(ln net.Listener) {
	for {
		c, err := ln.Accept()
		must(err)
		go f.session(c)
	}
}

func (f *fake) session(c net.Conn) {
	defer c.Close()
	r := bufio.NewReader(c)
	say := func(s string) { io.WriteString(c, s+"\r\n") }
	say("220 fake")
	var rcpts []string
	for {
		line, err := r.ReadString('\n')
		if err != nil {
			return
		}
		switch verb := strings.ToUpper(line[:min(4, len(line))]); verb {
		case "MAIL":
			rcpts = nil
			say("250 ok")
		case "RCPT":
			rcpts = append(rcpts, path(line))
			say("250 ok")
		case "DATA":
			say("354 go on")
			msg, err := readDots(r)
			if err != nil {
				return
			}
			id := mail.NewID(time.Now())
			if f.has("damage") {
				// Not its beginning: the id by which it is known stands there.
				if at := strings.Index(msg, "\r\n\r\n"); at >= 0 {
					msg = msg[:at] + strings.Replace(msg[at:], "7", "8", 3)
				}
			}
			if f.has("early") {
				say("250 2.0.0 stored as " + id)
				time.Sleep(100 * time.Millisecond)
			}
			byDomain := map[string][]string{}
			for _, rcpt := range rcpts {
				_, d, _ := strings.Cut(rcpt, "@")
				byDomain[d] = append(byDomain[d], rcpt)
			}
			f.mu.Lock() // nothing is delivered before all of it is stored
			i := 0
			for d, rs := range byDomain {
				f.store(fmt.Sprintf("%s.%d.0000@%s.msg", id, i, d), strings.Join(rs, ",")+"\nReceived: by fake id "+id+"\r\n"+msg)
				i++
			}
			f.mu.Unlock()
			if !f.has("early") {
				say("250 2.0.0 stored as " + id)
			}
		case "QUIT":
			say("221 bye")
			return
		default:
			say("250 ok")
		}
	}
}

// deliver sends what is there, over and over. File names: MESSAGE.DELIVERY.ATTEMPT@DOMAIN.msg
func (f *fake) deliver() {
	for {
		f.mu.Lock()
		list, name := f.list(".msg"), ""
		if i := slices.IndexFunc(list, func(n string) bool { return !f.busy[n] }); i >= 0 {
			name = list[i]
			f.busy[name] = true
		}
		f.mu.Unlock()
		if name == "" {
			time.Sleep(10 * time.Millisecond)
			continue
		}
		f.attempt(name)
		f.mu.Lock()
		delete(f.busy, name)
		f.mu.Unlock()
	}
}

func (f *fake) attempt(name string) {
	content, err := os.ReadFile(f.path(name))
	must(err)
	list, msg, ok := strings.Cut(string(content), "\n")
	if !ok || strings.Contains(string(content), "\x00") || !strings.Contains(msg, "\nX-Crash-End: ") {
		os.Remove(f.path(name)) // the leftover of a power cut
		return
	}
	rcpts := strings.Split(list, ",")
	base, domain, _ := strings.Cut(strings.TrimSuffix(name, ".msg"), "@")
	parts := strings.Split(base, ".")
	dot := f.path(parts[0] + "." + parts[1] + "@" + domain + ".dot")
	left := f.transact(rcpts, msg, func() { must(os.WriteFile(dot, nil, 0o600)) })
	if len(left) > 0 {
		attempts, err := strconv.Atoi(parts[2])
		must(err)
		next := fmt.Sprintf("%s.%s.%04d.retry@%s.msg", parts[0], parts[1], attempts+1, domain)
		if f.has("swap") {
			must(os.Remove(f.path(name)))
			f.syncDir()
		}
		f.mu.Lock()
		f.busy[next] = true
		f.mu.Unlock()
		f.store(next, strings.Join(left, ",")+"\n"+msg)
		defer func() {
			time.Sleep(20 * time.Millisecond) // do not ask again at once
			f.mu.Lock()
			delete(f.busy, next)
			f.mu.Unlock()
		}()
	}
	if !f.has("swap") || len(left) == 0 {
		must(os.Remove(f.path(name)))
	}
	os.Remove(dot)
}

// transact sends to the sink and returns the recipients that are still open.
func (f *fake) transact(rcpts []string, msg string, beforeDot func()) (left []string) {
	conn, err := net.Dial("tcp", f.via)
	if err != nil {
		return rcpts
	}
	defer conn.Close()
	c := &wire{conn: conn, r: bufio.NewReader(conn)}
	c.reply()
	c.cmd("EHLO fake")
	c.cmd("MAIL FROM:<" + sender + ">")
	var taken []string
	for _, r := range rcpts {
		if code, _, _ := c.cmd("RCPT TO:<" + r + ">"); code == 250 {
			taken = append(taken, r)
		} else {
			left = append(left, r)
		}
	}
	if len(taken) == 0 {
		return rcpts
	}
	if code, _, _ := c.cmd("DATA"); code != 354 {
		return rcpts
	}
	beforeDot()
	io.WriteString(conn, msg+".\r\n")
	if code, _, _ := c.reply(); code != 250 {
		return rcpts
	}
	return left
}
