package scheduler

// mutation names a safety rule that is switched off, to show that the simulator
// notices. The zero value is the product.
type mutation uint8
