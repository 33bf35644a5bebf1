package plugin

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"net/url"
	"slices"
	"strconv"
	"strings"
)

// NextHop is one host that get_mx has a delivery go to, and how it is talked to.
type NextHop struct {
	// Host is a name or an address. Empty: the hosts it would go to without a plugin,
	// talked to as this says; then it is the only NextHop.
	Host     string
	Port     int    // 0: 25, with LMTP 24, with TLS "implicit" 465
	Path     string // of a Unix socket, instead of Host
	Route    string // a route of the configuration, by its name, with all it says; instead of Host
	Priority int    // the lowest goes first, equal ones in any order
	LMTP     bool
	Bind     netip.Addr // our address; zero: the usual one
	Hello    string     // our name in EHLO; empty: the usual one
	// TLS is opportunistic, required (the certificate must prove the host), implicit
	// (so, and before the greeting) or off. Empty: the usual, or with User required.
	TLS string
	// User and Password prove who we are, by AUTH; User empty: we do not.
	User      string
	Password  string `json:"-"`
	Mechanism string // PLAIN, LOGIN or CRAM-MD5; empty: what the host offers
	Insecure  bool   // AUTH may go without TLS, or with a certificate nobody has looked at
}

// String is the hop without its password.
func (h NextHop) String() string {
	s := h.Host + h.Path + h.Route
	if h.Port != 0 {
		s = net.JoinHostPort(s, strconv.Itoa(h.Port))
	}
	if h.LMTP {
		s = "lmtp:" + s
	}
	if h.Bind.IsValid() {
		s += " from " + h.Bind.String()
	}
	if h.Hello != "" {
		s += " as " + h.Hello
	}
	if h.User != "" {
		s += " with a login"
	}
	return strings.TrimSpace(s)
}

// maxHops bounds what one get_mx may name.
const maxHops = 100

// NextHops reads what a function gives as the Value of its OK at get_mx: a NextHop, a
// []NextHop, or what scripts write, which is text ("host", "host:port",
// "lmtp:host:port", "lmtp:unix:/path", "smtp://user:password@host:port"), an object with Haraka's names
// (exchange, port, priority, bind, ...), or a list of these. The order is that of the
// list within a priority. No error shows a password.
func NextHops(value any) ([]NextHop, error) {
	hops, err := readHops(value)
	switch {
	case err != nil:
		return nil, err
	case len(hops) == 0:
		return nil, errors.New("no host is named")
	case len(hops) > maxHops:
		return nil, fmt.Errorf("%d hosts are named; at most %d", len(hops), maxHops)
	}
	for i := range hops {
		if err := hops[i].check(len(hops) == 1); err != nil {
			return nil, err
		}
	}
	slices.SortStableFunc(hops, func(a, b NextHop) int { return a.Priority - b.Priority })
	return hops, nil
}

func readHops(value any) ([]NextHop, error) {
	switch v := value.(type) {
	case nil:
		return nil, nil
	case NextHop:
		return []NextHop{v}, nil
	case *NextHop:
		if v == nil {
			return nil, nil
		}
		return []NextHop{*v}, nil
	case []NextHop:
		return slices.Clone(v), nil
	case string:
		h, err := hopOfText(v)
		return []NextHop{h}, err
	case map[string]any:
		h, err := hopOfObject(v)
		return []NextHop{h}, err
	case []string:
		return eachHop(v)
	case []any:
		return eachHop(v)
	}
	return nil, fmt.Errorf("a %T is no host", value)
}

func eachHop[T any](list []T) ([]NextHop, error) {
	var out []NextHop
	for _, x := range list {
		if _, nested := any(x).([]any); nested {
			return nil, errors.New("a list in a list of hosts")
		}
		hops, err := readHops(any(x))
		if err != nil {
			return nil, err
		}
		out = append(out, hops...)
	}
	return out, nil
}

// hopOfText reads "host", "host:port", "[2001:db8::1]:25", "lmtp:host:port",
// "lmtp:unix:/path" and the smtp: and lmtp: URLs that Haraka knows.
func hopOfText(s string) (h NextHop, err error) {
	if strings.Contains(s, "://") {
		return hopOfURL(s)
	}
	rest, lmtp := strings.CutPrefix(s, "lmtp:")
	if path, unix := strings.CutPrefix(rest, "unix:"); unix && lmtp {
		if !strings.HasPrefix(path, "/") {
			return h, fmt.Errorf("%q has no whole path of a socket; write lmtp:unix:/path", s)
		}
		return NextHop{LMTP: true, Path: path}, nil
	}
	h.LMTP, h.Host = lmtp, strings.Trim(rest, "[]")
	if _, err := netip.ParseAddr(h.Host); err == nil || !strings.Contains(rest, ":") {
		return h, nil
	}
	host, port, err := net.SplitHostPort(rest)
	if err != nil {
		return h, fmt.Errorf("%q is no host; write host or host:port", s)
	}
	h.Host = host
	h.Port, err = strconv.Atoi(port)
	if err != nil || h.Port == 0 {
		return h, fmt.Errorf("%q is no port", port)
	}
	return h, nil
}

