package mail

import "strings"

// MaxTenant is how long the name of a tenant may be.
const MaxTenant = 64

// tenantLetters are what the name may consist of, beside capitals: it becomes part
// of counters' names and of commands that people type.
const tenantLetters = "abcdefghijklmnopqrstuvwxyz0123456789._-@+"

// ValidTenant tells whether name can be a tenant's. Letter case counts.
func ValidTenant(name string) bool {
	return name != "" && len(name) <= MaxTenant && strings.Trim(strings.ToLower(name), tenantLetters) == ""
}
