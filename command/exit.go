package command

import (
	"errors"
	"fmt"
	"net/http"

	"github.com/spf13/cobra"

	"github.com/tarishi/tarishi/admin"
)

// Exit codes of the commands that speak to a node, for scripts.
const (
	exitPartly      = 1 // nothing matched, or some was busy, or it stopped half-way
	exitUsage       = 2 // the command line is wrong; nothing was asked
	exitUnreachable = 3 // no node answers, or it cannot answer now
)

// exitError is an error that knows its exit code.
type exitError struct {
	code int
	err  error
}

func (e *exitError) Error() string { return e.err.Error() }
func (e *exitError) Unwrap() error { return e.err }

func usageError(format string, args ...any) error {
	return &exitError{exitUsage, fmt.Errorf(format, args...)}
}

func partly(format string, args ...any) error {
	return &exitError{exitPartly, fmt.Errorf(format, args...)}
}

// exitCode is the process's exit code for what a command returned.
func exitCode(err error) int {
	var own *exitError
	var gone *admin.UnreachableError
	var refused *admin.RefusedError
	switch {
	case err == nil:
		return 0
	case errors.As(err, &own):
		return own.code
	case errors.As(err, &gone):
		return exitUnreachable
	case errors.As(err, &refused) && refused.Code == http.StatusServiceUnavailable:
		return exitUnreachable
	case errors.As(err, &refused) && refused.Code == http.StatusBadRequest:
		return exitUsage
	default:
		return exitPartly
	}
}

// operator makes c and all its subcommands behave alike: a wrong flag is exit 2,
// and an error is one line, not the whole help text.
func operator(c *cobra.Command) *cobra.Command {
	c.SilenceUsage = true
	c.SetFlagErrorFunc(func(c *cobra.Command, err error) error {
		return usageError("%w; see `%s --help`", err, c.CommandPath())
	})
	for _, sub := range c.Commands() {
		sub.SilenceUsage = true
	}
	return c
}

// noArgs is cobra.NoArgs with our exit code.
func noArgs(c *cobra.Command, args []string) error {
	if len(args) > 0 {
		return usageError("%q is one word too many; see `%s --help`", args[0], c.CommandPath())
	}
	return nil
}
