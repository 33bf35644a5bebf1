package command

import (
	"fmt"
	"os"
	"syscall"

	"github.com/spf13/cobra"

	"github.com/tarishi/tarishi/bench"
)

// benchIdle is `tarishi bench idle`: clients that are there and say nothing.
func benchIdle() *cobra.Command {
	var i bench.Idle
	var quiet, asJSON bool
	c := &cobra.Command{
		Use:   "idle --to HOST:PORT",
		Short: "Open connections that say hello and then nothing, and hold them",
		Long: `Open connections that say hello and then nothing, hold them, and ask each at the
end whether it is still there. Run bench source beside it, with and without, to
see what they cost the others. Each connection takes a file descriptor, here and
at the server.`,
		Example: `  tarishi bench idle --to 127.0.0.1:2525 --connections 20000 --hold 1m`,
		Args:    cobra.NoArgs, SilenceUsage: true,
		RunE: func(cmd *cobra.Command, _ []string) error {
			var lim syscall.Rlimit
			if err := syscall.Getrlimit(syscall.RLIMIT_NOFILE, &lim); err == nil && uint64(i.Connections)+20 > uint64(lim.Cur) {
				return fmt.Errorf("--connections: %d need more file descriptors than the %d this process may have (ulimit -n)", i.Connections, lim.Cur)
			}
			if !quiet {
				i.Opened = func(n int) { fmt.Fprintf(os.Stderr, "%d open\n", n) }
			}
			ctx, cancel := untilSignal(cmd.Context())
			defer cancel()
			r, err := i.Run(ctx)
			return show(cmd.OutOrStdout(), r, r != nil, asJSON, quiet, err)
		},
	}
	f := c.Flags()
	f.StringVar(&i.To, "to", "127.0.0.1:2525", "server to connect to, host:port")
	f.IntVar(&i.Connections, "connections", 10000, "connections to open")
	f.StringSliceVar(&i.From, "from", nil, "our addresses, taken in turn: from one of them to one port there are at most some 28,000")
	f.StringVar(&i.Helo, "helo", "idle.test", "name to greet with")
	f.DurationVar(&i.Hold, "hold", 0, "how long, once all are open (0: until interrupted)")
	f.DurationVar(&i.Timeout, "timeout", 0, "for each step (default 1m)")
	outputFlags(c, &quiet, &asJSON)
	return c
}
