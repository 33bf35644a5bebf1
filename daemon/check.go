package daemon

import (
	"crypto/tls"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"net/netip"
	"os"
	"reflect"
	"slices"
	"strconv"
	"strings"

	"github.com/tarishi/tarishi/internal/nearest"
)

// checkValue holds one value against its key's own rules (enum, min, max, check).
// text is the value as written. An empty what means that all is well.
func checkValue(v reflect.Value, text string, tag reflect.StructTag) (what, mend string) {
	if enum := tag.Get("enum"); enum != "" {
		allowed := strings.Split(enum, ",")
		if !slices.Contains(allowed, text) {
			mend = "one of " + strings.Join(allowed, ", ")
			if n := nearest.To(text, allowed); n != "" {
				mend = fmt.Sprintf("did you mean %q?", n)
			}
			return fmt.Sprintf("%q is not possible", text), mend
		}
	}
	for _, bound := range []struct {
		tag, word string
		sign      int
	}{{"min", "at least", -1}, {"max", "at most", +1}} {
		limit, ok := tag.Lookup(bound.tag)
		if !ok {
			continue
		}
		l := reflect.New(v.Type()).Elem()
		if err := setScalar(l, limit); err != nil {
			panic("daemon: " + bound.tag + " " + limit + " " + err.Error())
		}
		if compare(v, l) == bound.sign {
			return fmt.Sprintf("%s is too %s", text, map[int]string{-1: "small", 1: "large"}[bound.sign]), bound.word + " " + formatScalar(l)
		}
	}
	if name := tag.Get("check"); name != "" && text != "" {
		if err := checks[name](text); err != nil {
			return fmt.Sprintf("%q %s", withoutUser(text), err), ""
		}
	}
	return "", ""
}

func compare(a, b reflect.Value) int {
	if a.Kind() == reflect.Float64 {
		switch {
		case a.Float() < b.Float():
			return -1
		case a.Float() > b.Float():
			return 1
		}
		return 0
	}
	switch {
	case a.Int() < b.Int():
		return -1
	case a.Int() > b.Int():
		return 1
	}
	return 0
}

// checks are the syntax rules that keys name. Each error continues the sentence
// that began with the value.
var checks = map[string]func(string) error{
	"listen":  checkListen,
	"host":    checkHost,
	"domain":  checkHost,
	"pattern": checkPattern,
	"route":   checkRouteName,
	"limit":   func(string) error { return nil }, // needs the destinations: see checkLimits
	"via":     checkVia,
	"server":  checkServer,
	"address": checkAddress,
	"field":   checkFieldName,
	"plugin":  checkPluginName,
	"ip":      checkIP,
	"tenant":  checkTenant,
	"hours":   checkHours,
	"peer":    checkPeer,
	"node":    checkNodeName,
	"nats":    checkNATS,
}

// withoutUser takes the name and password out of a URL, which must not be repeated
// in messages.
func withoutUser(s string) string {
	if i, j := strings.Index(s, "://"), strings.LastIndexByte(s, '@'); 0 <= i && i < j {
		return s[:i+3] + "..." + s[j:]
	}
	return s
}

func checkPort(port string) error {
	if n, err := strconv.ParseUint(port, 10, 16); err != nil || port != strconv.FormatUint(n, 10) {
		return fmt.Errorf("has no port between 0 and 65535")
	}
	return nil
}

func checkListen(s string) error {
	host, port, err := net.SplitHostPort(s)
	if err != nil {
		return errors.New(`wants ip:port, such as 127.0.0.1:25, [::1]:25 or :25`)
	}
	if _, err := netip.ParseAddr(host); err != nil && host != "" && host != "localhost" {
		return errors.New("wants an IP address before the port, not a name")
	}
	return checkPort(port)
}

// checkHost accepts names as RFC 1123 §2.1 has them, and IDN labels.
func checkHost(s string) error {
	if len(s) > 253 {
		return errors.New("is longer than a domain name can be")
	}
	if _, err := netip.ParseAddr(s); err == nil {
		return errors.New("is an address, not a name")
	}
	for label := range strings.SplitSeq(s, ".") {
		if label == "" || len(label) > 63 || label[0] == '-' || label[len(label)-1] == '-' {
			return errors.New("is not a domain name")
		}
		for i := range len(label) {
			c := label[i]
			ok := c >= 0x80 || c == '-' || '0' <= c && c <= '9' || 'a' <= c && c <= 'z' || 'A' <= c && c <= 'Z'
			if !ok {
				return fmt.Errorf("is not a domain name: %q may not stand there", c)
			}
		}
	}
	return nil
}

