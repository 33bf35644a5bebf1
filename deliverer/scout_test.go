package deliverer

import (
	"fmt"
	"testing"
	"time"
)

// What was read to find out where a destination's mail goes is given back when that
// turns out to be suspended: the hand is for what may go.
func TestScoutsOfASuspendedDestination(t *testing.T) {
	tell(t, func(s *story) {
		s.under(map[string]memRule{"*": {suspended: true}})
		s.mx("there.test", 1)
		for i := range 20 {
			j := s.letter(fmt.Sprintf("b%d@there.test", i))
			j.q = s.q
			s.q.waiting = append(s.q.waiting, j)
		}
		s.start()
		s.after(30 * time.Second)
		if hand := s.d.Stats().Hand; hand != 0 {
			s.Errorf("%d are kept in the hand", hand)
		}
		if n := s.dials(addr(1)); n != 0 {
			s.Errorf("%d connections", n)
		}
	})
}
