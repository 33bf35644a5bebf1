package command

import (
	"errors"
	"strings"
	"testing"

	"github.com/tarishi/tarishi/cluster"
	"github.com/tarishi/tarishi/queue"
)

// Two that answer under one name are told of; one that has died and come back is not.
func TestNamesakes(t *testing.T) {
	live, dead := []byte("{}"), []byte(nil)
	out := namesakes([]queue.NodeAnswer{{Node: "a", Body: live}, {Node: "a", Body: dead}, {Node: "b", Body: live}, {Node: "b", Body: live}, {Node: "b", Body: live}})
	if len(out) != 1 || !strings.Contains(out[0], "they are b") {
		t.Error(out)
	}
}

// A node without state ends when all who answer are of another cluster, and waits for the silent.
func TestForeignCluster(t *testing.T) {
	silent, other := errors.New("silence"), &cluster.RefusedError{Reason: "node a belongs to cluster x", Foreign: true}
	for _, x := range []struct {
		answers []error
		ends    bool
	}{
		{[]error{silent, silent}, false}, {[]error{silent, other}, true}, {[]error{nil, other}, false}, {nil, false},
		{[]error{silent, &cluster.RefusedError{Reason: "busy"}}, false},
	} {
		if err := foreign(x.answers); errors.Is(err, cluster.ErrForeign) != x.ends {
			t.Errorf("%v: %v", x.answers, err)
		}
	}
}
