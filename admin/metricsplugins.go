package admin

import "github.com/prometheus/client_golang/prometheus"

// Counters of plugins begin anew when plugins are loaded anew, as those of a process
// that was started again do. Their labels are the operator's own list of plugins.
var (
	pluginLoads  = desc("plugins_loads_total", "How often plugins were loaded.")
	pluginFault  = desc("plugins_fault", "1 while the newest state of the plugins could not be loaded, and an older one is in force.")
	pluginCalls  = desc("plugin_calls_total", "Calls of functions of a plugin at a hook.", "plugin", "hook")
	pluginRefuse = desc("plugin_refusals_total", "Those that came to a refusal.", "plugin", "hook")
	pluginFails  = desc("plugin_failures_total", "Those that did not answer for themselves.", "plugin", "hook", "how")
	pluginTime   = desc("plugin_seconds_total", "How long they took together.", "plugin", "hook")
)

// collectPlugins sends them.
func (e *exporter) collectPlugins(ch chan<- prometheus.Metric) {
	if e.s.c.Plugins == nil {
		return
	}
	count := func(d *prometheus.Desc, v float64, labels ...string) {
		ch <- prometheus.MustNewConstMetric(d, prometheus.CounterValue, v, labels...)
	}
	v := e.s.c.Plugins.Plugins()
	count(pluginLoads, float64(v.Loads))
	ch <- prometheus.MustNewConstMetric(pluginFault, prometheus.GaugeValue, truth(v.Fault != ""))
	type key struct{ plugin, hook string }
	sums := map[key]*PluginFunction{} // a plugin may have several functions at a hook
	for _, f := range v.Functions {
		k := key{f.Plugin, f.Hook}
		if sums[k] == nil {
			sums[k] = &PluginFunction{}
		}
		s := sums[k]
		s.Calls, s.Refused, s.Timeouts, s.Panics = s.Calls+f.Calls, s.Refused+f.Refused, s.Timeouts+f.Timeouts, s.Panics+f.Panics
		s.MeanSeconds += f.MeanSeconds * float64(f.Calls) // the sum, here
	}
	for k, s := range sums {
		count(pluginCalls, float64(s.Calls), k.plugin, k.hook)
		count(pluginRefuse, float64(s.Refused), k.plugin, k.hook)
		count(pluginFails, float64(s.Timeouts), k.plugin, k.hook, "late")
		count(pluginFails, float64(s.Panics), k.plugin, k.hook, "panic")
		count(pluginTime, s.MeanSeconds, k.plugin, k.hook)
	}
}
