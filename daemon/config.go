// Package daemon answers one question: what was this process told to do? It
// reads the configuration (file, then environment), checks it as a whole,
// prints it, builds the logger, locks the data folder and turns signals into a
// drain.
//
// A bad configuration is refused at start, with every fault at once, each with
// its file, line, field and mend. The package never opens a port, never speaks
// to another host and never decides anything about mail.
package daemon

import (
	"fmt"
	"net/netip"
	"os"
	"strings"
	"time"

	"github.com/tarishi/tarishi/mail"
)

// Config is everything a node can be told. Each key is declared once, here: its
// name (yaml), its default, its allowed values (enum, min, max, check) and its
// meaning with its unit (doc). Decoding, validation, `config print` and the
// environment all read these tags.
//
// A Config is made by Load and not changed afterwards, so it may be shared.
type Config struct {
	Hostname     string                 `yaml:"hostname" check:"host" doc:"This host's full name, as it appears in the banner, EHLO, Received and message ids. Default: the machine's own name."`
	Data         string                 `yaml:"data" default:"./tarishi-data" doc:"Folder of the queue and everything else that must survive a restart. One process at a time."`
	Roles        []string               `yaml:"roles" default:"ingress,scheduler,deliverer" enum:"ingress,scheduler,deliverer" doc:"What this process does: ingress accepts mail, scheduler keeps the limits and, unless cluster.nats names another place, the queue, deliverer sends. In a cluster a node without scheduler keeps nothing and may come and go."`
	Drain        time.Duration          `yaml:"drain" default:"25s" min:"0s" max:"1h" doc:"How long SIGTERM waits for open transactions before it cuts them."`
	SMTP         SMTP                   `yaml:"smtp" doc:"Mail coming in."`
	Admin        Admin                  `yaml:"admin" doc:"The HTTP port for operators: API, metrics, health, dashboard."`
	Queue        Queue                  `yaml:"queue" doc:"What is stored between accepting and delivering."`
	Plugins      Plugins                `yaml:"plugins" doc:"Who else is asked about mail on its way in and out."`
	Local        Local                  `yaml:"local" doc:"Domains whose mail ends here."`
	Delivery     Delivery               `yaml:"delivery" doc:"Mail going out."`
	Retry        Retry                  `yaml:"retry" doc:"What happens after a temporary failure."`
	Routes       []Route                `yaml:"routes" doc:"Where mail for some domains goes instead of their MX. The most specific pattern wins."`
	Destinations map[string]Destination `yaml:"destinations" doc:"Names for groups of receivers: all their domains count together."`
	Tenants      map[string]Tenant      `yaml:"tenants" doc:"Whose mail it is, and their weights: where a destination does not take everything at once, each tenant's mail goes by its weight. Who is not listed has weight 1."`
	Classes      Classes                `yaml:"classes" doc:"High, normal and bulk mail of the same destination: which goes first."`
	Limits       []Limit                `yaml:"limits" doc:"How much one destination is sent, by the whole cluster. The most specific rule that gives a field wins. Limits set at run time (tarishi limits) replace these field by field."`
	Replies      Replies                `yaml:"replies" doc:"What receivers' replies mean, and what is done about them."`
	Cluster      Clustering             `yaml:"cluster" doc:"The other nodes. Without peers this node is alone and everything is embedded."`
	Suppress     Suppress               `yaml:"suppress" doc:"The list of those who are sent nothing (tarishi suppress)."`
	Log          Log                    `yaml:"log" doc:"The log on standard error."`

	// Warnings are things that work but that the operator should know; one sentence each.
	Warnings []string `yaml:"-"`

	replies *ruleSet `yaml:"-"` // read from Replies
	file    string   `yaml:"-"` // it was read from; empty: none
}

// Size is a number of octets: "64KiB", "50MB", "4096".
type Size int64

