package api

import (
	"net"
	"os"
	"runtime"
	"strings"
	"time"

	"github.com/dop251/goja"
)

// nodeVersion is the version of Node whose documentation says how the modules here
// behave; plugins ask for it with utils.node_min.
const nodeVersion = "20.0.0"

var began = time.Now()

// hostname is what the node calls itself, as scripts see it: os.hostname(), and the
// settings file me when there is none.
func (r *Runtime) hostname() string {
	if r.o.Hostname != "" {
		return r.o.Hostname
	}
	name, err := os.Hostname()
	if err != nil {
		return "localhost"
	}
	return name
}

// arch is the machine as Node calls it.
func arch() string {
	switch runtime.GOARCH {
	case "amd64":
		return "x64"
	case "386":
		return "ia32"
	}
	return runtime.GOARCH
}

func nativeProcess(r *Runtime) any {
	vm := r.vm
	facts := vm.NewObject()
	facts.Set("title", "tarishi")
	facts.Set("pid", os.Getpid())
	facts.Set("platform", runtime.GOOS)
	facts.Set("arch", arch())
	facts.Set("version", "v"+nodeVersion)
	versions := vm.NewObject()
	versions.Set("node", nodeVersion)
	facts.Set("versions", versions)
	o := vm.NewObject()
	o.Set("facts", facts)
	o.Set("folder", r.o.Folder)
	o.Set("uptime", func() float64 { return time.Since(began).Seconds() })
	o.Set("clock", func() int64 { return int64(time.Since(began)) })
	return o
}

func nativeOS(r *Runtime) any {
	vm := r.vm
	calls := vm.NewObject()
	calls.Set("hostname", r.hostname)
	calls.Set("platform", func() string { return runtime.GOOS })
	calls.Set("type", func() string {
		return map[string]string{"linux": "Linux", "darwin": "Darwin", "freebsd": "FreeBSD", "openbsd": "OpenBSD", "netbsd": "NetBSD"}[runtime.GOOS]
	})
	calls.Set("arch", arch)
	calls.Set("endianness", func() string { return "LE" })
	calls.Set("tmpdir", func() string { return strings.TrimSuffix(os.TempDir(), "/") })
	calls.Set("uptime", func() float64 { return time.Since(began).Seconds() })
	calls.Set("networkInterfaces", func() goja.Value { return networkInterfaces(r) })
	o := vm.NewObject()
	o.Set("facts", vm.NewObject())
	o.Set("calls", calls)
	return o
}

// networkInterfaces are this machine's addresses, as Node lists them.
func networkInterfaces(r *Runtime) goja.Value {
	out := r.vm.NewObject()
	all, err := net.Interfaces()
	if err != nil {
		return out
	}
	for _, i := range all {
		addrs, err := i.Addrs()
		if err != nil || i.Flags&net.FlagUp == 0 {
			continue
		}
		var list []any
		for _, a := range addrs {
			n, ok := a.(*net.IPNet)
			if !ok {
				continue
			}
			family := "IPv6"
			if n.IP.To4() != nil {
				family = "IPv4"
			}
			mac := i.HardwareAddr.String()
			if mac == "" {
				mac = "00:00:00:00:00:00"
			}
			x := r.vm.NewObject()
			x.Set("address", n.IP.String())
			x.Set("netmask", net.IP(n.Mask).String())
			x.Set("family", family)
			x.Set("mac", mac)
			x.Set("internal", i.Flags&net.FlagLoopback != 0)
			x.Set("cidr", n.String())
			list = append(list, x)
		}
		if list != nil {
			out.Set(i.Name, r.vm.NewArray(list...))
		}
	}
	return out
}
