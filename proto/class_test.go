package proto

import (
	"testing"

	"github.com/tarishi/tarishi/mail"
)

func TestLastClass(t *testing.T) {
	d := mail.Delivery{Message: &mail.Message{}, LastReply: mail.R(452, "4.2.2", "full"), LastClass: "QuotaIssues"}
	if got := FromDelivery(&d).Delivery(d.Message); got.LastClass != d.LastClass {
		t.Errorf("%q", got.LastClass)
	}
}
