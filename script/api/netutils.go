package api

import (
	"net/netip"
	"slices"

	"github.com/dop251/goja"
)

// Networks as haraka-net-utils counts them.
var (
	localNets = prefixes("0.0.0.0/32", "127.0.0.0/8", "169.254.0.0/16", "::/128", "::1/128", "fe80::/10", "fc00::/7")
	// RFC 1918, and the networks that are for examples (RFC 5737).
	privateNets = prefixes("10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16", "192.0.2.0/24", "198.51.100.0/24", "203.0.113.0/24")
)

func prefixes(all ...string) (out []netip.Prefix) {
	for _, s := range all {
		out = append(out, netip.MustParsePrefix(s))
	}
	return out
}

func within(nets []netip.Prefix, s string) bool {
	ip, err := netip.ParseAddr(s)
	return err == nil && slices.ContainsFunc(nets, func(p netip.Prefix) bool { return p.Contains(ip) })
}

// nativeNetUtils is what js/haraka-net-utils.js leaves to Go.
func nativeNetUtils(r *Runtime) any {
	o := r.vm.NewObject()
	o.Set("local", func(s string) bool { return within(localNets, s) })
	o.Set("private", func(s string) bool { return within(privateNets, s) })
	o.Set("normal", func(s string) goja.Value {
		ip, err := netip.ParseAddr(s)
		if err != nil {
			return goja.Null()
		}
		return r.vm.ToValue(ip.Unmap().WithZone("").String())
	})
	// An address, or a network in CIDR form; what is neither contains nothing.
	o.Set("contains", func(item, s string) bool {
		ip, err := netip.ParseAddr(s)
		if err != nil {
			return false
		}
		if p, err := netip.ParsePrefix(item); err == nil {
			return p.Masked().Contains(ip)
		}
		other, err := netip.ParseAddr(item)
		return err == nil && other == ip
	})
	return o
}
