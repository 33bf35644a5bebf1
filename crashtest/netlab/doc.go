// Package netlab answers one question: does a cluster of Tarishi keep its promises when machines, disks and networks fail?
//
// A lab is a network in miniature: hosts are Linux network namespaces on a bridge, each with an address of its own, and on
// them run the real program, as many nodes as a test asks for, and `tarishi bench sink` as the receivers. The lab kills and
// freezes processes, drops packets one way or both (those of open connections too), wipes data folders and makes disks slow
// or full, and at the end it compares what the sources were promised with what the sinks took, and judges the sinks' own
// stamps by bench/windows.
//
// All of it happens in namespaces that belong to the test binary: Main starts it anew as the first process of its own
// network, its own process table and its own mounts. So nothing in a lab can reach another machine, nothing on the machine
// can reach into the lab, and when the test binary ends, in whatever way, the kernel ends every process and removes every
// interface and mount with it. It needs root (or user namespaces), ip and iptables; where they are missing the tests say
// what is missing and skip.
//
// No part of it is in the product.
package netlab