func checkPattern(s string) error {
	if s == "*" {
		return nil
	}
	if err := checkHost(strings.TrimPrefix(s, "*.")); err != nil {
		return errors.New(`wants a domain, "*.domain" or "*"`)
	}
	return nil
}

func checkVia(s string) error {
	if path, unix := strings.CutPrefix(s, "lmtp:unix:"); unix {
		if !strings.HasPrefix(path, "/") || strings.ContainsAny(path, "\x00\n") {
			return errors.New(`wants the whole path of a socket, such as "lmtp:unix:/run/dovecot/lmtp"`)
		}
		return nil
	}
	host, port, err := net.SplitHostPort(strings.TrimPrefix(s, "lmtp:"))
	if err != nil {
		return errors.New(`wants "host:port", "lmtp:host:port" or "lmtp:unix:/path"`)
	}
	if _, err := netip.ParseAddr(host); err != nil && checkHost(host) != nil {
		return errors.New("has no host before the port")
	}
	if port == "0" {
		return errors.New("has no port between 1 and 65535")
	}
	return checkPort(port)
}

func checkServer(s string) error {
	if _, err := netip.ParseAddr(s); err == nil {
		return nil
	}
	if _, err := netip.ParseAddrPort(s); err != nil {
		return errors.New("wants ip or ip:port")
	}
	return nil
}

func checkAddress(s string) error {
	i := strings.LastIndexByte(s, '@')
	if i < 1 || checkHost(s[i+1:]) != nil || strings.ContainsAny(s[:i], " \t\r\n<>") || strings.Contains(s[:i], "@") {
		return errors.New("wants a mailbox such as admin@example.net")
	}
	return nil
}

func checkIP(s string) error {
	if a, err := netip.ParseAddr(s); err != nil || a.Zone() != "" || a.IsUnspecified() || a.IsMulticast() {
		return errors.New("wants an IP address of this machine")
	}
	return nil
}

// checkFieldName accepts the name of a header field (RFC 5322 §2.2) that no
// message needs for itself: it is taken out of all of them.
func checkFieldName(s string) error {
	if len(s) > 64 || strings.ContainsFunc(s, func(r rune) bool { return r <= ' ' || r > '~' || r == ':' }) {
		return errors.New("is no name of a header field; write one such as X-Tenant, without the colon")
	}
	lower := strings.ToLower(s)
	for _, taken := range []string{"from", "sender", "reply-to", "to", "cc", "bcc", "message-id", "in-reply-to", "references", "subject",
		"comments", "keywords", "date", "received", "return-path", "mime-version", "dkim-signature", "authentication-results"} {
		if lower == taken || strings.HasPrefix(lower, "content-") || strings.HasPrefix(lower, "resent-") || strings.HasPrefix(lower, "list-") || strings.HasPrefix(lower, "arc-") {
			return errors.New("is a field that messages need; choose one of your own, such as X-Tenant")
		}
	}
	return nil
}

// fault records a problem of a value that stands at path, or in what stands there.
func (l *loader) fault(path, what, mend string) {
	where, set := l.where[path]
	order := l.lines[path]
	// What stands in an item of a list has no default; when it was not written by
	// itself, the item was ("1000/1h").
	for at := path; !set; {
		i := strings.LastIndexAny(at, ".[")
		if i < 0 || at[i] == '.' && !strings.HasSuffix(at[:i], "]") {
			break
		}
		at = at[:i]
		where, set = l.where[at]
		order = l.lines[at]
	}
	if !set {
		where, order = "", 0
		what += " (the default)"
	}
	l.problems = append(l.problems, &Problem{Where: where, Field: path, What: what, Mend: mend, order: order})
}

