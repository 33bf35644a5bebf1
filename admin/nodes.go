package admin

import (
	"encoding/json"
	"fmt"
	"net/http"
	"strings"
)

// withCluster lets a request through where nodes can be asked for.
func (s *Server) withCluster(h http.HandlerFunc) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		if s.c.Cluster == nil {
			fail(w, http.StatusServiceUnavailable, "this node knows of no others")
			return
		}
		h(w, r)
	}
}

// listNodes is GET /v1/nodes.
func (s *Server) listNodes(w http.ResponseWriter, r *http.Request) {
	v, err := s.c.Cluster.Nodes(r.Context())
	if err != nil {
		s.nodesFailed(w, r, http.StatusServiceUnavailable, err)
		return
	}
	if v.Now.IsZero() {
		v.Now = s.c.Now()
	}
	v.Now = utc(v.Now)
	// Empty lists, never null: scripts walk them.
	v.Nodes = append([]NodeLine{}, v.Nodes...)
	v.Streams = append([]StreamLine{}, v.Streams...)
	v.Reasons = append([]string{}, v.Reasons...)
	for i := range v.Streams {
		v.Streams[i].Replicas = append([]ReplicaLine{}, v.Streams[i].Replicas...)
	}
	answer(w, http.StatusOK, v)
}

// removeNode is POST /v1/nodes/remove.
func (s *Server) removeNode(w http.ResponseWriter, r *http.Request) {
	o, err := readNodeOrder(w, r)
	if err == nil && o.Node == "" {
		err = fmt.Errorf("the node is not named; see /v1/nodes")
	}
	if err != nil {
		fail(w, http.StatusBadRequest, err.Error())
		return
	}
	log := s.c.Log.With("node", o.Node, "author", o.Author, "remote", r.RemoteAddr)
	if err := s.c.Cluster.Remove(r.Context(), o.Node); err != nil {
		log.Warn("node not removed", "error", err)
		s.nodesFailed(w, r, http.StatusConflict, err)
		return
	}
	log.Info("node removed from the cluster")
	answer(w, http.StatusOK, NodeAnswer{Node: o.Node})
}

// transfer is POST /v1/nodes/transfer.
func (s *Server) transfer(w http.ResponseWriter, r *http.Request) {
	o, err := readNodeOrder(w, r)
	if err == nil && o.Node != "" {
		err = fmt.Errorf("the node that is to lead cannot be chosen; leave it out")
	}
	if err != nil {
		fail(w, http.StatusBadRequest, err.Error())
		return
	}
	leader, err := s.c.Cluster.Transfer(r.Context())
	if err != nil {
		s.nodesFailed(w, r, http.StatusConflict, err)
		return
	}
	s.c.Log.Info("leadership handed over", "leader", leader, "author", o.Author, "remote", r.RemoteAddr)
	answer(w, http.StatusOK, NodeAnswer{Leader: leader})
}

func readNodeOrder(w http.ResponseWriter, r *http.Request) (o NodeOrder, err error) {
	dec := json.NewDecoder(http.MaxBytesReader(w, r.Body, maxOrder))
	dec.DisallowUnknownFields()
	if err := dec.Decode(&o); err != nil {
		return o, fmt.Errorf(`the order is not understood: %w; it looks like {"node":"node3","author":"you"}`, err)
	}
	if len(o.Author) > maxAuthor || !oneLine(o.Author+o.Node) {
		return o, fmt.Errorf("author and node must be one line of at most %d octets of printable UTF-8", maxAuthor)
	}
	o.Node = strings.TrimSpace(o.Node)
	if o.Author == "" {
		o.Author = "someone unnamed"
	}
	return o, nil
}

func (s *Server) nodesFailed(w http.ResponseWriter, r *http.Request, code int, err error) {
	if r.Context().Err() != nil {
		return // the client has gone
	}
	fail(w, code, err.Error())
}
