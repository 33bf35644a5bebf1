package replies

// Fits asks everything of one rule but its text.
func Fits(p *Pack, i int, r Reply) bool {
	words := Words(r.Text)
	r.Enhanced, words = status(&r.Reply, words)
	c := *p.rules[i]
	c.text = nil
	return c.fits(p, &r, words)
}

// TextOf is what a rule's expression is held against.
func TextOf(r Reply) string {
	_, words := status(&r.Reply, Words(r.Text))
	return words
}
