//go:build soak

package crashtest

import (
	"context"
	"fmt"
	"io/fs"
	"net"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"
)

// mta is somebody else's mail system under its own configuration, on loopback.
type mta struct {
	addr  string
	queue string   // folder
	files []string // patterns in it: one file for each message that waits
}

// waiting is how many messages it holds.
func (m *mta) waiting() (n int) {
	_ = filepath.WalkDir(m.queue, func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return nil // it is working in there
		}
		rel, _ := filepath.Rel(m.queue, path)
		for _, p := range m.files {
			if strings.HasPrefix(rel, p[:strings.IndexByte(p, '*')]) && strings.HasSuffix(rel, p[strings.IndexByte(p, '*')+1:]) {
				n++
			}
		}
		return nil
	})
	return n
}

// listening waits until somebody answers at addr.
func listening(t *testing.T, addr, log string) {
	t.Helper()
	end := time.Now().Add(30 * time.Second)
	for tick := time.NewTicker(50 * time.Millisecond); ; <-tick.C {
		if c, err := net.Dial("tcp", addr); err == nil {
			c.Close()
			return
		}
		if time.Now().After(end) {
			text, _ := os.ReadFile(log)
			t.Fatalf("nobody answers at %s\n%s", addr, text)
		}
	}
}

// folder makes one that other users may enter, as mail systems want it.
func folder(t *testing.T, name string) string {
	t.Helper()
	dir, err := os.MkdirTemp("", name)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	if err := os.Chmod(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	return dir
}

func write(t *testing.T, path, text string) {
	t.Helper()
	if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
}

// postfix starts Postfix, which sends everything to next. extra are lines of main.cf.
func postfix(extra string) func(t *testing.T, next string) *mta {
	return func(t *testing.T, next string) *mta {
		exe, err := exec.LookPath("postfix")
		if err != nil || os.Getuid() != 0 {
			t.Skip("needs Postfix, and root to run it: apt-get install postfix")
		}
		d := folder(t, "postfix")
		host, port, _ := net.SplitHostPort(next)
		addr := freePort(t)
		for _, sub := range []string{"etc", "queue", "data"} {
			if err := os.Mkdir(filepath.Join(d, sub), 0o755); err != nil {
				t.Fatal(err)
			}
		}
		owner, err := user.Lookup("postfix")
		if err != nil {
			t.Skip("needs Postfix's user: ", err)
		}
		uid, _ := strconv.Atoi(owner.Uid)
		if err := os.Chown(filepath.Join(d, "data"), uid, -1); err != nil {
			t.Fatal(err)
		}
		write(t, filepath.Join(d, "etc/main.cf"), fmt.Sprintf(`compatibility_level = 3.6
myhostname = postfix.test
queue_directory = %[1]s/queue
data_directory = %[1]s/data
maillog_file = %[1]s/maillog
maillog_file_prefixes = %[1]s
inet_interfaces = 127.0.0.1
inet_protocols = ipv4
mydestination =
local_recipient_maps =
alias_maps =
alias_database =
mynetworks = 127.0.0.0/8
smtpd_relay_restrictions = permit_mynetworks, reject
smtpd_peername_lookup = no
smtp_dns_support_level = disabled
smtp_tls_security_level = none
smtpd_tls_security_level = none
smtpd_client_event_limit_exceptions = static:all
smtpd_hard_error_limit = 1000
smtpd_soft_error_limit = 1000
in_flow_delay = 0s
relayhost = [%[2]s]:%[3]s
%[4]s
`, d, host, port, extra))
		write(t, filepath.Join(d, "etc/master.cf"), addr+` inet n - n - - smtpd
cleanup   unix  n       -       n       -       0       cleanup
qmgr      unix  n       -       n       300     1       qmgr
tlsmgr    unix  -       -       n       1000?   1       tlsmgr
rewrite   unix  -       -       n       -       -       trivial-rewrite
bounce    unix  -       -       n       -       0       bounce
defer     unix  -       -       n       -       0       bounce
trace     unix  -       -       n       -       0       bounce
verify    unix  -       -       n       -       1       verify
flush     unix  n       -       n       1000?   0       flush
proxymap  unix  -       -       n       -       -       proxymap
smtp      unix  -       -       n       -       -       smtp
relay     unix  -       -       n       -       -       smtp
showq     unix  n       -       n       -       -       showq
error     unix  -       -       n       -       -       error
retry     unix  -       -       n       -       -       error
discard   unix  -       -       n       -       -       discard
anvil     unix  -       -       n       -       1       anvil
scache    unix  -       -       n       -       1       scache
postlog   unix-dgram n  -       n       -       1       postlogd
`)
		if out, err := exec.Command(exe, "-c", filepath.Join(d, "etc"), "start").CombinedOutput(); err != nil {
			t.Fatalf("postfix: %v\n%s", err, out)
		}
		t.Cleanup(func() {
			if out, err := exec.Command(exe, "-c", filepath.Join(d, "etc"), "stop").CombinedOutput(); err != nil {
				t.Errorf("postfix stop: %v\n%s", err, out)
			}
		})
		listening(t, addr, filepath.Join(d, "maillog"))
		return &mta{addr: addr, queue: filepath.Join(d, "queue"), files: []string{"incoming/*", "active/*", "deferred/*", "maildrop/*"}}
	}
}

// exim starts Exim, which sends everything to next. It cannot be installed beside
// Postfix, so EXIM names a folder into which its package was unpacked (see
// mtas.sh); without it Exim is looked for in the PATH.
func exim(t *testing.T, next string) *mta {
	exe, err := exec.LookPath("exim4")
	libs := ""
	if root := os.Getenv("EXIM"); root != "" {
		exe, err = filepath.Join(root, "usr/sbin/exim4"), nil
		libs = filepath.Join(root, "usr/lib/x86_64-linux-gnu")
		if found, _ := filepath.Glob(filepath.Join(root, "usr/lib/*-linux-gnu")); len(found) > 0 {
			libs = found[0]
		}
	}
	if err != nil || os.Getuid() != 0 {
		t.Skip("needs Exim, and root to run it: crashtest/mtas.sh FOLDER, and EXIM=FOLDER")
	}
	d := folder(t, "exim")
	host, port, _ := net.SplitHostPort(next)
	addr := freePort(t)
	_, own, _ := net.SplitHostPort(addr)
	const uid = 64999
	for _, sub := range []string{"spool", "log"} {
		if err := os.Mkdir(filepath.Join(d, sub), 0o750); err != nil {
			t.Fatal(err)
		}
		if err := os.Chown(filepath.Join(d, sub), uid, uid); err != nil {
			t.Fatal(err)
		}
	}
	write(t, filepath.Join(d, "conf"), fmt.Sprintf(`primary_hostname = exim.test
spool_directory = %[1]s/spool
log_file_path = %[1]s/log/%%slog
pid_file_path = %[1]s/spool/pid
exim_user = %[2]d
exim_group = %[2]d
deliver_drop_privilege
exim_path = %[6]s
ignore_bounce_errors_after = 0s
keep_environment =
add_environment = LD_LIBRARY_PATH=%[7]s
local_interfaces = 127.0.0.1
daemon_smtp_ports = %[3]s
smtp_accept_max = 0
smtp_accept_queue_per_connection = 0
helo_accept_junk_hosts = *
host_lookup =
rfc1413_query_timeout = 0s
tls_advertise_hosts =
acl_smtp_rcpt = take
acl_smtp_data = take
smtp_enforce_sync = false
begin acl
take:
  accept
begin routers
next:
  driver = manualroute
  transport = out
  route_list = * %[4]s byname
  self = send
begin transports
out:
  driver = smtp
  port = %[5]s
  allow_localhost
begin retry
* * F,1h,1s
`, d, uid, own, host, port, exe, libs))
	// The program asks for its user by name. It is given one in a mount namespace of its own.
	passwd, err := os.ReadFile("/etc/passwd")
	if err != nil {
		t.Fatal(err)
	}
	group, err := os.ReadFile("/etc/group")
	if err != nil {
		t.Fatal(err)
	}
	write(t, filepath.Join(d, "passwd"), string(passwd)+fmt.Sprintf("Debian-exim:x:%d:%d::%s:/usr/sbin/nologin\n", uid, uid, d))
	write(t, filepath.Join(d, "group"), string(group)+fmt.Sprintf("Debian-exim:x:%d:\n", uid))
	ctx, cancel := context.WithCancel(context.Background())
	cmd := exec.CommandContext(ctx, "unshare", "-m", "sh", "-c",
		`mount --bind "$1/passwd" /etc/passwd && mount --bind "$1/group" /etc/group && exec "$2" -C "$1/conf" -bdf -q5s`, "sh", d, exe)
	if libs != "" {
		cmd.Env = append(os.Environ(), "LD_LIBRARY_PATH="+libs)
	}
	log, err := os.Create(filepath.Join(d, "said"))
	if err != nil {
		t.Fatal(err)
	}
	cmd.Stdout, cmd.Stderr = log, log
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL}
	cmd.Cancel = func() error { return syscall.Kill(-cmd.Process.Pid, syscall.SIGTERM) }
	cmd.WaitDelay = 5 * time.Second
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		cancel()
		_ = cmd.Wait() // by our own signal
		log.Close()
		if t.Failed() {
			text, _ := os.ReadFile(filepath.Join(d, "log/mainlog"))
			t.Logf("Exim's log ends so:\n%s", text[max(0, len(text)-3000):])
		}
	})
	listening(t, addr, log.Name())
	return &mta{addr: addr, queue: filepath.Join(d, "spool"), files: []string{"input/*-H"}}
}
