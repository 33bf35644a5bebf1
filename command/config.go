package command

import (
	"fmt"
	"os"

	"github.com/spf13/cobra"

	"github.com/tarishi/tarishi/daemon"
)

// configCommand is `tarishi config check|print`: what a node would be told,
// without starting one.
func configCommand() *cobra.Command {
	var file string
	c := &cobra.Command{
		Use:   "config",
		Short: "Check or print the configuration",
		Args:  cobra.NoArgs,
		RunE:  func(c *cobra.Command, _ []string) error { return c.Help() },
	}
	c.PersistentFlags().StringVarP(&file, "config", "c", "", "configuration file (default: none, built-in values)")
	load := func(c *cobra.Command) (*daemon.Config, error) {
		cfg, err := daemon.Load(file, os.Environ())
		if err != nil {
			return nil, &exitError{exitUsage, err}
		}
		for _, w := range cfg.Warnings {
			fmt.Fprintln(c.ErrOrStderr(), "warning:", w)
		}
		return cfg, nil
	}
	c.AddCommand(&cobra.Command{
		Use:   "check",
		Short: "Read the configuration and the environment as serve would, and say what is wrong",
		Args:  cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			if _, err := load(c); err != nil {
				return err
			}
			fmt.Fprintln(c.OutOrStdout(), "configuration ok")
			return nil
		},
	}, &cobra.Command{
		Use:   "print",
		Short: "Print every key with its meaning, default and present value, as YAML that loads again",
		Args:  cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			cfg, err := load(c)
			if err != nil {
				return err
			}
			return cfg.Print(c.OutOrStdout())
		},
	})
	return c
}
