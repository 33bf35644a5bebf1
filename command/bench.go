package command

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"os"
	"os/signal"
	"syscall"

	"github.com/spf13/cobra"

	"github.com/tarishi/tarishi/bench"
)

// benchCommand is `tarishi bench`: the load source, the sink and the check, so that
// anyone can repeat our figures. They work against any mail server.
func benchCommand() *cobra.Command {
	c := &cobra.Command{
		Use:   "bench",
		Short: "Measure a mail server: load source, sink, and checks for lost mail and broken limits",
		Args:  cobra.NoArgs,
	}
	c.AddCommand(benchSource(), benchSink(), benchCheck(), benchDelay(), benchWindows(), benchIdle())
	return c
}

func benchSource() *cobra.Command {
	var s bench.Source
	var pipelining, mode string
	var quiet, asJSON bool
	c := &cobra.Command{
		Use:   "source --to HOST:PORT",
		Short: "Send numbered messages and time their acceptance",
		Example: `  tarishi bench source --to 127.0.0.1:2525 --messages 100000 --connections 50
  tarishi bench source --to mx.example.net:25 --duration 1m --rate 500 --tls starttls --destinations 100`,
		Args:          cobra.NoArgs,
		SilenceUsage:  true,
		SilenceErrors: false,
		RunE: func(cmd *cobra.Command, _ []string) error {
			off, err := onOff("pipelining", pipelining)
			if err != nil {
				return err
			}
			s.NoPipelining, s.TLS = off, bench.TLSMode(mode)
			s.NullSender = cmd.Flags().Changed("sender") && s.Sender == ""
			if terminal(os.Stderr) && !quiet {
				s.Progress = func(p bench.SourceProgress) {
					fmt.Fprintf(os.Stderr, "\r%4.0fs  %d acknowledged, %.0f/s, %d failed, %d unacknowledged, %d connections   ",
						p.Elapsed.Seconds(), p.Acked, p.Rate, p.Failed, p.Unknown, p.OpenConn)
				}
			}
			ctx, cancel := untilSignal(cmd.Context())
			defer cancel()
			r, err := s.Send(ctx)
			return show(cmd.OutOrStdout(), r, r != nil, asJSON, quiet, err)
		},
	}
	f := c.Flags()
	f.StringVar(&s.To, "to", "127.0.0.1:2525", "server to send to, host:port")
	f.IntVar(&s.Connections, "connections", 10, "connections at the same time")
	f.Uint64Var(&s.Messages, "messages", 0, "messages altogether (0: until --duration)")
	f.DurationVar(&s.Duration, "duration", 0, "how long to send (0: until --messages)")
	f.IntVar(&s.Size, "size", 5120, "bytes of a whole message")
	f.IntVar(&s.Destinations, "destinations", 1, "recipient domains d0…dN-1.bench.test, taken in turn")
	f.StringVar(&s.Template, "destination-template", "", "recipient address; {n}: number of the destination, {r}: of the recipient (default user@d{n}.bench.test)")
	f.IntVar(&s.Recipients, "recipients", 1, "recipients of each message")
	f.Float64Var(&s.Rate, "rate", 0, "messages a second over all connections (0: no limit)")
	f.IntVar(&s.MessagesPerConnection, "messages-per-connection", 0, "then QUIT and connect anew (0: no limit)")
	f.StringVar(&pipelining, "pipelining", "on", "use PIPELINING where offered: on, off")
	f.StringVar(&mode, "tls", "off", "off, starttls or implicit; certificates are not verified")
	f.StringVar(&s.Sender, "sender", "bench@source.test", `reverse-path; "" is the null one`)
	f.StringVar(&s.Helo, "helo", "source.test", "name to greet with")
	f.StringArrayVar(&s.Header, "header", nil, "further `field` of each message, such as 'X-Tenant: acme'; may be given several times")
	f.BoolVar(&s.Hash, "hash", false, "put the body's SHA-256 in the header for the sink to verify")
	f.StringVar(&s.KeepIDs, "keep-ids", "", "append id, time, recipient and reply of each acknowledged message to this `file`")
	f.BoolVar(&s.Retry, "retry", false, "connect again after 421, EOF or a refused connection")
	f.DurationVar(&s.Timeout, "timeout", 0, "for each step of a dialogue (default 1m)")
	f.StringVar(&s.Run, "run", "", "first part of each id (default: made from the clock)")
	outputFlags(c, &quiet, &asJSON)
	return c
}

