package admin

import (
	"fmt"
	"mime"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"strings"
	"time"
)

// ClientHeader marks a request that no web page can have made: browsers let
// scripts set no header that begins with Sec- (Fetch standard, forbidden request
// headers). Programs that reach this node under a name it does not know send it.
const ClientHeader = "Sec-Tarishi"

// guarded keeps other people's web pages out. A page may make an operator's
// browser speak to us in two ways: from its own origin (cross-site request
// forgery), where the browser says so in Origin or Sec-Fetch-Site; and by DNS
// rebinding, where its own name points at our address, so that it seems to be our
// origin, but Host holds that name. So Host must be an address or a name we know,
// and Origin, if there is one, must be the same as Host.
func (s *Server) guarded(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Header.Get(ClientHeader) == "" {
			if !s.knownHost(r.Host) {
				fail(w, http.StatusForbidden, fmt.Sprintf("this node does not know itself as %q; use its address or hostname, or send the header %s: 1 from a script", r.Host, ClientHeader))
				return
			}
			if o := r.Header.Get("Origin"); o != "" && !sameOrigin(o, r.Host) {
				fail(w, http.StatusForbidden, fmt.Sprintf("a page of %s may not speak to this node; open the node's own page", o))
				return
			}
			if site := r.Header.Get("Sec-Fetch-Site"); site != "" && site != "same-origin" && site != "none" && !navigation(r) {
				fail(w, http.StatusForbidden, "a page of another site may not speak to this node; open the node's own page")
				return
			}
		}
		next.ServeHTTP(w, r)
	})
}

// navigation: following a link to the status page from elsewhere is harmless.
func navigation(r *http.Request) bool {
	return r.Method == http.MethodGet && r.URL.Path == "/" && r.Header.Get("Sec-Fetch-Mode") == "navigate"
}

func (s *Server) knownHost(hostport string) bool {
	host := hostport
	if h, _, err := net.SplitHostPort(hostport); err == nil {
		host = h
	}
	host = strings.ToLower(strings.TrimSuffix(strings.Trim(host, "[]"), "."))
	if _, err := netip.ParseAddr(host); err == nil {
		return true // rebinding needs a name
	}
	return host == "localhost" || s.hosts[host]
}

func sameOrigin(origin, host string) bool {
	u, err := url.Parse(origin)
	return err == nil && u.Host != "" && strings.EqualFold(u.Host, host)
}

// get and post let one method through and answer others with 405.
func get(h http.HandlerFunc) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Method != http.MethodGet && r.Method != http.MethodHead {
			w.Header().Set("Allow", "GET, HEAD")
			fail(w, http.StatusMethodNotAllowed, fmt.Sprintf("%s is read with GET, not %s", r.URL.Path, r.Method))
			return
		}
		h(w, r)
	})
}

func post(h http.HandlerFunc) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Method != http.MethodPost {
			w.Header().Set("Allow", "POST")
			fail(w, http.StatusMethodNotAllowed, fmt.Sprintf("%s is asked with POST, not %s", r.URL.Path, r.Method))
			return
		}
		// A form of a foreign page can only send three simple types; JSON makes the
		// browser ask first, and we answer no preflight.
		if t, _, err := mime.ParseMediaType(r.Header.Get("Content-Type")); err != nil || t != "application/json" {
			fail(w, http.StatusUnsupportedMediaType, "the order must be JSON; send Content-Type: application/json")
			return
		}
		h(w, r)
	})
}

// writeTime is how long one write to a client may take before it is cut off.
const writeTime = 30 * time.Second

// extend gives a streaming answer another writeTime from now.
func extend(w http.ResponseWriter) {
	// Fails only for a ResponseWriter without deadlines (a test's recorder).
	_ = http.NewResponseController(w).SetWriteDeadline(time.Now().Add(writeTime))
}
