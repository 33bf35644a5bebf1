package ingress

import (
	"bytes"
	"strings"

	"github.com/tarishi/tarishi/mail"
)

// Bounds of what names a tenant: it becomes part of counters' names and of
// commands that people type.
const (
	maxTenant      = 64
	tenantLetters  = "abcdefghijklmnopqrstuvwxyz0123456789._-@+"
	maxTenantField = 4096 // octets of its fields, blanks and folding included
)

var (
	badTenant  = &refusal{mail.R(554, "5.6.0", "The tenant's header field does not name one: up to 64 letters, digits, dots, dashes, underscores, @ or +")}
	twoTenants = &refusal{mail.R(554, "5.6.0", "The message names two tenants")}
)

// keep notes octets of the tenant's field, in front of which the filter stands.
func (f *headerFilter) keep(p []byte) error {
	if !f.catch {
		return nil
	}
	if len(f.tenant)+len(p) > maxTenantField {
		return badTenant
	}
	f.tenant = append(f.tenant, p...)
	return nil
}

// tenantOf reads the fields that were kept: one after the other, each perhaps
// folded. A field without a value names nobody, as mail without the field.
func tenantOf(fields []byte) (string, error) {
	var found, value []byte
	begun := false
	end := func() error {
		value = bytes.Trim(value, " \t\r\n")
		switch {
		case len(value) == 0:
		case len(value) > maxTenant || strings.Trim(strings.ToLower(string(value)), tenantLetters) != "":
			return badTenant
		case found != nil && !bytes.Equal(found, value):
			return twoTenants // which of them is to be charged cannot be told
		default:
			found = value
		}
		return nil
	}
	for line := range bytes.Lines(fields) {
		if line[0] == ' ' || line[0] == '\t' {
			value = append(value, line...)
			continue
		}
		if begun {
			if err := end(); err != nil {
				return "", err
			}
		}
		_, rest, _ := bytes.Cut(line, []byte{':'})
		value, begun = bytes.Clone(rest), true
	}
	if begun {
		if err := end(); err != nil {
			return "", err
		}
	}
	return string(found), nil
}
