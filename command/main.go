// Package command is the whole of the program: `tarishi serve` runs a node, and the
// other subcommands look into one, measure one, or check its configuration. Each
// subcommand has a file of its own here; serve.go builds a node from its parts, top to
// bottom, and is the place to begin reading.
package command

import (
	"fmt"
	"os"
	"runtime/debug"

	"github.com/spf13/cobra"

	"github.com/tarishi/tarishi/plugin"
)

// Main runs the command line and ends the process. It is all that a program needs
// which is Tarishi with plugins of its own: own are their kinds.
func Main(own ...plugin.Kind) {
	kinds := withBuiltin(own)
	root := &cobra.Command{
		Use:           "tarishi",
		Short:         "A mail courier: accepts, keeps and delivers",
		Version:       version(),
		SilenceErrors: true,
		SilenceUsage:  true,
	}
	root.AddCommand(serveCommand(kinds), configCommand(kinds), authCommand(), queueCommand(), whyCommand(), limitsCommand(), reactionsCommand(), rulesCommand(), suppressCommand(), nodesCommand(), clusterCommand(), migrateCommand(), statusCommand(), topCommand(), pluginsCommand(kinds), tryCommand(kinds), benchCommand(), scriptWorkerCommand())
	if err := root.Execute(); err != nil {
		fmt.Fprintln(os.Stderr, "tarishi:", err)
		os.Exit(exitCode(err))
	}
}

// version is the tag or commit the binary was built from.
func version() string {
	info, ok := debug.ReadBuildInfo()
	if !ok {
		return "unknown"
	}
	if v := info.Main.Version; v != "" && v != "(devel)" {
		return v
	}
	for _, s := range info.Settings {
		if s.Key == "vcs.revision" && len(s.Value) >= 12 {
			return s.Value[:12]
		}
	}
	return "devel"
}
