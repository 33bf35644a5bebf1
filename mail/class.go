package mail

import "fmt"

// Class says which mail of a destination goes first when not all of it can.
type Class uint8

// The classes. The zero one is what mail has that nobody said anything about.
const (
	Normal Class = iota
	High         // has a share of every window to itself, and goes first
	Bulk         // goes when nothing else waits
)

// Classes are all of them, the first to go first.
var Classes = [...]Class{High, Normal, Bulk}

var classNames = [...]string{Normal: "normal", High: "high", Bulk: "bulk"}

func (c Class) String() string {
	if int(c) < len(classNames) {
		return classNames[c]
	}
	return fmt.Sprintf("class %d", uint8(c))
}

// ParseClass reads a class's name.
func ParseClass(name string) (Class, error) {
	for c, n := range classNames {
		if n == name {
			return Class(c), nil
		}
	}
	return Normal, fmt.Errorf("%q is no class; write high, normal or bulk", name)
}

// Known is c, or Normal for one that only a newer version knows.
func (c Class) Known() Class {
	if int(c) < len(classNames) {
		return c
	}
	return Normal
}

// Line is what waits together and goes in order: the mail of one tenant, in one
// class, for one destination, by one way.
type Line struct {
	Destination Domain
	Tenant      string
	Class       Class
	Route       string // of what a reply sent another way; empty: the usual one
}

// Line is the line in which the delivery stands.
func (d *Delivery) Line() Line {
	return Line{Destination: d.Destination, Tenant: d.Message.Tenant, Class: d.Message.Class, Route: d.Route}
}