// SMTP is the listening side.
type SMTP struct {
	Listen         []string       `yaml:"listen" default:"127.0.0.1:2525" check:"listen" doc:"Addresses (ip:port) that speak plaintext SMTP, with STARTTLS when a certificate is set."`
	TLSListen      []string       `yaml:"tls_listen" check:"listen" doc:"Addresses (ip:port) that speak TLS from the first octet (465). Needs a certificate."`
	More           []Listener     `yaml:"listeners" doc:"Further addresses, each with ways of its own: submission, proxies."`
	ProxyFrom      []netip.Prefix `yaml:"proxy_from" doc:"Peers (CIDR) that begin every connection with a PROXY header (version 1 or 2; HAProxy and its kin): the client it names is the client. Without a header they are hung up on. Nobody else's is believed."`
	XClientFrom    []netip.Prefix `yaml:"xclient_from" doc:"Clients (CIDR) that may say by XCLIENT (Postfix, nginx) whose mail they bring. Nobody else is believed."`
	Hostname       string         `yaml:"hostname" check:"host" doc:"Name in the banner and in Received, where it differs from the top-level hostname."`
	TLS            TLS            `yaml:"tls" doc:"The certificates of all addresses."`
	MaxMessageSize Size           `yaml:"max_message_size" default:"50MiB" min:"64KiB" max:"2GiB" doc:"Largest message accepted, in octets (SIZE, RFC 1870)."`
	MaxHeaderSize  Size           `yaml:"max_header_size" default:"1MiB" min:"64KiB" max:"64MiB" doc:"Largest header block accepted, in octets."`
	MaxRecipients  int            `yaml:"max_recipients" default:"1000" min:"100" max:"100000" doc:"Recipients of one message; the next one gets 452 4.5.3. RFC 5321 asks for at least 100."`
	MaxReceived    int            `yaml:"max_received" default:"100" min:"100" max:"1000" doc:"Received fields of a message; one with more is a loop and gets 554 5.4.6."`
	RelayFrom      []netip.Prefix `yaml:"relay_from" default:"127.0.0.0/8,::1/128" doc:"Client networks (CIDR) that may send to any domain. Everyone else reaches only local.domains."`
	Clients        []Client       `yaml:"clients" doc:"Whose mail the clients of some networks in relay_from bring, and in which class."`
	TenantHeader   string         `yaml:"tenant_header" check:"field" doc:"Header field by which clients in relay_from name the tenant whose mail it is, such as X-Tenant, for limits per tenant. It is taken out of every message. Default: none."`
	Headers        SMTPHeaders    `yaml:"headers" doc:"Names of further fields by which clients in relay_from say how a message is to be treated."`
	FarthestSendAt time.Duration  `yaml:"farthest_send_at" default:"30d" min:"0s" max:"365d" doc:"How far off clients in relay_from may have mail sent, by header field or FUTURERELEASE (RFC 4865). 0: not at all."`
	ShortestExpiry time.Duration  `yaml:"shortest_expiry" default:"1m" min:"1s" max:"30d" doc:"A message may ask to be given up this long after it may be sent, and no sooner."`
	LongestExpiry  time.Duration  `yaml:"longest_expiry" default:"30d" min:"1m" max:"365d" doc:"And this long after it, and no later; retry.expire is always possible."`
	Auth           Auth           `yaml:"auth" doc:"Clients that prove who they are (RFC 4954) may send to any domain, wherever they come from."`
	LaxPaths       bool           `yaml:"lax_paths" default:"false" doc:"Accept MAIL FROM: <a@b> and MAIL FROM:a@b, which many clients send and no standard allows."`
	Limits         SMTPLimits     `yaml:"limits" doc:"What strangers may cost us."`
	Timeouts       SMTPTimeouts   `yaml:"timeouts" doc:"How long strangers may keep us waiting."`
}

// TLS says where certificates and their keys are, in PEM files.
type TLS struct {
	Cert   string `yaml:"cert" doc:"File with the certificate chain, PEM, own certificate first, for clients that ask for no name or for nobody's. Empty: that for hostname out of folder. Read anew when it changes."`
	Key    string `yaml:"key" doc:"File with the certificate's private key, PEM."`
	Folder string `yaml:"folder" doc:"Folder of certificates by the name a client asks for (SNI): NAME.pem with chain and key, NAME.crt with NAME.key, or NAME/fullchain.pem with NAME/privkey.pem. The names are those in the certificates. Read anew when they change. Neither cert nor folder: no TLS."`
}

