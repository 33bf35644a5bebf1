package netlab

import (
	"os"
	"testing"
)

func TestMain(m *testing.M) { os.Exit(Main(m)) }

// The destinations of all scenarios: each is limited in one way, and one is not at all.
const (
	windowed = "window.test" // messages in a time
	slotted  = "slots.test"  // connections at a time
	counted  = "rcpt.test"   // recipients in a time
	opened   = "opens.test"  // new connections in a time
	free     = "free.test"
)
