package relay_test

import (
	"net/netip"

	"github.com/tarishi/tarishi/plugin"
)

func connection(ip string) *plugin.Connection {
	return &plugin.Connection{Remote: netip.AddrPortFrom(netip.MustParseAddr(ip), 25)}
}