// Auth is who may prove to be whom.
type Auth struct {
	Users      string   `yaml:"users" doc:"File of users, one name:hash or name:hash:tenant a line; see tarishi auth hash. Read anew when it changes. Empty: AUTH is not offered."`
	Mechanisms []string `yaml:"mechanisms" default:"PLAIN,LOGIN,SCRAM-SHA-256" enum:"PLAIN,LOGIN,SCRAM-SHA-256,CRAM-MD5" doc:"SASL mechanisms, each offered when some hash in the file is of a kind that it can use. CRAM-MD5 needs passwords in clear in the file and is for clients that know nothing better."`
	Senders    string   `yaml:"senders" doc:"File that says what users may send as, name: address @domain ... or name: * a line; 553 5.7.1 for anything else. Who is not listed may send as the address that is his name. Read anew when it changes. Empty: users may send as anybody."`
	Insecure   bool     `yaml:"insecure" default:"false" doc:"Offer AUTH without TLS, too: passwords then go over the wire in clear."`
}

// SMTPLimits bounds sessions of the listening side.
type SMTPLimits struct {
	Connections      int  `yaml:"connections" default:"30000" min:"1" max:"1000000" doc:"Open connections in all; the next one gets 421."`
	ConnectionsPerIP int  `yaml:"connections_per_ip" default:"1000" min:"1" max:"1000000" doc:"Open connections of one client address (IPv6: one /64); the next one gets 421. Clients in relay_from are not counted."`
	BodyLine         Size `yaml:"body_line" default:"1MiB" min:"1000" max:"64MiB" doc:"Longest line of a message accepted, in octets."`
	Errors           int  `yaml:"errors" default:"20" min:"3" max:"10000" doc:"Mistakes of a client since its last accepted message before 421 and close."`
	Junk             int  `yaml:"junk" default:"100" min:"10" max:"100000" doc:"Commands that bring no mail forward (NOOP, RSET, VRFY, EHLO) since the last accepted message before 421 and close."`
	Refusals         int  `yaml:"refusals" default:"200" min:"10" max:"1000000" doc:"Recipients refused for good in one connection before 421 and close (dictionary attacks)."`
	Discard          Size `yaml:"discard" default:"16MiB" min:"64KiB" max:"2GiB" doc:"Octets of a refused message that are read in search of its end before the connection is closed."`
}

// SMTPTimeouts bounds the patience of the listening side.
type SMTPTimeouts struct {
	Command   time.Duration `yaml:"command" default:"5m" min:"1s" max:"1h" doc:"From our reply to the last octet of the client's next command (RFC 5321 4.5.3.2.7: 5 minutes)."`
	Block     time.Duration `yaml:"block" default:"5m" min:"1s" max:"1h" doc:"Wait for the next octets of a message."`
	Message   time.Duration `yaml:"message" default:"2h" min:"1m" max:"7d" doc:"One message, from DATA to the final dot."`
	Session   time.Duration `yaml:"session" default:"1d" min:"1m" max:"30d" doc:"One connection; an open transaction may finish."`
	Handshake time.Duration `yaml:"handshake" default:"30s" min:"1s" max:"5m" doc:"One TLS handshake."`
	Write     time.Duration `yaml:"write" default:"2m" min:"1s" max:"1h" doc:"Wait for the client to take our replies."`
	Greeting  time.Duration `yaml:"greeting" default:"0s" max:"30s" doc:"Pause before the banner; a client that talks in it is turned away. 0: no pause."`
	MinRate   Size          `yaml:"min_rate" default:"64" max:"1GiB" doc:"Octets a second that a message must bring, averaged over 3 minutes; slower gets 421. 0: any."`
}

// Admin is the operators' HTTP port.
type Admin struct {
	Listen string `yaml:"listen" default:"127.0.0.1:8025" check:"listen" doc:"Address (ip:port) of the admin port. It has no password: keep it on a private address. Empty: none."`
}

// Queue is the store.
type Queue struct {
	MaxBytes  Size   `yaml:"max_bytes" default:"0" doc:"Storage for queued mail, in octets; 452 4.3.1 from 80 % on. 0: three quarters of what is free and what the folder holds already."`
	MaxInline Size   `yaml:"max_inline" default:"64KiB" min:"1KiB" max:"1MiB" doc:"A message is stored inside its record when its size, in octets, times its deliveries is at most this; otherwise once, apart."`
	Sync      string `yaml:"sync" default:"auto" enum:"auto,barrier,always" doc:"How mail reaches the disk before the 250: one fsync for many messages (barrier), one each (always), or whichever the disk allows (auto)."`
}

// Local is mail whose journey ends at this host.
type Local struct {
	Domains    []string `yaml:"domains" check:"domain" doc:"Domains anybody may send to."`
	Via        string   `yaml:"via" check:"via" doc:"Who takes their mail: \"lmtp:host:port\", \"lmtp:unix:/path\" or \"host:port\". With TLS or AUTH write a route instead."`
	Postmaster string   `yaml:"postmaster" check:"address" doc:"Who gets mail for <postmaster> without a domain. Default: postmaster at the first local domain."`
}

