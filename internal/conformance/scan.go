package conformance

import (
	"bytes"
	"go/ast"
	"go/build/constraint"
	"go/parser"
	"go/token"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
)

// Test is a test that proves rules.
type Test struct {
	IDs  []string
	Name string // TestB1_smuggling
	Dir  string // of its package, from the root of the repository
	File string // in Dir
	Tag  string // the build tag it needs; empty: none
}

// Short is the name without Test and ids.
func (t Test) Short() string {
	words := strings.Split(strings.TrimPrefix(t.Name, "Test"), "_")
	return strings.Join(words[len(t.IDs):], "_")
}

var id = regexp.MustCompile(`^[A-M][1-9][0-9]?$`)

// idsOf are the ids that a test's name begins with.
func idsOf(name string) (ids []string) {
	rest, ok := strings.CutPrefix(name, "Test")
	for word := range strings.SplitSeq(rest, "_") {
		if !ok || !id.MatchString(word) {
			break
		}
		ids = append(ids, word)
	}
	return ids
}

// Find returns the tests under root that prove rules, in the order of package and name.
func Find(root string) (tests []Test, err error) {
	err = filepath.WalkDir(root, func(path string, d fs.DirEntry, err error) error {
		switch {
		case err != nil:
			return err
		case d.IsDir() && path != root && (strings.HasPrefix(d.Name(), ".") || d.Name() == "testdata"):
			return fs.SkipDir
		case d.IsDir() || !strings.HasSuffix(path, "_test.go"):
			return nil
		}
		text, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		f, err := parser.ParseFile(token.NewFileSet(), path, text, parser.SkipObjectResolution)
		if err != nil {
			return err
		}
		dir, err := filepath.Rel(root, filepath.Dir(path))
		if err != nil {
			return err
		}
		for _, decl := range f.Decls {
			if fn, ok := decl.(*ast.FuncDecl); ok && fn.Recv == nil {
				if ids := idsOf(fn.Name.Name); ids != nil {
					tests = append(tests, Test{IDs: ids, Name: fn.Name.Name, Dir: filepath.ToSlash(dir), File: filepath.Base(path), Tag: tagOf(text)})
				}
			}
		}
		return nil
	})
	slices.SortFunc(tests, func(a, b Test) int { return strings.Compare(a.Dir+" "+a.Name, b.Dir+" "+b.Name) })
	return tests, err
}

// tagOf is the build constraint of a file, as it is written; empty: none.
func tagOf(text []byte) string {
	for line := range bytes.Lines(text) {
		switch s := strings.TrimSpace(string(line)); {
		case strings.HasPrefix(s, "package "):
			return ""
		case constraint.IsGoBuild(s):
			return strings.TrimSpace(strings.TrimPrefix(s, "//go:build"))
		}
	}
	return ""
}
