package access_test

import "github.com/tarishi/tarishi/mail"

func address(s string) mail.Address { return mail.NewAddress(s) }
