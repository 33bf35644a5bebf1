package netlab

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"

	natsserver "github.com/nats-io/nats-server/v2/server"
)

// serveNATS makes this process a NATS server: for clusters that keep their queue in somebody else's, so that a scheduler can
// die without taking a third of the queue with it. It returns the exit code, at the end.
func serveNATS(conf string) int {
	o, err := natsserver.ProcessConfigFile(conf)
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	s, err := natsserver.NewServer(o)
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	s.ConfigureLogger()
	s.Start()
	s.WaitForShutdown()
	return 0
}

// NATS is a NATS cluster with JetStream on hosts of its own.
type NATS struct {
	Hosts []*Host
	Procs []*Process
}

// NATS starts a cluster of three.
func (l *Lab) NATS() *NATS {
	l.t.Helper()
	c := &NATS{}
	var routes []string
	for i := range 3 {
		h := l.Host(fmt.Sprintf("nats%d", i+1))
		c.Hosts = append(c.Hosts, h)
		routes = append(routes, fmt.Sprintf("nats://%s:6222", h.Addr))
	}
	self, err := os.Executable()
	if err != nil {
		l.t.Fatal(err)
	}
	for _, h := range c.Hosts {
		conf := filepath.Join(l.dir, h.Name+".conf")
		text := fmt.Sprintf("server_name: %s\nlisten: \"%s:4222\"\nmax_payload: 8MB\njetstream { store_dir: %q, sync_interval: always }\ncluster { name: lab, listen: \"%s:6222\", routes: [%s] }\n",
			h.Name, h.Addr, filepath.Join(l.dir, h.Name), h.Addr, strings.Join(routes, ", "))
		if err := os.WriteFile(conf, []byte(text), 0o600); err != nil {
			l.t.Fatal(err)
		}
		p, err := h.run(h.Name, []string{envNATS + "=" + conf}, self)
		if err != nil {
			l.t.Fatal(err)
		}
		c.Procs = append(c.Procs, p)
	}
	return c
}

// Config is the part of a node's configuration, within cluster, that names the servers.
func (c *NATS) Config() string {
	var urls []string
	for _, h := range c.Hosts {
		urls = append(urls, fmt.Sprintf("%q", "nats://"+h.Addr.String()+":4222"))
	}
	return "nats: {url: [" + strings.Join(urls, ", ") + "]}"
}