func benchSink() *cobra.Command {
	var s bench.SinkConfig
	var listen []string
	var extensions, mode string
	var quiet, asJSON bool
	c := &cobra.Command{
		Use:   "sink",
		Short: "Receive mail, count ids, and be as slow or moody as told",
		Example: `  tarishi bench sink --listen 127.0.0.1:2600 --expect 100000 --timeout 5m --ids got
  tarishi bench sink --tempfail 0.2 --random --delay 200ms --max-connections 5 --record record`,
		Args:         cobra.NoArgs,
		SilenceUsage: true,
		RunE: func(cmd *cobra.Command, _ []string) error {
			off, err := onOff("extensions", extensions)
			if err != nil {
				return err
			}
			s.NoExtensions, s.TLS = off, bench.TLSMode(mode)
			if terminal(os.Stderr) && !quiet {
				s.Progress = func(p bench.SinkProgress) {
					fmt.Fprintf(os.Stderr, "\r%4.0fs  %d messages, %.0f/s, %d ids, %d duplicates, %d connections   ",
						p.Elapsed.Seconds(), p.Messages, p.Rate, p.Distinct, p.Duplicates, p.Open)
				}
			}
			ctx, cancel := untilSignal(cmd.Context())
			defer cancel()
			sink, err := bench.NewSink(s)
			if err != nil {
				return err
			}
			lns := make([]net.Listener, len(listen))
			for i, addr := range listen {
				if lns[i], err = net.Listen("tcp", addr); err != nil {
					return err
				}
			}
			for _, ln := range lns {
				if !quiet {
					// Said once all ports are open: a script may wait for this line.
					fmt.Fprintf(os.Stderr, "sink: listening on %s\n", ln.Addr())
				}
			}
			r, err := sink.Serve(ctx, lns...)
			return show(cmd.OutOrStdout(), r, r != nil, asJSON, quiet, err)
		},
	}
	f := c.Flags()
	f.StringSliceVar(&listen, "listen", []string{"127.0.0.1:2600"}, "address to listen on; may be given several times")
	f.StringVar(&s.Hostname, "hostname", "sink.test", "name to greet with")
	f.IntVar(&s.MaxConnections, "max-connections", 0, "answer 421 to more than so many at the same time on one address (0: no limit)")
	f.StringVar(&extensions, "extensions", "on", "offer PIPELINING, CHUNKING, SIZE, 8BITMIME: on, off")
	f.StringVar(&mode, "tls", "off", "off, starttls or implicit, with a certificate of its own making")
	f.DurationVar(&s.ConnectDelay, "connect-delay", 0, "wait before the greeting")
	f.DurationVar(&s.Delay, "delay", 0, "wait before the 250 to the final dot")
	f.StringVar(&s.Stall, "stall", "", "never answer this `step`: connect, ehlo, mail, rcpt, data, dot")
	f.IntVar(&s.CloseAfter, "close-after", 0, "close a connection after so many messages")
	f.IntVar(&s.GoAwayAfter, "421-after", 0, "answer MAIL with 421 after so many messages of a connection")
	f.Float64Var(&s.Refuse, "refuse", 0, "fraction of recipients refused with 550")
	f.Float64Var(&s.TempFail, "tempfail", 0, "fraction of recipients refused with 451")
	f.BoolVar(&s.Random, "random", false, "draw for each RCPT anew (default: by the hash of the address)")
	f.Uint64Var(&s.Seed, "seed", 0, "of the draw or the hash")
	f.IntVar(&s.Greylist, "greylist", 0, "refuse the first N attempts of each sender and recipient with 451")
	f.StringVar(&s.IDs, "ids", "", "append id, time and recipient of each copy to this `file`")
	f.StringVar(&s.Record, "record", "", "append the time of each connection, MAIL, RCPT and message to this `file`, for bench windows")
	f.BoolVar(&s.Hash, "hash", false, "verify the source's body hashes")
	f.Uint64Var(&s.Expect, "expect", 0, "end once so many distinct ids are in (0: never)")
	f.DurationVar(&s.Timeout, "timeout", 0, "give up on --expect after this, with exit code 1 (0: never)")
	f.DurationVar(&s.Linger, "linger", 0, "stay so long after --expect is reached, for duplicates")
	outputFlags(c, &quiet, &asJSON)
	return c
}

