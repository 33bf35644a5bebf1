package command

import (
	"fmt"
	"log/slog"
	"os"

	"github.com/spf13/cobra"

	"github.com/tarishi/tarishi/daemon"
	"github.com/tarishi/tarishi/dns"
	"github.com/tarishi/tarishi/plugin"
)

// configCommand is `tarishi config check|print`: what a node would be told,
// without starting one.
func configCommand(kinds []plugin.Kind) *cobra.Command {
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
		Short: "Read the configuration and the environment as serve would, load its plugins, and say what is wrong",
		Args:  cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			conf, err := load(c)
			if err != nil {
				return err
			}
			if err := checkPlugins(conf, kinds); err != nil {
				return &exitError{exitUsage, err}
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

// checkPlugins makes the plugins as serve would, and ends them again.
func checkPlugins(c *daemon.Config, kinds []plugin.Kind) error {
	if !asksPlugins(c) {
		return nil
	}
	log := slog.New(slog.DiscardHandler)
	resolver := dns.New(dns.Config{Servers: c.Delivery.DNS.Servers, Timeout: c.Delivery.DNS.Timeout, Attempts: c.Delivery.DNS.Attempts, Log: log})
	p, err := openPlugins(c, kinds, resolver, log)
	if err != nil {
		return err
	}
	p.close()
	return nil
}
