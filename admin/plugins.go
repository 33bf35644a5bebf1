package admin

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"time"
)

// Plugins is the operator's side of the plugins of a node.
type Plugins interface {
	Plugins() PluginsView
	// Reload loads them anew; an error says why those of before stay.
	Reload(ctx context.Context) error
}

// PluginsView is GET /v1/plugins.
type PluginsView struct {
	Node      string           `json:"node"`
	Loads     int              `json:"loads"`           // how often they were loaded
	Loaded    time.Time        `json:"loaded,omitzero"` // when, last; absent: never
	Fault     string           `json:"fault,omitempty"` // why the newest state is not in force
	FaultAt   time.Time        `json:"fault_at,omitzero"`
	Functions []PluginFunction `json:"functions"` // in the order in which they are asked
}

// PluginFunction is one function of a plugin at a hook, and what it has done since it
// was loaded.
type PluginFunction struct {
	Hook           string  `json:"hook"`
	Plugin         string  `json:"plugin"`
	Function       string  `json:"function"`
	Priority       int     `json:"priority"`
	TimeoutSeconds float64 `json:"timeout_seconds"`
	Calls          int64   `json:"calls"`
	Refused        int64   `json:"refused"`  // verdicts that were refusals
	Timeouts       int64   `json:"timeouts"` // it was not back in time
	Panics         int64   `json:"panics"`
	MeanSeconds    float64 `json:"mean_seconds"` // of a call
}

// PluginsOrder is POST /v1/plugins/reload.
type PluginsOrder struct {
	Author string `json:"author,omitempty"`
}

func (s *Server) withPlugins(h http.HandlerFunc) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		if s.c.Plugins == nil {
			fail(w, http.StatusServiceUnavailable, "this node runs no plugins: it neither accepts nor delivers")
			return
		}
		h(w, r)
	}
}

// listPlugins is GET /v1/plugins.
func (s *Server) listPlugins(w http.ResponseWriter, _ *http.Request) {
	answer(w, http.StatusOK, s.pluginsView())
}

func (s *Server) pluginsView() PluginsView {
	v := s.c.Plugins.Plugins()
	v.Node = s.c.Node
	v.Loaded, v.FaultAt = utc(v.Loaded), utc(v.FaultAt)
	v.Functions = append([]PluginFunction{}, v.Functions...)
	return v
}

// reloadPlugins is POST /v1/plugins/reload.
func (s *Server) reloadPlugins(w http.ResponseWriter, r *http.Request) {
	var o PluginsOrder
	dec := json.NewDecoder(http.MaxBytesReader(w, r.Body, maxOrder))
	dec.DisallowUnknownFields()
	if err := dec.Decode(&o); err != nil {
		fail(w, http.StatusBadRequest, fmt.Sprintf(`the order is not understood: %v; it looks like {"author":"you"}`, err))
		return
	}
	s.c.Log.Info("plugins are to be loaded anew", "author", o.Author, "remote", r.RemoteAddr)
	if err := s.c.Plugins.Reload(r.Context()); err != nil {
		fail(w, http.StatusConflict, "the plugins of before stay in force: "+err.Error())
		return
	}
	answer(w, http.StatusOK, s.pluginsView())
}

// Plugins reads a node's plugins.
func (c *Client) Plugins(ctx context.Context) (v PluginsView, err error) {
	err = c.read(ctx, "/v1/plugins", &v)
	return v, err
}

// ReloadPlugins has a node load them anew.
func (c *Client) ReloadPlugins(ctx context.Context, o PluginsOrder) (v PluginsView, err error) {
	err = c.write(ctx, "/v1/plugins/reload", o, &v)
	return v, err
}
