package command

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/netip"
	"os"

	"github.com/spf13/cobra"

	"github.com/tarishi/tarishi/daemon"
	"github.com/tarishi/tarishi/dns"
	"github.com/tarishi/tarishi/plugin"
)

// tryOut is what `tarishi try` is told of the client and its message.
type tryOut struct {
	ip, name, hello, from string
	to                    []string
	message               []byte
}

// tryCommand is `tarishi try`: what would become of this message?
func tryCommand(kinds []plugin.Kind) *cobra.Command {
	var x tryOut
	var file, message string
	var asJSON, whole, verbose bool
	c := &cobra.Command{
		Use:   "try --to ADDRESS [--message FILE]",
		Short: "Take a message through the plugins without storing it, and show every verdict",
		Long: `Take a message through this configuration's plugins and policy, as a client at --ip
would bring it, and show what each function said and how long it took. It runs in this
process, not in a node, and stores nothing. Plugins that could take a message over, or
count it as taken in (queue, queue_outbound, queue_ok), are not asked. Exit code 1: the
message, or one of its recipients, was refused.`,
		Args: noArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			conf, err := daemon.Load(file, os.Environ())
			if err != nil {
				return &exitError{exitUsage, err}
			}
			if len(x.to) == 0 {
				return usageError("nobody to send it to; give --to once or more")
			}
			if _, err := netip.ParseAddr(x.ip); err != nil {
				return usageError("--ip %q is no IP address", x.ip)
			}
			if x.message, err = readMessage(message, c.InOrStdin()); err != nil {
				return usageError("%w", err)
			}
			level := slog.LevelWarn
			if verbose {
				level = slog.LevelDebug
			}
			log := slog.New(slog.NewTextHandler(c.ErrOrStderr(), &slog.HandlerOptions{Level: level}))
			r, err := x.run(c.Context(), conf, kinds, log)
			if err != nil {
				return err
			}
			switch {
			case asJSON:
				err = printJSON(c.OutOrStdout(), r)
			case whole && r.Stored != nil:
				_, err = io.WriteString(c.OutOrStdout(), r.Stored.Text)
			default:
				width, _ := ttySize(c.OutOrStdout())
				printTry(c.OutOrStdout(), r, width)
			}
			if err == nil && !r.Accepted {
				return partly("not accepted")
			}
			return err
		},
	}
	f := c.Flags()
	f.StringVar(&file, "config", "", "configuration `file` (YAML) whose plugins are asked")
	f.StringVar(&x.ip, "ip", "192.0.2.1", "`address` of the client")
	f.StringVar(&x.name, "rdns", "", "host `name` of the client; without it DNS is asked")
	f.StringVar(&x.hello, "helo", "client.example", "`name` it gives in EHLO")
	f.StringVar(&x.from, "from", "sender@example.com", "reverse-path; empty for <>")
	f.StringArrayVar(&x.to, "to", nil, "a recipient; may be given more than once")
	f.StringVar(&message, "message", "", "`file` with the message, - for standard input; without it a short one is made")
	f.BoolVar(&asJSON, "json", false, "print JSON")
	f.BoolVar(&whole, "print", false, "print the message as it would be stored, and nothing else")
	f.BoolVar(&verbose, "verbose", false, "show what plugins log, too")
	return operator(c)
}

const madeUp = "From: sender@example.com\r\nTo: undisclosed-recipients:;\r\nSubject: a try\r\nMessage-ID: <try@example.com>\r\n\r\nThis message was made up by tarishi try.\r\n"

func readMessage(file string, stdin io.Reader) ([]byte, error) {
	switch file {
	case "":
		return []byte(madeUp), nil
	case "-":
		return io.ReadAll(stdin)
	default:
		return os.ReadFile(file)
	}
}

// run takes the message through the policy of a node that is not there.
func (x *tryOut) run(ctx context.Context, c *daemon.Config, kinds []plugin.Kind, log *slog.Logger) (r *tryResult, err error) {
	resolver := dns.New(dns.Config{Servers: c.Delivery.DNS.Servers, Timeout: c.Delivery.DNS.Timeout, Attempts: c.Delivery.DNS.Attempts, Log: log})
	host, err := openPlugins(c, kinds, resolver, log)
	if err != nil {
		return nil, &exitError{exitUsage, err}
	}
	defer func() { err = errors.Join(err, host.close()) }()
	p := policyOf(c, resolver, log)
	p.Plugins, p.DryRun = &host.loader.Current, true
	if x.name != "" {
		p.ReverseName = func(context.Context, netip.Addr) string { return x.name }
	}
	t := &tryTalk{tryOut: x, log: log}
	if err := t.talk(ctx, c, p); err != nil {
		return nil, err
	}
	r = &t.result
	for _, h := range []plugin.Hook{plugin.Queue, plugin.QueueOutbound, plugin.QueueOK} {
		if host.loader.Current.Has(h) {
			r.NotAsked = append(r.NotAsked, string(h))
		}
	}
	if len(c.Plugins.Run) == 0 {
		fmt.Fprintln(os.Stderr, "tarishi: the configuration lists no plugins (plugins.run)")
	}
	return r, nil
}