// Delivery is the sending side.
type Delivery struct {
	Helo          string           `yaml:"helo" check:"host" doc:"Name given in EHLO; it should resolve to the source address. Default: hostname."`
	Source        string           `yaml:"source" check:"ip" doc:"Our address for outgoing connections; hosts of the other IP version are then not reached. Default: whichever the system takes."`
	Hand          Hand             `yaml:"hand" doc:"Deliveries held in memory by one deliverer."`
	Connections   int              `yaml:"connections" default:"20" min:"1" max:"10000" doc:"Connections of this node to one destination, where no limit says otherwise."`
	PerConnection int              `yaml:"per_connection" default:"100" min:"1" max:"100000" doc:"Messages over one connection, where no limit says otherwise."`
	Idle          time.Duration    `yaml:"idle" default:"4s" min:"0s" max:"5m" doc:"How long an unused connection is kept for the next message."`
	TLS           string           `yaml:"tls" default:"opportunistic" enum:"opportunistic,off" doc:"opportunistic: STARTTLS where offered, plaintext on a new connection if the handshake fails. off: plaintext."`
	Timeouts      DeliveryTimeouts `yaml:"timeouts" doc:"Patience with receivers."`
	DNS           DNS              `yaml:"dns" doc:"The resolver."`
	AllowTargets  []netip.Prefix   `yaml:"allow_targets" doc:"Networks (CIDR) that mail may be sent to although they are private or loopback. Routes need no entry."`
}

// Hand bounds what a deliverer holds.
type Hand struct {
	Jobs  int  `yaml:"jobs" default:"2000" min:"1" max:"1000000" doc:"Deliveries."`
	Bytes Size `yaml:"bytes" default:"64MiB" min:"1MiB" max:"64GiB" doc:"Octets of their messages."`
}

// DeliveryTimeouts are those of RFC 5321 4.5.3.2.
type DeliveryTimeouts struct {
	Connect time.Duration `yaml:"connect" default:"30s" min:"1s" max:"10m" doc:"TCP connection."`
	Banner  time.Duration `yaml:"banner" default:"5m" min:"1s" max:"1h" doc:"Greeting, and the reply to EHLO."`
	Command time.Duration `yaml:"command" default:"5m" min:"1s" max:"1h" doc:"Replies to MAIL and RCPT."`
	Data    time.Duration `yaml:"data" default:"2m" min:"1s" max:"1h" doc:"Reply to DATA."`
	Block   time.Duration `yaml:"block" default:"3m" min:"1s" max:"1h" doc:"Writing one block of the message."`
	Dot     time.Duration `yaml:"dot" default:"10m" min:"1s" max:"1h" doc:"Reply to the final dot."`
}

// DNS is the resolver's part.
type DNS struct {
	Servers  []string      `yaml:"servers" check:"server" doc:"Resolvers (ip or ip:port), asked in order. Default: those of /etc/resolv.conf."`
	Timeout  time.Duration `yaml:"timeout" default:"5s" min:"100ms" max:"1m" doc:"Wait for one answer."`
	Attempts int           `yaml:"attempts" default:"2" min:"1" max:"10" doc:"Rounds over the servers before the lookup fails."`
}

// Retry is the life of a deferred delivery.
type Retry struct {
	Schedule    []time.Duration `yaml:"schedule" default:"1m,5m,15m,1h,4h" min:"1s" max:"7d" doc:"Delays after the first, second, ... failed attempt; the last one repeats."`
	Jitter      float64         `yaml:"jitter" default:"0.1" min:"0" max:"0.5" doc:"Share of each delay that is left to chance, so that retries do not march in step. 0.1: plus or minus 10 %."`
	Expire      time.Duration   `yaml:"expire" default:"5d" min:"1m" max:"30d" doc:"Age at which a message is given up and returned to its sender."`
	DelayNotice time.Duration   `yaml:"delay_notice" default:"4h" max:"30d" doc:"Age at which the sender is told once that the message is late. 0: never."`
}

