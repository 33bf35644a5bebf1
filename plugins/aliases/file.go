package aliases

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strings"

	"github.com/tarishi/tarishi/mail"
	"github.com/tarishi/tarishi/plugins/lists"
)

// alias is what the file says of one key.
type alias struct {
	drop bool
	to   []string // addresses, or users at the domain of whoever was written to
}

// at are the targets for somebody at a domain.
func (x alias) at(d mail.Domain) []mail.Address {
	out := make([]mail.Address, len(x.to))
	for i, t := range x.to {
		if strings.IndexByte(t, '@') < 0 {
			out[i] = mail.Address{Raw: t + "@" + string(d), Domain: d}
			continue
		}
		out[i] = mail.NewAddress(t)
	}
	return out
}

// maxFaults bounds what is said of one file.
const maxFaults = 10

// parse reads a file of aliases. bare is one of the keys that name no domain; empty:
// all name one. The error says of each fault in which line it is.
func parse(file string, text []byte) (book map[string]alias, bare string, err error) {
	text = bytes.TrimPrefix(text, []byte("\ufeff"))
	in := json.NewDecoder(bytes.NewReader(text))
	in.DisallowUnknownFields()
	var faults []error
	at := lines{text: text}
	fault := func(offset int64, err error) {
		faults = append(faults, fmt.Errorf("%s:%d: %w", file, at.of(offset), err))
	}
	broken := func(err error) (map[string]alias, string, error) {
		var syntax *json.SyntaxError
		offset := in.InputOffset()
		if errors.As(err, &syntax) {
			offset = syntax.Offset
		}
		if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
			err = errors.New("it ends too early")
		}
		fault(offset, fmt.Errorf("no JSON: %w", err))
		return nil, "", errors.Join(faults...)
	}

	switch t, err := in.Token(); {
	case err != nil:
		return broken(err)
	case t != json.Delim('{'):
		fault(0, errors.New(`wants an object: { "ann@example.net": { "action": "alias", "to": "bob" } }`))
		return nil, "", errors.Join(faults...)
	}
	book = map[string]alias{}
	for in.More() {
		t, err := in.Token()
		if err != nil {
			return broken(err)
		}
		began := in.InputOffset()
		written := t.(string)
		key, err := readKey(written)
		var x alias
		if err == nil {
			x, err = readAlias(in)
		} else {
			var skipped json.RawMessage
			if e := in.Decode(&skipped); e != nil {
				return broken(e)
			}
		}
		var syntax *json.SyntaxError
		if errors.As(err, &syntax) || errors.Is(err, io.ErrUnexpectedEOF) || errors.Is(err, io.EOF) {
			return broken(err)
		}
		if _, twice := book[key]; err == nil && twice {
			err = errors.New("stands twice, and nobody can tell which one counts; keep one")
		}
		if err != nil {
			if len(faults) == maxFaults {
				faults = append(faults, fmt.Errorf("%s: further aliases are bad, too", file))
				break
			}
			fault(began, fmt.Errorf("alias %q %w", written, err))
			continue
		}
		book[key] = x
		if strings.IndexByte(key, '@') < 0 {
			bare = key
		}
	}
	if len(faults) > 0 {
		return nil, "", errors.Join(faults...)
	}
	if _, err := in.Token(); err != nil { // the last }
		return broken(err)
	}
	if _, err := in.Token(); !errors.Is(err, io.EOF) {
		fault(in.InputOffset(), errors.New("there is something behind the last }"))
		return nil, "", errors.Join(faults...)
	}
	return book, bare, nil
}

// lines counts lines up to an offset; offsets only grow.
type lines struct {
	text   []byte
	offset int
	line   int
}

func (l *lines) of(offset int64) int {
	to := min(max(int(offset), l.offset), len(l.text))
	l.line += bytes.Count(l.text[l.offset:to], []byte{'\n'})
	l.offset = to
	return l.line + 1
}

// readKey reads ann@example.net, ann, @example.net or *, as addresses are looked up.
func readKey(text string) (string, error) {
	domain, all := strings.CutPrefix(text, "@")
	switch {
	case text == "*":
		return text, nil
	case all:
		d, err := lists.ParseDomain(domain)
		return "@" + string(d), err
	case strings.Contains(text, "@"):
		a, err := lists.ParseMailbox(text)
		return lists.Key(a), err
	case text == "" || strings.ContainsAny(text, " \t*<>"):
		return "", errors.New("is no key; write ann@example.net, ann, @example.net or *")
	}
	return lists.Local(mail.Address{Raw: text}), nil
}

// readAlias reads what stands behind a key.
func readAlias(in *json.Decoder) (alias, error) {
	var entry struct {
		Action string  `json:"action"`
		To     targets `json:"to"`
	}
	if err := in.Decode(&entry); err != nil {
		return alias{}, fmt.Errorf("wants an object with action and to: %w", err)
	}
	switch strings.ToLower(entry.Action) {
	case "drop":
		if len(entry.To) > 0 {
			return alias{}, errors.New(`drops its mail, and has a "to"; leave out one of them`)
		}
		return alias{drop: true}, nil
	case "alias":
	case "":
		return alias{}, errors.New(`has no action; there are "drop" and "alias"`)
	default:
		return alias{}, fmt.Errorf(`has the action %q; there are "drop" and "alias"`, entry.Action)
	}
	if len(entry.To) == 0 {
		return alias{}, errors.New(`has no "to"; give an address, or a list of them`)
	}
	for i, t := range entry.To {
		clean, err := readTarget(t)
		if err != nil {
			return alias{}, fmt.Errorf("has the target %q, which %w", t, err)
		}
		entry.To[i] = clean
	}
	return alias{to: entry.To}, nil
}

// readTarget reads an address, or a user without a domain. On the wire it is ASCII,
// however its domain is written here.
func readTarget(text string) (string, error) {
	full := text
	if !strings.Contains(text, "@") {
		full += "@example.net"
	}
	a, err := lists.ParseMailbox(full)
	if err != nil {
		return "", err
	}
	if !(mail.Address{Raw: a.Local()}).IsASCII() {
		return "", errors.New("not every host could take (RFC 6531); write a local part in ASCII")
	}
	if full != text {
		return text, nil
	}
	return a.Local() + "@" + string(a.Domain), nil
}

// targets are one text or several.
type targets []string

func (t *targets) UnmarshalJSON(b []byte) error {
	if b[0] == '"' {
		*t = targets{""}
		return json.Unmarshal(b, &(*t)[0])
	}
	var list []string
	if err := json.Unmarshal(b, &list); err != nil {
		return errors.New(`"to" is an address or a list of addresses`)
	}
	*t = list
	return nil
}
