package queue

import (
	"encoding/json"
	"errors"
	"testing"
	"time"
)

// What a server says of a stream tells whether anything can be stored in it.
func TestStreamWithoutMajority(t *testing.T) {
	for _, x := range []struct {
		name, cluster string
		well          bool
	}{
		{"one server", `null`, true},
		{"all there", `{"leader":"a","replicas":[{"name":"b","active":900000000},{"name":"c","active":1}]}`, true},
		{"one is dead", `{"leader":"a","replicas":[{"name":"b","active":90000000000,"offline":true},{"name":"c","active":1}]}`, true},
		{"two are silent, the leader has not noticed", `{"leader":"a","replicas":[{"name":"b","active":5000000000},{"name":"c","active":6000000000}]}`, false},
		{"no leader", `{"replicas":[{"name":"a"},{"name":"b","active":1},{"name":"c","active":1}]}`, false},
		{"two of five are silent", `{"leader":"a","replicas":[{"offline":true},{"offline":true},{},{}]}`, true},
		{"three of five are silent", `{"leader":"a","replicas":[{"offline":true},{"offline":true},{"offline":true},{}]}`, false},
	} {
		var p *streamPlaces
		if err := json.Unmarshal([]byte(x.cluster), &p); err != nil {
			t.Fatal(err)
		}
		if err := p.fault(); (err == nil) != x.well {
			t.Errorf("%s: %v", x.name, err)
		}
	}
}

// What could not be stored for as long as a client waits closes the queue to the next ones.
func TestGivingUpClosesTheQueue(t *testing.T) {
	q := &Queue{o: Options{Patience: time.Minute}.withDefaults()}
	q.log = q.o.Log
	if _ = q.gaveUp(time.Now(), ErrUnavailable); q.room.Load() != nil {
		t.Error("a client that went away closes it")
	}
	if _ = q.gaveUp(time.Now().Add(-time.Minute), ErrUnavailable); q.room.Load() == nil || !errors.Is(*q.room.Load(), ErrUnavailable) {
		t.Error("it stays open")
	}
}