// check looks at the keys together.
func (l *loader) check(c *Config) {
	l.checkRoles(c)
	l.checkPorts(c)
	l.checkTLS(c)
	l.checkListeners(c)
	l.checkLocal(c)
	l.checkRoutes(c)
	l.checkTenants(c)
	l.checkPlanned(c)
	l.checkReplies(c) // its named destinations may have limits
	l.checkLimits(c)
	l.checkCluster(c)
	l.checkPlugins(c)
	if c.Data == "" {
		l.fault("data", "names no folder", "")
	}
	if r := c.Retry; r.DelayNotice >= r.Expire {
		l.fault("retry.delay_notice", fmt.Sprintf("%s is not before retry.expire (%s)", formatDuration(r.DelayNotice), formatDuration(r.Expire)), "make it shorter, or 0 for no notice")
	}
	if len(c.Retry.Schedule) == 0 {
		l.fault("retry.schedule", "is empty", "write at least one delay")
	}
	if !strings.Contains(c.Hostname, ".") {
		c.Warnings = append(c.Warnings, fmt.Sprintf("hostname %q is not a full domain name; receivers will distrust it", c.Hostname))
	}
}

func (l *loader) checkRoles(c *Config) {
	if len(c.Roles) == 0 {
		l.fault("roles", "is empty", "a process without a role does nothing")
	}
	for i, r := range c.Roles {
		if slices.Index(c.Roles, r) < i {
			l.fault(fmt.Sprintf("roles[%d]", i), fmt.Sprintf("%q stands twice", r), "")
		}
	}
	if c.Has("ingress") && len(c.SMTP.Listeners()) == 0 {
		l.fault("smtp.listen", "is empty", "the ingress role needs an address to listen on")
	}
}

// checkPorts finds listeners that would take each other's address.
func (l *loader) checkPorts(c *Config) {
	type listener struct{ path, addr string }
	var all []listener
	for i, a := range c.SMTP.Listen {
		all = append(all, listener{l.itemPath("smtp.listen", i), a})
	}
	for i, a := range c.SMTP.TLSListen {
		all = append(all, listener{l.itemPath("smtp.tls_listen", i), a})
	}
	for i, x := range c.SMTP.More {
		all = append(all, listener{fmt.Sprintf("smtp.listeners[%d].address", i), x.Address})
	}
	if c.Admin.Listen != "" {
		all = append(all, listener{"admin.listen", c.Admin.Listen})
	}
	if host, port, err := net.SplitHostPort(c.Cluster.Listen); err == nil {
		p, _ := strconv.Atoi(port)
		for i := range 3 { // raft and control, NATS routes, NATS clients
			if p > 0 && p+i <= 65535 {
				all = append(all, listener{"cluster.listen", net.JoinHostPort(host, strconv.Itoa(p+i))})
			}
		}
	}
	for i, a := range all {
		for _, b := range all[:i] {
			if sameSocket(a.addr, b.addr) {
				l.fault(a.path, fmt.Sprintf("%s is already taken by %s (%s)", a.addr, b.path, b.addr), "choose another port")
				break
			}
		}
	}
}

// itemPath is path[i] when the list was written out, else path (a default list).
func (l *loader) itemPath(path string, i int) string {
	p := fmt.Sprintf("%s[%d]", path, i)
	if _, ok := l.where[p]; ok {
		return p
	}
	return path
}

// sameSocket tells whether two listen addresses collide. Port 0 is any free one.
func sameSocket(a, b string) bool {
	ah, ap, _ := net.SplitHostPort(a)
	bh, bp, _ := net.SplitHostPort(b)
	if ap != bp || ap == "0" {
		return false
	}
	any := func(h string) bool { return h == "" || h == "0.0.0.0" || h == "::" }
	norm := func(h string) string {
		if h == "localhost" {
			return "127.0.0.1"
		}
		return h
	}
	return norm(ah) == norm(bh) || any(ah) || any(bh)
}

func (l *loader) checkTLS(c *Config) {
	t := c.SMTP.TLS
	switch {
	case t.Cert == "" && t.Key == "":
		return
	case t.Cert == "":
		l.fault("smtp.tls.key", "is set without smtp.tls.cert", "set both or none")
		return
	case t.Key == "":
		l.fault("smtp.tls.cert", "is set without smtp.tls.key", "set both or none")
		return
	}
	cert, certOK := l.readPEM("smtp.tls.cert", t.Cert)
	key, keyOK := l.readPEM("smtp.tls.key", t.Key)
	if !certOK || !keyOK {
		return
	}
	if _, err := tls.X509KeyPair(cert, key); err != nil {
		l.fault("smtp.tls.cert", fmt.Sprintf("%s and %s do not make a certificate: %s", t.Cert, t.Key, strings.TrimPrefix(err.Error(), "tls: ")), "")
	}
}

