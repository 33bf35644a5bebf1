package dns

import (
	"crypto/sha256"
	"fmt"
	"slices"
	"strings"
)

// maxSite is the length from which a site's name is shortened to a digest.
const maxSite = 120

// Site names an MX set: domains with the same mail hosts have the same site,
// and others never have, whatever the order or the preferences. It is what
// limits and connections count by when many domains live at one provider:
//
//	mx.example.net                                       one host
//	(mx1|mx2).example.net                                two
//	(alt1|alt2)?.gmail-smtp-in.l.google.com              and the bare name too
//	(mx.example.net|mx.example.org)                      with nothing in common
//	(*12).example.net#0f9a3c5e7b1d2468                   too long: their number and a digest
//
// It is the empty string for no hosts.
func Site(hosts []MailHost) string {
	names := make([]string, 0, len(hosts))
	for _, h := range hosts {
		names = append(names, h.Host)
	}
	slices.Sort(names)
	names = slices.Compact(names)
	switch len(names) {
	case 0:
		return ""
	case 1:
		return names[0]
	}

	tail := commonTail(names)
	dotTail := tail
	if tail != "" {
		dotTail = "." + tail
	}
	heads := make([]string, 0, len(names))
	mark := ""
	for _, n := range names {
		if n == tail {
			mark = "?"
			continue
		}
		heads = append(heads, strings.TrimSuffix(n, dotTail))
	}
	site := "(" + strings.Join(heads, "|") + ")" + mark + dotTail
	if len(site) <= maxSite {
		return site
	}
	sum := sha256.Sum256([]byte(strings.Join(names, "|")))
	if len(dotTail) > maxSite/2 {
		dotTail = "" // the digest says it all
	}
	return fmt.Sprintf("(*%d)%s#%x", len(names), dotTail, sum[:8])
}

// commonTail returns the labels that all names end in.
func commonTail(names []string) string {
	tail := strings.Split(names[0], ".")
	for _, n := range names[1:] {
		labels := strings.Split(n, ".")
		same := 0
		for same < min(len(tail), len(labels)) && tail[len(tail)-1-same] == labels[len(labels)-1-same] {
			same++
		}
		tail = tail[len(tail)-same:]
	}
	return strings.Join(tail, ".")
}

// MatchHost tells whether a host falls under a pattern: "*.google.com" is any
// name below google.com, at any depth and without google.com itself; "*" is any
// name; anything else is the one name. Case and a trailing dot do not matter.
func MatchHost(pattern, host string) bool {
	pattern, host = bare(pattern), bare(host)
	if pattern == "*" {
		return host != ""
	}
	if below, ok := strings.CutPrefix(pattern, "*"); ok && strings.HasPrefix(below, ".") {
		return len(host) > len(below) && strings.HasSuffix(host, below)
	}
	return pattern == host
}

// MatchSite tells whether an MX set belongs to a destination given by patterns:
// when one of its hosts does. A set that only partly lies there may still end
// up there, and a limit that is meant to protect a receiver must count it.
func MatchSite(patterns []string, hosts []MailHost) bool {
	for _, h := range hosts {
		for _, p := range patterns {
			if MatchHost(p, h.Host) {
				return true
			}
		}
	}
	return false
}
