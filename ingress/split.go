package ingress

import "github.com/tarishi/tarishi/mail"

// few is the number of recipients up to which comparing each with each is
// cheaper than a map.
const few = 16

// split makes the deliveries of a message: one per destination domain, in the
// order in which the domains were first named, every recipient once. It takes
// over rcpts.
func split(m *mail.Message, rcpts []mail.Recipient) []mail.Delivery {
	rcpts = unique(rcpts)
	if oneDomain(rcpts) {
		return []mail.Delivery{{Message: m, Destination: rcpts[0].Domain, Recipients: rcpts}}
	}
	at := make(map[mail.Domain]int, len(rcpts))
	var ds []mail.Delivery
	for _, r := range rcpts {
		i, known := at[r.Domain]
		if !known {
			i = len(ds)
			at[r.Domain] = i
			ds = append(ds, mail.Delivery{Message: m, Index: i, Destination: r.Domain})
		}
		ds[i].Recipients = append(ds[i].Recipients, r)
	}
	return ds
}

// oneDomain tells whether all recipients share a domain. rcpts is not empty.
func oneDomain(rcpts []mail.Recipient) bool {
	for i := range rcpts {
		if rcpts[i].Domain != rcpts[0].Domain {
			return false
		}
	}
	return true
}

// unique drops recipients that were named before (RFC 5321 §4.1.1.3 lets us),
// in place.
func unique(rcpts []mail.Recipient) []mail.Recipient {
	if len(rcpts) <= few {
		out := rcpts[:0]
	next:
		for _, r := range rcpts {
			for i := range out {
				if out[i].Same(r.Address) {
					continue next
				}
			}
			out = append(out, r)
		}
		return out
	}
	type mailbox struct {
		local  string
		domain mail.Domain
	}
	seen := make(map[mailbox]struct{}, len(rcpts))
	out := rcpts[:0]
	for _, r := range rcpts {
		k := mailbox{r.Local(), r.Domain}
		if _, dup := seen[k]; !dup {
			seen[k] = struct{}{}
			out = append(out, r)
		}
	}
	return out
}
