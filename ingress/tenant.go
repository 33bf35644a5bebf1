package ingress

import (
	"strings"

	"github.com/tarishi/tarishi/mail"
)

var badTenant = &refusal{reply: mail.R(554, "5.6.0", "The tenant's header field does not name one: up to 64 letters, digits, dots, dashes, underscores, @ or +")}

// readTenant reads the control field that names whose mail it is.
func readTenant(o *orders, value string) error {
	if !mail.ValidTenant(value) {
		return badTenant
	}
	o.tenant = value
	return nil
}

// readClass reads the control field that says which mail goes first.
func readClass(o *orders, value string) error {
	c, err := mail.ParseClass(strings.ToLower(value))
	if err != nil {
		return err
	}
	o.class = &c
	return nil
}
