package relay

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"strconv"
	"strings"

	"github.com/tarishi/tarishi/mail"
	"github.com/tarishi/tarishi/plugins/lists"
	"github.com/tarishi/tarishi/shaping"
)

// The actions of a destination domain.
const (
	accept    = "accept"   // its mail is taken
	continues = "continue" // its mail is taken unless another plugin refuses it
	deny      = "deny"     // its mail is refused
)

// dest is what the file says of a domain.
type dest struct {
	Action  string `json:"action"`
	NextHop string `json:"nexthop"`
}

// dests is relay_dest_domains.ini: below [domains] one domain a line, with an object in
// JSON.
type dests struct {
	by      shaping.Patterns[dest]
	other   string // next hop of domains that have none; the entry any
	routes  bool   // some next hop is given
	section string
}

// add reads a line.
func (d *dests) add(line string) error {
	if line[0] == '[' {
		if d.section = line; line != "[domains]" {
			return errors.New("is a section that is not known; there is [domains]")
		}
		return nil
	}
	if d.section == "" {
		return errors.New("stands before the line [domains]")
	}
	if d.section != "[domains]" {
		return nil // said already
	}
	name, value, ok := strings.Cut(line, "=")
	name = strings.TrimSpace(name)
	if !ok {
		return errors.New(`wants a domain, = and what to do, such as example.net = {"action": "accept"}`)
	}
	x, err := readDest(strings.TrimSpace(value))
	if err != nil {
		return err
	}
	d.routes = d.routes || x.NextHop != ""
	if name == "any" {
		if x.Action != "" || x.NextHop == "" || d.other != "" {
			return errors.New("is not a nexthop alone, or the second one: any names the next hop of all other domains")
		}
		d.other = x.NextHop
		return nil
	}
	if _, err := lists.ParseDomain(strings.TrimPrefix(name, "*.")); err != nil {
		return fmt.Errorf("%q %w", name, err)
	}
	return d.by.Add(name, x)
}

func readDest(value string) (dest, error) {
	var x dest
	in := json.NewDecoder(bytes.NewReader([]byte(value)))
	in.DisallowUnknownFields()
	if err := in.Decode(&x); err != nil {
		return x, fmt.Errorf(`wants an object in JSON with "action", "nexthop" or both behind its =: %w`, err)
	}
	if in.More() {
		return x, errors.New("has something behind its object")
	}
	switch x.Action {
	case accept, continues, deny, "":
	default:
		return x, fmt.Errorf("has the action %q; there are accept, continue and deny", x.Action)
	}
	if x.Action == "" && x.NextHop == "" {
		return x, errors.New("says nothing; give an action, a nexthop or both")
	}
	if x.NextHop == "" {
		return x, nil
	}
	hop, err := nextHop(x.NextHop)
	x.NextHop = hop
	return x, err
}

// nextHop reads a host or an address, with or without a port, and adds port 25. An
// LMTP host begins with lmtp: and has no usual port; it may be a socket.
func nextHop(text string) (string, error) {
	wrong := fmt.Errorf("has the nexthop %q; write a host or an address, such as mx.example.net, 192.0.2.7:2525 or [2001:db8::7]:25, lmtp:127.0.0.1:24 or lmtp:unix:/path", text)
	rest, lmtp := strings.CutPrefix(text, "lmtp:")
	if strings.HasPrefix(rest, "unix:/") && lmtp {
		return text, nil
	}
	prefix := text[:len(text)-len(rest)]
	if ip, err := netip.ParseAddr(strings.Trim(rest, "[]")); err == nil && !lmtp {
		return net.JoinHostPort(ip.String(), "25"), nil
	}
	host, port, err := net.SplitHostPort(rest)
	if err != nil && !strings.Contains(rest, ":") && !lmtp {
		host, port, err = rest, "25", nil
	}
	if err != nil {
		return "", wrong
	}
	if n, err := strconv.Atoi(port); err != nil || n < 1 || n > 65535 {
		return "", wrong
	}
	if _, err := netip.ParseAddr(host); err != nil {
		if _, err := lists.ParseDomain(host); err != nil {
			return "", wrong
		}
	}
	return prefix + net.JoinHostPort(host, port), nil
}

// nextHop is where mail for a domain is to go; empty: the usual way.
func (d *dests) nextHop(to mail.Domain) string {
	if x, ok := d.by.For(to); ok && x.NextHop != "" {
		return x.NextHop
	}
	return d.other
}
