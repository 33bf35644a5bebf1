package admin

import (
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/tarishi/tarishi/mail"
	"github.com/tarishi/tarishi/replies"
	"github.com/tarishi/tarishi/shaping"
)

// Filter names a part of the queue: what matches every field that is set.
type Filter struct {
	ID           string        // of a message or of one delivery
	Destination  mail.Domain   // canonical
	Site         string        // a named destination, or a domain: all that count with it; see Destinations
	Destinations []mail.Domain // what Site came to; set, and perhaps empty, once it was looked up
	Sender       string        // raw address, compared without regard to case; "<>" for the null sender; "@example.net"
	Recipient    string        // raw address, compared without regard to case
	Tenant       string
	Class        *mail.Class
	Bounce       string // bounce class of the last reply
	Reply        string // a part of the last reply, compared without regard to case
	Before       time.Time
	After        time.Time
	MinAttempts  int
	MaxAttempts  *int
	Held         *bool
}

// Selection is a Filter as an operator types it. Fields are only ever added.
type Selection struct {
	ID          string `json:"id,omitempty"`
	Destination string `json:"destination,omitempty"`
	Site        string `json:"site,omitempty"`
	Sender      string `json:"sender,omitempty"`
	Recipient   string `json:"recipient,omitempty"`
	Tenant      string `json:"tenant,omitempty"`
	Class       string `json:"class,omitempty"`   // high, normal, bulk
	Bounce      string `json:"bounce,omitempty"`  // bounce class
	Reply       string `json:"reply,omitempty"`   // a part of the last reply
	Older       string `json:"older,omitempty"`   // arrived longer ago than "2h"
	Younger     string `json:"younger,omitempty"` // arrived less long ago
	MinAttempts *int   `json:"min_attempts,omitempty"`
	MaxAttempts *int   `json:"max_attempts,omitempty"`
	Held        *bool  `json:"held,omitempty"`
	All         bool   `json:"all,omitempty"` // everything is meant, if nothing else is said
}

// maxText bounds what is compared with.
const maxText = 1000

// Filter checks and canonicalises what an operator typed. Something must be given: no
// verb of ours means the whole queue by accident. Ages count from now.
func (s Selection) Filter(now time.Time) (Filter, error) {
	for _, p := range []*string{&s.ID, &s.Destination, &s.Site, &s.Sender, &s.Recipient, &s.Tenant, &s.Class, &s.Bounce, &s.Reply, &s.Older, &s.Younger} {
		*p = strings.TrimSpace(*p)
		if len(*p) > maxText || strings.ContainsFunc(*p, func(r rune) bool { return r < ' ' || r == 0x7f }) {
			return Filter{}, errors.New("a filter holds control characters or more than 1000 octets; check what was pasted")
		}
	}
	var err error
	if s.Bounce, err = bounceClass(s.Bounce); err != nil {
		return Filter{}, err
	}
	f := Filter{ID: strings.ToUpper(s.ID), Site: s.Site, Tenant: s.Tenant, Bounce: s.Bounce, Reply: s.Reply, Held: s.Held, MaxAttempts: s.MaxAttempts}
	// One whose tail is no number must not be taken for the whole message.
	if message, _ := mail.SplitDeliveryID(f.ID); strings.Trim(message, "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZ-_") != "" {
		return Filter{}, fmt.Errorf("%q is no message id; ids look like 01K9ABCDEFGH12345678 or, for one delivery, 01K9ABCDEFGH12345678.0", s.ID)
	}
	for _, d := range []string{s.Destination, s.Site} {
		if strings.ContainsAny(d, "@ /*") {
			return Filter{}, fmt.Errorf("%q is no destination; give the domain alone, as in example.org", d)
		}
	}
	if s.Destination != "" {
		f.Destination = mail.CanonicalDomain(s.Destination)
	}
	if f.Sender, err = senderOf(s.Sender); err != nil {
		return Filter{}, err
	}
	if f.Recipient = bare(s.Recipient); f.Recipient != "" && !strings.Contains(f.Recipient, "@") && !strings.EqualFold(f.Recipient, "postmaster") {
		return Filter{}, fmt.Errorf("%q is no recipient; give the whole address, or --destination for a domain", s.Recipient)
	}
	if s.Class != "" {
		c, err := mail.ParseClass(strings.ToLower(s.Class))
		if err != nil {
			return Filter{}, err
		}
		f.Class = &c
	}
	if f.Before, err = ageOf("older", s.Older, now); err != nil {
		return Filter{}, err
	}
	if f.After, err = ageOf("younger", s.Younger, now); err != nil {
		return Filter{}, err
	}
	if !f.Before.IsZero() && !f.After.IsZero() && !f.After.Before(f.Before) {
		return Filter{}, fmt.Errorf("nothing is older than %s and younger than %s", s.Older, s.Younger)
	}
	for _, n := range []*int{s.MinAttempts, s.MaxAttempts} {
		if n != nil && *n < 0 {
			return Filter{}, fmt.Errorf("%d attempts are none; give a number from 0 on", *n)
		}
	}
	if s.MinAttempts != nil {
		f.MinAttempts = *s.MinAttempts
	}
	if f.MaxAttempts != nil && *f.MaxAttempts < f.MinAttempts {
		return Filter{}, fmt.Errorf("nothing has had at least %d attempts and at most %d", f.MinAttempts, *f.MaxAttempts)
	}
	if f.isZero() && s.MinAttempts == nil && !s.All {
		return Filter{}, errors.New("nothing was selected; name an id, a destination, a sender or something else, or say that all is meant")
	}
	return f, nil
}

