package command

import (
	"bufio"
	"fmt"
	"path/filepath"
	"strings"

	"github.com/spf13/cobra"

	"github.com/tarishi/tarishi/cluster"
)

// clusterCommand is `tarishi cluster`: certificates for its nodes, and two changes
// of who takes part.
func clusterCommand() *cobra.Command {
	n := &node{}
	c := &cobra.Command{
		Use:   "cluster",
		Short: "Make nodes' certificates; remove a node that is gone; hand leadership over",
		Example: `  tarishi cluster ca --dir /etc/tarishi/ca
  tarishi cluster cert node1 --dir /etc/tarishi/ca
  tarishi cluster transfer
  tarishi cluster remove node3`,
		RunE: func(c *cobra.Command, args []string) error {
			if len(args) > 0 {
				return usageError("there is no `tarishi cluster %s`; see `tarishi cluster --help`", clean(args[0]))
			}
			return c.Help()
		},
	}
	c.AddCommand(clusterCA(), clusterCert())
	for _, sub := range []*cobra.Command{clusterRemove(n), clusterTransfer(n)} {
		n.flags(sub)
		c.AddCommand(sub)
	}
	return operator(c)
}

// clusterCA makes the authority that all nodes' certificates come from.
func clusterCA() *cobra.Command {
	var dir, name string
	c := &cobra.Command{
		Use:   "ca",
		Short: "Make an authority for the certificates of a cluster's nodes",
		Args:  noArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			if err := cluster.GenerateCA(dir, name); err != nil {
				return partly("no authority was made: %w", err)
			}
			fmt.Fprintf(c.OutOrStdout(), "Made %s, which every node needs (cluster.tls.ca), and %s, which none does: keep it where no node runs.\n",
				filepath.Join(dir, "ca.pem"), filepath.Join(dir, "ca.key"))
			return nil
		},
	}
	c.Flags().StringVar(&dir, "dir", "./tarishi-ca", "`folder` to put it into")
	c.Flags().StringVar(&name, "name", "tarishi", "the cluster's name (cluster.name)")
	return c
}

// clusterCert makes one node's certificate.
func clusterCert() *cobra.Command {
	var dir string
	var force bool
	c := &cobra.Command{
		Use:   "cert NODE [HOST...]",
		Short: "Make a node's certificate; HOSTs are names or addresses that other software dials",
		RunE: func(c *cobra.Command, args []string) error {
			if len(args) == 0 {
				return usageError("NODE is missing; see `%s --help`", c.CommandPath())
			}
			if old, there := cluster.Issued(dir, args[0]); there && !force {
				return partly("%s is there already; --force makes another in its place", old)
			}
			if err := cluster.IssueNode(dir, args[0], args[1:]...); err != nil {
				return partly("no certificate was made: %w", err)
			}
			fmt.Fprintf(c.OutOrStdout(), "Made %s (cluster.tls.cert) and %s (cluster.tls.key).\n",
				filepath.Join(dir, args[0]+".pem"), filepath.Join(dir, args[0]+".key"))
			return nil
		},
	}
	c.Flags().StringVar(&dir, "dir", "./tarishi-ca", "`folder` of the authority")
	c.Flags().BoolVar(&force, "force", false, "replace a certificate and key that are there")
	return c
}

// clusterRemove takes a dead node out of the cluster's state.
func clusterRemove(n *node) *cobra.Command {
	var yes bool
	c := &cobra.Command{
		Use:   "remove NODE",
		Short: "Take a node that is gone for good, and is in nobody's cluster.peers any more, out of the cluster's state",
		Long: `Take a node that is gone for good out of the cluster's state: the scheduler's
votes, and the copies of the queue. Where another node takes its place, or five
become three, change cluster.peers on all other nodes, restart them one by one,
and then remove it. A node of the list is not removed: one that has lost its disk
or its machine starts again with an empty folder, under the same name.`,
		Args: oneArg("NODE"),
		RunE: func(c *cobra.Command, args []string) error {
			client, err := n.client()
			if err != nil {
				return err
			}
			if !yes && tty(c.InOrStdin()) {
				fmt.Fprintf(c.ErrOrStderr(), "Remove %s? It will not be taken in again, and what only its disk holds is lost. [y/N] ", clean(args[0]))
				line, _ := bufio.NewReader(c.InOrStdin()).ReadString('\n') // at its end the answer is no
				if l := strings.ToLower(strings.TrimSpace(line)); l != "y" && l != "yes" {
					return partly("nothing was changed")
				}
			}
			if err := client.RemoveNode(c.Context(), args[0], author()); err != nil {
				return err
			}
			fmt.Fprintf(c.OutOrStdout(), "%s is removed. Its copies of the queue are made anew where a node has none.\n", clean(args[0]))
			return nil
		},
	}
	c.Flags().BoolVarP(&yes, "yes", "y", false, "do not ask")
	return c
}

// clusterTransfer hands the leadership of the limits to another node.
func clusterTransfer(n *node) *cobra.Command {
	return &cobra.Command{
		Use:   "transfer",
		Short: "Hand the leadership of the limits to another node, as before its leader is stopped",
		Args:  noArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			client, err := n.client()
			if err != nil {
				return err
			}
			leader, err := client.Transfer(c.Context(), author())
			if err != nil {
				return err
			}
			fmt.Fprintf(c.OutOrStdout(), "%s leads now.\n", clean(leader))
			return nil
		},
	}
}
