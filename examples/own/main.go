// Command own is Tarishi with a plugin of one's own: the whole program, and package
// subjects beside the plugins that are built in.
//
//	go build -o tarishi-own ./examples/own
//	./tarishi-own try --config examples/own/tarishi.yaml --to ann@example.net
package main

import (
	"github.com/tarishi/tarishi/command"
	"github.com/tarishi/tarishi/examples/own/subjects"
)

func main() { command.Main(subjects.Kind) }
