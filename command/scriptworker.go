package command

import (
	"os"

	"github.com/spf13/cobra"

	"github.com/tarishi/tarishi/script"
	"github.com/tarishi/tarishi/script/worker"
)

// scriptWorkerCommand is what a node starts to run scripts in. It is nothing for
// people: it reads and writes frames.
func scriptWorkerCommand() *cobra.Command {
	return &cobra.Command{
		Use:    script.WorkerCommand,
		Short:  "Run scripts for a node",
		Hidden: true,
		Args:   noArgs,
		Run:    func(*cobra.Command, []string) { os.Exit(worker.Main(os.Stdin, os.Stdout)) },
	}
}
