package api

import "github.com/dop251/goja"

// New makes the world.
func New(o Options) (*Runtime, error) {
	r := &Runtime{vm: goja.New(), o: o, wake: make(chan struct{}, 1)}
	return r, nil
}