func benchCheck() *cobra.Command {
	return benchCompare("check --sent FILE --received FILE...",
		"Compare acknowledged with received ids; exit code 1 when mail was lost",
		func(sent io.Reader, received ...io.Reader) (fmt.Stringer, error) {
			r, err := bench.Check(sent, received...)
			if err != nil {
				return nil, err
			}
			return r, r.Err()
		})
}

func benchDelay() *cobra.Command {
	return benchCompare("delay --sent FILE --received FILE...",
		"Tell how long mail was on its way, from its acknowledgement to its arrival",
		func(sent io.Reader, received ...io.Reader) (fmt.Stringer, error) {
			r, err := bench.Delay(sent, received...)
			if err != nil {
				return nil, err
			}
			return r, nil
		})
}

// benchCompare is a command that reads what a source and its sinks wrote.
func benchCompare(use, short string, compare func(sent io.Reader, received ...io.Reader) (fmt.Stringer, error)) *cobra.Command {
	var sent string
	var received []string
	var quiet, asJSON bool
	c := &cobra.Command{
		Use:          use,
		Short:        short,
		SilenceUsage: true,
		RunE: func(cmd *cobra.Command, args []string) error {
			in, err := os.Open(sent)
			if err != nil {
				return err
			}
			defer in.Close()
			var outs []io.Reader
			for _, name := range append(received, args...) {
				f, err := os.Open(name)
				if err != nil {
					return err
				}
				defer f.Close()
				outs = append(outs, f)
			}
			r, err := compare(in, outs...)
			return show(cmd.OutOrStdout(), r, r != nil, asJSON, quiet, err)
		},
	}
	c.Flags().StringVar(&sent, "sent", "", "`file` of the source's --keep-ids")
	c.Flags().StringSliceVar(&received, "received", nil, "`file` of a sink's --ids; more may follow as arguments")
	_ = c.MarkFlagRequired("sent")
	_ = c.MarkFlagRequired("received")
	outputFlags(c, &quiet, &asJSON)
	return c
}

func outputFlags(c *cobra.Command, quiet, asJSON *bool) {
	c.Flags().BoolVar(quiet, "quiet", false, "print nothing but errors")
	c.Flags().BoolVar(asJSON, "json", false, "print the report as JSON")
}

// show prints a report, also when the run failed; err is handed back.
func show(w io.Writer, report fmt.Stringer, valid, asJSON, quiet bool, err error) error {
	switch {
	case !valid:
	case asJSON:
		enc := json.NewEncoder(w)
		enc.SetIndent("", "  ")
		if e := enc.Encode(report); err == nil {
			err = e
		}
	case !quiet:
		if terminal(os.Stderr) {
			fmt.Fprintln(os.Stderr) // ends the progress line
		}
		fmt.Fprint(w, report)
	}
	return err
}

func onOff(flag, value string) (off bool, err error) {
	switch value {
	case "on":
		return false, nil
	case "off":
		return true, nil
	}
	return false, fmt.Errorf("--%s: %q is neither on nor off", flag, value)
}

// untilSignal ends the context at the first SIGINT or SIGTERM; a second one kills.
func untilSignal(ctx context.Context) (context.Context, context.CancelFunc) {
	if ctx == nil {
		ctx = context.Background()
	}
	ctx, stop := signal.NotifyContext(ctx, os.Interrupt, syscall.SIGTERM)
	context.AfterFunc(ctx, stop)
	return ctx, stop
}

func terminal(f *os.File) bool {
	st, err := f.Stat()
	return err == nil && st.Mode()&os.ModeCharDevice != 0
}