// Route sends some domains elsewhere than to their MX; or, at a reply's word, single
// deliveries.
type Route struct {
	To   string `yaml:"to" check:"pattern" doc:"A domain, \"*.domain\" (its subdomains) or \"*\". With a name it may be left out."`
	Via  string `yaml:"via" check:"via" required:"yes" doc:"\"host:port\", \"lmtp:host:port\" or \"lmtp:unix:/path\"."`
	Name string `yaml:"name" check:"route" doc:"A name by which rules about replies may send a delivery this way (reroute via NAME), and plugins too."`
	TLS  string `yaml:"tls" enum:"opportunistic,required,implicit,off" doc:"opportunistic: STARTTLS where offered, with any certificate. required: STARTTLS with a certificate that proves the host. implicit: so, and TLS before the greeting (port 465). off: plaintext. Default: with auth required, else as delivery.tls says."`
	CA   string `yaml:"ca" doc:"PEM file of the authorities that the host's certificate may be from, with tls required or implicit. Default: those of the system."`
	Auth Login  `yaml:"auth" doc:"How we prove to the host who we are (a smart host)."`
}

// Login is a name and the file of its password.
type Login struct {
	User         string `yaml:"user" doc:"The name. Empty: we prove nothing."`
	PasswordFile string `yaml:"password_file" doc:"File whose first line is the password. It is read at each connection, so that it may be changed."`
	Mechanism    string `yaml:"mechanism" enum:"PLAIN,LOGIN,CRAM-MD5" doc:"Default: the first of these that the host offers."`
	Insecure     bool   `yaml:"insecure" doc:"AUTH may also go in clear, or with a certificate that nobody has looked at, for a network that is yours alone."`
}

// Log is the log.
type Log struct {
	Level    string `yaml:"level" default:"info" enum:"debug,info,warn,error" doc:"The least important line that is written."`
	Format   string `yaml:"format" default:"text" enum:"text,json" doc:"text for people, json for collectors."`
	Attempts bool   `yaml:"attempts" default:"true" doc:"One line for each delivery attempt."`
}

// Has tells whether the node runs role.
func (c *Config) Has(role string) bool {
	for _, r := range c.Roles {
		if r == role {
			return true
		}
	}
	return false
}

// Load reads the configuration: the defaults, then the file at path (none when
// path is empty), then the TARISHI_ variables of env ("NAME=value", as
// os.Environ gives them). It reads certificate files to see that they match but
// connects to nothing.
//
// The error is a Problems: all faults, not only the first.
func Load(path string, env []string) (*Config, error) {
	var src []byte
	if path != "" {
		b, err := os.ReadFile(path)
		if err != nil {
			return nil, fmt.Errorf("cannot read the configuration: %w", err)
		}
		src = b
	}
	return Parse(path, src, env)
}

// Again reads the configuration anew from where c was read.
func (c *Config) Again(env []string) (*Config, error) { return Load(c.file, env) }

// Parse is Load for a configuration already in memory; file is its name in messages.
func Parse(file string, src []byte, env []string) (*Config, error) {
	c := &Config{file: file}
	setDefaults(c)
	l := &loader{file: file, where: map[string]string{}}
	l.decodeFile(src, c)
	l.decodeEnv(env, c)
	return l.finish(c)
}

// finish completes and checks what was read.
func (l *loader) finish(c *Config) (*Config, error) {
	if len(l.problems) == 0 {
		c.complete()
		l.check(c)
	}
	if len(l.problems) > 0 {
		l.problems.sort()
		return nil, l.problems
	}
	return c, nil
}

// complete fills the defaults that depend on other keys or on the machine.
func (c *Config) complete() {
	if c.Hostname == "" {
		c.Hostname = machineName()
	}
	// On the wire a name is ASCII, however the operator wrote it.
	for _, name := range []*string{&c.Hostname, &c.SMTP.Hostname, &c.Delivery.Helo} {
		if strings.ContainsFunc(*name, func(r rune) bool { return r >= 0x80 }) {
			*name = string(mail.CanonicalDomain(*name))
		}
	}
	if c.SMTP.Hostname == "" {
		c.SMTP.Hostname = c.Hostname
	}
	if c.Delivery.Helo == "" {
		c.Delivery.Helo = c.Hostname
	}
	if c.Local.Postmaster == "" && len(c.Local.Domains) > 0 {
		c.Local.Postmaster = "postmaster@" + c.Local.Domains[0]
	}
	for i, s := range c.Delivery.DNS.Servers {
		c.Delivery.DNS.Servers[i] = withPort(s, "53")
	}
	c.Cluster.complete()
}
