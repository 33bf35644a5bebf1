package api

import "github.com/dop251/goja"

// constants are the codes with which a plugin answers, as docs/Plugins.md and
// haraka-constants of Haraka number them. They are globals of every script.
var constants = []struct {
	name  string
	value int
}{
	{"CONT", 900},
	{"STOP", 901},
	{"DENY", 902},
	{"DENYSOFT", 903},
	{"DENYDISCONNECT", 904},
	{"DISCONNECT", 905},
	{"OK", 906},
	{"NEXT_HOOK", 907},
	{"DELAY", 908},
	{"DENYSOFTDISCONNECT", 909},
}

func nativeConstants(r *Runtime) any {
	o := r.vm.NewObject()
	for _, c := range constants {
		o.Set(c.name, c.value)
	}
	return o
}

// levels are Haraka's names of the log functions' levels.
var levels = []struct {
	name  string
	level Level
}{
	{"data", Data}, {"protocol", Protocol}, {"debug", Debug}, {"info", Info}, {"notice", Notice},
	{"warn", Warn}, {"error", Error}, {"crit", Crit}, {"alert", Alert}, {"emerg", Emerg},
}

// hidden puts a property to an object that enumerations do not show.
func hidden(o *goja.Object, name string, v goja.Value) error {
	return o.DefineDataProperty(name, v, goja.FLAG_TRUE, goja.FLAG_TRUE, goja.FLAG_FALSE)
}
