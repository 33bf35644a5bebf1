package replies

// Fits asks one rule alone.
func Fits(p *Pack, i int, r Reply) bool {
	words := Words(r.Text)
	r.Enhanced, words = status(&r.Reply, words)
	var found bits
	p.words.find(words, &found)
	return (found.has(i) || !p.rules[i].exact) && p.rules[i].fits(p, &r, words)
}
