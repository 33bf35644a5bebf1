package command

import (
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/tarishi/tarishi/admin"
	"github.com/tarishi/tarishi/plugin"
)

// pluginsCommand is `tarishi plugins`: who is asked, in which order, and how they do.
func pluginsCommand(kinds []plugin.Kind) *cobra.Command {
	n := &node{}
	c := &cobra.Command{
		Use:   "plugins",
		Short: "Show a node's plugins: order, hooks, timeouts, counters (exit 1: the newest state is not in force)",
		Args:  noArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			client, err := n.client()
			if err != nil {
				return err
			}
			v, err := client.Plugins(c.Context())
			if err != nil {
				return err
			}
			if err := n.showPlugins(c, v); err != nil {
				return err
			}
			if v.Fault != "" {
				return partly("the plugins could not be loaded anew")
			}
			return nil
		},
	}
	n.flags(c)
	reload := &cobra.Command{
		Use:   "reload",
		Short: "Load a node's plugins anew, from its configuration and files as they are now",
		Long: `Load a node's plugins anew, as SIGHUP does. Connections stay open; a message that
is under way keeps the plugins it began with. Plugins with a fault are not taken: those
of before stay in force, and the fault is told. Other keys of the configuration than
plugins hold from the node's next start on.`,
		Args: noArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			client, err := n.client()
			if err != nil {
				return err
			}
			v, err := client.ReloadPlugins(c.Context(), admin.PluginsOrder{Author: author()})
			if err != nil {
				return err
			}
			return n.showPlugins(c, v)
		},
	}
	c.AddCommand(reload, &cobra.Command{
		Use:   "available",
		Short: "List the plugins that this program has built in",
		Args:  noArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			if n.asJSON {
				type line struct {
					Name  string `json:"name"`
					About string `json:"about"`
				}
				lines := []line{}
				for _, k := range kinds {
					lines = append(lines, line{k.Name, k.About})
				}
				return printJSON(c.OutOrStdout(), lines)
			}
			t := table{head: []string{"PLUGIN", "ABOUT"}}
			for _, k := range kinds {
				t.add(k.Name, k.About)
			}
			t.write(c.OutOrStdout(), 0)
			return nil
		},
	})
	return operator(c)
}

func (n *node) showPlugins(c *cobra.Command, v admin.PluginsView) error {
	if n.asJSON {
		return printJSON(c.OutOrStdout(), v)
	}
	width, _ := ttySize(c.OutOrStdout())
	printPlugins(c.OutOrStdout(), v, width, time.Now())
	return nil
}

// printPlugins prints the functions hook by hook, in the order in which they run.
func printPlugins(w io.Writer, v admin.PluginsView, width int, now time.Time) {
	if len(v.Functions) == 0 {
		fmt.Fprintln(w, "No plugins run: plugins.run is empty.")
	} else {
		t := table{head: []string{"HOOK", "PLUGIN", "~FUNCTION", ">PRIORITY", ">TIMEOUT", ">CALLS", ">REFUSED", ">LATE", ">PANICS", ">MEAN"}}
		last := ""
		for _, f := range v.Functions {
			hook := f.Hook
			if hook == last {
				hook = ""
			}
			last = f.Hook
			mean := ""
			if f.Calls > 0 {
				mean = brief(f.MeanSeconds)
			}
			t.add(hook, f.Plugin, f.Function, fmt.Sprint(f.Priority), brief(f.TimeoutSeconds),
				count(f.Calls), count(f.Refused), count(f.Timeouts), count(f.Panics), mean)
		}
		t.write(w, width)
	}
	if !v.Loaded.IsZero() {
		fmt.Fprintf(w, "\nLoaded %s.\n", stamp(v.Loaded, ago(now, v.Loaded)))
	}
	if v.Fault != "" {
		fmt.Fprintf(w, "WRONG  The newest state is not in force, since %s:\n", stamp(v.FaultAt, ago(now, v.FaultAt)))
		for line := range strings.SplitSeq(v.Fault, "\n") {
			fmt.Fprintf(w, "  %s\n", clean(line))
		}
	}
}

// brief is a span of time in a unit that leaves three digits.
func brief(seconds float64) string {
	d := time.Duration(seconds * float64(time.Second))
	switch {
	case d >= time.Second:
		return d.Round(10 * time.Millisecond).String()
	case d >= time.Millisecond:
		return d.Round(10 * time.Microsecond).String()
	default:
		return d.Round(100 * time.Nanosecond).String()
	}
}
