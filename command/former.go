package command

import (
	"encoding/json"
	"errors"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"

	"github.com/tarishi/tarishi/daemon"
	"github.com/tarishi/tarishi/scheduler"
)

// formerSession is kept in the data folder for the next process on it. That one has the
// folder's lock, so this one has ended by then, and its session can be ended too: what
// it held is free at once, not when its lease is over.
type formerSession struct {
	Node    string              `json:"node"`
	Session scheduler.SessionID `json:"session"`
}

const formerName = "session"

// readFormer returns the session of the last process on the folder; 0: none is known.
func readFormer(folder *daemon.Folder, node string, log *slog.Logger) scheduler.SessionID {
	b, err := os.ReadFile(filepath.Join(folder.Path, formerName))
	var f formerSession
	if err == nil {
		err = json.Unmarshal(b, &f)
	}
	switch {
	case errors.Is(err, fs.ErrNotExist):
	case err != nil:
		log.Warn("which session the last process had cannot be read; what it held is free when its lease is over", "error", err)
	case f.Node == node: // renamed, it was somebody else's
		return f.Session
	}
	return 0
}

// keepFormer is called before the session holds anything.
func keepFormer(folder *daemon.Folder, node string, id scheduler.SessionID, log *slog.Logger) {
	b, err := json.Marshal(formerSession{node, id})
	if err == nil {
		err = folder.WriteFile(formerName, append(b, '\n'))
	}
	if err != nil {
		log.Warn("the session cannot be noted for the next process; what this one holds is free when its lease is over", "error", err)
	}
}