func hopOfURL(s string) (h NextHop, err error) {
	u, err := url.Parse(s)
	if err != nil {
		return h, errors.New("the URL of a host cannot be read; write smtp://host:port") // its error would show the password
	}
	if u.Scheme != "smtp" && u.Scheme != "lmtp" {
		return h, fmt.Errorf("%s: hosts have smtp:// or lmtp://", u.Redacted())
	}
	h.LMTP, h.Host, h.User = u.Scheme == "lmtp", u.Hostname(), u.User.Username()
	h.Password, _ = u.User.Password()
	if p := u.Port(); p != "" {
		if h.Port, err = strconv.Atoi(p); err != nil {
			return h, fmt.Errorf("%q is no port", p)
		}
	}
	return h, nil
}

// hopOfObject reads an object with Haraka's names, and ours where it has none.
func hopOfObject(m map[string]any) (h NextHop, err error) {
	for key, v := range m {
		var bind string
		switch key {
		case "exchange", "host":
			err = into(&h.Host, v)
		case "port":
			err = intoNumber(&h.Port, v)
		case "priority":
			err = intoNumber(&h.Priority, v)
		case "path":
			err = into(&h.Path, v)
		case "route":
			err = into(&h.Route, v)
		case "using_lmtp":
			err = into(&h.LMTP, v)
		case "bind":
			if err = into(&bind, v); err == nil && bind != "" {
				h.Bind, err = netip.ParseAddr(bind)
			}
		case "bind_helo":
			err = into(&h.Hello, v)
		case "tls":
			err = into(&h.TLS, v)
		case "auth_user":
			err = into(&h.User, v)
		case "auth_pass":
			err = into(&h.Password, v)
		case "auth_type":
			err = into(&h.Mechanism, v)
		case "auth_insecure":
			err = into(&h.Insecure, v)
		case "from_dns": // of which domain's MX it is; nothing follows from it
		default:
			return h, fmt.Errorf("a host has no %q", key)
		}
		if err != nil {
			return h, fmt.Errorf("%s of a host: %w", key, err)
		}
	}
	return h, nil
}

func into[T any](to *T, v any) error {
	if v == nil {
		return nil
	}
	x, ok := v.(T)
	if !ok {
		return fmt.Errorf("a %T where a %T belongs", v, *to)
	}
	*to = x
	return nil
}

func intoNumber(to *int, v any) error {
	switch v := v.(type) {
	case nil:
		return nil
	case int:
		*to = v
	case int64:
		*to = int(v)
	case float64:
		if *to = int(v); float64(*to) != v {
			return fmt.Errorf("%v is no whole number", v)
		}
	case string:
		n, err := strconv.Atoi(v)
		if err != nil {
			return fmt.Errorf("%q is no number", v)
		}
		*to = n
	default:
		return fmt.Errorf("a %T where a number belongs", v)
	}
	return nil
}

// check refuses what cannot be meant. alone: it is the only one.
func (h *NextHop) check(alone bool) error {
	named := 0
	for _, s := range []string{h.Host, h.Path, h.Route} {
		if s != "" {
			named++
		}
	}
	rest := *h
	rest.Route, rest.Priority = "", 0
	switch {
	case named > 1:
		return errors.New("a host, a path and a route exclude one another")
	case named == 0 && !alone:
		return errors.New("one of several hosts has no name")
	case named == 0 && rest == NextHop{}:
		return errors.New("no host is named")
	case h.Route != "" && rest != NextHop{}:
		return fmt.Errorf("route %q says by itself how it is talked to", h.Route)
	case h.Port < 0 || h.Port > 65535:
		return fmt.Errorf("port %d is none", h.Port)
	case !cleanText(h.Host) || !cleanText(h.Hello) || !cleanText(h.Path) || strings.ContainsAny(h.Host+h.Hello, " /<>@"):
		return fmt.Errorf("%q, %q: a name has no such characters", h.Host+h.Path, h.Hello)
	case h.TLS != "" && !slices.Contains(TLSChoices, h.TLS):
		return fmt.Errorf("tls %q; write %s", h.TLS, strings.Join(TLSChoices, ", "))
	case strings.Contains(h.User+h.Password, "\x00"):
		return errors.New("a user's name or password with an octet 0")
	case h.User == "" && (h.Password != "" || h.Mechanism != "" || h.Insecure):
		return errors.New("how to prove who we are, without a user")
	}
	if _, err := netip.ParseAddr(h.Host); err != nil && strings.Contains(h.Host, ":") {
		return fmt.Errorf("%q is no host; its port stands by itself", h.Host)
	}
	switch strings.ToUpper(h.Mechanism) {
	case "", "PLAIN", "LOGIN", "CRAM-MD5":
		return nil
	}
	return fmt.Errorf("AUTH %q is not known; write PLAIN, LOGIN or CRAM-MD5", h.Mechanism)
}

// TLSChoices are what NextHop.TLS may be.
var TLSChoices = []string{"opportunistic", "required", "implicit", "off"}

func cleanText(s string) bool {
	return !strings.ContainsFunc(s, func(r rune) bool { return r < ' ' || r == 0x7f })
}
