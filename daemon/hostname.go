package daemon

import (
	"net"
	"os"
	"strings"
)

// machineName is this machine's full name: the host name if it has a dot, else
// the name /etc/hosts gives it, as `hostname -f` does. It asks no DNS server, so
// that a start never waits for one.
func machineName() string {
	name, err := os.Hostname()
	if err != nil {
		return "localhost"
	}
	hosts, _ := os.ReadFile("/etc/hosts") // without one the short name has to do
	return fullName(name, string(hosts))
}

func fullName(name, hosts string) string {
	name = strings.TrimSuffix(name, ".")
	if checkHost(name) != nil {
		return "localhost"
	}
	if strings.Contains(name, ".") {
		return name
	}
	for line := range strings.Lines(hosts) {
		line, _, _ = strings.Cut(line, "#")
		f := strings.Fields(line)
		for _, alias := range f[min(1, len(f)):] {
			if strings.EqualFold(alias, name) && strings.Contains(f[1], ".") && checkHost(f[1]) == nil {
				return f[1]
			}
		}
	}
	return name
}

// withPort adds a port to an IP address that has none.
func withPort(s, port string) string {
	if _, _, err := net.SplitHostPort(s); err == nil {
		return s
	}
	return net.JoinHostPort(strings.Trim(s, "[]"), port)
}