func (f Filter) isZero() bool {
	return f.ID == "" && f.Destination == "" && f.Site == "" && f.Sender == "" && f.Recipient == "" && f.Tenant == "" && f.Class == nil &&
		f.Bounce == "" && f.Reply == "" && f.Before.IsZero() && f.After.IsZero() && f.MinAttempts == 0 && f.MaxAttempts == nil && f.Held == nil
}

// bounceClass is the bounce class of that name, in whatever letters.
func bounceClass(name string) (string, error) {
	if name == "" {
		return "", nil
	}
	var all []string
	for _, c := range replies.Classes {
		if strings.EqualFold(name, string(c.Class)) {
			return string(c.Class), nil
		}
		all = append(all, string(c.Class))
	}
	return "", fmt.Errorf("%q is no bounce class; they are %s", name, strings.Join(all, ", "))
}

// bare is an address without its angle brackets.
func bare(s string) string {
	if len(s) > 2 && s[0] == '<' && s[len(s)-1] == '>' {
		return s[1 : len(s)-1]
	}
	return s
}

// senderOf reads an address, "<>", or a domain with or without its "@".
func senderOf(s string) (string, error) {
	switch a := bare(s); {
	case a == "" || a == "<>" || strings.EqualFold(a, "postmaster"):
		return a, nil
	case strings.HasPrefix(a, "@") && len(a) > 1 && !strings.Contains(a[1:], "@"):
		return "@" + string(mail.CanonicalDomain(a[1:])), nil
	case strings.Contains(a, "@") && a[0] != '@' && (a[0] == '"' || strings.Count(a, "@") == 1):
		return a, nil
	case strings.Contains(a, ".") && !strings.ContainsAny(a, "@ /"):
		return "@" + string(mail.CanonicalDomain(a)), nil
	}
	return "", fmt.Errorf(`%q is no sender; give the whole address, a domain as in @example.net, or "<>" for the null sender`, s)
}

func ageOf(name, s string, now time.Time) (time.Time, error) {
	if s == "" {
		return time.Time{}, nil
	}
	d, err := shaping.ParseLength(s)
	if err != nil {
		return time.Time{}, fmt.Errorf("%s %.40q is no age; write one such as 30m, 2h or 1d", name, s)
	}
	return now.Add(-d).UTC(), nil
}

// String is the filter as logs and questions show it.
func (f Filter) String() string {
	var parts []string
	add := func(name, v string) {
		if v != "" {
			parts = append(parts, name+" "+v)
		}
	}
	add("id", f.ID)
	add("destination", string(f.Destination))
	add("site", f.Site)
	add("sender", strings.TrimPrefix(f.Sender, "@"))
	add("recipient", f.Recipient)
	add("tenant", f.Tenant)
	if f.Class != nil {
		add("class", f.Class.String())
	}
	add("bounce class", f.Bounce)
	if f.Reply != "" {
		add("reply", fmt.Sprintf("%q", f.Reply))
	}
	if !f.Before.IsZero() {
		add("arrived before", f.Before.UTC().Format(time.RFC3339))
	}
	if !f.After.IsZero() {
		add("arrived since", f.After.UTC().Format(time.RFC3339))
	}
	if f.MinAttempts > 0 {
		add("at least", fmt.Sprintf("%d attempts", f.MinAttempts))
	}
	if f.MaxAttempts != nil {
		add("at most", fmt.Sprintf("%d attempts", *f.MaxAttempts))
	}
	if f.Held != nil {
		parts = append(parts, map[bool]string{true: "held", false: "not held"}[*f.Held])
	}
	if len(parts) == 0 {
		return "everything"
	}
	return strings.Join(parts, ", ")
}

// selectionKeys are the names of a Selection's fields, as its JSON and a query have them.
var selectionKeys = []string{"id", "destination", "site", "sender", "recipient", "tenant", "class", "bounce", "reply",
	"older", "younger", "min_attempts", "max_attempts", "held", "all"}
