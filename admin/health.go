package admin

import (
	"context"
	"net/http"
	"time"
)

// healthz says that the process answers, and nothing more: a node that cannot
// take mail is not ready, but restarting it would not help.
func (s *Server) healthz(w http.ResponseWriter, _ *http.Request) {
	answer(w, http.StatusOK, map[string]bool{"alive": true})
}

// checkTime bounds all checks of one /readyz together; probes give up soon.
const checkTime = 2 * time.Second

func (s *Server) readiness(ctx context.Context) Readiness {
	ctx, cancel := context.WithTimeout(ctx, checkTime)
	defer cancel()
	reasons := []string{}
	for _, c := range s.c.Checks {
		if err := c.Ask(ctx); err != nil {
			reasons = append(reasons, c.Name+": "+err.Error())
		}
	}
	return Readiness{Ready: len(reasons) == 0, Reasons: reasons}
}

func (s *Server) readyz(w http.ResponseWriter, r *http.Request) {
	rd := s.readiness(r.Context())
	code := http.StatusOK
	if !rd.Ready {
		code = http.StatusServiceUnavailable
	}
	answer(w, code, rd)
}

func (s *Server) status(w http.ResponseWriter, r *http.Request) {
	rd := s.readiness(r.Context())
	now := s.c.Now()
	roles := s.c.Roles
	if roles == nil {
		roles = []string{}
	}
	answer(w, http.StatusOK, Status{
		Now: utc(now), Version: s.c.Version, Node: s.c.Node, Roles: roles,
		Started: utc(s.c.Started), Uptime: int64(now.Sub(s.c.Started) / time.Second),
		Ready: rd.Ready, Reasons: rd.Reasons, Stats: s.c.Stats(),
	})
}
