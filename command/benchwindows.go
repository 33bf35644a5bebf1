package command

import (
	"io"
	"os"
	"time"

	"github.com/spf13/cobra"

	"github.com/tarishi/tarishi/bench/windows"
)

// benchWindows is `tarishi bench windows`: the judge over what a sink recorded.
func benchWindows() *cobra.Command {
	var records, messages, recipients, opens, slots, perConnection, groups []string
	var from, to time.Duration
	var quiet, asJSON bool
	c := &cobra.Command{
		Use:   "windows --record FILE...",
		Short: "Judge a sink's record by limits; exit code 1 when one was broken",
		Long: `Judge what a sink recorded (bench sink --record) by limits, exactly: for every
start, the start MAX places later comes at least a WINDOW after it. The report
says how much of each limit was used: in whole windows, from the destination's
first start to its last one or from --from to --to.`,
		Example: `  tarishi bench windows --record r --limit 'example.net=1000/1h' --limit 'example.net=20/1s' --connections 'example.net=5'
  tarishi bench windows --record r --destination 'google=gmail.com,googlemail.com' --recipients 'google=100/1m' --from 10s --to 2m`,
		SilenceUsage: true,
		RunE: func(cmd *cobra.Command, args []string) error {
			rules := windows.Rules{From: from, To: to}
			for _, l := range []struct {
				unit windows.Unit
				text []string
			}{{windows.Messages, messages}, {windows.Recipients, recipients}, {windows.NewConnections, opens}} {
				for _, s := range l.text {
					limit, err := windows.ParseLimit(l.unit, s)
					if err != nil {
						return err
					}
					rules.Limits = append(rules.Limits, limit)
				}
			}
			for _, l := range []struct {
				text []string
				into *[]windows.Cap
			}{{slots, &rules.Connections}, {perConnection, &rules.PerConnection}} {
				for _, s := range l.text {
					most, err := windows.ParseCap(s)
					if err != nil {
						return err
					}
					*l.into = append(*l.into, most)
				}
			}
			joined := windows.Groups{}
			for _, s := range groups {
				if err := joined.Add(s); err != nil {
					return err
				}
			}
			var in []io.Reader
			for _, name := range append(records, args...) {
				f, err := os.Open(name)
				if err != nil {
					return err
				}
				defer f.Close()
				in = append(in, f)
			}
			trace, err := windows.Read(joined, in...)
			if err != nil {
				return err
			}
			r, err := windows.Judge(trace, rules)
			if err != nil {
				return err
			}
			return show(cmd.OutOrStdout(), r, true, asJSON, quiet, r.Err())
		},
	}
	f := c.Flags()
	f.StringSliceVar(&records, "record", nil, "`file` of a sink's --record; more may follow as arguments, of sinks on the same machine")
	f.StringArrayVar(&messages, "limit", nil, "transactions in a window: `DEST=MAX/WINDOW`; like all limits, may be given several times")
	f.StringArrayVar(&recipients, "recipients", nil, "recipients in a window: `DEST=MAX/WINDOW`")
	f.StringArrayVar(&opens, "new-connections", nil, "new connections in a window: `DEST=MAX/WINDOW`")
	f.StringArrayVar(&slots, "connections", nil, "connections at the same time: `DEST=N`")
	f.StringArrayVar(&perConnection, "per-connection", nil, "messages over one connection: `DEST=N`")
	f.StringArrayVar(&groups, "destination", nil, "domains that are one destination: `NAME=domain,domain`")
	f.DurationVar(&from, "from", 0, "measure use and pauses from here on, counted from the begin of the record")
	f.DurationVar(&to, "to", 0, "measure use and pauses up to here")
	_ = c.MarkFlagRequired("record")
	outputFlags(c, &quiet, &asJSON)
	return c
}
