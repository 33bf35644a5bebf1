package dns

import (
	"bufio"
	"io"
	"net"
	"net/netip"
	"os"
	"strconv"
	"strings"
	"time"
)

// system is what resolv.conf(5) says to us. Search lists and ndots are left
// out on purpose: a mail domain is always absolute (RFC 5321 §2.3.5).
type system struct {
	servers  []string // "host:port"
	timeout  time.Duration
	attempts int
	trustAD  bool
}

// systemServers reads a resolv.conf; where it cannot be read or names no
// server, the one on this host is asked, as resolv.conf(5) has it.
func systemServers(path string) system {
	var s system
	if f, err := os.Open(path); err == nil {
		s = readResolvConf(f)
		_ = f.Close()
	}
	if len(s.servers) == 0 {
		s.servers = []string{"127.0.0.1:53"}
	}
	return s
}

// readResolvConf reads what it understands and skips the rest.
func readResolvConf(r io.Reader) system {
	var s system
	lines := bufio.NewScanner(r)
	for lines.Scan() {
		f := strings.Fields(lines.Text())
		if len(f) < 2 {
			continue
		}
		switch f[0] {
		case "nameserver":
			if _, err := netip.ParseAddr(f[1]); err == nil {
				s.servers = append(s.servers, net.JoinHostPort(f[1], "53"))
			}
		case "options":
			for _, o := range f[1:] {
				name, value, _ := strings.Cut(o, ":")
				n, _ := strconv.Atoi(value)
				switch name {
				case "timeout":
					s.timeout = time.Duration(min(max(n, 0), 30)) * time.Second // the caps of resolv.conf(5)
				case "attempts":
					s.attempts = min(max(n, 0), 5)
				case "trust-ad":
					s.trustAD = true
				}
			}
		}
	}
	return s
}

// withPort adds port 53 to a server that names none.
func withPort(server string) string {
	if _, _, err := net.SplitHostPort(server); err == nil {
		return server
	}
	return net.JoinHostPort(strings.Trim(server, "[]"), "53")
}

// isLoopback tells whether a "host:port" is on this host for certain; a name is not.
func isLoopback(server string) bool {
	host, _, err := net.SplitHostPort(server)
	if err != nil {
		return false
	}
	ip, err := netip.ParseAddr(host)
	return err == nil && ip.Unmap().IsLoopback()
}
