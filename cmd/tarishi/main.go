// Command tarishi is a clustered mail platform in one binary; package command is what
// it does.
package main

import "github.com/tarishi/tarishi/command"

func main() { command.Main() }
