package command

import (
	"bufio"
	"errors"
	"fmt"
	"os"
	"strings"

	"github.com/spf13/cobra"
	"golang.org/x/term"

	"github.com/tarishi/tarishi/auth"
)

func authCommand() *cobra.Command {
	c := &cobra.Command{
		Use:   "auth",
		Short: "Make and check the secrets of users who send mail",
	}
	c.AddCommand(authHashCommand(), authCheckCommand())
	return c
}

func authHashCommand() *cobra.Command {
	var kind, tenant string
	c := &cobra.Command{
		Use:   "hash USER",
		Short: "Make a line for the file of users (smtp.auth.users) from a password",
		Long: `Ask for a password and print a line for the file that smtp.auth.users names:

  tarishi auth hash ann >>users
  tarishi auth hash --kind scram-sha-256 ann >>users

argon2id and bcrypt serve PLAIN and LOGIN; scram-sha-256 serves SCRAM-SHA-256 and
these two. A user may have a line of each kind. The password is read from the
terminal, or from standard input: one line.`,
		Args: cobra.ExactArgs(1),
		RunE: func(c *cobra.Command, args []string) error {
			p, err := readPassword(c)
			if err != nil {
				return err
			}
			h, err := auth.Hash(kind, p)
			if err != nil {
				return &exitError{exitUsage, err}
			}
			line := args[0] + ":" + h
			if tenant != "" {
				line += ":" + tenant
			}
			if _, err := auth.ParseUsers("the line", []byte(line)); err != nil {
				return &exitError{exitUsage, err}
			}
			fmt.Fprintln(c.OutOrStdout(), line)
			return nil
		},
	}
	c.Flags().StringVar(&kind, "kind", "argon2id", "argon2id, bcrypt or scram-sha-256")
	c.Flags().StringVar(&tenant, "tenant", "", "whose mail the user's is")
	return c
}

func authCheckCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "check FILE USER",
		Short: "Tell whether a password is a user's",
		Args:  cobra.ExactArgs(2),
		RunE: func(c *cobra.Command, args []string) error {
			text, err := os.ReadFile(args[0])
			if err != nil {
				return &exitError{exitUsage, err}
			}
			u, err := auth.ParseUsers(args[0], text)
			if err != nil {
				return &exitError{exitUsage, err}
			}
			p, err := readPassword(c)
			if err != nil {
				return err
			}
			who, err := u.Check(c.Context(), args[1], p)
			if err != nil {
				return fmt.Errorf("%s: %w", args[1], err)
			}
			line := "the password is " + who.User + "'s"
			if who.Tenant != "" {
				line += ", of tenant " + who.Tenant
			}
			fmt.Fprintln(c.OutOrStdout(), line)
			return nil
		},
	}
}

// readPassword asks on a terminal, without showing what is typed, and else reads a line.
func readPassword(c *cobra.Command) (string, error) {
	if f, ok := c.InOrStdin().(*os.File); ok && tty(f) {
		fmt.Fprint(c.ErrOrStderr(), "Password: ")
		b, err := term.ReadPassword(int(f.Fd()))
		fmt.Fprintln(c.ErrOrStderr())
		return string(b), err
	}
	line, err := bufio.NewReader(c.InOrStdin()).ReadString('\n')
	line = strings.TrimRight(line, "\r\n")
	if line == "" {
		if err == nil {
			err = errors.New("the first line is empty")
		}
		return "", &exitError{exitUsage, fmt.Errorf("no password on standard input: %w", err)}
	}
	return line, nil
}
