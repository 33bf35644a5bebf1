package replies

import "embed"

// Files is the pack that comes with the program, as files: one for each group of
// receivers, written as an operator's own file of rules is.
//
//go:embed pack/*.yaml
var Files embed.FS

// Limits are limits that the receivers of the pack are known to bear, written as a
// configuration has them. Nothing applies them: they are a suggestion.
//
//go:embed limits.yaml
var Limits string

// Corpus is replies that receivers have been seen to give, and what the pack makes
// of them; see ParseSamples.
//
//go:embed corpus.txt
var Corpus string
