// Command write makes docs/conformance.md of the output of go test -json, read
// from standard input. It ends with 1 when a test did not pass, or a rule has none.
package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"

	"github.com/tarishi/tarishi/internal/conformance"
)

const module = "github.com/tarishi/tarishi/"

func main() {
	if err := run("."); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

// run reads the results and writes the page of the repository at root.
func run(root string) error {
	results, err := read(os.Stdin)
	if err != nil {
		return err
	}
	tests, err := conformance.Find(root)
	if err != nil {
		return err
	}
	var bad []string
	page := conformance.Page(tests, func(t conformance.Test) conformance.Result {
		r := results[t.Dir+" "+t.Name]
		if r != "pass" {
			if r == "" {
				r = "was not run"
			}
			bad = append(bad, t.Dir+": "+t.Name+": "+r)
		}
		return r
	})
	if err := os.WriteFile(filepath.Join(root, "docs/conformance.md"), []byte(page), 0o644); err != nil {
		return err
	}
	if len(bad) > 0 || strings.Contains(page, "NOT PROVED") {
		return errors.New(strings.Join(append(bad, "docs/conformance.md says what is missing"), "\n"))
	}
	fmt.Printf("%d tests, all passed; docs/conformance.md is written\n", len(tests))
	return nil
}

// read returns what each test came to, under package and name.
func read(r io.Reader) (map[string]conformance.Result, error) {
	results := map[string]conformance.Result{}
	d := json.NewDecoder(r)
	for {
		var e struct{ Action, Package, Test string }
		switch err := d.Decode(&e); {
		case errors.Is(err, io.EOF):
			return results, nil
		case err != nil:
			return nil, fmt.Errorf("standard input is no output of go test -json: %w", err)
		}
		if e.Test != "" && (e.Action == "pass" || e.Action == "fail" || e.Action == "skip") {
			results[strings.TrimPrefix(e.Package, module)+" "+e.Test] = e.Action
		}
	}
}
