package shaping

// RefusedError says why a rule or a change is not taken, and what to write
// instead. The rules in force stay as they were.
type RefusedError struct {
	Field string // "messages[1].window"; empty: the whole
	What  string
	Mend  string
}

func (e *RefusedError) Error() string {
	s := e.What
	if e.Field != "" {
		s = e.Field + ": " + s
	}
	if e.Mend != "" {
		s += "; " + e.Mend
	}
	return s
}

func refuse(field, what, mend string) error { return &RefusedError{field, what, mend} }
