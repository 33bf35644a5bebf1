package daemon

import (
	"fmt"
	"net/netip"
	"slices"
)

// Listener is an address to listen on that has ways of its own.
type Listener struct {
	Address    string         `yaml:"address" check:"listen" required:"yes" doc:"Address (ip:port)."`
	TLS        string         `yaml:"tls" enum:"starttls,implicit" doc:"implicit: TLS from the first octet (465). Default: starttls, where there is a certificate."`
	Submission bool           `yaml:"submission" doc:"For the users of this host (RFC 6409; 587, 465): MAIL needs AUTH, Date and Message-ID are added where they are missing, Bcc is taken out."`
	ProxyFrom  []netip.Prefix `yaml:"proxy_from" doc:"As smtp.proxy_from, and besides it, for this address alone."`
}

// Implicit tells whether the address speaks TLS from the first octet.
func (l *Listener) Implicit() bool { return l.TLS == "implicit" }

// Listeners are all addresses for SMTP, those of listen and tls_listen first.
func (s *SMTP) Listeners() []Listener {
	var out []Listener
	for _, a := range s.Listen {
		out = append(out, Listener{Address: a})
	}
	for _, a := range s.TLSListen {
		out = append(out, Listener{Address: a, TLS: "implicit"})
	}
	out = append(out, s.More...)
	for i := range out {
		out[i].ProxyFrom = slices.Concat(s.ProxyFrom, out[i].ProxyFrom)
	}
	return out
}

// HasCertificate tells whether TLS can be spoken.
func (t *TLS) HasCertificate() bool { return t.Cert != "" || t.Folder != "" }

// checkListeners looks at what the addresses are for.
func (l *loader) checkListeners(c *Config) {
	s := &c.SMTP
	if len(s.TLSListen) > 0 && !s.TLS.HasCertificate() {
		l.fault("smtp.tls_listen", "needs a certificate", "set smtp.tls.cert and smtp.tls.key")
	}
	for i, x := range s.More {
		at := fmt.Sprintf("smtp.listeners[%d]", i)
		if x.Implicit() && !s.TLS.HasCertificate() {
			l.fault(at+".tls", "needs a certificate", "set smtp.tls.cert and smtp.tls.key, or smtp.tls.folder")
		}
		if x.Submission && s.Auth.Users == "" {
			l.fault(at+".submission", "needs users: nobody could send there", "set smtp.auth.users")
		}
		l.checkBelieved(at+".proxy_from", x.ProxyFrom)
	}
	l.checkBelieved("smtp.proxy_from", s.ProxyFrom)
	l.checkBelieved("smtp.xclient_from", s.XClientFrom)
	if s.Auth.Senders != "" && s.Auth.Users == "" {
		l.fault("smtp.auth.senders", "says what users may send as, and there are none", "set smtp.auth.users")
	}
}

// checkBelieved refuses to take everybody's word for who the client is.
func (l *loader) checkBelieved(path string, networks []netip.Prefix) {
	for _, n := range networks {
		if n.Bits() == 0 {
			l.fault(path, n.String()+" is everybody: any client could say it is another", "list the proxies alone")
		}
	}
}