func (l *loader) readPEM(path, file string) ([]byte, bool) {
	b, err := os.ReadFile(file)
	if err != nil {
		var pe *fs.PathError
		if errors.As(err, &pe) {
			err = pe.Err
		}
		l.fault(path, fmt.Sprintf("cannot read %s: %s", file, err), "")
	}
	return b, err == nil
}

func (l *loader) checkLocal(c *Config) {
	for i, d := range c.Local.Domains {
		if slices.IndexFunc(c.Local.Domains, func(o string) bool { return strings.EqualFold(o, d) }) < i {
			l.fault(fmt.Sprintf("local.domains[%d]", i), fmt.Sprintf("%q stands twice", d), "")
		}
		if c.Local.Via == "" && !slices.ContainsFunc(c.Routes, func(r Route) bool { return covers(r.To, d) }) {
			l.fault(fmt.Sprintf("local.domains[%d]", i), fmt.Sprintf("mail for %s has nowhere to go", d), `set local.via, such as "lmtp:127.0.0.1:24", or a route`)
		}
	}
	if len(c.Local.Domains) == 0 {
		if c.Local.Via != "" {
			l.fault("local.via", "is set but local.domains is empty", "list the domains it is for")
		}
		if c.Has("ingress") && len(c.Plugins.Run) == 0 { // which may take mail for others
			c.Warnings = append(c.Warnings, "local.domains is empty: only clients in smtp.relay_from can send, and nobody gets mail here")
		}
	}
}

// covers tells whether pattern ("*", "*.example.net", "example.net") holds domain.
func covers(pattern, domain string) bool {
	pattern, domain = strings.ToLower(pattern), strings.ToLower(domain)
	return pattern == "*" || pattern == domain || strings.HasPrefix(pattern, "*.") && strings.HasSuffix(domain, pattern[1:])
}

func checkRouteName(s string) error {
	if s == "" || len(s) > 64 || strings.Trim(strings.ToLower(s), "abcdefghijklmnopqrstuvwxyz0123456789-_") != "" {
		return fmt.Errorf("wants letters, digits, - and _, at most 64")
	}
	return nil
}

// checkLogin looks at how a route's host is talked to.
func (l *loader) checkLogin(r Route, at string) {
	a, sees := r.Auth, r.TLS != "opportunistic" && r.TLS != "off"
	switch {
	case a.User == "" && a != Login{}:
		l.fault(at+".auth", "has no user", "write the name that the host knows us by")
	case a.User != "" && a.PasswordFile == "":
		l.fault(at+".auth", "has no password_file", "write the password into a file that only this program can read")
	case a.User != "" && !sees && !a.Insecure:
		l.fault(at+".tls", fmt.Sprintf("%q would send the password where others can read it", r.TLS), "write required or implicit, or auth.insecure: true where the network is yours alone")
	}
	if proves := r.TLS == "required" || r.TLS == "implicit" || r.TLS == "" && a.User != "" && !a.Insecure; r.CA != "" && !proves {
		l.fault(at+".ca", "is for a host that must prove itself", "write tls: required or implicit")
	}
}

func (l *loader) checkRoutes(c *Config) {
	for i, r := range c.Routes {
		if r.Name != "" {
			if first := slices.IndexFunc(c.Routes, func(o Route) bool { return o.Name == r.Name }); first < i {
				l.fault(fmt.Sprintf("routes[%d].name", i), fmt.Sprintf("%q is the name of routes[%d] already", r.Name, first), "choose another")
			}
		}
		l.checkLogin(r, fmt.Sprintf("routes[%d]", i))
		if r.To == "" {
			if r.Name == "" {
				l.fault(fmt.Sprintf("routes[%d].to", i), "missing", "write whose mail goes there, or a name by which rules may send mail there")
			}
			continue
		}
		if first := slices.IndexFunc(c.Routes, func(o Route) bool { return strings.EqualFold(o.To, r.To) }); first < i {
			l.fault(fmt.Sprintf("routes[%d].to", i), fmt.Sprintf("%q has a route already (routes[%d])", r.To, first), "keep one")
		}
		if c.Local.Via != "" && slices.ContainsFunc(c.Local.Domains, func(d string) bool { return strings.EqualFold(d, r.To) }) {
			l.fault(fmt.Sprintf("routes[%d].to", i), fmt.Sprintf("%q is in local.domains and goes to local.via", r.To), "keep one of the two")
		}
	}
}
